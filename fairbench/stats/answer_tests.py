"""Tests of the answers to closed questions about pictures, by chance alone: Monte Carlo, valid at any number of images.

Images of a prompt are independent draws, and the prompts are fixed. Each test compares Pearson's statistics with those
of tables drawn under its hypothesis, of which the observed one is then one of many alike: its p-value is valid whatever
the counts are. The smallest is 1 / (1 + draws).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

import numpy as np
from numpy.typing import ArrayLike
from scipy import stats

from fairbench.stats.estimands import Floats, IntArray

DRAWS: Final = 9999
_CHUNK_CELLS: Final = 1 << 21
_BITS: Final = 30
"""Statistics that are equal to so many bits are equal: sums in another order differ in the last ones."""


def same_in_all_prompts(counts: IntArray, rng: np.random.Generator, draws: int = DRAWS) -> float:
    """Return the p-value of "all prompts draw their answers from one distribution", whichever that is.

    counts: (P, K), images of prompt p with answer k. Given the margins: images change prompts. NaN where fewer than two
    prompts have answers, or all answers are one.
    """
    table = counts[counts.sum(axis=1) > 0][:, counts.sum(axis=0) > 0]
    if min(table.shape) < 2:
        return float("nan")
    rows, columns = table.sum(axis=1), table.sum(axis=0)
    tables = stats.random_table(rows, columns)

    def draw(size: int) -> IntArray:
        return np.asarray(tables.rvs(size=size, random_state=rng), dtype=np.int64).reshape(size, *table.shape)

    statistics = _drawn(table, draw, draws, lambda t: _pearson(t, np.outer(rows, columns) / table.sum())[None])
    return float(_ranks(statistics)[0, 0])


def stated_in_all_prompts(counts: IntArray, shares: ArrayLike, rng: np.random.Generator, draws: int = DRAWS) -> float:
    """Return the p-value of "every prompt shows the answers in these shares"; shares: (K,), above 0, of sum 1.

    counts: (P, K). Two statistics, of all images together and prompt by prompt: the first sees a small lean that all
    prompts share, the second prompts that lean opposite ways. The smaller of their p-values is held against that of
    every drawn table, which pays for looking twice. NaN where there is no answer.
    """
    table = counts[counts.sum(axis=1) > 0]
    if not len(table):
        return float("nan")
    p = np.asarray(shares, dtype=np.float64)
    images = table.sum(axis=1)
    expected = images[:, None] * p

    def both(tables: IntArray) -> Floats:
        together = _pearson(tables.sum(axis=1, keepdims=True), expected.sum(axis=0))
        return np.stack([together, _pearson(tables, expected)])

    def draw(size: int) -> IntArray:
        return rng.multinomial(images, p, size=(size, len(table)))

    smaller = _ranks(_drawn(table, draw, draws, both)).min(axis=0)
    return float((smaller <= smaller[0]).mean())


def _drawn(
    table: IntArray, draw: Callable[[int], IntArray], draws: int, statistics: Callable[[IntArray], Floats]
) -> Floats:
    """Return the statistics (S, 1 + draws) of the observed table, which is the first, and of drawn ones."""
    parts = [statistics(table[None])]
    chunk = max(1, _CHUNK_CELLS // table.size)
    parts += [statistics(draw(min(chunk, draws - start))) for start in range(0, draws, chunk)]
    return np.concatenate(parts, axis=1)


def _ranks(statistics: Floats) -> Floats:
    """Return for each of the values (S, R) which share of its row is at least as large."""
    mantissa, exponent = np.frexp(statistics)
    rounded = np.ldexp(np.rint(np.ldexp(mantissa, _BITS)), exponent - _BITS)
    return np.asarray(stats.rankdata(-rounded, method="max", axis=1) / statistics.shape[1])


def _pearson(tables: IntArray, expected: Floats) -> Floats:
    """Return Pearson's statistic (R,) of tables (R, P, K)."""
    return np.asarray(((tables - expected) ** 2 / expected).sum(axis=(1, 2)))
