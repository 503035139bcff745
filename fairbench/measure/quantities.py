"""What is estimated of one attribute or cross, in the order of the metrics table.

`rd` (the literature's number) and its expectation at n0 faces; the other metrics of shares; `concentration`, raw and
corrected; shares and signed gaps. docs/statistics.md explains each choice.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property, partial
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from fairbench.measure.correction import Correction, by_class
from fairbench.measure.counts import Counts, cross_name
from fairbench.measure.series import Series
from fairbench.metrics import _rd
from fairbench.stats import bounds, correction_interval, estimands, floor, intervals, rarefaction
from fairbench.stats.correction import likely_shares
from fairbench.stats.correction_concentration import sample_of, usable
from fairbench.stats.estimands import Floats
from fairbench.stats.intervals import Interval, PromptValues, Scope
from fairbench.stats.units import Data, as_units, bootstrap_task_means
from fairbench.types import FloatArray

THIS_LIST: Final = "task"
OTHER_PROMPTS: Final = "population"
SCOPES: Final[Mapping[str, Scope]] = {THIS_LIST: "this list", OTHER_PROMPTS: "other prompts"}
"""`scope` in the metrics table -> the design of the interval. Both have one estimate, of two different things."""
GAFFKE: Final = "Gaffke's, over prompts"
AT_THESE_COUNTS: Final = "of the expected value at these face counts"
MOST_LEFT_OUT: Final = 0.1
"""Share of the prompts, of which more must not be left out of RD at n0 images."""
RANGE: Final = "if errors are no larger than on the calibration's images"
_DRAWS: Final = 2000
_BOUNDS_DRAWS: Final = 400
_ANY: Final = (-np.inf, np.inf)


@dataclass(frozen=True, slots=True)
class Spread:
    """A task mean whose standard error is known, but not what each prompt adds to it."""

    mean: float
    error: float


@dataclass(frozen=True, slots=True)
class Quantity:
    """One quantity in one scope. values: by prompt, as a corrected mean, as a mean with its error, or one alone.

    limits: the range of what is estimated; intervals are cut at it. columns: further columns of its row.
    """

    metric: str
    estimate: str
    scope: str
    values: PromptValues | Interval | Spread | float
    limits: tuple[float, float] = _ANY
    columns: Mapping[str, Any] = field(default_factory=dict)


class Table:
    """Faces (P, K) of P prompts in K classes, and the images by the classes of their faces.

    faces, images: (P,), counted faces and images with one. several: whether any image has more than one.
    """

    def __init__(self, name: str, data: Data, seed: list[int]) -> None:
        units = as_units(data)
        self.name, self.data, self.table, self.several = name, data, units.counts, units.several
        self.faces, self.images = self.table.sum(axis=1), units.times.sum(axis=1)
        self.seed, self.rng = seed, np.random.default_rng(seed)

    @cached_property
    def rd_bounds(self) -> tuple[Floats, Floats]:
        """The bounds (P,) of every prompt's RD: always the same, whoever asks and in whatever order."""
        return bounds.rd_bounds(self.table, np.random.default_rng([*self.seed, 1]), draws=_BOUNDS_DRAWS)


class Attribute(Table):
    """An attribute or cross of a run: P prompts, K classes. n0: faces per prompt at which RD is taken.

    groups: the class of each calibrated cell, None where the calibration does not cover the attribute. Its random
    numbers depend on `seed`, and on the order of use.
    """

    def __init__(self, counts: Counts, names: Sequence[str], correction: Correction, n0: int, seed: list[int]) -> None:
        super().__init__(cross_name(names), counts.data(names), seed)
        self.names, self.n0, self.counts, self.correction = tuple(names), n0, counts, correction
        self.classes = counts.labeller.classes(names)
        self.groups = correction.groups(names)

    @cached_property
    def read(self) -> FloatArray | None:
        """P(read as class | true cell), (cells, K); None: unknown, as if the labeller made no errors."""
        return self.correction.table(self.names)

    @cached_property
    def by_classes(self) -> FloatArray | None:
        """The same by true class, (K, K), through which a fair model is read."""
        return None if self.read is None or self.groups is None else by_class(self.read, self.groups)

    def table_sha256(self) -> dict[str, str | None]:
        """Return the column that names the calibration of which floors and ceilings are."""
        return {"calibration": self.correction.sha256 if self.read is not None else None}

    def not_corrected(self) -> str | None:
        """Return why nothing of this attribute is corrected to a value; None where it is."""
        return self.correction.refused(self.names) or self.correction.other_domain

    def calibrated(self) -> tuple[Data, NDArray[np.int64]]:
        """Return what a correction rests on: observed counts with a column "no face", and the calibration's counts."""
        source = self.correction.source(self.names)
        assert source is not None
        return self.correction.observed(self.names, self.counts), source.calibration.counts


