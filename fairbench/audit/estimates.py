"""A value with its interval, as every part of an audit reports it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
from scipy.special import stdtrit

from fairbench.stats.bounds import share_interval
from fairbench.stats.estimands import Floats, task_mean

CONFIDENCE = 0.95
Design = Literal["this list", "other prompts", "other images"]
"""What varies in an interval. this list: answers and images are drawn again, for the same prompts, occupations and
questions. other prompts: prompts vary too, as if these were a random sample. other images: the images that a part is
probed with, as if they were a random sample."""


@dataclass(frozen=True, slots=True)
class Estimate:
    """A value and its interval (95 % unless stated otherwise), from n units; NaN where there are no data."""

    value: float
    low: float
    high: float
    n: int
    design: Design = "this list"


@dataclass(frozen=True, slots=True)
class Skipped:
    """A part that was not measured, and the reason why, as a sentence without its full stop."""

    reason: str


def no_estimate(n: int = 0) -> Estimate:
    """Return the estimate of something for which there are no data."""
    return Estimate(float("nan"), float("nan"), float("nan"), n)


def share(hits: int, n: int, confidence: float = CONFIDENCE, design: Design = "this list") -> Estimate:
    """Return a share of n independent cases with Jeffreys' interval (`share_interval`); NaN at n = 0.

    Of answers about a list of occupations it holds for that list: over other occupations they vary more.
    """
    low, high = share_interval(np.array([hits, n - hits]), confidence)
    return Estimate(hits / n if n else float("nan"), float(low[0]), float(high[0]), n, design)


def mean(values: Floats, lowest: float = -np.inf, highest: float = np.inf) -> Estimate:
    """Return the mean of one value per prompt (NaN: left out) with Student's interval for other prompts.

    The interval is cut to [lowest, highest], where the mean must lie; its limits are NaN below two values.
    """
    average, used, _ = task_mean(values)
    if used < 2:
        return Estimate(average, float("nan"), float("nan"), used, "other prompts")
    half = float(stdtrit(used - 1, (1 + CONFIDENCE) / 2) * np.nanstd(values, ddof=1) / np.sqrt(used))
    return Estimate(average, max(average - half, lowest), min(average + half, highest), used, "other prompts")
