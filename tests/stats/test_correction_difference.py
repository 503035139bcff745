"""The corrected difference of two runs: what calibration error they share cancels, and the interval covers."""

from __future__ import annotations

import numpy as np
import pytest

from fairbench.stats.correction_difference import concentration_difference
from fairbench.stats.paired import effect
from tests.builders.confusions import GENDER, symmetric, true_concentration, with_misses

TABLE = with_misses(symmetric(4, 0.85), [0.95, 0.9, 0.85, 0.7])


@pytest.mark.parametrize("own", [False, True])
def test_intervals_of_a_corrected_difference_cover_the_truth(own: bool) -> None:
    """By one calibration or by one each, small enough for its error to matter."""
    rng = np.random.default_rng(0)
    a, b = rng.dirichlet(np.ones(4), (2, 30))
    truth = true_concentration(b).mean() - true_concentration(a).mean()
    covered, errors, effects = [], [], []
    for _ in range(200):
        known, of_b = rng.multinomial(150, TABLE), rng.multinomial(150, TABLE)
        seen = [rng.multinomial(100, shares @ TABLE) for shares in (a, b)]
        found = concentration_difference(*seen, known, rng, draws=100, calibration_b=of_b if own else None)  # type: ignore[arg-type]
        found_effect = effect(found.pairs, float(np.hypot(found.images, found.shared)))
        low, high = found_effect.interval()
        covered.append(low <= truth <= high)
        errors.append(found_effect.se)
        effects.append(found_effect.estimate)
    assert np.mean(covered) == pytest.approx(0.95, abs=0.045)
    assert np.mean(errors) == pytest.approx(np.std(effects), rel=0.15)


def test_two_calibrations_are_less_certain_than_one_that_is_shared() -> None:
    rng = np.random.default_rng(4)
    one = rng.multinomial(60, TABLE)
    seen = [rng.multinomial(500, np.tile([0.7, 0.1, 0.1, 0.1], (20, 1)) @ TABLE) for _ in range(2)]
    shared = concentration_difference(*seen, one, rng, draws=200)
    own = concentration_difference(*seen, one, rng, draws=200, calibration_b=rng.multinomial(60, TABLE))
    assert own.shared > 5 * shared.shared


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
    assert np.isnan([nothing.images, nothing.shared]).all() and np.isnan(nothing.a).all()
