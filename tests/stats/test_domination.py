"""Domination over seeds: against scipy's own paired test, by hand, and how often it errs and how often it finds."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from fairbench.stats import domination

HIGHER = np.array([True, False, True])
MARGINS = np.array([0.05, 0.1, 1.0])


def _random(arms: int = 4, seeds: int = 3) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(5)
    scatter = rng.uniform(0.01, 2.0, (arms, 3, 1))  # unequal variances
    return rng.normal(rng.normal(0, 1, (arms, 3, 1)), scatter, (arms, 3, seeds)), np.zeros((arms, 3, seeds))


def test_all_p_values_are_those_of_scipy() -> None:
    values, errors = _random()
    found = domination.compare(values, errors, HIGHER, MARGINS)
    for a in range(4):
        for b in range(4):
            for j in range(3):
                if a == b:
                    assert np.isnan(found.better[a, b, j])
                    continue
                sign = 1 if HIGHER[j] else -1
                of_a, of_b = sign * values[a, j], sign * values[b, j]
                better = stats.ttest_rel(of_a, of_b, alternative="greater")
                moved = stats.ttest_rel(of_a + MARGINS[j], of_b, alternative="greater")
                limits = stats.ttest_rel(of_a, of_b).confidence_interval(0.95)
                assert found.better[a, b, j] == pytest.approx(better.pvalue, rel=1e-9)
                assert found.not_inferior[a, b, j] == pytest.approx(moved.pvalue, rel=1e-9)
                assert found.low[a, b, j] == pytest.approx(limits.low)
                assert found.high[a, b, j] == pytest.approx(limits.high)


def test_holm_runs_over_axes_and_ordered_pairs() -> None:
    values, errors = _random()
    found = domination.compare(values, errors, HIGHER, MARGINS)
    p = np.sort(found.better[~np.isnan(found.better)])
    assert len(p) == 4 * 3 * 3
    smallest = np.unravel_index(np.nanargmin(found.better), found.better.shape)
    assert found.better_adjusted[smallest] == pytest.approx(min(36 * p[0], 1.0))
    second = np.argwhere(found.better == p[1])[0]
    assert found.better_adjusted[tuple(second)] == pytest.approx(min(max(36 * p[0], 35 * p[1]), 1.0))


def test_an_interval_over_seeds_is_students() -> None:
    values = np.array([[[1.0, 2.0, 4.0, 7.0]]])
    found = domination.means(values, np.zeros_like(values))
    low, high = stats.t.interval(0.95, 3, values.mean(), values.std(ddof=1) / 2)
    assert (found.mean.item(), found.low.item(), found.high.item()) == pytest.approx((3.5, low, high))


def test_seeds_that_lie_closer_than_their_images_allow() -> None:
    """Three equal readings do not make a training certain: its images' errors remain."""
    values, errors = np.full((1, 1, 3), 0.3), np.full((1, 1, 3), 0.06)
    found = domination.means(values, errors)
    assert found.variance.item() == pytest.approx(0.06**2 / 3)
    assert found.high.item() == pytest.approx(0.3 + stats.t.ppf(0.975, 2) * 0.06 / 3**0.5)


def _far_apart(third: float) -> domination.Domination:
    """Two arms: the first is far better on axis 0, equal on axis 1, and apart by `third` on axis 2."""
    jitter = np.array([-1.0, 0.0, 1.0, 0.5, -0.5])
    first = np.stack([2 + 0.01 * jitter, 0.01 * jitter, third + 0.01 * jitter])  # paired with its reverse
    other = np.stack([0.01 * jitter[::-1], 0.01 * jitter[::-1], 0.01 * jitter[::-1]])
    values = np.stack([first, other])
    return domination.compare(values, np.zeros_like(values), HIGHER, MARGINS)


@pytest.mark.parametrize(("third", "shown"), [(0.0, True), (-0.9, True), (-1.0, False), (-1.2, False), (3.0, True)])
def test_one_axis_beyond_its_margin_is_enough_against_it(third: float, shown: bool) -> None:
    found = _far_apart(third).dominates
    assert found.tolist() == [[False, shown], [False, False]]


def test_equal_on_all_axes_dominates_nothing() -> None:
    values = np.repeat(np.random.default_rng(0).normal(0, 1e-3, (1, 3, 5)), 2, axis=0)
    found = domination.compare(values, np.zeros_like(values), HIGHER, MARGINS)
    assert (found.not_inferior[~np.eye(2, dtype=bool)] < 0.05).all()
    assert not found.dominates.any()


