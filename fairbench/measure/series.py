"""Metrics and scores of a run: a value per prompt, each with the counts behind it."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from fairbench import contracts, registry
from fairbench.cards.cards import RESERVED
from fairbench.display.estimates import ESTIMATES
from fairbench.errors import PluginError
from fairbench.labelling.labeller import LabelSpace
from fairbench.measure.counts import Counts, attributes, cross_name
from fairbench.measure.scores import Scores, summarise
from fairbench.measure.stated import followed
from fairbench.metrics.base import ShareMetric
from fairbench.notices import notice
from fairbench.protocols import Metric, Scorer
from fairbench.types import FloatArray, Prompt

ALWAYS = ("rd", "no-face-rate")
"""The metrics that every run has: tables and comparisons with known truths rest on them."""
FACES, QUALITY = RESERVED
"""The `attribute` of rates of faces and of scorers."""
_ROUNDING = 1e-6
"""A value may lie so far outside of its metric's bounds."""
T = TypeVar("T")
References = Mapping[str, Mapping[str, tuple[float, ...]]]
"""attribute -> subject -> reference shares in the labeller's declared order."""


@dataclass(frozen=True, slots=True)
class Series:
    """One metric of one attribute: a value per prompt (NaN: none, with a reason) and the counts behind it."""

    metric: str
    version: int
    attribute: str
    values: NDArray[np.float64]
    reasons: Sequence[str | None]
    faces: NDArray[np.int64]
    excluded: NDArray[np.int64]
    overall: float | None = None
    """The task's value where it is not the mean over prompts."""
    overall_reason: str | None = None
    limits: tuple[float, float] = (-math.inf, math.inf)
    """The lowest and the highest value that the metric can have."""
    statistic: Callable[[NDArray[np.float64]], NDArray[np.float64]] | None = None
    """The metric as a function of shares (..., P, K) in the declared order; None for what is no function of them."""


def usable(names: Sequence[str] | None = None) -> list[Metric]:
    """Return the metrics of these names, all there are for None; those of ALWAYS are among them.

    Names of estimates that every run has, as `concentration`, are no metrics and left out.

    A third party's that cannot be imported or fails on a trial is left out, with a notice. Raises FairbenchError for a
    name that no metric has.
    """
    if names is not None:
        names = [name for name in dict.fromkeys([*ALWAYS, *names]) if name not in ESTIMATES]
    metrics: list[Metric] = []
    for name in registry.names("metrics") if names is None else names:
        try:
            metric = registry.resolve("metrics", name)
            if registry.is_third_party("metrics", name):
                metric = _Guarded(metric, registry.title("metrics", name))
                metric.try_out({m.spec.name for m in metrics})
        except PluginError as err:
            notice("plugin-left-out", str(err))
            continue
        metrics.append(metric)
    return metrics


