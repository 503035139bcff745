"""Contrasts of a number per image between a class and the others, within prompts: prompts cannot confound them."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Final

import numpy as np
from scipy import stats

from fairbench.stats.estimands import Floats, IntArray

_NAN: Final = float("nan")
FEWEST: Final = 10
"""Images beyond one per prompt, of the class and of the others, below which there is no error: with fewer, the variance
is known too badly, and more than 5 % of equal classes differ at level .05."""


@dataclass(frozen=True, slots=True)
class Contrast:
    """Class minus others. error: standard error; df: its degrees of freedom; p: two-sided, of no difference.

    prompts: those that show the class and others. of_class, of_others: their images that are compared.
    """

    estimate: float
    error: float
    df: float
    p: float
    prompts: int
    of_class: int
    of_others: int

    def interval(self, level: float = 0.95) -> tuple[float, float]:
        """Return the limits of the interval at a level; NaN where no variance is known."""
        half = float(stats.t.ppf((1 + level) / 2, self.df)) * self.error if self.df > 0 else _NAN
        return self.estimate - half, self.estimate + half


def beyond(one: Contrast, other: Contrast) -> Contrast:
    """Return one contrast minus another of independent images, as the reference's; NaN where either has no error.

    Degrees of freedom are Welch's. Counts are those of the first.
    """
    variances = one.error**2, other.error**2
    estimate, error = one.estimate - other.estimate, math.sqrt(sum(variances)) if sum(variances) > 0 else _NAN
    if not error > 0:
        return replace(one, estimate=estimate, error=_NAN, df=_NAN, p=_NAN)
    df = sum(variances) ** 2 / (variances[0] ** 2 / one.df + variances[1] ** 2 / other.df)
    p = float(2 * stats.t.sf(abs(estimate) / error, df))
    return replace(one, estimate=estimate, error=error, df=df, p=p)


def contrast(prompt: IntArray, value: Floats, in_class: IntArray) -> Contrast:
    """Return how far images of a class differ from the others of their prompt; the prompts are fixed.

    prompt, value, in_class: (N,), an image's prompt, its finite number, and 1 for the class, 0 for the others, -1 for
    an image that is neither (no label, or faces of several classes), which is left out.

    The estimand is sum w_p d_p / sum w_p, with d_p the difference of expectations in prompt p, and
    w_p = n_1 n_0 / (n_1 + n_0) of its n_1 images of the class and n_0 others: a prompt weighs by what it can show. It
    is the class's coefficient in a regression with an intercept per prompt; plain means would let a prompt with one
    image of the class count as much as one with fifty. Where d_p is the same everywhere, weights do not matter.

    Each cell (prompt, class or others) has its own variance; a cell of one image has that of the other prompts' cells
    of its kind together. Degrees of freedom are Welch's and Satterthwaite's, of what each cell's squares add to the
    error in both ways. Where a kind has fewer than FEWEST
    images beyond one per prompt, there is no error; NaN also where nothing varies, which is no certainty.

    Source: the within estimator of fixed-effects regression (Angrist, Econometrica 66, 1998, for its weights);
    Satterthwaite, Biometrics Bulletin 2, 1946.
    """
    known = in_class >= 0
    _, index = np.unique(prompt[known], return_inverse=True)
    cell, values = 2 * index + in_class[known], value[known].astype(np.float64)
    cells = 2 * (int(index.max(initial=-1)) + 1)
    n = np.bincount(cell, minlength=cells)
    mean = np.bincount(cell, values, cells) / np.maximum(n, 1)
    squares = np.bincount(cell, (values - mean[cell]) ** 2, cells)
    both = (n.reshape(-1, 2) > 0).all(axis=1)
    # Column 1 is the class.
    n = n.reshape(-1, 2)[both]
    mean = mean.reshape(-1, 2)[both]
    squares_of_cells = np.asarray(squares.reshape(-1, 2)[both], dtype=np.float64)
    counted = {"prompts": int(both.sum()), "of_class": int(n[:, 1].sum()), "of_others": int(n[:, 0].sum())}
    if not both.any():
        return Contrast(_NAN, _NAN, _NAN, _NAN, **counted)
    weights = n.prod(axis=1) / n.sum(axis=1)
    weights = weights / weights.sum()
    estimate = float(weights @ (mean[:, 1] - mean[:, 0]))
    enough = bool((n - 1).sum(axis=0).min() >= FEWEST)
    error, df = _error(n, squares_of_cells, weights) if enough else (_NAN, _NAN)
    if not error > 0:
        return Contrast(estimate, _NAN, _NAN, _NAN, **counted)
    return Contrast(estimate, error, df, float(2 * stats.t.sf(abs(estimate) / error, df)), **counted)


def _error(n: IntArray, squares: Floats, weights: Floats) -> tuple[float, float]:
    """Return the standard error and its degrees of freedom. n, squares: (P, 2); weights: (P,), which sum to 1.

    Each column has a cell of two images or more.
    """
    variance, spread = 0.0, 0.0  # `spread`: half the variance of `variance`
    for kind in range(2):
        freedom = n[:, kind] - 1
        own, factor = freedom > 0, weights**2 / n[:, kind]
        # The squares of a cell stand for its own variance and for its part of that of single images. Taken apart, as
        # if they were independent, the two would feign degrees of freedom.
        each = factor[own] / freedom[own] + factor[~own].sum() / freedom[own].sum()
        of_cells = each * squares[own, kind]
        variance += float(of_cells.sum())
        spread += float((of_cells**2 / freedom[own]).sum())
    return math.sqrt(variance), (variance**2 / spread if spread > 0 else _NAN)
