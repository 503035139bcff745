"""Gaffke's interval: its distribution against other routes to it, its coverage where Student's t has none."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.integrate import quad
from scipy.interpolate import BSpline
from scipy.stats import t as student

from fairbench.stats.estimands import concentration
from fairbench.stats.gaffke import mean_interval, weighted_mean_cdf, weighted_mean_quantile


@pytest.mark.parametrize(
    "points", [[0.0, 1.0], [0.0, 0.2, 0.9], [-0.1, 0.0, 0.0, 0.5, 1.0], [0.0, 0.3, 0.31, 0.7, 0.72, 1.0]]
)
def test_the_distribution_is_that_of_the_spline_with_these_knots(points: list[float]) -> None:
    density = BSpline.basis_element(np.array(points), extrapolate=False)
    scale = (len(points) - 1) / (points[-1] - points[0])
    for at in np.linspace(points[0], points[-1], 7)[1:-1]:
        below, _ = quad(density, points[0], at, points=points[1:-1], limit=200)
        assert weighted_mean_cdf(np.array(points), at) == pytest.approx(scale * below, abs=1e-6)


def test_the_limits_are_quantiles_of_randomly_weighted_means() -> None:
    rng = np.random.default_rng(0)
    for values in (rng.uniform(size=10), np.array([0.0] * 9 + [1.0]), np.full(12, 0.3), rng.integers(0, 3, 25) / 2):
        weights = rng.dirichlet(np.ones(len(values) + 1), 100_000)
        low, high = mean_interval(values, -0.1, 1.0)
        assert (weights @ np.append(values, -0.1) <= low).mean() == pytest.approx(0.025, abs=0.002)
        assert (weights @ np.append(values, 1.0) >= high).mean() == pytest.approx(0.025, abs=0.002)
        assert low < values.mean() < high


def test_one_value_and_the_end_of_the_range_share_a_uniform_weight() -> None:
    low, high = mean_interval(np.array([0.4]), 0.0, 1.0, 0.9)
    assert (low, high) == (pytest.approx(0.05 * 0.4), pytest.approx(1 - 0.05 * 0.6))


def test_rows_are_computed_each_by_itself_and_order_and_units_do_not_matter() -> None:
    values = np.random.default_rng(1).uniform(size=(5, 30))
    low, high = mean_interval(values, 0.0, 1.0)
    for row, *limits in zip(values, low, high, strict=True):
        assert mean_interval(row[::-1], 0.0, 1.0) == (pytest.approx(limits[0]), pytest.approx(limits[1]))
    gap_low, gap_high = mean_interval(2 * values - 1, -1.0, 1.0)
    np.testing.assert_allclose([gap_low, gap_high], [2 * low - 1, 2 * high - 1], atol=1e-7)
    mirrored = mean_interval(1 - values, 0.0, 1.0)
    np.testing.assert_allclose(mirrored, [1 - high, 1 - low], atol=1e-7)


def test_equal_values_and_values_at_the_ends() -> None:
    low, high = mean_interval(np.ones(20), 0.0, 1.0)
    assert high == pytest.approx(1.0)
    assert low == pytest.approx(0.025 ** (1 / 20))  # the exact limit of 20 successes in 20
    assert mean_interval(np.array([0.0, 1.0 + 1e-15]), 0.0, 1.0)[1] <= 1  # rounding is no value outside


@pytest.mark.parametrize("values", [[], [0.2, 1.1], [-0.2, 0.5], [0.2, np.nan]])
def test_values_outside_the_range_are_refused(values: list[float]) -> None:
    with pytest.raises(ValueError, match=r"in \[0, 1\] is needed"):
        mean_interval(np.array(values), 0.0, 1.0)


@pytest.mark.parametrize("limits", [(-np.inf, 1.0), (0.0, np.inf), (np.nan, 1.0)])
def test_a_range_without_an_end_is_refused(limits: tuple[float, float]) -> None:
    with pytest.raises(ValueError, match="range of the values must be finite"):
        mean_interval(np.array([0.2, 0.5]), *limits)


@pytest.mark.parametrize(
    "points", [[0.0, 0.2, 0.9], [0.0, 0.1, 0.1, 0.7], [0.0] * 9 + [1.0] * 2, [-1 / 159, *[0.0] * 48, 1.0, 1.0]]
)
@pytest.mark.parametrize("level", [1e-6, 0.025, 0.5, 0.975])
def test_a_quantile_is_where_the_distribution_reaches_its_level(points: list[float], level: float) -> None:
    at = weighted_mean_quantile(np.array(points), level)
    assert weighted_mean_cdf(np.array(points), at) == pytest.approx(level, abs=1e-7)


@pytest.mark.parametrize("prompts", [10, 20, 50])
@pytest.mark.parametrize(("extreme", "least"), [(0.1, 0.96), (0.5, 0.94), (0.0, 0.96), (1.0, 0.99)])
def test_it_covers_where_some_prompts_are_one_sided_and_the_others_fair(
    prompts: int, extreme: float, least: float
) -> None:
    """Where one prompt in ten is one-sided, Student's t covers the mean concentration of 10 prompts in two of three."""
    rng, images = np.random.default_rng(2), 160
    first = rng.binomial(images, np.where(rng.random((600, prompts)) < extreme, 1.0, 0.5))
    values = concentration(np.stack([first, images - first], axis=-1))
    low, high = mean_interval(values, -1 / (images - 1), 1.0)
    assert ((low <= extreme) & (extreme <= high)).mean() >= least
    if extreme == 0.1:
        half = student.ppf(0.975, prompts - 1) * values.std(axis=1, ddof=1) / np.sqrt(prompts)
        assert (np.abs(values.mean(axis=1) - extreme) <= half).mean() < {10: 0.75, 20: 0.92, 50: 0.95}[prompts]
