"""Estimates with their uncertainty: each quantity of a run becomes a row of the metrics table, with its interval."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from types import MappingProxyType
from typing import Any, Final

import numpy as np

from fairbench.measure import composite, contrasts, derived, following, quantities, wordings
from fairbench.measure import references as of_references
from fairbench.measure.correction import Correction
from fairbench.measure.counts import Counts, attributes
from fairbench.measure.quantities import OTHER_PROMPTS, THIS_LIST, Attribute, Quantity, Spread, Table
from fairbench.measure.series import References, Series
from fairbench.stats import bounds, estimands, gaffke, intervals, rarefaction
from fairbench.stats.intervals import Interval, PromptValues
from fairbench.types import Prompt

_SEED: Final = 1948
_Z_95: Final = 1.959964
NORMAL: Final = "normal, images redrawn"
WITH_CALIBRATION: Final = "one calibration draw a replicate for all prompts"
BOUNDS: Final = "two one-sided 95 % bounds (test inversion)"
INVERTED: Final = "test inversion"
ONE_PROMPT: Final = (
    f"one prompt with fewer than {intervals.FEWEST_OF_ONE_PROMPT} images, which show several faces: no interval"
)
JEFFREYS: Final = "Jeffreys"
NOTHING_VARIES: Final = "nothing varies: no interval"
_ROUNDING: Final = 1e-9
"""An interval that is narrower than this share of its value has no width but that of rounding."""
_NAN: Final = float("nan")


@dataclass(frozen=True, slots=True)
class Estimate:
    """One row of the metrics table beyond the plain values. `prompt`: index of a prompt, None for the task.

    n0: faces per prompt of `rd@n0`. error: standard error. floor, floor_p95, ceiling: what a fair model would score
    (mean, 95th percentile) and a one-sided one could, both through the labeller. NaN is written as null.
    """

    metric: str
    attribute: str
    estimate: str
    scope: str
    value: float
    prompt: int | None = None
    low: float = _NAN
    high: float = _NAN
    error: float = _NAN
    ci_method: str | None = None
    n0: int | None = None
    floor: float = _NAN
    floor_p95: float = _NAN
    ceiling: float = _NAN
    calibration: str | None = None
    reason: str | None = None
    prompts: int | None = None
    """Prompts that have a value; the rest have too few faces."""
    counted: Mapping[str, int] | None = None
    """Columns with the numbers of requests, images and faces behind it; those that are absent are of all prompts."""


def estimate(
    counts: Counts,
    series: Sequence[Series],
    correction: Correction,
    n0: int | None = None,
    *,
    prompts: bool = True,
    asked: Sequence[Prompt] = (),
    references: References = MappingProxyType({}),
) -> list[Estimate]:
    """Return every estimate of a run.

    n0: faces per prompt for `rd@n0`; None: half of the images requested per prompt. prompts: also the estimates of
    single prompts, whose bounds take longer than all the rest. asked: the prompts (P), whose categories' poles are
    contrasted, whose neutral ones have an index of their own, whose wordings are told apart, and which state whom to
    show; empty: nothing is known. references: the shares that the task refers to.
    """
    categories = [prompt.category for prompt in asked] or [""] * len(counts.requested)
    dimensions, parts = contrasts.poles(categories), composite.split(categories)
    subjects, crossing = [prompt.subject for prompt in asked], wordings.crossing(asked)
    n0 = n0 or max(1, int(counts.requested.max(initial=2)) // 2)
    rows: list[Estimate] = []
    for index, names in enumerate(attributes(counts.labeller)):
        attribute = Attribute(counts, names, correction, n0, [_SEED, index])
        metrics = [s for s in series if s.attribute == attribute.name and s.statistic is not None and s.metric != "rd"]
        every = itertools.chain(quantities.of_attribute(attribute, metrics), derived.of_attribute(attribute))
        sizes = [counts.labeller.declared.size(name) for name in names]
        indices = composite.of_attribute(attribute, sizes, parts)
        reference = of_references.of_prompts(references, attribute.name, len(attribute.classes), subjects)
        beside = of_references.of_attribute(attribute, reference)
        every = itertools.chain(every, contrasts.of_attribute(attribute, dimensions), indices, beside)
        every = itertools.chain(every, wordings.of_attribute(attribute, crossing))
        of_attribute = [row_of(attribute, quantity) for quantity in every]
        rows += [*of_attribute, *_effective_groups(of_attribute, len(attribute.classes))]
        rows += _of_prompts(attribute) if prompts else []
    stated = following.of_run(counts, asked, correction, [s.metric for s in series]) if asked else ()
    return rows + [row_named(named.attribute, named.quantity) for named in stated]


def row_of(attribute: Table, quantity: Quantity) -> Estimate:
    """Return the row of a quantity: its value, and its interval cut at the quantity's limits."""
    return _with_bounds(attribute, row_named(attribute.name, quantity))


