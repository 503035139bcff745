"""The values of the hacking report, against counting by hand and by drawing again."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from fairbench.stats.estimands import concentration
from fairbench.stats.hacking import Readings, labeller_gaps, near_copies
from fairbench.stats.paired import effect, independent_se, pair

PROMPTS, IMAGES, CLASSES = 5, 60, 4
PROMPT = np.repeat(np.arange(PROMPTS), IMAGES)
SIDED = np.array([0.7, 0.2, 0.07, 0.03])
FAIR = np.full(4, 0.25)


def misread(codes: np.ndarray, error: float, rng: np.random.Generator) -> np.ndarray:
    """Each code replaced by any code with probability `error`; a fiftieth is not read at all."""
    random = rng.integers(CLASSES, size=codes.shape)
    out = np.where(rng.random(codes.shape) < error, random, codes)
    return np.where(rng.random(codes.shape) < 0.02, -1, out)


def draw(shares: np.ndarray, errors: tuple[float, float], rng: np.random.Generator) -> Readings:
    codes = rng.choice(CLASSES, size=PROMPTS * IMAGES, p=shares)
    return Readings(PROMPT, *(misread(codes, e, rng) for e in errors))


def by_counting(readings: Readings, codes: np.ndarray) -> np.ndarray:
    kept = [codes[(readings.prompt == p) & (codes >= 0)] for p in range(PROMPTS)]
    return concentration(np.array([np.bincount(of, minlength=CLASSES) for of in kept]))


def test_the_gap_is_that_of_unbiased_concentrations_on_one_scale() -> None:
    rng = np.random.default_rng(3)
    base, run = draw(SIDED, (0.3, 0.1), rng), draw(FAIR, (0.3, 0.1), rng)
    before, after = labeller_gaps(base, run, PROMPTS, CLASSES)
    trained, judge = (by_counting(base, codes) for codes in base[1:])
    scale = judge.mean() / trained.mean()
    weight = abs(by_counting(run, run.trained).mean() / trained.mean())
    assert before.value == pytest.approx(weight * (judge - scale * trained), rel=1e-9)
    assert before.value.mean() == pytest.approx(0.0, abs=1e-12)
    assert after.value == pytest.approx(by_counting(run, run.judge) - scale * by_counting(run, run.trained), rel=1e-9)


def test_labellers_that_err_differently_open_no_gap_and_a_leak_does() -> None:
    rng = np.random.default_rng(4)
    changes = []
    for _ in range(60):
        before, after = labeller_gaps(draw(SIDED, (0.3, 0.02), rng), draw(FAIR, (0.3, 0.02), rng), PROMPTS, CLASSES)
        changes.append(after.value.mean() - before.value.mean())
    assert np.mean(changes) == pytest.approx(0.0, abs=3 * np.std(changes) / np.sqrt(60))
    base, same = draw(SIDED, (0.0, 0.0), rng), draw(SIDED, (0.0, 0.0), rng)
    leaking = same._replace(trained=rng.choice(CLASSES, size=len(PROMPT)))  # fair in its own eyes alone
    before, after = labeller_gaps(base, leaking, PROMPTS, CLASSES)
    assert after.value.mean() - before.value.mean() > 0.25


def test_an_unbiased_baseline_has_no_scale_and_unread_runs_no_value() -> None:
    rng = np.random.default_rng(5)
    base, run = (draw(FAIR, (0.3, 0.0), rng) for _ in range(2))
    before, _ = labeller_gaps(base, run, PROMPTS, CLASSES)
    assert before.value == pytest.approx(by_counting(base, base.judge) - by_counting(base, base.trained), rel=1e-9)
    before, after = labeller_gaps(base, run._replace(judge=np.full(len(PROMPT), -1)), PROMPTS, CLASSES)
    assert np.isnan(after.value).all() and np.isfinite(before.value).all()


@pytest.mark.parametrize(("after", "errors"), [(FAIR, (0.1, 0.05)), (SIDED, (0.3, 0.05))])
def test_the_error_of_the_gap_is_that_of_drawing_again(after: np.ndarray, errors: tuple[float, float]) -> None:
    rng = np.random.default_rng(6)
    changes, errors_stated = [], []
    for _ in range(400):
        base, run = labeller_gaps(draw(SIDED, errors, rng), draw(after, errors, rng), PROMPTS, CLASSES)
        pairs = pair(base.value, run.value)
        found = effect(pairs, independent_se(pairs, base.variance, run.variance))
        changes.append(found.estimate)
        errors_stated.append(found.se)
    assert 0.95 <= np.mean(errors_stated) / np.std(changes) <= 2.0  # cautious where there is little to see


def test_near_copies_are_counted_pair_by_pair() -> None:
    rng = np.random.default_rng(7)
    images = rng.uniform(0, 255, (12, 48)).astype(np.float32)
    images[3], images[4], images[9] = images[0], images[0] + 3.9, images[1] + 4.1
    near = [np.sqrt(np.mean((a - b) ** 2)) <= 4.0 for a, b in itertools.combinations(images.astype(float), 2)]
    value, variance = near_copies(images, 4.0)
    assert value == pytest.approx(np.mean(near)) == 3 / 66
    assert variance > (2 / (12 * 11)) ** 2
    assert near_copies(images[:2], 4.0) == pytest.approx((np.nan, np.nan), nan_ok=True)


def test_the_error_of_near_copies_is_that_of_drawing_again() -> None:
    rng = np.random.default_rng(8)
    drawn = [
        near_copies(rng.choice([0.0, 50, 100, 150, 200], (40, 1), p=[0.4, 0.2, 0.2, 0.1, 0.1]), 4.0) for _ in range(400)
    ]
    values, variances = np.array(drawn).T
    assert values.mean() == pytest.approx(0.26, abs=0.01)
    assert np.sqrt(variances.mean()) == pytest.approx(values.std(), rel=0.15)
