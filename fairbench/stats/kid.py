"""The kernel distance between pictures and a reference that has been given the same shares of groups."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Final

import numpy as np
from scipy import stats

from fairbench.stats.estimands import Floats, IntArray

_ROWS_AT_ONCE: Final = 256


@dataclass(frozen=True, slots=True)
class KernelDistance:
    """MMD^2 of two samples at equal shares of groups. error, df: of the estimate, by the jackknife over blocks.

    kept: share of the pictures whose groups are compared. images, references: those that are compared.
    """

    estimate: float
    error: float
    df: float
    kept: float
    images: int
    references: int

    def interval(self, level: float = 0.95) -> tuple[float, float]:
        """Return the limits of the interval at a level; NaN where no variance is known."""
        half = float(stats.t.ppf((1 + level) / 2, self.df)) * self.error if self.df > 0 else math.nan
        return self.estimate - half, self.estimate + half


def kernel(x: Floats, y: Floats) -> Floats:
    """Return (x . y / d + 1)^3 of the rows of x (n, d) and y (m, d): (n, m)."""
    return np.asarray((x @ y.T / x.shape[1] + 1.0) ** 3)


def kid(
    x: Floats,
    y: Floats,
    groups: tuple[IntArray, IntArray],
    blocks: tuple[IntArray, IntArray],
) -> KernelDistance:
    """Return the Kernel Inception Distance of pictures x (n, d) from references y (m, d), at x's shares of groups.

    groups: of each image of both, -1 for one that is in none, and left out. blocks: of each image, 0 to B - 1, such as
    its prompt; one of them at a time is left out for the error.

    With p_g the shares of x, the estimate is sum p_g p_h (mean k(x_g, x_h) + mean k(y_g, y_h) - 2 mean k(x_g, y_h)),
    means over pairs of different images: an unbiased estimate of MMD^2 between the two mixtures, at any n, so that it
    can be negative. Groups with fewer than two images outside of any one block, in x or y, are left out (`kept`). The
    jackknife is conservative where the two distributions are the same.

    Source: Binkowski, Sutherland, Arbel, Gretton: Demystifying MMD GANs (ICLR 2018); the strata are ours.
    """
    size = 1 + max(int(g.max(initial=-1)) for g in groups)
    counts = [_cells(g, b, size) for g, b in zip(groups, blocks, strict=True)]
    enough = [(n.sum(axis=1, keepdims=True) - n).min(axis=1, initial=np.iinfo(np.int64).max) >= 2 for n in counts]
    kept = np.flatnonzero(enough[0] & enough[1])
    shares = counts[0].sum(axis=1) / max(1, int(counts[0].sum()))
    if not len(kept):
        return KernelDistance(math.nan, math.nan, math.nan, 0.0, 0, 0)
    p = shares[kept] / shares[kept].sum()
    sides = [
        _Side(v, np.searchsorted(kept, g), b, np.isin(g, kept)) for v, g, b in zip((x, y), groups, blocks, strict=True)
    ]
    sums = [_sums(sides[i], sides[j], len(kept)) for i, j in ((0, 0), (1, 1), (0, 1))]
    n = [counts[side][kept] for side in range(2)]
    estimate = _distance(p, *(s.sum(axis=(1, 3)) for s in sums), *(c.sum(axis=1) for c in n))
    variance, spread = 0.0, 0.0
    for side in range(2):
        without = np.array([_without(p, sums, n, side, block) for block in range(n[side].shape[1])])
        count = len(without)
        own = (count - 1) / count * float(((without - without.mean()) ** 2).sum())
        variance, spread = variance + own, spread + (own**2 / (count - 1) if count > 1 else math.inf)
    df = variance**2 / spread if spread > 0 and variance > 0 else math.nan
    error = math.sqrt(variance) if df > 0 else math.nan
    return KernelDistance(estimate, error, df, float(shares[kept].sum()), int(n[0].sum()), int(n[1].sum()))


@dataclass(frozen=True, slots=True)
class _Side:
    """A sample without what is left out. values: (n, d); group, block: (n,)."""

    values: Floats
    group: IntArray
    block: IntArray
    kept: np.ndarray

    def rows(self) -> tuple[Floats, IntArray, IntArray]:
        return self.values[self.kept].astype(np.float64), self.group[self.kept], self.block[self.kept]


def _cells(group: IntArray, block: IntArray, size: int) -> IntArray:
    """Return how many images each group has in each block (size, B)."""
    blocks = int(block.max(initial=0)) + 1
    known = group >= 0
    counted = np.bincount(group[known] * blocks + block[known], minlength=size * blocks)
    return np.asarray(counted.reshape(size, blocks))


def _sums(one: _Side, other: _Side, size: int) -> Floats:
    """Return sums of the kernel over pairs of different images (G, B, G, B'), some rows at a time."""
    x, gx, bx = one.rows()
    y, gy, by = (x, gx, bx) if one is other else other.rows()
    blocks = (int(one.block.max()) + 1, int(other.block.max()) + 1)
    columns = np.eye(size * blocks[1])[gy * blocks[1] + by]
    sums = np.zeros((size * blocks[0], size * blocks[1]))
    cell = gx * blocks[0] + bx
    for start in range(0, len(x), _ROWS_AT_ONCE):
        rows = slice(start, start + _ROWS_AT_ONCE)
        values = kernel(x[rows], y)
        if one is other:
            values[np.arange(len(values)), np.arange(start, start + len(values))] = 0.0
        np.add.at(sums, cell[rows], values @ columns)
    return sums.reshape(size, blocks[0], size, blocks[1])


def _without(p: Floats, sums: list[Floats], n: list[IntArray], side: int, block: int) -> float:
    """Return the distance without a block of one side."""
    xx, yy, xy = (s.sum(axis=(1, 3)) for s in sums)
    counts = [c.sum(axis=1) for c in n]
    counts[side] = counts[side] - n[side][:, block]
    s = sums[side]
    inside = s.sum(axis=(1, 3)) - s[:, block].sum(axis=2) - s[..., block].sum(axis=1) + s[:, block, :, block]
    if side == 0:
        return _distance(p, inside, yy, xy - sums[2][:, block].sum(axis=2), *counts)
    return _distance(p, xx, inside, xy - sums[2][..., block].sum(axis=1), *counts)


def _distance(p: Floats, xx: Floats, yy: Floats, xy: Floats, nx: IntArray, ny: IntArray) -> float:
    """Return the distance from sums over pairs of groups (G, G) and images per group (G,)."""
    pairs = [np.outer(n, n) - np.diag(n) for n in (nx, ny)]
    return float(p @ (xx / pairs[0] + yy / pairs[1] - 2.0 * xy / np.outer(nx, ny)) @ p)
