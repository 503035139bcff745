"""The difference in concentration of two runs over this list, with an error that holds where images are few, too."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import NamedTuple

from fairbench.stats.distance import pair_of
from fairbench.stats.intervals import PromptValues, concentration_of_prompts
from fairbench.stats.paired import Effect, Pairs, effect, independent_se, pair
from fairbench.stats.units import Data, as_units


class Difference(NamedTuple):
    """Two runs' concentration. a, b: prompt values (P,) with variances; pairs: B - A; effect: the mean difference."""

    a: PromptValues
    b: PromptValues
    pairs: Pairs
    effect: Effect


def concentration_difference(a: Data, b: Data) -> Difference:
    """Return the difference B - A of two independent runs over the same P prompts.

    The variance of few images is estimated too low where their concentration is: with 8 faces per prompt against 160,
    three prompts of two equal models then differ in up to .12 of comparisons at level .05. So the variance of the run
    that would have to lie higher, were the difference as supposed, is that at the higher place; how far each would have
    to move is shared by their images. Tests and limits use the same variance, and at the estimate nothing is added.
    """
    runs = [concentration_of_prompts(data) for data in (a, b)]
    pairs = pair(runs[0].value, runs[1].value)
    plain = effect(pairs, independent_se(pairs, runs[0].variance, runs[1].variance))
    if not pairs.in_both.any():
        return Difference(runs[0], runs[1], pairs, plain)
    means = pair_of(a, b).concentrations()
    images = [as_units(data).times.sum(axis=1)[pairs.in_both].sum() for data in (a, b)]
    # A moves as far as B has images, and up where the true difference lies below the estimate.
    below, above = (float(mean.steepest * n / sum(images)) for mean, n in zip(means, images[::-1], strict=True))
    error = max(plain.se, math.hypot(*(mean.error for mean in means)))
    return Difference(runs[0], runs[1], pairs, replace(plain, se=error, steeper=(below, above)))
