"""The few figures by which the phantom is judged, with their sampling errors."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.stats import beta, norm

from fairbench.metrics._rd import rd
from fairbench.phantom.renderer import GENDERS, RACES
from fairbench.stats.estimands import shares
from fairbench.types import FloatArray

Counts = NDArray[np.int64]

_RESAMPLES = 400


@dataclass(frozen=True, slots=True)
class Estimate:
    """A value and its standard error."""

    value: float
    error: float

    @property
    def upper(self) -> float:
        """The end of the one-sided 95 % interval."""
        return float(self.value + norm.ppf(0.95) * self.error)


def share(hits: int, n: int) -> Estimate:
    """Return a share. Its error is that of (hits + 1) / (n + 2), so that 0 of n is not taken for certainty."""
    smooth = (hits + 1) / (n + 2)
    return Estimate(hits / n, float(np.sqrt(smooth * (1 - smooth) / n)))


def total_variation(counts: Counts, truth: FloatArray, rng: np.random.Generator) -> Estimate:
    """Return the mean over prompts of the total variation between what was counted and the truth, both (P, K).

    Half the sum of |difference| exceeds the truth's by sampling alone: its mean where there is no difference, half the
    sum of sqrt(2 p (1 - p) / (pi n)), is subtracted in quadrature, prompt by prompt. Error: multinomial bootstrap.
    """
    n, p = counts.sum(axis=1), shares(counts)
    # A bootstrap draws from counts that hold sampling noise already: it is in the resamples twice.
    resampled = [_noise_free_variation(rng.multinomial(n, p), truth, 2) for _ in range(_RESAMPLES)]
    return Estimate(_noise_free_variation(counts, truth, 1), float(np.std(resampled)))


def _noise_free_variation(counts: Counts, truth: FloatArray, noise_parts: int) -> float:
    """Return the mean total variation. noise_parts: how often sampling noise is in the counts."""
    n = counts.sum(axis=1, keepdims=True)
    variation = 0.5 * np.abs(counts / n - truth).sum(axis=1)
    noise = 0.5 * np.sqrt(2 * truth * (1 - truth) / (np.pi * n)).sum(axis=1)
    return float(np.sqrt(np.clip(variation**2 - noise_parts * noise**2, 0, None)).mean())


def squared_distance(counts: Counts, truth: FloatArray, truth_n: NDArray[np.int64]) -> Estimate:
    """Return the mean over prompts of sum (p - q)^2, unbiased: both sides' sampling variance is subtracted.

    counts: (P, K). truth: shares q (P, K), themselves measured on truth_n (P,) images. Error: between prompts.
    """
    n = counts.sum(axis=1, keepdims=True)
    p = counts / n
    distance = (p - truth) ** 2 - p * (1 - p) / (n - 1) - truth * (1 - truth) / (truth_n[:, None] - 1)
    per_prompt = distance.sum(axis=1)
    return Estimate(float(per_prompt.mean()), float(per_prompt.std(ddof=1) / np.sqrt(len(per_prompt))))


def task_rd(p: FloatArray) -> dict[str, float]:
    """Return the mean over prompts of the RD of gender, race and both, from joint shares p (P, 8)."""
    joint = p.reshape(-1, len(GENDERS), len(RACES))
    return {
        "gender": float(np.mean(rd(joint.sum(axis=2)))),
        "race4": float(np.mean(rd(joint.sum(axis=1)))),
        "gender_x_race4": float(np.mean(rd(p))),
    }


def rd_errors(counts: Counts, rng: np.random.Generator) -> dict[str, float]:
    """Return the standard errors of `task_rd(shares(counts))`, by a multinomial bootstrap."""
    n, p = counts.sum(axis=1), shares(counts)
    resampled = [task_rd(shares(rng.multinomial(n, p))) for _ in range(_RESAMPLES // 4)]
    return {name: float(np.std([values[name] for values in resampled])) for name in resampled[0]}


def largest_gap(hits: Counts, n: Counts, alpha: float = 0.05) -> float:
    """Return a simultaneous upper bound, at level 1 - alpha, of the largest difference between groups' shares.

    Clopper-Pearson bounds with alpha / (2 G) in either tail hold for all G groups at once; then no two true shares can
    be further apart than the highest upper and the lowest lower bound.
    """
    low, high = clopper_pearson(hits, n, alpha / (2 * len(n)))
    return float(high.max() - low.min())


def clopper_pearson(x: Counts, n: Counts, tail: float) -> tuple[FloatArray, FloatArray]:
    """Return the exact bounds of a share, x of n, each with at most `tail` of probability beyond it."""
    # Where x is 0 or n, one of beta's parameters is 0 and the bound is 0 or 1 by definition.
    low = np.where(x == 0, 0.0, beta.ppf(tail, np.maximum(x, 1), n - x + 1))
    high = np.where(x == n, 1.0, beta.ppf(1 - tail, x + 1, np.maximum(n - x, 1)))
    return low, high
