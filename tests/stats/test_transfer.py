"""Refusals: seldom where the calibration holds, seen where it does not and counts can show it."""

from __future__ import annotations

import numpy as np
import pytest

from fairbench.stats import transfer
from tests.builders.confusions import symmetric, with_misses


def _one_sided(k, prompts=50):
    return np.eye(k)[np.arange(prompts) % k]


@pytest.mark.parametrize(("k", "accuracy", "images"), [(2, 0.75, 160), (4, 0.95, 40), (8, 0.9, 160)])
def test_p_values_are_small_at_most_as_often_as_they_say(k, accuracy, images):
    """One-sided truths are the hardest: they lie on a corner of the hull."""
    rng = np.random.default_rng(k)
    table = with_misses(symmetric(k, accuracy), np.linspace(0.9, 0.7, k))
    calibration = rng.multinomial(500, table, size=(30, k))
    observed = rng.multinomial(images, _one_sided(k) @ table, size=(30, 50))
    p = transfer.hull_p_values(observed[..., :k], calibration[..., :k])
    for level in (0.1, 0.01, 0.001):
        assert (p < level).mean() <= level + 3 * np.sqrt(level / p.size)


@pytest.mark.parametrize("shares", ["one-sided", "half"])
def test_valid_calibrations_are_seldom_refused(shares):
    """Pooling the prompts that lean to one cell selects them by their counts; near one half that must do no harm."""
    rng = np.random.default_rng(6)
    truth = _one_sided(3, 30) if shares == "one-sided" else np.tile([0.5, 0.5, 0.0], (30, 1))
    table = with_misses(symmetric(3, 0.95), [0.9, 0.8, 0.7])
    refused = [
        transfer.check(rng.multinomial(160, truth @ table), rng.multinomial(500, table), alpha=0.05).reason is not None
        for _ in range(100)
    ]
    assert np.mean(refused) <= 0.05 + 2 * np.sqrt(0.05 * 0.95 / 100)


@pytest.mark.parametrize(("k", "here", "calibrated"), [(2, 0.98, 0.9), (8, 0.95, 0.85)])
def test_a_calibration_that_is_less_accurate_than_the_labeller_here_is_refused(k, here, calibrated):
    """The published case: one-sided prompts are read as more one-sided than the calibration allows."""
    rng = np.random.default_rng(k)
    observed = rng.multinomial(160, _one_sided(k) @ symmetric(k, here))
    calibration = rng.multinomial(500, symmetric(k, calibrated))
    verdict = transfer.check(observed, calibration)
    assert verdict.reason is not None
    assert verdict.reason.startswith("calibration does not transfer: the observed shares lie outside")
    by_prompt, pooled = observed[:, :k], transfer._leaning(observed[:, :k])  # pooled, a small shift adds up
    p_values = [np.nanmin(transfer.hull_p_values(counts, calibration[:, :k])) for counts in (by_prompt, pooled)]
    assert p_values[1] < p_values[0]


def test_a_calibration_that_holds_is_accepted_and_prompts_without_faces_are_not_tested():
    rng = np.random.default_rng(1)
    table = symmetric(4, 0.9)
    observed = rng.multinomial(160, rng.dirichlet(np.ones(4), 20) @ table)
    observed[0] = [0, 0, 0, 0, 160]
    calibration = rng.multinomial(500, table)
    verdict = transfer.check(observed, calibration)
    assert verdict.reason is None
    p_values = transfer.hull_p_values(observed[:, :4], calibration[:, :4])
    assert np.isnan(p_values[0])
    assert ((p_values[1:] > 0) & (p_values[1:] <= 1)).all()
    assert verdict.condition == pytest.approx(1 / (0.9 - 0.1 / 3), rel=0.2)


def test_counts_inside_the_hull_have_p_1_and_a_misread_never_seen_before_is_no_proof():
    calibration = np.array([[480, 20], [30, 470]])
    assert transfer.hull_p_values([[80, 80], [150, 10]], calibration).tolist() == [1, 1]
    perfect = np.array([[500, 0, 0], [0, 500, 0], [0, 0, 500]])
    three = np.array([[100, 0, 0], [100, 3, 1]])
    assert transfer.hull_p_values(three, perfect).tolist() == [1, 1]
    never = np.array([[498, 1, 1, 0], [1, 498, 1, 0]])  # neither row is ever read as the last
    few, many = transfer._ratio(np.array([[150, 9, 0, 1], [120, 0, 0, 40]]), np.stack([never, never]))
    assert few < 6 < 50 < many


def test_labellers_that_cannot_tell_groups_apart_and_tables_too_uncertain_are_refused():
    observed = np.array([[80, 80, 0]])
    blind = transfer.check(observed, [[260, 240, 0], [250, 250, 0]])
    assert blind.reason is not None
    assert "near singular (condition number" in blind.reason
    singular = transfer.check(observed, [[250, 250, 0], [250, 250, 0]])
    assert singular.condition == np.inf
    assert singular.reason is not None
    unsure = transfer.check(observed, [[8, 2, 0], [4, 6, 0]])
    assert unsure.reason is not None
    assert "too uncertain" in unsure.reason
    empty = transfer.check(observed, [[8, 2, 0], [0, 0, 0]])
    assert empty.reason is not None
    assert "fewer than two images" in empty.reason
    blindfold = transfer.check(observed, [[450, 50, 0], [0, 0, 500]])  # no face of the second group is ever found
    assert blindfold.condition == np.inf


def test_the_certainty_is_that_of_many_calibrations():
    rng = np.random.default_rng(2)
    table = symmetric(4, 0.7)[:, :4] @ np.diag([1, 1, 1, 0.8]) + np.outer(np.ones(4), [0, 0, 0, 0])
    drawn = rng.multinomial(2000, np.c_[table, 1 - table.sum(axis=1)], size=(500, 4))[..., :4] / 2000
    smallest = np.linalg.svd(drawn, compute_uv=False)[:, -1]
    _, certainty = transfer.conditioning(table, np.full(4, 2000))
    assert certainty == pytest.approx(smallest.mean() / smallest.std(), rel=0.25)
