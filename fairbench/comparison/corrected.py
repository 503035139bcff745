"""Concentration of two runs, corrected: by the calibration that both share, or each by its own."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from fairbench.comparison.sides import Side
from fairbench.stats import correction_difference
from fairbench.stats.correction_difference import CorrectedDifference

_SEED = 1955


def difference(a: Side, b: Side, names: Sequence[str]) -> CorrectedDifference | None:
    """Return the corrected values of an attribute and the errors of their difference; None: it is not corrected.

    Two different calibrations were counted on different images: their errors are independent.
    """
    source, own_source = (side.run.correction.source(names) for side in (a, b))
    refused = any(side.run.correction.refused(names) is not None for side in (a, b))
    if source is None or own_source is None or refused or source.groups != own_source.groups:
        return None
    calibration, own, groups = source.calibration, own_source.calibration, source.groups
    observed_a, observed_b = (side.observed(calibration.attributes) for side in (a, b))
    shared = a.run.correction.sha256 == b.run.correction.sha256
    rng = np.random.default_rng(_SEED)
    return correction_difference.concentration_difference(
        observed_a, observed_b, calibration.counts, rng, groups, calibration_b=None if shared else own.counts
    )


def why_none(a: Side, b: Side) -> str | None:
    """Return why corrected values of two runs do not compare."""
    for side in (a, b):
        reason = side.run.correction.reason or side.run.correction.other_domain
        if reason is not None:
            return f"{side.letter}: {reason}"
    if len({tuple(side.run.calibration.attributes) for side in (a, b) if side.run.calibration is not None}) > 1:
        return "the two runs were corrected by calibrations of different attributes"
    return None
