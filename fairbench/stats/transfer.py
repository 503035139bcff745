"""Whether a calibration may be used: is its table invertible with its errors, and can it have produced these counts?"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import xlogy
from scipy.stats import chi2

from fairbench.stats.correction import Counts, prepared
from fairbench.types import FloatArray

MAX_CONDITION: Final = 10.0
"""Errors of shares can grow by the condition number: at 10, 160 images may tell no more than 1.6 read without error."""
MIN_CERTAINTY: Final = 5.0
"""Smallest singular value over its standard error. The corrections of bias and the intervals are expansions in its
inverse, a fifth here: what they leave out is some percent."""

_ROUNDING: Final = 1e-12
"""A standard error below it is 0 but for rounding."""
_EM_STEPS: Final = 3000
_EM_GAIN: Final = 1e-7
"""EM stops after so many steps, or where no prompt's log-likelihood gains more than this in one."""


@dataclass(frozen=True, slots=True)
class Transfer:
    """The verdict on a calibration. reason: one sentence why it is refused, None where it may be used.

    condition: the condition number of the table that is inverted. certainty: its smallest singular value over that
    value's standard error.
    """

    reason: str | None
    condition: float
    certainty: float


def check(observed: ArrayLike, calibration: ArrayLike, alpha: float = 0.01) -> Transfer:
    """Return whether a calibration can correct these counts; of calibrations that can, at most a share alpha is
    refused.

    observed (P, K + 1) and calibration (K or K + 1, K + 1): as in `correction.corrected_shares`. Refused are tables too
    near to singular (MAX_CONDITION, MIN_CERTAINTY), and counts that no mixture of the rows can have produced: of one
    prompt, or of all those together that lean to one cell, where a small shift adds up (Bonferroni over all tests).
    Passing is no proof: a shift that keeps the counts inside the hull of the rows cannot be seen in counts. Faces count
    as independent: where an image can show several, give one face of each.
    """
    calibration_counts = np.asarray(calibration)
    if (calibration_counts.sum(axis=-1) < 2).any():
        return Transfer("a row of the calibration holds fewer than two images: calibrate with more", np.inf, 0.0)
    counts, table, totals = prepared(observed, calibration_counts)
    condition, certainty = conditioning(table, totals)
    reason = _table_problem(condition, certainty)
    if reason is None:
        square = calibration_counts[:, : len(calibration_counts)]
        reason = _counts_problem(hull_p_values(counts, square), hull_p_values(_leaning(counts), square), alpha)
    return Transfer(reason, condition, certainty)


def _table_problem(condition: float, certainty: float) -> str | None:
    """Return why a table cannot be inverted safely, None where it can."""
    if condition > MAX_CONDITION:
        return (
            f"the confusion table is near singular (condition number {condition:.3g}, at most {MAX_CONDITION:g} is "
            "allowed): the labeller cannot tell some groups apart"
        )
    if certainty < MIN_CERTAINTY:
        return (
            f"the confusion table is too uncertain (its smallest singular value is {certainty:.2g} standard errors, at "
            f"least {MIN_CERTAINTY:g} are needed): calibrate with more images"
        )
    return None


def _counts_problem(p_values: FloatArray, pooled: FloatArray, alpha: float) -> str | None:
    """Return why these counts cannot come from the table, None where they can.

    p_values (P,): of single prompts; pooled (R,): of all prompts that lean to one cell.
    """
    limit = alpha / max(np.isfinite(p_values).sum() + np.isfinite(pooled).sum(), 1)
    prompts, pools = int((p_values < limit).sum()), int((pooled < limit).sum())
    if not prompts + pools:
        return None
    return (
        "calibration does not transfer: the observed shares lie outside what any mixture of the table's rows gives in "
        f"{prompts} of {len(p_values)} prompts and {pools} of {len(pooled)} groups of prompts that lean to one cell "
        f"(smallest p {np.nanmin(np.concatenate([p_values, pooled])):.2g}, the limit for so many is {limit:.2g})"
    )


def _leaning(counts: Counts) -> Counts:
    """Return, for every column, the sum (R, R) of the prompts of which more than half stands in it."""
    return np.asarray((2 * counts > counts.sum(axis=-1, keepdims=True)).T.astype(counts.dtype) @ counts)


