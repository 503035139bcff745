"""The corrected difference of two runs: what calibration error they share cancels, and the interval covers."""

from __future__ import annotations

import numpy as np
import pytest

from fairbench.stats.correction_difference import concentration_difference
from tests.builders.confusions import GENDER, symmetric, true_concentration, with_misses

TABLE = with_misses(symmetric(4, 0.85), [0.95, 0.9, 0.85, 0.7])


def test_intervals_of_a_corrected_difference_cover_the_truth() -> None:
    """In both designs, with a calibration that is small enough for its shared error to matter."""
    rng = np.random.default_rng(0)
    fixed = rng.dirichlet(np.ones(4), (2, 30))
    covered, errors, effects = [], [], []
    for _ in range(200):
        drawn = rng.dirichlet(np.ones(4), (2, 30))
        known = rng.multinomial(150, TABLE)
        for scope, (a, b) in (("this list", fixed), ("other prompts", drawn)):
            seen = [rng.multinomial(100, shares @ TABLE) for shares in (a, b)]
            effect = concentration_difference(*seen, known, rng, draws=100).effect(scope)  # type: ignore[arg-type]
            low, high = effect.interval()
            truth = true_concentration(b).mean() - true_concentration(a).mean() if scope == "this list" else 0.0
            covered.append((scope, low <= truth <= high))
            if scope == "this list":
                errors.append(effect.se)
                effects.append(effect.estimate)
    for scope in ("this list", "other prompts"):
        assert np.mean([c for s, c in covered if s == scope]) == pytest.approx(0.95, abs=0.04)
    assert np.mean(errors) == pytest.approx(np.std(effects), rel=0.15)


def test_the_calibration_s_error_cancels_between_equal_runs_and_stays_between_unequal_ones() -> None:
    rng = np.random.default_rng(1)
    known = rng.multinomial(60, TABLE)
    one, two = np.array([0.7, 0.1, 0.1, 0.1]), np.full(4, 0.25)
    draw = {name: rng.multinomial(50_000, np.tile(s, (20, 1)) @ TABLE) for name, s in (("one", one), ("two", two))}
    same = concentration_difference(
        draw["one"], rng.multinomial(50_000, np.tile(one, (20, 1)) @ TABLE), known, rng, draws=200
    )
    other = concentration_difference(draw["one"], draw["two"], known, rng, draws=200)
    assert same.shared < 0.05 * other.shared
    assert concentration_difference(draw["one"], draw["one"], known, rng, draws=50).shared == 0


def test_prompts_too_short_for_a_correction_are_left_out_of_both_runs() -> None:
    rng = np.random.default_rng(2)
    a, b = (rng.multinomial(100, np.tile(np.full(4, 0.25), (6, 1)) @ TABLE) for _ in range(2))
    a[0], b[1] = [1, 2, 0, 0, 97], [0, 0, 0, 0, 100]
    found = concentration_difference(a, b, rng.multinomial(500, TABLE), rng, GENDER[:4], draws=50)
    assert (found.pairs.difference.size, found.pairs.n_left_out) == (4, 2)
    nothing = concentration_difference(a[:2], b[:2], rng.multinomial(500, TABLE), rng, draws=50)
    assert np.isnan([nothing.images, nothing.shared]).all() and np.isnan(nothing.effect("this list").interval()).all()
