"""Contrasts within prompts: against a regression by least squares, and how often they find what is and is not there."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from scipy import stats

from fairbench.stats.within_prompts import beyond, contrast

Sample = tuple[np.ndarray, np.ndarray, np.ndarray]


def sample(rng: np.random.Generator, effect: float, prompts: int = 20, images: int = 16) -> Sample:
    """Draw prompts of different level, noise and size, whose class is rare where values are high."""
    level, share = rng.normal(28, 3, prompts), rng.uniform(0.05, 0.6, prompts)
    level -= 10 * share
    prompt = np.repeat(np.arange(prompts), rng.integers(images // 2, images + 1, prompts))
    in_class = (rng.random(prompt.size) < share[prompt]).astype(np.int64)
    noise = rng.uniform(0.5, 2.0, prompts)[prompt] * np.where(in_class == 1, 1.4, 1.0)
    return prompt, level[prompt] + effect * in_class + noise * rng.normal(size=prompt.size), in_class


def test_it_is_the_coefficient_of_a_regression_with_an_intercept_per_prompt() -> None:
    prompt, value, in_class = sample(np.random.default_rng(3), 0.7)
    in_class[::9] = -1
    known = in_class >= 0
    design = np.column_stack([in_class[known], prompt[known][:, None] == np.arange(20)]).astype(float)
    found = contrast(prompt, value, in_class)
    assert found.estimate == pytest.approx(np.linalg.lstsq(design, value[known], rcond=None)[0][0])
    added = contrast(prompt, value + 2.0 * (in_class == 1), in_class)
    assert (added.estimate - 2.0, added.error) == pytest.approx((found.estimate, found.error))
    # Whole prompts may be of another level: nothing moves, though a plain difference of means would.
    moved = contrast(prompt, value + 100.0 * prompt, in_class)
    assert moved.estimate == pytest.approx(found.estimate) and moved.error == pytest.approx(found.error)


def test_one_prompt_is_welchs_test() -> None:
    rng = np.random.default_rng(1)
    one, other = rng.normal(1, 2, 11), rng.normal(0, 1, 12)
    found = contrast(np.zeros(23, dtype=int), np.concatenate([one, other]), np.repeat([1, 0], [11, 12]))
    welch = stats.ttest_ind(one, other, equal_var=False)
    limits = welch.confidence_interval()
    assert found.p == pytest.approx(welch.pvalue) and found.df == pytest.approx(welch.df)
    assert found.interval() == pytest.approx((limits.low, limits.high))


def test_weights_and_single_images_by_hand() -> None:
    # Prompt 0: class 5 | others 1 and 3, four times. Prompt 1: class 4 and 8, six times | others 2 and 4, four times.
    # Prompt 2 shows the class alone.
    first, second = [5.0, *[1.0, 3.0] * 4], [*[4.0, 8.0] * 6, *[2.0, 4.0] * 4]
    in_class = np.array([1, *[0] * 8, *[1] * 12, *[0] * 8, 1])
    found = contrast(np.repeat([0, 1, 2], [9, 20, 1]), np.array([*first, *second, 99.0]), in_class)
    assert (found.prompts, found.of_class, found.of_others) == (2, 13, 16)
    weights = np.array([8 / 9, 96 / 20]) / (8 / 9 + 96 / 20)
    assert found.estimate == pytest.approx(weights @ [3, 3])
    # The single image takes the variance 48 / 11 of the class's other cell, of which both are known by 11 degrees of
    # freedom; each cell of the others has 8 / 7.
    of_class = (weights[0] ** 2 + weights[1] ** 2 / 12) * 48 / 11
    parts, freedom = [of_class, weights[0] ** 2 / 7, weights[1] ** 2 / 7], [11, 7, 7]
    assert found.error == pytest.approx(np.sqrt(sum(parts)))
    assert found.df == pytest.approx(sum(parts) ** 2 / sum(p**2 / f for p, f in zip(parts, freedom, strict=True)))


def test_no_error_is_invented() -> None:
    nothing = contrast(np.zeros(3, dtype=int), np.ones(3), np.ones(3, dtype=int))
    assert np.isnan([nothing.estimate, nothing.error]).all() and nothing.prompts == 0
    single = contrast(np.array([0, 0]), np.array([1.0, 2.0]), np.array([1, 0]))
    assert single.estimate == -1 and np.isnan([single.error, single.p, *single.interval()]).all()
    constant = contrast(np.zeros(24, dtype=int), np.repeat([1.0, 2.0], 12), np.repeat([1, 0], 12))
    assert constant.estimate == -1 and np.isnan(constant.error)
    noise = np.random.default_rng(0).normal(size=22)
    few, enough = (contrast(np.zeros(n + 11, dtype=int), noise[: n + 11], np.repeat([1, 0], [n, 11])) for n in (10, 11))
    assert np.isnan(few.error) and enough.error > 0
    assert contrast(np.zeros(0, dtype=int), np.zeros(0), np.zeros(0, dtype=int)).prompts == 0


def rejected(effect: float, repeats: int, **size: int) -> tuple[float, float, int]:
    """Return how often no difference is rejected and the interval holds the effect, where there is an error."""
    rng = np.random.default_rng(7)
    found = [f for f in (contrast(*sample(rng, effect, **size)) for _ in range(repeats)) if f.error > 0]
    holds = [low <= effect <= high for low, high in (f.interval() for f in found)]
    return float(np.mean([f.p <= 0.05 for f in found])), float(np.mean(holds)), len(found)


@pytest.mark.long
@pytest.mark.parametrize(
    ("prompts", "images"), [(1, 40), (2, 30), (3, 16), (5, 16), (10, 8), (20, 16), (30, 4), (50, 4)]
)
def test_no_difference_is_found_at_most_at_the_level_and_intervals_cover(prompts: int, images: int) -> None:
    false, holds, tests = rejected(0.5 if prompts == 5 else 0.0, 24_000, prompts=prompts, images=images)
    tolerance = 3 * np.sqrt(0.05 * 0.95 / tests)
    assert tests > 3000 and holds >= 0.95 - tolerance
    assert prompts == 5 or false == pytest.approx(1 - holds)


def test_single_images_do_not_feign_degrees_of_freedom() -> None:
    """Of many prompts of few images, whose variances are borrowed, as many are found by chance as the level says."""
    rng = np.random.default_rng(7)
    found = [f for f in (contrast(*sample(rng, 0.0, prompts=50, images=4)) for _ in range(600)) if f.error > 0]
    spread = np.std([f.error**2 for f in found]) / np.mean([f.error**2 for f in found])
    feigned = np.sqrt(2 / np.median([f.df for f in found]))  # of a variance with so many degrees of freedom
    assert len(found) > 400 and spread <= 1.1 * feigned
    assert np.mean([f.p <= 0.05 for f in found]) <= 0.05 + 3 * np.sqrt(0.05 * 0.95 / len(found))


def test_a_blurred_group_is_found() -> None:
    power, _, tests = rejected(-1.0, 300)
    assert tests >= 290 and power >= 0.95


def test_one_contrast_beyond_another_is_welchs_test_of_two_estimates() -> None:
    rng = np.random.default_rng(9)
    one, other = (contrast(*sample(rng, effect, prompts=3, images=30)) for effect in (1.0, 0.4))
    net = beyond(one, other)
    assert net.estimate == pytest.approx(one.estimate - other.estimate)
    assert net.error == pytest.approx(np.hypot(one.error, other.error))
    # Two means of n + 1 values with these errors have these degrees of freedom each.
    welch = stats.ttest_ind_from_stats(
        one.estimate, one.error * np.sqrt(12), 12, other.estimate, other.error * np.sqrt(31), 31, equal_var=False
    )
    alike = beyond(replace(one, df=11.0), replace(other, df=30.0))
    assert alike.p == pytest.approx(welch.pvalue)
    assert (net.prompts, net.of_class, net.of_others) == (one.prompts, one.of_class, one.of_others)
    nan = float("nan")
    unknown = beyond(one, replace(other, error=nan, df=nan, p=nan))
    assert unknown.estimate == net.estimate and np.isnan([unknown.error, unknown.df, unknown.p]).all()
