"""A mean over prompts of a squared length of shares, and its standard error if the true mean were another.

Concentration is the squared distance of a prompt's shares from balance, two runs' shares have one from each other.
Both are estimated without bias, and both estimates are more certain where they are low: of few images a low one is
then believed too much. Tests therefore take the error that the estimate would have under the hypothesis.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from fairbench.stats.estimands import Floats


@dataclass(frozen=True, slots=True)
class MeanSquare:
    """A mean over P prompts. value: unbiased, so it may be negative. error: its standard error, above 0.

    steepest: by how much the variance of the mean grows per unit that the true mean exceeds the estimate, at most.
    falling: by how much it grows per unit that the true mean lies below the estimate: of a model that shows hardly any
    class but one, few faces of the others make both the distance from one class and its error too small.
    """

    value: float
    error: float
    steepest: float = 0.0
    falling: float = 0.0

    def error_at(self, true: float | Floats) -> Floats:
        """Return the standard error if the true mean were this (any shape): never below `error`."""
        above = np.asarray(true) - self.value
        return np.sqrt(self.error**2 + self.steepest * np.maximum(above, 0.0) + self.falling * np.maximum(-above, 0.0))


def mean_square(value: Floats, difference: Floats, covariance: Floats) -> MeanSquare:
    """Return the mean of unbiased estimates (P,) of ||d||^2, from the observed d (P, K) and its covariance (P, K, K).

    Each has the variance 4 d'Vd + 2 tr(V^2), of a U-statistic of order two; the plug-in of d overstates d'Vd by
    tr(V^2). The sum over prompts never falls below what remains where d = 0: of single prompts the estimates scatter,
    and to bound each from below would make balanced models look less certain than they are. d'Vd is at most ||d||^2
    times the largest eigenvalue of V.
    """
    prompts = max(len(value), 1)
    at_zero = float(2 * (covariance**2).sum())
    slopes = float(4 * np.einsum("pi,pij,pj->", difference, covariance, difference))
    error = float(np.sqrt(max(slopes - at_zero, at_zero))) / prompts
    largest = np.linalg.eigvalsh(covariance)[:, -1] if len(value) else np.zeros(1)
    return MeanSquare(float(value.mean()) if len(value) else np.nan, error, float(4 * largest.sum()) / prompts**2)
