"""The kernel distance: against torchmetrics, against loops over pairs, unbiased, and free of the groups' shares."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import torch
from torchmetrics.image.kid import poly_mmd

from fairbench.stats.kid import kid


def sample(rng: np.random.Generator, n: int, shift: float = 0.0) -> np.ndarray:
    return rng.normal(size=(n, 6)) * np.linspace(0.5, 2, 6) + shift


def by_loops(x: np.ndarray, y: np.ndarray, gx: np.ndarray, gy: np.ndarray) -> float:
    """Return the distance by one loop over pairs of groups and one over pairs of images."""

    def mean(a: np.ndarray, b: np.ndarray, same: bool) -> float:
        pairs = [(i, j) for i, j in itertools.product(range(len(a)), range(len(b))) if not (same and i == j)]
        return float(np.mean([(float(a[i] @ b[j]) / 6 + 1) ** 3 for i, j in pairs]))

    total = 0.0
    groups = sorted(set(gx.tolist()) - {-1})
    share = {g: float((gx == g).sum() / (gx >= 0).sum()) for g in groups}
    for g, h in itertools.product(groups, groups):
        own, others = mean(x[gx == g], x[gx == h], g == h), mean(y[gy == g], y[gy == h], g == h)
        total += share[g] * share[h] * (own + others - 2 * mean(x[gx == g], y[gy == h], False))
    return total


def test_of_one_group_it_is_torchmetrics() -> None:
    rng = np.random.default_rng(0)
    x, y = sample(rng, 23), sample(rng, 23, 0.4)
    zeros = np.zeros(23, dtype=int)
    found = kid(x, y, (zeros, zeros), (np.arange(23) % 5, np.arange(23) % 4))
    assert found.estimate == pytest.approx(float(poly_mmd(torch.from_numpy(x), torch.from_numpy(y), 3, None, 1.0)))
    assert (found.kept, found.images, found.references) == (1.0, 23, 23)


def drawn(rng: np.random.Generator, shares: np.ndarray, n: int, shift: float = 0.0) -> tuple[np.ndarray, np.ndarray]:
    """Draw images of groups that lie far apart."""
    group = rng.choice(len(shares), n, p=shares)
    return sample(rng, n, shift) + 1.5 * group[:, None], group


def test_strata_and_blocks_by_loops() -> None:
    rng = np.random.default_rng(1)
    x, gx = drawn(rng, np.array([0.6, 0.3, 0.1]), 40)
    y, gy = drawn(rng, np.array([0.2, 0.4, 0.4]), 33, 0.3)
    gx[:3], gy[5] = -1, -1
    bx, by = np.arange(40) % 4, np.arange(33) % 3
    found = kid(x, y, (gx, gy), (bx, by))
    assert found.kept == 1 and found.images == 37 and found.references == 32
    assert found.estimate == pytest.approx(by_loops(x, y, gx, gy))
    share = np.bincount(gx[gx >= 0]) / 37
    without = []
    for side, (block, count) in enumerate(((bx, 4), (by, 3))):
        values = []
        for b in range(count):
            g = [gx.copy(), gy.copy()]
            g[side][block == b] = -1
            values.append(at_shares(x, y, g[0], g[1], share))
        without.append((count - 1) / count * np.sum((np.array(values) - np.mean(values)) ** 2))
    assert found.error == pytest.approx(np.sqrt(sum(without)))
    assert found.df == pytest.approx(sum(without) ** 2 / (without[0] ** 2 / 3 + without[1] ** 2 / 2))


def at_shares(x: np.ndarray, y: np.ndarray, gx: np.ndarray, gy: np.ndarray, share: np.ndarray) -> float:
    """Return `by_loops` with given shares: each image of a group is repeated in weight, not in pairs."""
    total = 0.0
    for g, h in itertools.product(range(len(share)), repeat=2):
        a, b, c, d = x[gx == g], x[gx == h], y[gy == g], y[gy == h]
        k = {"xx": (a @ b.T / 6 + 1) ** 3, "yy": (c @ d.T / 6 + 1) ** 3, "xy": (a @ d.T / 6 + 1) ** 3}
        means = {name: float(m.mean()) for name, m in k.items()}
        for name in ("xx", "yy") if g == h else ():
            off = ~np.eye(len(k[name]), dtype=bool)
            means[name] = float(k[name][off].mean())
        total += share[g] * share[h] * (means["xx"] + means["yy"] - 2 * means["xy"])
    return total


def test_it_is_unbiased_and_blind_to_shares_at_any_n() -> None:
    """Of the same pictures in other shares the mean is 0, at 14 images as at 40; the plain distance is far from it."""
    rng = np.random.default_rng(2)
    shares, others = np.array([0.75, 0.25]), np.array([0.25, 0.75])
    for n in (14, 40):
        values, plain = [], []
        for _ in range(120):
            (x, gx), (y, gy) = drawn(rng, shares, n), drawn(rng, others, n)
            found = kid(x, y, (gx, gy), (np.arange(n) % 7, np.arange(n) % 7))
            none = kid(x, y, (np.zeros(n, int), np.zeros(n, int)), (np.arange(n) % 7, np.arange(n) % 7))
            values.append(found.estimate)
            plain.append(none.estimate)
        known = np.array(values)[~np.isnan(values)]
        error = known.std() / np.sqrt(len(known))
        assert len(known) > 90 and abs(known.mean()) <= 3.5 * error
        assert np.mean(plain) > 6 * error


def test_groups_that_the_reference_lacks_are_said_to_be_left_out() -> None:
    rng = np.random.default_rng(3)
    x, gx = drawn(rng, np.array([0.5, 0.3, 0.2]), 60)
    y, gy = drawn(rng, np.array([0.5, 0.5, 0.0]), 40)
    found = kid(x, y, (gx, gy), (np.arange(60) % 6, np.arange(40) % 5))
    seen = gx < 2
    assert found.kept == pytest.approx(seen.mean()) and found.images == seen.sum()
    assert found.estimate == pytest.approx(by_loops(x, y, np.where(seen, gx, -1), gy))
    nothing = kid(x, y, (np.full(60, -1), gy), (np.arange(60) % 6, np.arange(40) % 5))
    assert np.isnan([nothing.estimate, nothing.error, *nothing.interval()]).all() and nothing.kept == 0
    single = kid(x[:9], y[:9], (np.zeros(9, int), np.zeros(9, int)), (np.zeros(9, int), np.zeros(9, int)))
    assert np.isnan(single.estimate)  # without its one block there is nothing


def population(shift: float) -> np.ndarray:
    """Return what a pair of groups adds to the distance in the population (2, 2), from moments of large samples."""
    rng = np.random.default_rng(5)
    centre = [[sample(rng, 3000, s) + 1.5 * g for g in range(2)] for s in (0.0, shift)]
    again = [[sample(rng, 3000, s) + 1.5 * g for g in range(2)] for s in (0.0, shift)]

    def mean(i: int, g: int, j: int, h: int) -> float:
        return float(((centre[i][g] @ again[j][h].T / 6 + 1) ** 3).mean())

    table = [
        [mean(0, g, 0, h) + mean(1, g, 1, h) - mean(0, g, 1, h) - mean(1, h, 0, g) for h in range(2)] for g in range(2)
    ]
    return np.array(table) if shift else np.zeros((2, 2))


@pytest.mark.long
@pytest.mark.parametrize(("shift", "level"), [(0.0, 0.95), (0.5, 0.93)])
def test_intervals_hold_the_truth(shift: float, level: float) -> None:
    rng = np.random.default_rng(4)
    held, tests, means = 0, 400, population(shift)
    for _ in range(tests):
        (x, gx), (y, gy) = drawn(rng, np.array([0.7, 0.3]), 160), drawn(rng, np.array([0.3, 0.7]), 160, shift)
        found = kid(x, y, (gx, gy), (np.arange(160) % 8, np.arange(160) % 10))
        share = np.bincount(gx) / 160  # the truth is at the shares of the sample
        low, high = found.interval()
        held += low <= share @ means @ share <= high
    assert held / tests >= level - 3 * np.sqrt(0.05 * 0.95 / tests)
