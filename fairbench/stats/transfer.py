"""Can a calibration have produced a run's counts? A likelihood ratio summed over prompts, against a bootstrap.

Where a labeller errs as in its calibration, the readings of every prompt are a mixture of the table's rows. A labeller
that errs less on these images shows in prompts that lean: they are read as more one-sided than any mixture allows. One
prompt says little, all together say much. The readings of an attribute are tested by the classes of that attribute
alone, so that a shift of gender is not lost among the cells of gender x race.

The statistic of an attribute is the sum over prompts of twice the log-likelihood of the prompt's own shares less that
of the best mixture. Its distribution where the calibration holds is simulated from the table and the mixtures that
explain the run and the calibration together: every replicate draws a calibration, which gives the table for all
prompts, and the readings of every prompt. Cells of one class (gender has one per race) are taken to be alike as far as
they look alike (Dirichlet-multinomial): else the most extreme of many noisy rows would hide a shift.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import ArrayLike
from scipy.special import gammaln, ndtri, xlogy

from fairbench.stats.correction import Counts
from fairbench.types import FloatArray

ALPHA: Final = 0.01
"""Share of the calibrations that hold of which any attribute is refused."""
_FIRST_DRAWS: Final = 99
_DRAWS: Final = 999
"""Replicates: the first alone where they show that nothing is refused."""
_ALTERNATIVES: Final = 60
"""Replicates of a labeller that makes half of the errors, for what the check could have seen."""
SEEN: Final = 0.5
"""The check can see something where it refuses such a labeller at least so often."""
_ALIKE: Final = np.geomspace(3, 30_000, 13)
"""How alike cells of one class may be: the images that each borrows from the others."""
_ABSENT: Final = 0.006
"""Chance at which the share of any class that a prompt lacks is not taken for 0, the least favourable truth."""
_FIT_STEPS: Final = 200
"""EM steps of the fit that explains a run and its calibration together."""
_EM_STEPS: Final = 8
_EM_ROUNDS: Final = 6
_EM_GAP: Final = 0.02
"""The best mixture is looked for until no other can have a log-likelihood this much above it, or rounds run out."""


@dataclass(frozen=True, slots=True)
class Fit:
    """How an attribute's counts fit its calibration. p_value: adjusted for all attributes that were tested together.

    power: how often a labeller that makes half of the calibration's errors on these images would have been refused.
    """

    p_value: float
    power: float

    @property
    def reason(self) -> str | None:
        """Why the calibration does not correct the attribute; None where it may."""
        if self.p_value > ALPHA:
            return None
        return (
            "calibration does not transfer: what was read is more one-sided, or otherwise, than errors as in the "
            f"calibration allow (p {self.p_value:.2g})"
        )


def check(
    observed: ArrayLike, calibration: ArrayLike, margins: Sequence[Sequence[int]], rng: np.random.Generator
) -> list[Fit]:
    """Return how the counts of each margin fit. observed (P, K + 1) and calibration (K or K + 1, K + 1): as in
    `correction.corrected_shares`.

    margins: each the class of every cell (K). Of calibrations that hold, a share ALPHA has any margin refused. Passing
    is no proof: a shift that keeps the counts inside the hull of the rows cannot be seen, see `Fit.power`. Faces count
    as independent: where an image can show several, give one face of each.
    """
    counts, true_by_read = np.asarray(observed), np.asarray(calibration)
    counts = counts[counts[:, : true_by_read.shape[0]].sum(axis=1) > 0]
    tests = [_Test(counts, true_by_read, groups) for groups in margins]
    if not len(counts) or not tests:
        return [Fit(1.0, 0.0) for _ in tests]
    statistics = np.array([test.observed() for test in tests])
    draws = np.array([test.simulated(_FIRST_DRAWS, rng) for test in tests])
    p_values = _adjusted(statistics, draws)
    if (p_values <= 5 * ALPHA).any():
        more = np.array([test.simulated(_DRAWS - _FIRST_DRAWS, rng) for test in tests])
        draws = np.concatenate([draws, more], axis=1)
        p_values = _adjusted(statistics, draws)
    milder = [test.simulated(_ALTERNATIVES, rng, errors=0.5) for test in tests]
    powers = [float((_adjusted_of(i, each, draws) <= ALPHA).mean()) for i, each in enumerate(milder)]
    return [Fit(float(p), power) for p, power in zip(p_values, powers, strict=True)]


def _adjusted(statistics: FloatArray, draws: FloatArray) -> FloatArray:
    """Return p-values (A,) of statistics (A,) given their draws (A, B), adjusted for taking the smallest of them."""
    return np.array([_adjusted_of(i, statistics[i : i + 1], draws)[0] for i in range(len(statistics))])


def _adjusted_of(index: int, statistics: FloatArray, draws: FloatArray) -> FloatArray:
    """Return the adjusted p-values (N,) of values (N,) of the statistic `index`."""
    # On one scale: the cube root of a chi-square-like sum is nearly normal (Wilson and Hilferty 1931).
    centre, scale = draws.mean(axis=1, keepdims=True), np.maximum(draws.std(axis=1, keepdims=True), 1e-9)
    largest = ((draws - centre) / scale).max(axis=0)
    values = (statistics - centre[index]) / scale[index]
    return np.asarray((1 + (largest >= values[:, None]).sum(axis=1)) / (1 + len(largest)))


class _Test:
    """The test of one attribute: readings (P, J) in J columns, and the table's rows in the same columns."""

    def __init__(self, counts: Counts, calibration: Counts, groups: Sequence[int]) -> None:
        rows, cells, k = len(calibration), len(groups), max(groups) + 1
        # Where the table has a row "no person", the column "no face" is read too.
        self._classes = np.array([*groups, k][:rows])
        columns = np.eye(k + (rows > cells))[self._classes]
        self._read, self._rows = counts[:, :rows] @ columns, calibration[:, :rows] @ columns
        self._images, self._row_images = (n.sum(axis=1).astype(np.int64) for n in (self._read, self._rows))
        counted, equal = self._borrowed(self._rows[None])[0], np.full((len(counts), rows), 1 / rows)
        weights, _ = _fitted(self._read, counted, equal)
        # Again with the classes that may be absent, which then no longer explain misreadings.
        self._weights, self._table = _fitted(self._read, counted, self._least_favourable(weights))

    def observed(self) -> float:
        """Return the statistic of the run."""
        return float(self._statistic(self._read[None], self._rows[None])[0])

    def simulated(self, draws: int, rng: np.random.Generator, errors: float = 1.0) -> FloatArray:
        """Return the statistic (B,) of runs of a labeller that makes a part of the calibration's errors."""
        rows = rng.multinomial(self._row_images, self._table, size=(draws, len(self._table)))
        table = errors * self._table + (1 - errors) * np.eye(self._table.shape[1])[self._classes]
        read = rng.multinomial(self._images, _normalised(self._weights @ table), size=(draws, len(self._images)))
        return self._statistic(read.astype(np.float64), rows.astype(np.float64))

    def _statistic(self, read: FloatArray, rows: FloatArray) -> FloatArray:
        """Return the cube root (B,) of the summed likelihood ratio of readings (B, P, J), given counts (B, R, J)."""
        return np.asarray(np.cbrt(_ratios(read, _normalised(self._borrowed(rows))).sum(axis=-1)))

    def _borrowed(self, rows: FloatArray) -> FloatArray:
        """Return counts (B, R, J) with what each row borrows from the others of its class; never 0."""
        borrowed = np.asarray(rows + 1 / rows.shape[-1], dtype=np.float64)
        for c in range(rows.shape[-1]):
            own = self._classes == c
            if own.sum() > 1:
                borrowed[:, own] += _borrowing(rows[:, own])
        return borrowed

    def _least_favourable(self, weights: FloatArray) -> FloatArray:
        """Return the weights (P, R) of fitted mixtures, with classes that may be absent taken to be."""
        by_class = weights @ np.eye(self._read.shape[1])[self._classes]
        error = np.sqrt(np.maximum(by_class * (1 - by_class), 0.02) / self._images[:, None])
        certain = float(ndtri(1 - _ABSENT / (self._read.shape[1] - 1)))
        return _normalised(weights * (by_class >= certain * error)[:, self._classes])


