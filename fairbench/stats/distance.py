"""Two runs over the same prompts, as shares: how concentrated each is, and how far apart they are.

Equally concentrated models may draw different groups: one only men, one only women. The share of images that would
have to change group in one prompt is the total variation distance TV = sum |p_k - q_k| / 2; observed shares overstate
it by chance. Its mean over prompts is bounded by the mean squared distance, which has an unbiased estimate:

    mean TV <= mean sqrt(K) ||p - q|| / 2 <= sqrt(K mean ||p - q||^2) / 2        (Cauchy-Schwarz, Jensen)
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Final, NamedTuple

import numpy as np
from scipy.optimize import brentq
from scipy.special import chdtr

from fairbench.stats.estimands import Floats, shares
from fairbench.stats.intervals import smoothed, sum_of_squares
from fairbench.stats.mean_square import MeanSquare, mean_square
from fairbench.stats.units import Data, Units, as_units
from fairbench.types import FloatArray

_LEAST: Final = 1e-9
"""A margin that stands for 0, at which nothing can be tested."""


class _Shares(NamedTuple):
    """Shares (P, K), their squared length (P,) without bias, their covariance (P, K, K) from drawing images, and the
    number of images (P,) with a face.
    """

    mean: Floats
    squared: Floats
    covariance: Floats
    images: Floats


@dataclass(frozen=True, slots=True, eq=False)
class Pair:
    """Two independent runs over the `prompts` prompts in which both have four images with a face. classes: K.

    in_both: which of all prompts they are, (P,).
    """

    a: _Shares
    b: _Shares
    classes: int
    in_both: np.ndarray[tuple[int, ...], np.dtype[np.bool_]]

    @property
    def prompts(self) -> int:
        """The number of prompts."""
        return len(self.a.squared)

    def concentrations(self) -> tuple[MeanSquare, MeanSquare]:
        """Return the mean concentration of both runs."""
        # K/(K - 1) times the squared distance from balance.
        scale = self.classes / (self.classes - 1)
        means = []
        for run in (self.a, self.b):
            value = (run.squared - 1 / self.classes) * scale
            mean = mean_square(value, (run.mean - 1 / self.classes) * np.sqrt(scale), run.covariance * scale)
            # Of two classes the variance is 4 c (1 - c)/n: it falls where c > 1/2. Of more it does so near one class.
            falling = 2 * scale * (np.maximum(2 * value - 1, 0) / run.images).sum() / max(len(value), 1) ** 2
            means.append(replace(mean, falling=float(falling)))
        return means[0], means[1]

    def squared_distance(self) -> MeanSquare:
        """Return the mean of ||p - q||^2 over prompts."""
        value = self.a.squared + self.b.squared - 2 * (self.a.mean * self.b.mean).sum(axis=1)
        return mean_square(value, self.a.mean - self.b.mean, self.a.covariance + self.b.covariance)

    def same_groups_p(self, margin: float) -> float:
        """Return the p-value of "the mean TV is `margin` or more": small means that both draw the same groups.

        The mean of the observed squared distances, chance included, is taken for a multiple of a chi-square variable
        with its mean and variance (Patnaik, *Biometrika* 1949): it is skewed, most of all with few prompts.
        """
        squared, at_margin = self.squared_distance(), 4 * margin**2 / self.classes
        chance = float(np.trace(self.a.covariance + self.b.covariance, axis1=1, axis2=2).mean())
        mean, variance = at_margin + chance, float(squared.error_at(at_margin)) ** 2
        return float(chdtr(2 * mean**2 / variance, 2 * mean * max(squared.value + chance, 0.0) / variance))

    def largest_tv(self, alpha: float) -> float:
        """Return the upper limit of the mean TV at level 1 - alpha, in [0, 1]: where `same_groups_p` is alpha.

        0 where even identical models would differ by more, which alpha of them do.
        """
        if self.same_groups_p(1.0) > alpha or self.same_groups_p(_LEAST) <= alpha:
            return float(self.same_groups_p(1.0) > alpha)
        return float(brentq(lambda margin: self.same_groups_p(margin) - alpha, _LEAST, 1.0))

    def observed_tv(self) -> FloatArray:
        """Return the TV (P,) of the observed shares, in [0, 1]: on average at least that of the true ones."""
        return np.asarray(np.abs(self.a.mean - self.b.mean).sum(axis=1) / 2)


def pair_of(a: Data, b: Data) -> Pair:
    """Return two runs over the same P prompts as a pair of shares. Images are the units, with all their faces."""
    units = [as_units(data) for data in (a, b)]
    in_both = np.all([u.times.sum(axis=1) > 3 for u in units], axis=0)
    first, second = (_shares_of(Units(u.kinds, u.times[in_both])) for u in units)
    return Pair(first, second, units[0].kinds.shape[1], in_both)


def _shares_of(units: Units) -> _Shares:
    squared, _ = sum_of_squares(units.kinds, units.times)
    kinds, weights = smoothed(units.kinds, units.times)
    sizes = kinds.sum(axis=1)
    faces = weights @ sizes
    expected = (weights @ kinds) / faces[:, None]
    # An image moves a share by its faces of that class less what the share expects of its faces (P, T, K).
    influence = (kinds - expected[:, None] * sizes[:, None]) / faces[:, None, None]
    images = weights.sum(axis=1)[:, None, None]
    covariance = np.einsum("pt,pti,ptj->pij", weights, influence, influence) * images / (images - 1)
    return _Shares(shares(units.counts), squared, covariance, units.times.sum(axis=1).astype(np.float64))