def test_arms_that_do_not_vary_show_nothing() -> None:
    values = np.zeros((2, 3, 3))
    values[0, 0] = 1.0  # better by far, but nobody knows how far the next seed would be
    found = domination.compare(values, np.zeros_like(values), HIGHER, MARGINS)
    assert found.better[0, 1].tolist() == [1.0, 1.0, 1.0]
    assert found.not_inferior[0, 1].tolist() == [0.0, 0.0, 0.0]
    assert found.not_inferior[1, 0, 0] == 1.0
    assert not found.dominates.any()


def test_what_is_refused() -> None:
    with pytest.raises(ValueError, match="two seeds or more, got 1"):
        domination.means(np.zeros((2, 3, 1)), np.zeros((2, 3, 1)))
    with pytest.raises(ValueError, match="above 0"):
        domination.compare(np.zeros((2, 1, 2)), np.zeros((2, 1, 2)), [True], [0.0])


def test_rounding_is_no_variance() -> None:
    """The differences of these seeds are alike but for the last digits, which say nothing of the next seed."""
    values = np.stack([np.array([[0.1, 0.2, 0.3]]) + 0.33, np.array([[0.1, 0.2, 0.3]])])
    assert np.ptp(values[0] - values[1]) > 0
    assert domination.compare(values, np.zeros_like(values), [True], [0.1]).better[0, 1].item() == 1.0


@pytest.mark.parametrize(("behind", "p"), [(0.0, 0.0), (0.04, 0.0), (0.1, 1.0), (0.2, 1.0), (-0.3, 0.0)])
def test_a_difference_that_never_varies_is_inferior_from_the_margin_on(behind: float, p: float) -> None:
    values = np.array([[[0.6 - behind] * 3], [[0.6] * 3]])
    found = domination.compare(values, np.zeros_like(values), [True], [0.1])
    assert (found.not_inferior[0, 1].item(), found.better[0, 1].item()) == (p, 1.0)


# --- error rate and power: 8 axes, margins of one unit ---


def _rates(
    arms: int, seeds: int, scatter: float, worlds: int, *, gain: float = 0.0, axes: int = 8, uneven: float = 1.0
) -> tuple[float, float]:
    """Return how often any false domination is shown, and how often the true ones are on average.

    Arm 0 is better than all others by `gain` on axis 0; else all are equal. scatter: s.d. between seeds, in margins;
    uneven: times this on every second arm and axis.
    """
    rng = np.random.default_rng([arms, seeds, worlds])
    spread = scatter * np.where(np.add.outer(np.arange(arms), np.arange(axes)) % 2, uneven, 1.0)[..., None]
    false, true = 0, 0.0
    for _ in range(worlds):
        values = rng.normal(0.0, spread, (arms, axes, seeds))
        values[0, 0] += gain
        shown = domination.compare(values, np.zeros_like(values), [True] * axes, [1.0] * axes).dominates
        if gain:
            true += shown[0].sum() / (arms - 1)
            shown[0] = False
        false += bool(shown.any())
    return false / worlds, true / worlds


@pytest.mark.parametrize(("arms", "seeds"), [(2, 3), (9, 3), (2, 5), (9, 5)])
def test_equal_arms_are_seldom_called_dominated(arms: int, seeds: int) -> None:
    assert _rates(arms, seeds, 0.01, 100, uneven=10.0)[0] <= 0.11  # of .05: exceeded in 1 of 300 tests


def test_five_seeds_find_what_three_do_not() -> None:
    few, many = (_rates(4, seeds, 0.1, 60, gain=1.0) for seeds in (3, 5))
    assert few[0] <= 0.15
    assert many[0] <= 0.15
    assert many[1] > 0.8 > 0.4 > few[1]


@pytest.mark.long
@pytest.mark.parametrize("uneven", [1.0, 3.0, 10.0])
@pytest.mark.parametrize("seeds", [3, 5])
@pytest.mark.parametrize("arms", [2, 3, 5, 9])
def test_equal_arms_in_full(arms: int, seeds: int, uneven: float) -> None:
    false, _ = _rates(arms, seeds, 0.01, 4000, uneven=uneven)
    assert false <= 0.05 + 3 * (0.05 * 0.95 / 4000) ** 0.5


@pytest.mark.long
@pytest.mark.parametrize("seeds", [3, 5])
def test_welch_would_err_too_often(seeds: int) -> None:
    """Why arms are paired by seed: where their scatter differs tenfold, Welch's small p are far too small."""
    rng = np.random.default_rng(seeds)
    one, other = rng.normal(0, 1, (400_000, seeds)), rng.normal(0, 10, (400_000, seeds))
    welch = stats.ttest_ind(one, other, equal_var=False, axis=1, alternative="greater").pvalue
    paired = stats.ttest_rel(one, other, axis=1, alternative="greater").pvalue
    assert (welch < 1e-4).mean() > 2e-4
    assert (paired < 1e-4).mean() < 1.5e-4