def row_named(attribute: str, quantity: Quantity) -> Estimate:
    """Return the row of a quantity, without regard to bounds of single prompts."""
    row = partial(Estimate, quantity.metric, attribute, quantity.estimate, quantity.scope)
    fields: dict[str, Any] = {"ci_method": NORMAL if quantity.scope == THIS_LIST else quantities.GAFFKE}
    match quantity.values:
        case PromptValues() as values:
            interval = intervals.interval_of(values, quantities.SCOPES[quantity.scope], 0.95, *quantity.limits)
            if quantity.scope == OTHER_PROMPTS and interval.prompts < gaffke.FEWEST:
                none = {"prompts": interval.prompts, "ci_method": None, "reason": gaffke.TOO_FEW}
                return row(_NAN, **{**quantity.columns, **none})
            value, low, high = interval.estimate, interval.low, interval.high
            fields |= {"error": interval.error, "prompts": interval.prompts}
            fields["reason"] = quantities.left_out(interval.prompts, interval.left_out)
        case Interval() as corrected:
            # The value is not cut: that would bias it.
            value, reach = corrected.estimate, (corrected.estimate - corrected.low, corrected.high - corrected.estimate)
            low, high = _around(value, *reach, *quantity.limits)
            fields |= {"error": corrected.error, "prompts": corrected.prompts}
            given = "" if quantity.scope == THIS_LIST else ", conditional on the table"
            fields["ci_method"] += f"{given}; {WITH_CALIBRATION}"
            if np.isnan(corrected.error):
                none = {"prompts": corrected.prompts}
                none |= {"reason": gaffke.TOO_FEW} if quantity.scope == OTHER_PROMPTS else {}
                return row(_NAN, **{**quantity.columns, **none})
        case Spread() as spread:
            value = spread.mean
            half = _Z_95 * spread.error
            low, high = _around(value, half, half, *quantity.limits)
            fields |= {"error": spread.error, "ci_method": f"{quantities.AT_THESE_COUNTS}: {NORMAL}"}
        case float() as value:
            return row(value, **quantity.columns)
    fields |= {"low": low, "high": high, **quantity.columns}
    return _without_certainty(row(value, **fields))


def _around(value: float, below: float, above: float, lowest: float, highest: float) -> tuple[float, float]:
    """Return the limits so far to either side of a value, or of the nearest that is possible, cut at the possible."""
    middle = min(max(value, lowest), highest)
    return max(middle - below, lowest), min(middle + above, highest)


def _without_certainty(row: Estimate) -> Estimate:
    """Take the interval away from a value that no redraw of the images could move: that is no certainty.

    All images show one class, or there is one image per prompt. Rounding leaves such errors at 1e-16, not at 0.
    """
    if np.isnan(row.low) or row.high - row.low > _ROUNDING * max(1.0, abs(row.value)):
        return row
    reasons = [reason for reason in (row.reason, NOTHING_VARIES) if reason]
    return replace(row, low=_NAN, high=_NAN, error=_NAN, ci_method=None, reason="; ".join(reasons))


def _with_bounds(attribute: Table, row: Estimate) -> Estimate:
    """Give RD and concentration of a task the limits of its prompt, where only one has a value.

    Those of RD only where each image shows one face: they invert a test of independent faces.
    """
    if row.estimate not in ("raw", "pooled") or row.scope != THIS_LIST or row.prompts != 1:
        return row
    if row.metric == "rd" and not attribute.several:
        (prompt,) = np.flatnonzero(attribute.faces)
        low, high, method = *(float(bound[prompt]) for bound in attribute.rd_bounds), BOUNDS
    elif row.metric == "concentration":
        interval = intervals.concentration_interval(attribute.data, "this list")
        low, high, method = interval.low, interval.high, NORMAL if attribute.several else INVERTED
        if np.isnan(low):
            return replace(row, low=low, high=high, error=_NAN, ci_method=None, reason=ONE_PROMPT)
    else:
        return row
    reason = (row.reason or "").removesuffix(NOTHING_VARIES).removesuffix("; ") or None  # the bounds are an interval
    return replace(row, low=low, high=high, ci_method=method, reason=reason)


def _effective_groups(rows: Iterable[Estimate], classes: int) -> Iterator[Estimate]:
    """Yield the effective number of groups for every row of concentration of a task, raw and pooled."""
    for row in rows:
        if row.metric == "concentration" and row.estimate in ("raw", "pooled"):
            value, low, high = (float(estimands.effective_groups(c, classes)) for c in (row.value, row.high, row.low))
            groups = replace(row, metric="effective-groups", value=value, low=low, high=high, error=_NAN)
            yield replace(groups, floor=_NAN, floor_p95=_NAN, ceiling=_NAN, calibration=None)


def _of_prompts(attribute: Attribute) -> Iterator[Estimate]:
    """Yield, for every prompt, bounds of RD, RD at n0 faces, concentration, and shares with their intervals."""
    shares, concentration = estimands.shares(attribute.table), estimands.concentration(attribute.table)
    at_n0 = rarefaction.rd_at_images(attribute.data, attribute.n0, attribute.rng)
    low, high = bounds.share_interval(attribute.table)
    # Faces of one image are not independent: the intervals of a prompt would be too short.
    independent = not attribute.several
    for prompt, faces in enumerate(attribute.faces.tolist()):
        row = partial(Estimate, attribute=attribute.name, scope="prompt", prompt=prompt)
        if faces:
            limits = [float(bound[prompt]) for bound in attribute.rd_bounds] if independent else (_NAN, _NAN)
            method = BOUNDS if independent else None
            value = float(quantities.relative_diversity(shares[prompt]))
            yield row("rd", estimate="bounds", value=value, low=limits[0], high=limits[1], ci_method=method)
        reason = f"fewer than {attribute.n0} images with a face" if np.isnan(at_n0[prompt]) else None
        yield row("rd", estimate="rarefied", value=float(at_n0[prompt]), n0=attribute.n0, reason=reason)
        reason = None if faces > 1 else "fewer than 2 faces"
        yield row("concentration", estimate="raw", value=float(concentration[prompt]), reason=reason)
        for cell, label in enumerate(attribute.classes):
            fields: dict[str, Any] = {}
            if independent:
                fields = {"low": float(low[prompt, cell]), "high": float(high[prompt, cell]), "ci_method": JEFFREYS}
            yield row(f"share[{label}]", estimate="raw", value=float(shares[prompt, cell]), **fields)
