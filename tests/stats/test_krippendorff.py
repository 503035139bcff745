"""Krippendorff's alpha, against his published examples and a calculation by pairs of answers."""

from __future__ import annotations

from itertools import permutations

import numpy as np
import pytest

from fairbench.stats import krippendorff


def coded(*rows: str) -> np.ndarray:
    """Return answers (U, A) of people, a text each: a character per image, "." where there is none."""
    words = sorted(set("".join(rows)) - {"."})
    return np.array([[words.index(c) if c != "." else -1 for c in row] for row in rows]).T


def slow_alpha(answers: np.ndarray) -> float:
    """Alpha as one less the ratio of two means over pairs: of answers to one image, and of all answers."""
    units = [[a for a in row if a >= 0] for row in answers.tolist()]
    units = [u for u in units if len(u) > 1]
    observed = sum(sum(a != b for a, b in permutations(u, 2)) / (len(u) - 1) for u in units)
    every = [a for u in units for a in u]
    expected = sum(a != b for a, b in permutations(every, 2)) / (len(every) - 1)
    return 1 - observed / expected


# Krippendorff, "Computing Krippendorff's Alpha-Reliability", sections A, B and C: nominal data.
PUBLISHED = [
    (("0100000010", "1110010000"), 0.095),
    (("aabbdcccedda", "babbbccceddd"), 0.692),
    (("123321412...", "1233224125.3", ".3332342251.", "12332441251."), 0.743),
]


@pytest.mark.parametrize(("rows", "alpha"), PUBLISHED)
def test_his_examples(rows: tuple[str, ...], alpha: float) -> None:
    answers = coded(*rows)
    value = krippendorff.reliability(answers, answers.max() + 1).alpha
    assert round(value, 3) == alpha
    assert value == pytest.approx(slow_alpha(answers))


@pytest.mark.parametrize("classes", [2, 4, 7])
def test_random_answers_with_gaps(classes: int) -> None:
    rng = np.random.default_rng(classes)
    truth = rng.integers(classes, size=(40, 1))
    answers = np.where(rng.random((40, 5)) < 0.7, truth, rng.integers(classes, size=(40, 5)))
    answers[rng.random(answers.shape) < 0.4] = krippendorff.MISSING
    done = krippendorff.reliability(answers, classes + 2)  # classes that nobody names change nothing
    assert done.alpha == pytest.approx(slow_alpha(answers))
    assert done.images == ((answers >= 0).sum(axis=1) > 1).sum()


def test_two_people_agree_in_the_share_of_equal_answers() -> None:
    answers = coded("aabbdcccedda", "babbbccceddd")
    assert krippendorff.reliability(answers, 5).agreement == pytest.approx((answers[:, 0] == answers[:, 1]).mean())


def test_the_interval_is_that_of_images_drawn_again_one_by_one() -> None:
    rng = np.random.default_rng(5)
    truth = rng.integers(3, size=(60, 1))
    answers = np.where(rng.random((60, 3)) < 0.85, truth, rng.integers(3, size=(60, 3)))
    slow = [slow_alpha(answers[rng.integers(60, size=60)]) for _ in range(800)]
    done = krippendorff.reliability(answers, 3)
    assert [done.low, done.high] == pytest.approx(np.quantile(slow, [0.025, 0.975]).tolist(), abs=0.02)
    assert done.agreement_low < done.agreement < done.agreement_high


@pytest.mark.long
def test_the_interval_covers() -> None:
    """Three people who err in 10 % of two classes: the mean alpha of very many images lies in 95 % of intervals."""
    rng = np.random.default_rng(6)

    def answers(images: int) -> np.ndarray:
        return rng.integers(2, size=(images, 1)) ^ (rng.random((images, 3)) < 0.1)

    truth = krippendorff.reliability(answers(400_000), 2, resamples=1).alpha
    covered = [
        done.low <= truth <= done.high
        for done in (krippendorff.reliability(answers(150), 2, resamples=400) for _ in range(300))
    ]
    assert 0.90 <= np.mean(covered) <= 0.985


def test_nothing_to_compare() -> None:
    same = krippendorff.reliability(np.zeros((4, 2), dtype=int), 2)
    assert (same.agreement, same.images) == (1.0, 4) and np.isnan([same.alpha, same.low, same.high]).all()
    alone = krippendorff.reliability(np.array([[0, -1], [1, -1]]), 2)
    assert alone.images == 0 and np.isnan([alone.agreement, alone.alpha, alone.low]).all()
    with pytest.raises(ValueError, match="codes below 2"):
        krippendorff.reliability([[0, 2]], 2)
