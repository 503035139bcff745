"""Variance and ranks of subjects in several wordings: exact expectations, oracles of other code, and coverage."""

from __future__ import annotations

import itertools
import math
from fractions import Fraction

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.stats import spearmanr

from fairbench.stats.crossed import (
    PARTS,
    Decomposition,
    decompose,
    rank_agreement,
    ranks_of_concentration,
    usable,
    variances,
)
from fairbench.stats.units import Units

Array = NDArray[np.float64]


def true_parts(p: Array) -> Array:
    """Return the three parts of the variance of true shares (S, W, K), written out as loops over cells."""
    s, w, k = p.shape
    subject = [[sum(p[i, j, c] for j in range(w)) / w for c in range(k)] for i in range(s)]
    wording = [[sum(p[i, j, c] for i in range(s)) / s for c in range(k)] for j in range(w)]
    mean = [sum(row[c] for row in subject) / s for c in range(k)]
    of_subject = sum((subject[i][c] - mean[c]) ** 2 for i in range(s) for c in range(k)) / s
    of_wording = sum((wording[j][c] - mean[c]) ** 2 for j in range(w) for c in range(k)) / w
    total = sum((p[i, j, c] - mean[c]) ** 2 for i in range(s) for j in range(w) for c in range(k)) / (s * w)
    return np.array([of_subject, of_wording, total - of_subject - of_wording])


def softmax(x: Array) -> Array:
    return np.asarray(np.exp(x) / np.exp(x).sum(axis=-1, keepdims=True))


def made(seed: int, s: int, w: int, k: int, scales: tuple[float, float, float]) -> Array:
    """Return true shares with effects of subjects, wordings and both."""
    rng = np.random.default_rng(seed)
    shapes = ((s, 1, k), (1, w, k), (s, w, k))
    return softmax(sum(scale * rng.normal(size=shape) for scale, shape in zip(scales, shapes, strict=True)))  # type: ignore[arg-type]


def cells_of(s: int, w: int) -> NDArray[np.int64]:
    return np.arange(s * w).reshape(s, w)


def test_the_expectation_over_all_possible_images_is_the_truth_exactly() -> None:
    p = np.array([[[0.5, 0.5], [0.75, 0.25]], [[0.125, 0.875], [0.5, 0.5]]])
    n, expected = 2, np.zeros(3)
    for women in itertools.product(range(n + 1), repeat=4):
        chance = Fraction(1)
        for k, share in zip(women, p[..., 0].ravel(), strict=True):
            q = Fraction(float(share))
            chance *= math.comb(n, k) * q**k * (1 - q) ** (n - k)
        counts = np.array([[k, n - k] for k in women])
        expected += float(chance) * variances(counts, cells_of(2, 2))
    assert expected == pytest.approx(true_parts(p), abs=1e-14)


def test_golden_values() -> None:
    """By hand: shares of women 3/4, 1/4 and 1/4, 3/4 of four images: all is interaction, less its noise."""
    counts = np.array([[3, 1], [1, 3], [1, 3], [3, 1]])
    # Mean square 2 (1/4)^2 = 1/8; noise of a cell 2 (3/4)(1/4)/3 = 1/8, of which 1/4 goes to each part.
    assert variances(counts, cells_of(2, 2)) == pytest.approx([-1 / 32, -1 / 32, 1 / 8 - 1 / 32])
    found = decompose(counts, cells_of(2, 2))
    assert found.total == pytest.approx(1 / 32) and np.isnan(found.shares).all()
    sure = decompose(counts * 1000, cells_of(2, 2))
    assert sure.shares == pytest.approx([0, 0, 1], abs=1e-3) and sure.shares.sum() == pytest.approx(1)
    assert PARTS[2] == "subject x wording" and sure.lows[2] > 0.99 and sure.highs[0] < 0.01


def test_images_with_two_equal_faces_say_what_images_with_one_face_say() -> None:
    rng = np.random.default_rng(3)
    counts = rng.multinomial(12, made(1, 6, 3, 3, (1, 0.5, 0.5)).reshape(18, 3))
    one, two = (
        decompose(counts, cells_of(6, 3)),
        decompose(Units(2 * np.eye(3, dtype=np.int64), counts), cells_of(6, 3)),
    )
    assert two.shares == pytest.approx(one.shares) and two.total == pytest.approx(one.total)


def test_cells_are_found_wherever_the_prompts_stand_and_empty_ones_drop_their_subject() -> None:
    counts = np.random.default_rng(4).multinomial(20, made(2, 5, 2, 2, (2, 1, 0.5)).reshape(10, 2))
    order = np.random.default_rng(5).permutation(10)
    moved = np.empty_like(counts)
    moved[order] = counts
    straight, shuffled = decompose(counts, cells_of(5, 2)), decompose(moved, order.reshape(5, 2))
    assert shuffled.shares == pytest.approx(straight.shares)
    counts[3] = [1, 0]
    assert usable(counts, cells_of(5, 2)).tolist() == [True, False, True, True, True]
    assert decompose(counts, cells_of(5, 2)).subjects == 4
    assert np.isnan(decompose(counts[:2], cells_of(1, 2)).total)