class _Guarded:
    """A third party's metric: where it raises or returns anything else, its values are NaN and `fault` says why."""

    def __init__(self, metric: Metric, title: str) -> None:
        self.spec, self.fault = metric.spec, ""
        self._metric, self._title = metric, title
        if metric.spec.limits is not None:
            self.spec = replace(metric.spec, limits=self._limits)

    def try_out(self, taken: set[str]) -> None:
        """Call it on shares that are equal, of one class alone, and unknown. taken: others' names.

        Raises PluginError.
        """
        if self.spec.name in taken:
            raise PluginError(f"{self._title} calls itself {self.spec.name!r}, as another metric does: rename it.")
        k = len(self.spec.labels or (0, 1))
        self._call(np.vstack([np.full(k, 1 / k), np.eye(k)[:1], np.full((1, k), np.nan)]), np.full(k, 1 / k))
        self._call_limits(k)

    def __call__(self, p: FloatArray, ref: FloatArray | None = None) -> FloatArray:
        return self._or(np.full(p.shape[:-1], np.nan), lambda: self._call(p, ref))

    def _or(self, fallback: T, call: Callable[[], T]) -> T:
        """Return what a call gives; where it fails, note the first fault and return the fallback."""
        try:
            return call()
        except PluginError as err:
            self.fault = self.fault or str(err)
            return fallback

    def _call(self, p: FloatArray, ref: FloatArray | None) -> FloatArray:
        reference = ref if self.spec.needs_reference else None
        with contracts.guard(self._title), np.errstate(all="ignore"):
            values = contracts.numbers(self._metric(p, reference))
        if values is None or values.shape != p.shape[:-1]:
            what = "no array of numbers" if values is None else f"an array of shape {values.shape}"
            raise PluginError(f"{self._title} returned {what} for shares of shape {p.shape}: return {p.shape[:-1]}.")
        low, high = self._call_limits(p.shape[-1])
        outside = values[(values < low - _ROUNDING) | (values > high + _ROUNDING)]
        if outside.size:
            raise PluginError(f"{self._title} returned {outside[0]:g}, but its bounds are {low:g} and {high:g}.")
        return values.astype(np.float64)

    def _limits(self, classes: int) -> tuple[float, float]:
        return self._or((-math.inf, math.inf), lambda: self._call_limits(classes))

    def _call_limits(self, classes: int) -> tuple[float, float]:
        """Return the limits that the metric gives, none where it gives none. Raises PluginError for anything else."""
        limits = self._metric.spec.limits
        if limits is None:
            return -math.inf, math.inf
        with contracts.guard(self._title):
            low, high = (float(limit) for limit in limits(classes))
        if not low <= high:
            raise PluginError(f"{self._title} gives limits {low:g} and {high:g} for {classes} classes: low first.")
        return low, high


def evaluate(
    counts: Counts, prompts: Sequence[Prompt], references: References, names: Sequence[str] | None = None
) -> Iterator[Series]:
    """Evaluate the metrics of these names (None: all) on every attribute that each is defined for.

    A third party's metric that fails on any of them is left out, with a notice.
    """
    for metric in usable(names):
        of_metric = list(_evaluate(metric, counts, prompts, references))
        fault = metric.fault if isinstance(metric, _Guarded) else ""
        if fault:
            notice("plugin-left-out", fault)
        else:
            yield from of_metric


def _evaluate(metric: Metric, counts: Counts, prompts: Sequence[Prompt], references: References) -> Iterator[Series]:
    if metric.spec.input == "faces":
        yield _face_rate(metric, counts)
    elif metric.spec.input == "stated":
        yield from _following(metric, counts, prompts)
    else:
        for names in attributes(counts.labeller):
            series = _series(metric, counts, names, prompts, references)
            if series is not None:
                yield series


def _value(metric: Metric, shares: FloatArray, reference: FloatArray | None = None) -> NDArray[np.float64]:
    """Evaluate on shares of our own making, which need no check."""
    fn = metric.fn if isinstance(metric, ShareMetric) else metric
    return np.asarray(fn(shares, reference), dtype=np.float64)


def _face_rate(metric: Metric, counts: Counts) -> Series:
    pair = np.stack([counts.with_face, counts.images - counts.with_face], axis=1)
    values = _value(metric, _shares(pair, counts.images))
    reasons = [None if n else "no images" for n in counts.images]
    none = np.zeros_like(counts.images)
    return Series(metric.spec.name, metric.spec.version, FACES, values, reasons, counts.with_face, none)


def _following(metric: Metric, counts: Counts, prompts: Sequence[Prompt]) -> Iterator[Series]:
    """Yield nothing for a task whose prompts state nothing."""
    following = followed(counts, prompts)
    if following is not None:
        pair = np.stack([following.right, following.of - following.right], axis=1)
        values, left_out = _value(metric, _shares(pair, following.of)), counts.selected - following.of
        yield Series(metric.spec.name, metric.spec.version, FACES, values, following.reasons, following.of, left_out)