def relative_diversity(shares: FloatArray) -> Floats:
    """Return RD of shares (..., K), NaN where they are."""
    return np.asarray(_rd.relative_diversity(shares), dtype=np.float64)


def of_attribute(attribute: Attribute, series: Sequence[Series]) -> Iterator[Quantity]:
    """Yield all that is estimated of an attribute. series: its metrics of shares, `rd` aside."""
    yield from _diversity(attribute)
    yield from _corrected_diversity(attribute)
    yield from _other_metrics(attribute, series)
    yield from _concentration(attribute)
    yield from _shares_and_gaps(attribute)


def _diversity(attribute: Attribute) -> Iterator[Quantity]:
    """Yield RD at each prompt's own face count and at n0 faces, RD above the floor, and RD of all faces together."""
    k, rng = len(attribute.classes), attribute.rng
    own = rarefaction.rd_at_of_prompts(attribute.data, np.maximum(attribute.images, 1), rng)
    fair = floor.floor(floor.of_shares(relative_diversity), attribute.faces, k, rng, attribute.by_classes)
    columns = {
        "floor": fair.mean,
        "floor_p95": fair.p95,
        "ceiling": floor.ceiling(relative_diversity, k, attribute.read),
        **attribute.table_sha256(),
    }
    methods = {THIS_LIST: AT_THESE_COUNTS, OTHER_PROMPTS: f"{AT_THESE_COUNTS}: {GAFFKE}"}
    for scope, method in methods.items():
        yield Quantity("rd", "raw", scope, own, (0.0, 2 / k), {**columns, "ci_method": method})
    yield from _rarefied(attribute)
    above, room = estimands.task_mean(own.value).value - fair.mean, 2 / k - fair.mean
    yield Quantity("rd-above-floor", "raw", THIS_LIST, above / room if room > 0 else np.nan)
    yield Quantity("pooled-rd", "raw", THIS_LIST, float(estimands.pooled_rd(attribute.table)))


def _rarefied(attribute: Attribute) -> Iterator[Quantity]:
    """Yield RD at n0 images, unless many prompts have fewer: those that are left are a selection."""
    n0, prompts, limits = attribute.n0, len(attribute.images), (0.0, 2 / len(attribute.classes))
    few = int((attribute.images < n0).sum())
    if few > MOST_LEFT_OUT * prompts:
        reason = f"{few} of {prompts} prompts would be left out: they have fewer than {n0} images with a face"
        for scope in SCOPES:
            yield Quantity(
                "rd", "rarefied", scope, np.nan, columns={"n0": n0, "prompts": prompts - few, "reason": reason}
            )
        return
    values = rarefaction.rd_at_of_prompts(attribute.data, n0, attribute.rng)
    for scope in SCOPES:
        yield Quantity("rd", "rarefied", scope, values, limits, {"n0": n0})


def _corrected_diversity(attribute: Attribute) -> Iterator[Quantity]:
    """Yield RD of the likely shares."""
    columns: dict[str, Any] = {"calibration": attribute.correction.sha256}
    reason = attribute.not_corrected()
    if reason is None:
        observed, calibration = attribute.calibrated()
        cells = likely_shares(as_units(observed).counts, calibration)
        # Over the same prompts as corrected concentration.
        enough = usable(sample_of(observed, calibration, attribute.groups))
        shares = cells @ np.eye(len(attribute.classes))[attribute.groups]
        mean = estimands.task_mean(np.where(enough, relative_diversity(shares), np.nan))
        columns |= {"prompts": mean.used, "reason": left_out(mean.used, mean.left_out)}
        yield Quantity("rd", "corrected", THIS_LIST, mean.value, columns=columns)
    else:
        yield Quantity("rd", "corrected", THIS_LIST, np.nan, columns={**columns, "reason": reason})


def _other_metrics(attribute: Attribute, series: Sequence[Series]) -> Iterator[Quantity]:
    """Yield the spread of the other metrics of shares: intervals of what they are on average at these counts.

    Not of the metric of the true shares: most have a chance floor, as RD has.
    """
    statistics = {s.metric: s.statistic for s in series if s.statistic is not None}
    redrawn = bootstrap_task_means(statistics, attribute.data, _DRAWS, attribute.rng)
    for s in series:
        means = redrawn[s.metric][~np.isnan(redrawn[s.metric])]
        error = float(means.std(ddof=1)) if means.size > 1 else np.nan
        if not np.isnan(error):
            yield Quantity(s.metric, "raw", THIS_LIST, Spread(estimands.task_mean(s.values).value, error), s.limits)