def covered(p: Array, images: int, repeats: int, seed: int) -> tuple[Array, float, Array, float]:
    """Return how often the parts' intervals and the total's hold, the parts' mean, and the total's relative bias."""
    (s, w, k), rng = p.shape, np.random.default_rng(seed)
    parts = true_parts(p)
    total = parts.sum()
    found: list[Decomposition] = []
    for _ in range(repeats):
        found.append(decompose(rng.multinomial(images, p).reshape(s * w, k), cells_of(s, w)))
    known = [f for f in found if not np.isnan(f.shares[0])]
    inside = np.mean([(f.lows - 1e-9 <= parts / total) & (parts / total <= f.highs + 1e-9) for f in known], axis=0)
    shares = np.mean([f.shares for f in known], axis=0) - parts / total
    of_total = float(np.mean([f.low <= total <= f.high for f in found]))
    return inside, of_total, shares, float(np.mean([f.total for f in found]) / total - 1)


def test_intervals_hold_and_nothing_is_biased() -> None:
    inside, total, bias, relative = covered(made(7, 20, 3, 4, (1.5, 0.4, 0.5)), 16, 200, 1)
    assert (inside >= 0.9).all() and total >= 0.9  # .95 less three standard errors; the long test has narrower bars
    assert np.abs(bias).max() < 0.01 and abs(relative) < 0.01


@pytest.mark.long
@pytest.mark.parametrize(
    ("shape", "scales", "images"),
    [
        ((50, 4, 2), (1.5, 0.3, 0.3), 32),
        ((50, 4, 8), (1.5, 0.3, 0.3), 32),
        ((12, 4, 4), (1.0, 0.0, 0.0), 16),
        ((50, 4, 2), (3.0, 0.0, 0.0), 16),
        ((50, 4, 2), (0.0, 0.5, 0.0), 32),
        ((24, 4, 4), (2.0, 1.0, 1.0), 8),
        ((50, 4, 2), (5.0, 0.5, 0.5), 32),
        ((10, 3, 2), (0.5, 0.5, 0.5), 32),
        ((50, 2, 8), (2.0, 0.5, 1.5), 16),
    ],
)
def test_intervals_hold_over_many_truths(
    shape: tuple[int, int, int], scales: tuple[float, float, float], images: int
) -> None:
    inside, total, bias, relative = covered(made(11, *shape, scales), images, 600, 2)
    assert (inside >= 0.92).all() and total >= 0.92
    assert np.abs(bias).max() < 0.02 and abs(relative) < 0.02


def test_equal_prompts_have_no_variance_to_divide() -> None:
    rng = np.random.default_rng(8)
    found = [decompose(rng.multinomial(24, np.full((30, 4), 0.25)), cells_of(10, 3)) for _ in range(200)]
    assert np.mean([np.isnan(f.shares[0]) for f in found]) >= 0.94
    assert abs(np.mean([f.total for f in found])) < 0.001


def test_rank_agreement_is_scipys_over_all_pairs() -> None:
    values = np.random.default_rng(9).integers(0, 5, (2, 12, 4)).astype(float)  # with ties
    for each, found in zip(values, rank_agreement(values), strict=True):
        pairs = [spearmanr(each[:, i], each[:, j]).statistic for i, j in itertools.combinations(range(4), 2)]
        assert found == pytest.approx(np.mean(pairs))
    values[0, :, 1] = 3  # all tie: left out
    pairs = [spearmanr(values[0][:, i], values[0][:, j]).statistic for i, j in itertools.combinations((0, 2, 3), 2)]
    assert rank_agreement(values[0]) == pytest.approx(np.mean(pairs))
    assert np.isnan(rank_agreement(np.ones((5, 3))))


def test_ranks_are_said_to_move_where_they_do_and_rarely_where_they_do_not() -> None:
    rng, below = np.random.default_rng(10), 0
    p = made(12, 20, 1, 3, (1.5, 0.0, 0.0)).repeat(3, axis=1)
    for _ in range(100):
        found = ranks_of_concentration(rng.multinomial(20, p).reshape(60, 3), cells_of(20, 3), rng, draws=100)
        below += found.value < found.low
        assert found.low <= found.unmoved <= found.high and found.subjects == 20
    assert below <= 8
    moved = made(13, 20, 3, 3, (0.3, 0.0, 1.5))
    found = ranks_of_concentration(rng.multinomial(40, moved).reshape(60, 3), cells_of(20, 3), rng)
    assert found.value < found.low
    two_subjects = rng.multinomial(40, moved).reshape(60, 3)[:6]
    assert np.isnan(ranks_of_concentration(two_subjects, cells_of(2, 3), rng).value)


def test_images_are_dealt_out_as_many_to_each_wording_as_it_has() -> None:
    from fairbench.stats.crossed import _deal

    times = np.array([[[3, 1, 0], [0, 2, 2]], [[5, 0, 0], [1, 1, 1]]])
    dealt = _deal(times, 4000, np.random.default_rng(14))
    assert (dealt.sum(axis=3) == times.sum(axis=2)).all() and (dealt.sum(axis=2) == times.sum(axis=1)).all()
    # Hypergeometric: 4 of 8 images of which 3 are of the first kind.
    observed = np.bincount(dealt[:, 0, 0, 0], minlength=4) / 4000
    expected = [math.comb(3, k) * math.comb(5, 4 - k) / math.comb(8, 4) for k in range(4)]
    assert observed == pytest.approx(expected, abs=0.03)