def _borrowing(rows: FloatArray) -> FloatArray:
    """Return what M rows (B, M, J) of counts borrow from their mean: as many images as their likeness allows.

    The number is that of the posterior over _ALIKE, given the rows' Dirichlet-multinomial likelihood.
    """
    total, images = rows.sum(axis=(1, 2)), rows.sum(axis=-1)
    mean = (rows.sum(axis=1) + 1 / rows.shape[-1]) / (total[:, None] + 1)
    alpha = _ALIKE[:, None, None, None] * mean[:, None]  # (S, B, 1, J)
    of_rows = gammaln(_ALIKE)[:, None, None] - gammaln(_ALIKE[:, None, None] + images)
    log_likelihood = (of_rows + (gammaln(alpha + rows) - gammaln(alpha)).sum(axis=-1)).sum(axis=-1)
    posterior = _normalised(np.exp(log_likelihood - log_likelihood.max(axis=0)).T)  # (B, S)
    # The part of the mean in each row, averaged over the posterior, as a number of images.
    part = (posterior[:, None] * (_ALIKE / (_ALIKE + images[..., None]))).sum(axis=-1)
    taken = images * part / np.maximum(1 - part, 1e-9)
    return np.asarray(taken[..., None] * mean[:, None])


def _fitted(read: FloatArray, rows: FloatArray, weights: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Return the weights (P, R) and the table (R, J) that explain readings (P, J) and a calibration's counts together.

    EM over the hidden true row of each image: those expected of a row are added to its counts. weights: where to start;
    what is 0 stays 0.
    """
    table = _normalised(rows)
    for _ in range(_FIT_STEPS):
        joint = weights[:, :, None] * table
        mixed = joint.sum(axis=1)
        images = joint * np.divide(read, mixed, out=np.zeros_like(mixed), where=mixed > 0)[:, None]
        weights, table = _normalised(images.sum(axis=-1)), _normalised(rows + images.sum(axis=0))
    return weights, table


def _ratios(read: FloatArray, tables: FloatArray) -> FloatArray:
    """Return twice the log-likelihood of the shares of readings (B, P, J) less that of the best mixture of the rows of
    tables (B, R, J), shape (B, P).
    """
    total, shares = read.sum(axis=-1), _normalised(read)
    own = xlogy(read, shares).sum(axis=-1)
    if tables.shape[-1] == 2:  # between the two most extreme rows
        lowest, highest = tables[..., :1].min(axis=1), tables[..., :1].max(axis=1)
        first = np.clip(shares[..., 0], lowest, highest)
        return np.asarray(2 * (own - xlogy(read, np.stack([first, 1 - first], axis=-1)).sum(axis=-1)))
    weights = np.full((*read.shape[:-1], tables.shape[1]), 1 / tables.shape[1])
    if tables.shape[1] == tables.shape[2]:  # exact inside the hull of the rows
        exact = np.swapaxes(np.linalg.solve(np.swapaxes(tables, -1, -2), np.swapaxes(shares, -1, -2)), -1, -2)
        weights = np.where((exact >= 0).all(axis=-1, keepdims=True), exact, _normalised(np.maximum(exact, 1e-3)))
    todo = np.arange(len(read))
    for _ in range(_EM_ROUNDS):
        part, q, rows = weights[todo], shares[todo], tables[todo]
        for _ in range(_EM_STEPS):
            mixed = part @ rows
            gradient = np.divide(q, mixed, out=np.zeros_like(q), where=mixed > 0) @ np.swapaxes(rows, -1, -2)
            part = part * gradient
        weights[todo] = part
        gap = total[todo] * np.log(np.maximum(gradient.max(axis=-1), 1))
        todo = todo[(gap > _EM_GAP).any(axis=-1)]
        if not len(todo):
            break
    best = xlogy(read, weights @ tables).sum(axis=-1)
    return np.asarray(np.maximum(2 * (own - best), 0.0))


def _normalised(weights: ArrayLike) -> FloatArray:
    """Return weights over their sum along the last axis, 0 where that is 0."""
    values = np.asarray(weights, dtype=np.float64)
    total = values.sum(axis=-1, keepdims=True)
    return np.asarray(np.divide(values, total, out=np.zeros_like(values), where=total > 0))
