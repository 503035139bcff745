"""How evenly pictures are filled with things: the distribution bias of Try Before You Bias, and its fair reading."""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import ArrayLike

from fairbench.stats.estimands import Floats

_DRAWS: Final = 400


def distribution_bias(counts: ArrayLike) -> float:
    """Return the area under the counts (objects,), sorted from most to least and normalised to [0, 1] by their range.

    By the trapezoidal rule with steps of one object, so it lies in [0, objects - 1] and has no scale of its own: it
    grows with the number of different objects, and so with the number of images. Where all counts are equal each is
    taken as 1, and the area is objects - 1. A small area says that few objects take most of the mentions. Objects that
    were never named (0) do not count; NaN below two objects.

    Source: Vice et al., "Quantifying Bias in Text-to-Image Generative Models", 2023 (arXiv 2312.13053).

    >>> distribution_bias([5, 3, 1, 1]), distribution_bias([2, 2, 2])
    (1.0, 2.0)
    """
    return float(_areas(np.asarray(counts, dtype=np.float64)[None])[0])


def even_distribution_bias(mentions: int, objects: int, rng: np.random.Generator) -> float:
    """Return the area on average where the same mentions fall on the same objects by chance alone, all equally likely.

    NaN below two objects. The mean of a Monte Carlo sample: some 1 % off.
    """
    if objects < 2:
        return float("nan")
    return float(
        np.nanmean(_areas(rng.multinomial(mentions, np.full(objects, 1 / objects), size=_DRAWS).astype(np.float64)))
    )


def _areas(counts: Floats) -> Floats:
    """Return the areas (R,) of counts (R, objects)."""
    named = counts > 0
    objects = named.sum(axis=1)
    highest = counts.max(axis=1, initial=0.0)
    lowest = np.where(named, counts, np.inf).min(axis=1, initial=np.inf)
    lowest = np.where(objects > 0, lowest, 0.0)
    span = highest - lowest
    flat = span == 0
    # The trapezoids of sorted values have their sum, less half of the first, which is 1, and of the last, which is 0.
    sums = np.where(named, counts - lowest[:, None], 0.0).sum(axis=1) / np.where(flat, 1.0, span)
    return np.where(objects < 2, np.nan, np.where(flat, objects - 1.0, sums - 0.5))
