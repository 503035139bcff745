"""A value with its interval, as every part of an audit reports it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from fairbench.stats.bounds import share_interval
from fairbench.stats.estimands import Floats
from fairbench.stats.intervals import PromptValues, interval_of

CONFIDENCE = 0.95


@dataclass(frozen=True, slots=True)
class Estimate:
    """A value and its interval (95 % unless said otherwise), from n units; NaN where there is nothing to go by."""

    value: float
    low: float
    high: float
    n: int


@dataclass(frozen=True, slots=True)
class Skipped:
    """A part that was not measured, and the reason why, as a sentence without its full stop."""

    reason: str


def nothing(n: int = 0) -> Estimate:
    """Return what stands where there is nothing to estimate from."""
    return Estimate(float("nan"), float("nan"), float("nan"), n)


def share(hits: int, n: int, confidence: float = CONFIDENCE) -> Estimate:
    """Return a share with Jeffreys' interval (`share_interval`); NaN at n = 0."""
    low, high = share_interval(np.array([hits, n - hits]), confidence)
    return Estimate(hits / n if n else float("nan"), float(low[0]), float(high[0]), n)


def mean(values: Floats, lowest: float = -np.inf, highest: float = np.inf) -> Estimate:
    """Return the mean of one value a prompt (NaN: left out) with Student's interval: prompts like these.

    Cut to [lowest, highest], where the mean must lie. The limits are NaN below two values.
    """
    alone = PromptValues(values, np.zeros(len(values)))
    found = interval_of(alone, "prompts like these", CONFIDENCE, lowest, highest)
    return Estimate(found.estimate, found.low, found.high, found.prompts)