def conditioning(table: FloatArray, totals: Counts) -> tuple[float, float]:
    """Return the condition number of a table (R, R), and its smallest singular value over that value's standard error.

    First order: with singular vectors u and v the value changes by u' dB v, and row r of dB is multinomial of totals_r.
    """
    left, values, right = np.linalg.svd(table)
    if values[-1] <= np.finfo(np.float64).eps * len(values) * values[0]:
        return np.inf, 0.0
    u, v = left[:, -1], right[-1]
    per_row = (table @ v**2 - (table @ v) ** 2) / (totals - 1)
    error = float(np.sqrt((u**2 * per_row).sum()))
    return float(values[0] / values[-1]), float(values[-1] / error) if error > _ROUNDING else np.inf


def hull_p_values(counts: ArrayLike, calibration: ArrayLike) -> FloatArray:
    """Return, for every prompt, a p-value of "these counts come from a mixture of the calibration's rows", (..., P).

    counts (..., P, R); calibration: counts (..., R, R) of the same columns, invertible. Likelihood ratio of both
    samples together, as the table too is only estimated. Inside the hull of the observed rows it is 0 and p is 1.
    Outside, it is a chi-bar-square (Wollan and Dykstra 1986): a mixture of chi-squares with up to R - 1 degrees of
    freedom, of which the largest is taken. So p < x has at most probability x, on a corner of the hull (all of one
    cell) as inside, and the slack covers rare misreadings, for which chi-square is a poor approximation. NaN without
    counts.
    """
    n, tables = np.asarray(counts), np.asarray(calibration)
    # One table of counts per prompt, and all leading axes as one.
    tables = np.broadcast_to(tables[..., None, :, :], (*n.shape[:-1], *tables.shape[-2:]))
    flat_n = n.reshape(-1, n.shape[-1])
    flat_tables = tables.reshape(-1, *tables.shape[-2:])
    p_values = np.where(flat_n.sum(axis=-1) > 0, 1.0, np.nan)
    # Outside the hull, the shares are a combination of the rows in which some row has a negative weight.
    weights = np.linalg.solve(np.swapaxes(_shares(flat_tables), -1, -2), _shares(flat_n)[..., None])[..., 0]
    outside = (weights < 0).any(axis=-1)
    if outside.any():
        p_values[outside] = chi2.sf(_ratio(flat_n[outside], flat_tables[outside]), n.shape[-1] - 1)
    return np.asarray(p_values.reshape(n.shape[:-1]))


def _ratio(n: Counts, calibration: Counts) -> FloatArray:
    """Return twice the log-likelihood ratio (P,) of any counts against those that a mixture of the rows gives.

    n (P, J), calibration (P, R, J). EM over the hidden true row of each observed image, with the rows' own
    probabilities free: the expected images of row r read as j are added to the calibration's counts.
    """
    total = n.sum(axis=-1, keepdims=True)
    weights, table = np.full(calibration.shape[:-1], 1 / calibration.shape[-2]), _shares(calibration)
    best = xlogy(n, _shares(n)).sum(axis=-1) + xlogy(calibration, table).sum(axis=(-1, -2))
    table = _shares(calibration + 0.5)  # not at 0: an image read as never before must be able to move it
    last = np.full(len(n), -np.inf)
    for _ in range(_EM_STEPS):
        joint = weights[..., None] * table
        fitted = joint.sum(axis=-2)
        likelihood = xlogy(n, fitted).sum(axis=-1) + xlogy(calibration, table).sum(axis=(-1, -2))
        if (likelihood - last < _EM_GAIN).all():
            break
        last = likelihood
        # E step: the images expected of row r read as j. M step: their rows' weights, and the rows with them added.
        images = joint * np.divide(n, fitted, out=np.zeros_like(fitted), where=fitted > 0)[..., None, :]
        weights, table = images.sum(axis=-1) / total, _shares(calibration + images)
    return np.asarray(np.maximum(2 * (best - likelihood), 0))


def _shares(counts: NDArray[Any]) -> FloatArray:
    """Return shares over the last axis, 0 where there are no counts."""
    total = counts.sum(axis=-1, keepdims=True)
    return np.asarray(np.divide(counts, total, out=np.zeros(counts.shape), where=total > 0))
