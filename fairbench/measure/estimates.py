"""Estimates with their uncertainty: what each number of a run is an estimate of, and how well it is known.

For every attribute and cross: `rd` (the literature's number) and its expectation at n0 faces; `concentration`, raw and
corrected; shares, signed gaps and the pooled RD. docs/statistics.md explains each choice.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Final

import numpy as np
from numpy.typing import NDArray

from fairbench.measure.correction import Correction, by_class
from fairbench.measure.counts import Counts, attributes, cross_name
from fairbench.measure.series import Series
from fairbench.metrics import rd
from fairbench.stats import bounds, correction, correction_interval, estimands, floor, intervals, misses
from fairbench.stats.correction_concentration import sample_of, usable
from fairbench.stats.estimands import Floats
from fairbench.stats.intervals import Interval, PromptValues, Scope
from fairbench.stats.units import Data, as_units, bootstrap_task_means
from fairbench.types import FloatArray

THESE: Final = "task"
LIKE_THESE: Final = "population"
SCOPES: Final[dict[str, Scope]] = {THESE: "these prompts", LIKE_THESE: "prompts like these"}
"""`scope` in the metrics table -> the design of the interval. The estimate is the same, what it is of is not."""
DRAWS: Final = 2000
_SEED: Final = 1948
_REACH: Final = 1.959964
NORMAL = "normal, images redrawn"
OVER_PROMPTS = "t over prompts"
AT_THESE_COUNTS = "of the expected value at these face counts"
BOUNDS = "two one-sided 95 % bounds (test inversion)"
JEFFREYS = "Jeffreys"
NOTHING_VARIES: Final = "nothing varies: no interval"
_ROUNDING: Final = 1e-9
"""An interval that is narrower than this share of its value has no width but that of rounding."""


@dataclass(frozen=True, slots=True)
class Estimate:
    """One row of the metrics table beyond the plain values. `prompt`: index of a prompt, None for the task.

    n0: faces a prompt of `rd@n0`. error: standard error. floor, floor_p95, ceiling: what a fair model would score
    (mean, 95th percentile) and a one-sided one could, both through the labeller. NaN is written as null.
    """

    metric: str
    attribute: str
    estimate: str
    scope: str
    value: float
    prompt: int | None = None
    low: float = float("nan")
    high: float = float("nan")
    error: float = float("nan")
    ci_method: str | None = None
    n0: int | None = None
    floor: float = float("nan")
    floor_p95: float = float("nan")
    ceiling: float = float("nan")
    calibration: str | None = None
    reason: str | None = None
    prompts: int | None = None
    """Prompts that have a value; the rest have too few faces."""


def estimate(
    counts: Counts, series: Sequence[Series], repair: Correction, n0: int | None = None, *, prompts: bool = True
) -> list[Estimate]:
    """Return every estimate of a run. n0: faces a prompt for `rd@n0`; None: half of the requested images a prompt.

    prompts: also those of single prompts, whose bounds take longer than all the rest.
    """
    at = n0 or max(1, int(counts.requested.max(initial=2)) // 2)
    found: list[Estimate] = []
    for number, names in enumerate(attributes(counts.labeller)):
        one = _Attribute(counts, names, repair, at, [_SEED, number])
        mine = [s for s in series if s.attribute == one.name and s.statistic is not None and s.metric != "rd"]
        found += [*one.diversity(), *one.plain(mine), *one.squared(), *one.direction()]
        found += one.prompts() if prompts else []
    return found


class _Attribute:
    """The estimates of one attribute or cross."""

    def __init__(self, counts: Counts, names: Sequence[str], repair: Correction, n0: int, seed: list[int]) -> None:
        self.name, self.names, self.counts, self.repair, self.n0, self.seed = (
            cross_name(names), tuple(names), counts, repair, n0, seed
        )  # fmt: skip
        self.rng = np.random.default_rng(seed)
        self.data: Data = counts.data(names)
        self.table = as_units(self.data).counts
        self.faces = self.table.sum(axis=1)
        self.classes = counts.labeller.classes(names)
        self.groups = repair.groups(names)

    def _row(self, metric: str, estimate: str, scope: str, value: float, **rest: object) -> Estimate:
        return Estimate(metric, self.name, estimate, scope, value, **rest)  # type: ignore[arg-type]

    def _interval(self, metric: str, kind: str, interval: Interval, scope: str, **rest: object) -> Estimate:
        row = self._row(
            metric, kind, scope, interval.estimate, low=interval.low, high=interval.high, error=interval.error,
            ci_method=NORMAL if scope == THESE else OVER_PROMPTS, prompts=interval.prompts,
            reason=_left_out(interval.prompts, interval.left_out), **rest,
        )  # fmt: skip
        return _without_certainty(row)

    def diversity(self) -> Iterator[Estimate]:
        """Yield RD at each prompt's own face count, at n0 faces, corrected, and what missed faces could make of it."""
        k = len(self.classes)
        own = intervals.rd_at_of_prompts(self.data, np.maximum(self.faces, 1), self.rng)
        table = self.repair.table(self.names)
        classes = None if table is None or self.groups is None else by_class(table, self.groups)
        least = floor.floor(floor.of_shares(_rd), self.faces, k, self.rng, classes)
        most = floor.ceiling(_rd, k, table)
        marks = {"floor": least.mean, "floor_p95": least.p95, "ceiling": most,
                 "calibration": self.repair.sha256 if table is not None else None}  # fmt: skip
        value = estimands.task_mean(own.value).value
        for scope, design in SCOPES.items():
            whole = intervals.interval_of(own, design, 0.95, 0.0, 2 / k)
            method = (
                AT_THESE_COUNTS if scope == THESE else f"of the expected value at these face counts: {OVER_PROMPTS}"
            )
            row = self._interval("rd", "raw", whole, scope, **marks)
            row = row if row.ci_method is None else replace(row, ci_method=method)
            yield self._of_one_prompt(row) if scope == THESE else row
        at = intervals.rd_at_of_prompts(self.data, self.n0, self.rng)
        for scope, design in SCOPES.items():
            yield self._interval("rd", "rarefied", intervals.interval_of(at, design, 0.95, 0.0, 2 / k), scope,
                                 n0=self.n0)  # fmt: skip
        room = 2 / k - least.mean
        yield self._row("rd-above-floor", "raw", THESE, (value - least.mean) / room if room > 0 else float("nan"))
        yield self._row("pooled-rd", "raw", THESE, float(estimands.pooled_rd(self.table)))
        yield from self._corrected_rd()

    def _of_one_prompt(self, row: Estimate) -> Estimate:
        """Give the task's RD the bounds of its prompt, where only one has faces and each image shows one of them."""
        shown = np.flatnonzero(self.faces)
        if len(shown) != 1 or self.counts.several:
            return row
        low, high = self._bounds(shown[0])
        reason = (row.reason or "").removesuffix(NOTHING_VARIES).removesuffix("; ") or None  # here bounds say more
        return replace(row, low=low, high=high, ci_method=BOUNDS, reason=reason)

    def _bounds(self, prompt: int) -> tuple[float, float]:
        rng = np.random.default_rng([*self.seed, 1 + prompt])  # whoever asks gets the same; a last 0 would not count
        return bounds.rd_bounds(self.table[prompt], rng, draws=400)

    def _corrected_rd(self) -> Iterator[Estimate]:
        reason, groups = self._why_not(), self.groups
        if reason is None and groups is not None and self.repair.calibration is not None:
            observed, known = self._evidence()
            cells = correction.likely_shares(as_units(observed).counts, known)
            kept = usable(sample_of(observed, known, groups))  # the prompts that corrected concentration rests on
            values = np.where(kept, _rd(cells @ np.eye(len(self.classes))[groups]), np.nan)
            mean = estimands.task_mean(values)
            yield self._row("rd", "corrected", THESE, mean.value, calibration=self.repair.sha256, prompts=mean.used,
                            reason=_left_out(mean.used, mean.left_out))  # fmt: skip
            return
        yield self._row("rd", "corrected", THESE, float("nan"), calibration=self.repair.sha256, reason=reason)
        missed = self.counts.images - self.counts.with_face
        if missed.any():
            low, high = (
                estimands.task_mean(v.astype(np.float64)).value
                for v in misses.rd_bounds(self.table, np.maximum(missed, 0))
            )  # fmt: skip
            yield self._row("rd", "worst-case-misses", THESE, float("nan"), low=low, high=high,
                            ci_method="every missed face, whatever its group")  # fmt: skip

    def plain(self, series: Sequence[Series]) -> Iterator[Estimate]:
        """Yield the spread of the other metrics of shares: intervals of what they are on average at these counts.

        Not of the metric of the true shares: most have a chance floor, as RD has. Cut at the metric's declared range.
        """
        metrics = {s.metric: s.statistic for s in series if s.statistic is not None}
        means = bootstrap_task_means(metrics, self.data, DRAWS, self.rng)
        for s in series:
            drawn = means[s.metric][~np.isnan(means[s.metric])]
            mean, error = estimands.task_mean(s.values).value, float(drawn.std(ddof=1)) if drawn.size > 1 else np.nan
            if np.isnan(error):
                continue
            low, high = _around(mean, _REACH * error, *s.limits)
            yield _without_certainty(self._row(s.metric, "raw", THESE, mean, low=low, high=high, error=error,
                                               ci_method=f"{AT_THESE_COUNTS}: {NORMAL}"))  # fmt: skip

    def squared(self) -> Iterator[Estimate]:
        """Yield `concentration`, raw and corrected, for both designs."""
        values = intervals.concentration_of_prompts(self.data)
        for scope, design in SCOPES.items():
            yield self._interval("concentration", "raw", intervals.interval_of(values, design, highest=1.0), scope)
        for scope, design in SCOPES.items():
            yield self._corrected("concentration", scope, self._concentration(design))

    def _concentration(self, design: Scope) -> Callable[[], correction_interval.CorrectedInterval]:
        return lambda: correction_interval.concentration_interval(
            *self._evidence(), design, self.rng, self.groups, draws=DRAWS
        )  # fmt: skip

    def _contrast(self, weights: FloatArray) -> Callable[[], correction_interval.CorrectedInterval]:
        per_cell = weights[np.asarray(self.groups)] if self.groups is not None else weights
        return lambda: correction_interval.contrast_interval(
            *self._evidence(), "these prompts", self.rng, per_cell.tolist(), draws=DRAWS // 4
        )  # fmt: skip

    def _evidence(self) -> tuple[Data, NDArray[np.int64]]:
        assert self.repair.calibration is not None
        return self.counts.observed(self.repair.calibration.attributes), self.repair.calibration.counts

    def _why_not(self) -> str | None:
        if self.repair.reason is None and self.groups is None:
            return f"the calibration does not cover {self.name}"
        return self.repair.reason

    def _corrected(
        self, metric: str, scope: str, compute: Callable[[], correction_interval.CorrectedInterval],
        lowest: float = -np.inf, highest: float = np.inf,
    ) -> Estimate:  # fmt: skip
        """Return a corrected row. The value is not clipped, for that would bias it; its limits are, where told to."""
        reason = self._why_not()
        if reason is not None:
            return self._row(metric, "corrected", scope, float("nan"), reason=reason, calibration=self.repair.sha256)
        found = compute()
        reason = _left_out(found.prompts, found.left_out)
        if np.isnan(found.error):
            return self._row(metric, "corrected", scope, found.estimate, calibration=self.repair.sha256,
                             reason=reason or "one prompt is no sample of prompts", prompts=found.prompts)  # fmt: skip
        low, high = _around(found.estimate, found.high - found.estimate, lowest, highest)
        row = self._row(
            metric, "corrected", scope, found.estimate, low=low, high=high, error=found.error,
            ci_method=f"{NORMAL if scope == THESE else OVER_PROMPTS}; one calibration draw a replicate for all prompts",
            calibration=self.repair.sha256, prompts=found.prompts, reason=reason,
        )  # fmt: skip
        return _without_certainty(row)

    def direction(self) -> Iterator[Estimate]:
        """Yield each class's mean share, and its signed gap to the mean of the others."""
        k = len(self.classes)
        least = -1 / (k - 1)
        for i, label in enumerate(self.classes):
            of_class = intervals.share_of_prompts(self.data, i)
            for scope, design in SCOPES.items():
                share = intervals.interval_of(of_class, design, 0.95, 0.0, 1.0)
                yield self._interval(f"share[{label}]", "raw", share, scope)
                gap = PromptValues((k * of_class.value - 1) / (k - 1), of_class.variance * (k / (k - 1)) ** 2)
                whole = intervals.interval_of(gap, design, 0.95, least, 1.0)
                yield self._interval(f"gap[{label}]", "raw", whole, scope)
            weights = np.eye(k)[i]
            yield self._corrected(f"share[{label}]", THESE, self._contrast(weights), 0.0, 1.0)
            yield self._corrected(f"gap[{label}]", THESE, self._contrast((k * weights - 1) / (k - 1)), least, 1.0)

    def prompts(self) -> Iterator[Estimate]:
        """Yield, for every prompt, bounds of RD, the value of `concentration`, and shares with their intervals."""
        low, high = bounds.share_interval(self.table)
        p = estimands.shares(self.table)
        squares = estimands.concentration(self.table)
        at = estimands.rd_at(self.table, np.full(len(self.table), self.n0))
        plain = not self.counts.several
        for i in range(len(self.table)):
            if self.faces[i]:
                least, most = self._bounds(i) if plain else (float("nan"), float("nan"))
                yield self._row("rd", "bounds", "prompt", float(_rd(p[i])), prompt=i, low=least,
                                high=most, ci_method=BOUNDS if plain else None)  # fmt: skip
            short = None if not np.isnan(at[i]) else f"fewer than {self.n0} faces"
            yield self._row("rd", "rarefied", "prompt", float(at[i]), prompt=i, n0=self.n0, reason=short)
            yield self._row("concentration", "raw", "prompt", float(squares[i]), prompt=i,
                            reason=None if self.faces[i] > 1 else "fewer than 2 faces")  # fmt: skip
            for j, label in enumerate(self.classes):
                # Faces of one image are not independent: then Jeffreys' interval would be too short.
                limits = {"low": float(low[i, j]), "high": float(high[i, j]), "ci_method": JEFFREYS} if plain else {}
                yield self._row(f"share[{label}]", "raw", "prompt", float(p[i, j]), prompt=i, **limits)


def _rd(p: FloatArray) -> Floats:
    return np.asarray(rd.relative_diversity(p), dtype=np.float64)


def _around(value: float, half: float, lowest: float, highest: float) -> tuple[float, float]:
    """Return the limits `half` to either side of a value, or of the nearest that is possible, cut at the possible."""
    middle = min(max(value, lowest), highest)
    return max(middle - half, lowest), min(middle + half, highest)


def _without_certainty(row: Estimate) -> Estimate:
    """Take the interval away from a value that no redraw of the images could move: that is no certainty.

    All images show one class, or there is one image per prompt. Rounding leaves such errors at 1e-16, not at 0.
    """
    if np.isnan(row.low) or row.high - row.low > _ROUNDING * max(1.0, abs(row.value)):
        return row
    nan, reasons = float("nan"), [r for r in (row.reason, NOTHING_VARIES) if r]
    return replace(row, low=nan, high=nan, error=nan, ci_method=None, reason="; ".join(reasons))


def _left_out(used: int, left_out: int) -> str | None:
    if not left_out:
        return None
    if not used:
        return "no prompt has enough faces"
    return f"over {used} of {used + left_out} prompts ({left_out} have too few faces)"
