"""Concentration of two runs, corrected: by the calibration that both share, or each by its own."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from fairbench.comparison.sides import Side
from fairbench.stats import correction_difference
from fairbench.stats.correction_difference import CorrectedDifference

_SEED = 1955


def difference(a: Side, b: Side, names: Sequence[str]) -> CorrectedDifference | None:
    """Return the corrected values of an attribute and the errors of their difference; None: it is not calibrated.

    Two different calibrations were counted on different images: their errors are independent.
    """
    calibration, own = a.run.calibration, b.run.calibration
    groups = a.run.correction.groups(names)
    if calibration is None or own is None or groups is None or b.run.correction.groups(names) != groups:
        return None
    observed_a, observed_b = (side.observed(calibration.attributes) for side in (a, b))
    shared = a.run.correction.sha256 == b.run.correction.sha256
    rng = np.random.default_rng(_SEED)
    return correction_difference.concentration_difference(
        observed_a, observed_b, calibration.counts, rng, groups, calibration_b=None if shared else own.counts
    )


def why_none(a: Side, b: Side) -> str | None:
    """Return why corrected values of two runs do not compare."""
    for side in (a, b):
        if side.run.correction.reason is not None:
            return f"{side.letter}: {side.run.correction.reason}"
    if len({tuple(side.run.calibration.attributes) for side in (a, b) if side.run.calibration is not None}) > 1:
        return "the two runs were corrected by calibrations of different attributes"
    return None