def _series(
    metric: Metric, counts: Counts, names: tuple[str, ...], prompts: Sequence[Prompt], references: References
) -> Series | None:
    spec, attribute = metric.spec, cross_name(names)
    table = counts.of(names)
    n = table.sum(axis=1)
    if spec.input == "mean_probs":
        if len(names) > 1:  # defined on one attribute's probabilities; a product would assume independence
            return None
        shares = _shares(counts.probs[names[0]], n)
    else:
        shares = _shares(table, n)
    order = list(range(table.shape[1])) if spec.labels is None else _order(counts.labeller, names, spec.labels)
    if order is None:
        return None
    reference: NDArray[np.float64] | None = None
    reasons: list[str | None] = [None if k else "no faces" for k in n]
    if spec.needs_reference:
        shares_of = references.get(attribute)
        if shares_of is None:
            return None
        subjects, unknown = [p.subject for p in prompts], (np.nan,) * len(order)
        reference = np.array([shares_of.get(s, unknown) for s in subjects], dtype=np.float64)
        reasons = [r or (None if s in shares_of else "no reference") for r, s in zip(reasons, subjects, strict=True)]

    def statistic(p: NDArray[np.float64]) -> NDArray[np.float64]:
        return _value(metric, p[..., order], reference)

    return Series(
        spec.name,
        spec.version,
        attribute,
        statistic(shares),
        reasons,
        n,
        counts.selected - n,
        limits=(-math.inf, math.inf) if spec.limits is None else spec.limits(len(order)),
        statistic=statistic if spec.input == "shares" else None,
    )


def _order(labeller: LabelSpace, names: tuple[str, ...], labels: tuple[str, ...]) -> list[int] | None:
    """Return the indices of a signed metric's labels in the declared order; None where the attribute has others."""
    declared = [s.lower() for s in labeller.declared.labels[names[0]]] if len(names) == 1 else []
    return [declared.index(label) for label in labels] if sorted(declared) == sorted(labels) else None


def _shares(counts: NDArray[Any], n: NDArray[np.int64]) -> NDArray[np.float64]:
    """Divide; NaN where there is nothing to divide by: no faces is not fair, it is unknown."""
    shares: NDArray[np.float64] = counts / np.where(n == 0, np.nan, n)[:, None]
    return shares


def score_series(
    plugin: Any, scorer: Scorer | None, scores: Scores | None, reason: str | None, prompts: Sequence[Prompt]
) -> Iterator[Series]:
    """Yield a scorer's values: a value per prompt where its features are one number per image, and over all images.

    A scorer that fails in `summarise` is left out with its reason.
    """
    spec, count = plugin.spec, len(prompts)
    why: str | None = reason or "no images"
    overall: dict[str, float | None] = {}
    by_prompt: list[dict[str, float | None]] = [{}] * count
    images = zeros = np.zeros(count, dtype=np.int64)
    if scorer is not None and scores is not None and len(scores.neutral_ids):
        index_of = {p.neutral_id: i for i, p in enumerate(prompts)}
        prompt_of = np.array([index_of[n] for n in scores.neutral_ids])
        of_prompts = [scores.features[prompt_of == i] for i in range(count)]
        one_number = scores.features.shape[1] == 1
        try:
            overall = summarise(scorer, scores.features)
            by_prompt = [summarise(scorer, rows) if one_number and len(rows) else {} for rows in of_prompts]
            images, why = np.bincount(prompt_of, minlength=count), None
        except PluginError as err:
            notice("scorer-left-out", str(err))
            why, overall = str(err), {}
    for name in spec.values:
        values = [summary.get(name) for summary in by_prompt]
        absent = ["defined over all images" if n else "no images that can be scored" for n in images]
        reasons = [why or (None if v is not None else a) for v, a in zip(values, absent, strict=True)]
        of_task = overall.get(name)
        too_few = None if of_task is not None else "too few images"
        numbers = np.array(values, dtype=np.float64)  # None is NaN
        yield Series(name, int(plugin.version), QUALITY, numbers, reasons, images, zeros, of_task, why or too_few)
