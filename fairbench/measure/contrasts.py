"""Contrasts between the poles of a task's categories: P(class | low pole) - P(class | high pole).

A model can draw every group equally often and still give one of them all the prompts of one pole: diversity alone
misses that stereotype.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Final

import numpy as np
from numpy.typing import NDArray

from fairbench.measure.counts import telling
from fairbench.measure.quantities import OTHER_PROMPTS, THIS_LIST, Attribute, Quantity
from fairbench.stats import gaffke, intervals
from fairbench.stats.estimands import Floats
from fairbench.stats.intervals import PromptValues

Poles = tuple[NDArray[np.bool_], NDArray[np.bool_]]
"""Which prompts (P,) stand at the low pole of a dimension, and which at the high one."""
LOW, HIGH = ": low", ": high"
WELCH_GAFFKE: Final = "Gaffke's, over prompts: 97.5 % of each pole"


def poles(categories: Sequence[str]) -> dict[str, Poles]:
    """Return dimension -> its poles, of categories such as "warmth: low"; a dimension with one pole alone is none.

    >>> {name: [pole.tolist() for pole in both] for name, both in poles(["a: low", "x", "a: high"]).items()}
    {'a': [[True, False, False], [False, False, True]]}
    """
    names = np.array(categories, dtype=object)
    dimensions = dict.fromkeys(c.removesuffix(LOW) for c in categories if c.endswith(LOW))
    found = {d: (names == f"{d}{LOW}", names == f"{d}{HIGH}") for d in dimensions}
    return {d: both for d, both in found.items() if both[1].any()}


def of_attribute(attribute: Attribute, dimensions: Mapping[str, Poles]) -> Iterator[Quantity]:
    """Yield the contrast of every class in every dimension, for this list of prompts and for others like them."""
    for dimension, (low, high) in dimensions.items():
        for index, label in enumerate(telling(attribute.classes)):
            shares = intervals.share_of_prompts(attribute.data, index)
            metric, known = f"contrast[{dimension}: {label}]", ~np.isnan(shares.value)
            n_low, n_high = int((low & known).sum()), int((high & known).sum())
            if not n_low or not n_high:
                columns = {"prompts": n_low + n_high, "reason": "a pole has no faces"}
                yield Quantity(metric, "raw", THIS_LIST, np.nan, columns=columns)
                continue
            yield Quantity(metric, "raw", THIS_LIST, _weighted(shares, low & known, high & known), (-1.0, 1.0))
            yield _other_prompts(metric, shares.value[low & known], shares.value[high & known])


def _weighted(shares: PromptValues, low: NDArray[np.bool_], high: NDArray[np.bool_]) -> PromptValues:
    """Return values whose mean over the prompts of both poles is the difference of the poles' means."""
    n = low.sum() + high.sum()
    weights = np.where(low, n / low.sum(), np.where(high, -n / high.sum(), np.nan))
    return PromptValues(weights * shares.value, weights**2 * shares.variance)


def _other_prompts(metric: str, low: Floats, high: Floats) -> Quantity:
    """Return the contrast for other prompts: each pole's mean is within its 97.5 % limits, so both are in 95 %."""
    n, value = len(low) + len(high), float(low.mean() - high.mean())
    if min(len(low), len(high)) < gaffke.FEWEST:
        return Quantity(metric, "raw", OTHER_PROMPTS, np.nan, columns={"prompts": n, "reason": gaffke.TOO_FEW})
    (low_low, low_high), (high_low, high_high) = (gaffke.mean_interval(v, 0.0, 1.0, 0.975) for v in (low, high))
    limits = {"low": float(low_low - high_high), "high": float(low_high - high_low)}
    return Quantity(metric, "raw", OTHER_PROMPTS, value, columns={"prompts": n, "ci_method": WELCH_GAFFKE, **limits})