def _concentration(attribute: Attribute) -> Iterator[Quantity]:
    """Yield concentration, raw and corrected; unbiased, so neither estimates nor lower limits are cut at 0."""
    read, k = attribute.by_classes, len(attribute.classes)
    # Unbiased, so a fair model reads what its shares give on average. Faces of one image count once, as if alike.
    enough = np.where(attribute.images >= intervals.FEWEST_IMAGES, attribute.images, 0)
    columns = {
        "floor": float(estimands.concentration_of_shares(floor.fair_shares(k, read))) if enough.any() else np.nan,
        "floor_p95": floor.floor(estimands.concentration, enough, k, attribute.rng, read).p95,
        "ceiling": floor.ceiling(estimands.concentration_of_shares, k, attribute.read),
        **attribute.table_sha256(),
    }
    for scope in SCOPES:
        quantity = concentration(attribute, scope)
        yield replace(quantity, columns={**quantity.columns, **columns})
    for scope in SCOPES:
        of_cells = partial(correction_interval.concentration_interval, groups=attribute.groups, draws=_DRAWS)
        yield _corrected(attribute, "concentration", scope, of_cells, (-np.inf, 1.0))
    if attribute.correction.other_domain is not None and attribute.correction.refused(attribute.names) is None:
        yield from _corrected_range(attribute)


def _corrected_range(attribute: Attribute) -> Iterator[Quantity]:
    """Yield the lowest and the highest concentration that errors no larger than the calibration's leave possible."""
    columns = {"calibration": attribute.correction.sha256}
    for scope, design in SCOPES.items():
        ends = correction_interval.concentration_range(
            *attribute.calibrated(), design, attribute.rng, attribute.groups, draws=_DRAWS
        )
        for estimate, interval in zip(("corrected-lowest", "corrected-highest"), ends, strict=True):
            reason = joined(
                left_out(interval.prompts, interval.left_out), RANGE, attribute.correction.mark(attribute.names)
            )
            yield Quantity("concentration", estimate, scope, interval, (-np.inf, 1.0), {**columns, "reason": reason})


def concentration(table: Table, scope: str) -> Quantity:
    """Return concentration; for other prompts with the range of its unbiased estimate."""
    values = intervals.concentration_of_prompts(table.data)
    lowest = -np.inf if scope == THIS_LIST else intervals.lowest_concentration(table.data)
    return Quantity("concentration", "raw", scope, values, (lowest, 1.0))


def _shares_and_gaps(attribute: Attribute) -> Iterator[Quantity]:
    """Yield each class's mean share, and its signed gap to the mean of the others, raw and corrected."""
    k = len(attribute.classes)
    share_limits, gap_limits = (0.0, 1.0), (-1 / (k - 1), 1.0)
    for index, label in enumerate(attribute.classes):
        share, gap = f"share[{label}]", f"gap[{label}]"
        shares = intervals.share_of_prompts(attribute.data, index)
        gaps = PromptValues((k * shares.value - 1) / (k - 1), shares.variance * (k / (k - 1)) ** 2)
        for scope in SCOPES:
            yield Quantity(share, "raw", scope, shares, share_limits)
            yield Quantity(gap, "raw", scope, gaps, gap_limits)
        weights = np.eye(k)[index]
        yield _contrast(attribute, share, weights, share_limits)
        yield _contrast(attribute, gap, (k * weights - 1) / (k - 1), gap_limits)


def _contrast(attribute: Attribute, metric: str, weights: FloatArray, limits: tuple[float, float]) -> Quantity:
    """Return a weighted sum of the corrected shares of the classes."""
    of_cells = [] if attribute.groups is None else weights[attribute.groups].tolist()
    interval = partial(correction_interval.contrast_interval, contrast=of_cells, draws=_DRAWS // 4)
    return _corrected(attribute, metric, THIS_LIST, interval, limits)


def _corrected(
    attribute: Attribute, metric: str, scope: str, of: Callable[..., Interval], limits: tuple[float, float] = _ANY
) -> Quantity:
    """Return what `of` gives for the calibrated counts; NaN, with the reason, where nothing is corrected."""
    columns, reason = {"calibration": attribute.correction.sha256}, attribute.not_corrected()
    if reason is not None:
        return Quantity(metric, "corrected", scope, np.nan, columns={**columns, "reason": reason})
    interval = of(*attribute.calibrated(), SCOPES[scope], attribute.rng)
    left = left_out(interval.prompts, interval.left_out)
    columns["reason"] = joined(left, attribute.correction.mark(attribute.names))
    return Quantity(metric, "corrected", scope, interval, limits, columns)


def joined(*reasons: str | None) -> str | None:
    """Return several remarks as one; None where there are none."""
    return "; ".join(reason for reason in reasons if reason) or None


def left_out(used: int, without: int) -> str | None:
    """Return what to say of a mean over `used` prompts where `without` others have too few faces."""
    if not without:
        return None
    if not used:
        return "no prompt has enough faces"
    return f"over {used} of {used + without} prompts ({without} have too few faces)"
