"""What labels by people say of a run: by prediction, by the local table, by people alone, and as the labeller reads."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from typing import Final

import numpy as np
from scipy.special import ndtri

from fairbench.annotation import words
from fairbench.calibration.labelled_run import LabelledRun
from fairbench.measure.counts import cross_name
from fairbench.runs import people
from fairbench.runs.people import CONCENTRATION, UNDECIDED, Labelled, Row
from fairbench.stats import local_table, undecided
from fairbench.stats import prediction_powered as powered
from fairbench.stats.conditioning import MAX_CONDITION
from fairbench.stats.intervals import Interval, concentration_interval
from fairbench.stats.prediction import LabelledSample, predictions
from fairbench.stats.prediction_powered import Totals, Values
from fairbench.types import FloatArray

_Z_95: Final = float(ndtri(0.975))
_FEW: Final = "no prompt has two labels in every stratum and shows people"
_SMALL_ROW: Final = f"a class has fewer than {local_table.MIN_LABELS} labels"
_SINGULAR: Final = "the table is near singular: the labeller cannot tell some groups apart"


def of_attribute(labelled: LabelledRun, names: Sequence[str]) -> tuple[Labelled, list[Row]]:
    """Return the labels' outcomes of an attribute or cross and all of its estimates, for this list of prompts."""
    attribute, classes = cross_name(names), labelled.space.classes(names)
    sample, outcomes = labelled.sample(names), Counter(labelled.outcomes(names))
    predicted = predictions(sample)
    totals = powered.totals(sample, predicted)
    values = powered.concentration_of(totals)
    estimates = [_of(attribute, CONCENTRATION, people.PEOPLE, powered.interval(values))]
    if outcomes[words.UNCLEAR] + outcomes[words.CANNOT_TELL]:
        ends = (people.LOWEST, people.HIGHEST)
        for estimate, given in zip(ends, undecided.worst_cases(sample, predicted), strict=True):
            interval = powered.interval(powered.concentration_of(totals, given))
            estimates.append(_of(attribute, CONCENTRATION, estimate, interval))
    local, off, error = _local(sample, predicted, values)
    alone = powered.concentration_of(powered.totals(sample, predicted, alone=True))
    read = np.asarray(sample.images.sum(axis=-2)[:, : len(classes)])
    estimates += [
        _of(attribute, CONCENTRATION, people.LOCAL, local[0], local[1]),
        _of(attribute, CONCENTRATION, people.ALONE, powered.interval(alone)),
        _of(attribute, CONCENTRATION, people.READ, concentration_interval(read, "this list")),
        _of(attribute, CONCENTRATION, people.POOLED, _pooled(totals)),
    ]
    for k, label in enumerate(classes):
        share = powered.interval(powered.share_of(totals, k))
        estimates.append(_of(attribute, f"share[{label}]", people.PEOPLE, share))
        estimates.append(_of(attribute, f"gap[{label}]", people.PEOPLE, _gap(share, len(classes))))
    share = powered.interval(powered.share_of(totals, len(classes)))
    estimates.append(_of(attribute, UNDECIDED, people.PEOPLE, share))
    unanswered = outcomes.pop(None, 0)
    flagged = None if off is None or error is None else abs(off) > local_table.FLAGGED * error
    counted = {str(label): n for label, n in sorted(outcomes.items(), key=lambda pair: str(pair[0]))}
    return Labelled(
        classes=tuple(classes),
        outcomes=counted,
        unanswered=unanswered,
        difference=off,
        difference_error=error,
        flagged=flagged,
    ), estimates


def _gap(share: Interval, classes: int) -> Interval:
    """Return a class's share minus the mean share of the others."""
    scale = classes / (classes - 1)
    value, low, high = (scale * x - 1 / (classes - 1) for x in (share.estimate, share.low, share.high))
    return Interval(value, low, high, scale * share.error, share.prompts, share.left_out)


def _pooled(totals: Totals) -> Interval:
    pooled = powered.interval(powered.pooled_concentration_of(totals))
    used = int(totals.usable.sum())
    return Interval(pooled.estimate, pooled.low, pooled.high, pooled.error, used, totals.usable.size - used)


def _local(
    sample: LabelledSample, predicted: FloatArray, values: Values
) -> tuple[tuple[Interval, str | None], float | None, float | None]:
    """Return the local table's estimate, or why there is none; and the difference to it with its standard error."""
    table, prompts = local_table.table_of(sample), len(sample.images)
    nothing = Interval(math.nan, math.nan, math.nan, math.nan, 0, prompts)
    labels = sample.labelled[:, :, : sample.classes].sum(axis=(0, 1, 3))
    if (labels < local_table.MIN_LABELS).any():
        return (nothing, _SMALL_ROW), None, None
    square = (table / table.sum(axis=-1, keepdims=True))[:, : len(table)]
    if not np.linalg.cond(square) <= MAX_CONDITION:
        return (nothing, _SINGULAR), None, None
    local = local_table.local_concentration(sample, table)
    used = ~np.isnan(local)
    if not used.any():
        return (nothing, _FEW), None, None
    estimate, error = float(local[used].mean()), float(local_table.error_of_local(sample))
    low, high = (min(estimate + z * error, 1.0) for z in (-_Z_95, _Z_95))
    interval = Interval(estimate, low, high, error, int(used.sum()), int((~used).sum()))
    if np.isnan(values.value).all():
        return (interval, None), None, None
    both = used & ~np.isnan(values.value)
    off = float((values.value - local)[both].mean())
    return (interval, None), off, float(local_table.error_of_difference(sample, predicted, values))


def _of(attribute: str, metric: str, estimate: str, interval: Interval, reason: str | None = None) -> Row:
    numbers = {
        "value": interval.estimate,
        "ci_low": interval.low,
        "ci_high": interval.high,
        "error": interval.error,
    }
    known = {name: value if math.isfinite(value) else None for name, value in numbers.items()}
    return Row(
        attribute=attribute,
        metric=metric,
        estimate=estimate,
        **known,
        n_prompts=interval.prompts,
        n_left_out=interval.left_out,
        reason=reason if reason or known["value"] is not None else _FEW,
    )
