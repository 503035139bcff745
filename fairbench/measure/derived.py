"""What follows from counts alone: pooled concentration and the worst cases of missing faces."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

import numpy as np

from fairbench.measure.quantities import THIS_LIST, Attribute, Quantity, left_out
from fairbench.stats import estimands, misses
from fairbench.stats.intervals import FEWEST_IMAGES
from fairbench.stats.pooled import pooled_concentration
from fairbench.stats.units import as_units

WORST_CASE: Final = "every requested image without a labelled face, whatever its group"


def of_attribute(attribute: Attribute) -> Iterator[Quantity]:
    """Yield concentration of all faces together, and what RD and concentration could be if no face were missing."""
    used = int((attribute.images >= FEWEST_IMAGES).sum())
    columns = {"prompts": used, "reason": left_out(used, len(attribute.images) - used)}
    yield Quantity("concentration", "pooled", THIS_LIST, pooled_concentration(attribute.data), (-np.inf, 1.0), columns)
    yield from _worst_cases(attribute)


def _worst_cases(attribute: Attribute) -> Iterator[Quantity]:
    """Yield the bounds of RD and concentration over all groups that missing faces could belong to.

    Missing are images that were refused or failed, and those in which no face was found or labelled.
    A correction accounts for faces that a labeller misses; then there are bounds only where images are missing too.
    """
    missing = np.maximum(attribute.counts.requested - attribute.images, 0)
    refused = attribute.counts.requested > attribute.counts.images
    if not missing.any() or (attribute.not_corrected() is None and not refused.any()):
        return
    units = as_units(attribute.data)
    extremes = {
        "rd": misses.rd_bounds(attribute.table, missing),
        "concentration": misses.concentration_bounds(units.kinds, units.times, missing),
    }
    for metric, limits in extremes.items():
        low, high = (estimands.task_mean(of_prompts.astype(np.float64)).value for of_prompts in limits)
        columns = {"low": low, "high": high, "ci_method": WORST_CASE}
        yield Quantity(metric, "worst-case-misses", THIS_LIST, np.nan, columns=columns)
