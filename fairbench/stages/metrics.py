"""metrics: shares -> values, a prompt at a time, each with its counts."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fairbench import registry
from fairbench.config import RESERVED
from fairbench.labeller import LabelSpace
from fairbench.protocols import Metric, Scorer
from fairbench.stages.counts import Counts, attributes, cross_name
from fairbench.stages.scores import Scores
from fairbench.stages.stated import followed
from fairbench.types import Prompt

FACES, QUALITY = RESERVED
"""The `attribute` of rates of faces and of scorers."""
References = Mapping[str, Mapping[str, tuple[float, ...]]]
"""attribute -> subject -> reference shares in the labeller's declared order."""


@dataclass(frozen=True, slots=True)
class Series:
    """One metric of one attribute: a value a prompt (NaN: none, with a reason) and the counts behind it."""

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
    statistic: Callable[[NDArray[np.float64]], NDArray[np.float64]] | None = None
    """The metric as a function of shares (..., P, K) in the declared order; None for what is no function of them."""


def evaluate(counts: Counts, prompts: Sequence[Prompt], references: References) -> Iterator[Series]:
    """Evaluate every metric on every attribute it is defined for."""
    for name in registry.names("metrics"):
        metric: Metric = registry.resolve("metrics", name)
        if metric.spec.input == "faces":
            yield _face_rate(metric, counts)
            continue
        if metric.spec.input == "stated":
            yield from _following(metric, counts, prompts)
            continue
        for names in attributes(counts.labeller):
            series = _series(metric, counts, names, prompts, references)
            if series is not None:
                yield series


def _face_rate(metric: Metric, counts: Counts) -> Series:
    pair = np.stack([counts.with_face, counts.images - counts.with_face], axis=1)
    values = np.asarray(metric(_shares(pair, counts.images)), dtype=np.float64)
    reasons = [None if n else "no images" for n in counts.images]
    none = np.zeros_like(counts.images)
    return Series(metric.spec.name, metric.spec.version, FACES, values, reasons, counts.with_face, none)


def _following(metric: Metric, counts: Counts, prompts: Sequence[Prompt]) -> Iterator[Series]:
    """Yield nothing for a task whose prompts state nothing."""
    found = followed(counts, prompts)
    if found is not None:
        pair = np.stack([found.right, found.of - found.right], axis=1)
        values = np.asarray(metric(_shares(pair, found.of)), dtype=np.float64)
        left_out = counts.selected - found.of
        yield Series(metric.spec.name, metric.spec.version, FACES, values, found.reasons, found.of, left_out)


def _series(
    metric: Metric, counts: Counts, names: tuple[str, ...], prompts: Sequence[Prompt], references: References
) -> Series | None:
    spec, attribute = metric.spec, cross_name(names)
    table = counts.of(names)
    n = table.sum(axis=1)
    order = list(range(table.shape[1]))
    if spec.input == "mean_probs":
        if len(names) > 1:  # defined on one attribute's probabilities; a product would assume independence
            return None
        shares = _shares(counts.probs[names[0]], n)
    else:
        shares = _shares(table, n)
    if spec.labels is not None:
        found = _order(counts.labeller, names, spec.labels)
        if found is None:
            return None
        order = found
    reference: NDArray[np.float64] | None = None
    reasons: list[str | None] = [None if k else "no faces" for k in n]
    if spec.needs_reference:
        known = references.get(attribute)
        if known is None:
            return None
        nothing = (np.nan,) * len(order)
        reference = np.array([known.get(p.subject, nothing) for p in prompts], dtype=np.float64)
        reasons = [r or (None if p.subject in known else "no reference") for r, p in zip(reasons, prompts, strict=True)]

    def statistic(p: NDArray[np.float64]) -> NDArray[np.float64]:
        return np.asarray(metric(p[..., order], reference), dtype=np.float64)

    return Series(
        spec.name,
        spec.version,
        attribute,
        statistic(shares),
        reasons,
        n,
        counts.selected - n,
        statistic=statistic if spec.input == "shares" else None,
    )


def _order(labeller: LabelSpace, names: tuple[str, ...], wanted: tuple[str, ...]) -> list[int] | None:
    """Return where a signed metric's labels stand in the declared order, whatever that order is."""
    declared = [s.lower() for s in labeller.declared.labels[names[0]]] if len(names) == 1 else []
    return [declared.index(w) for w in wanted] if sorted(declared) == sorted(wanted) else None


def _shares(counts: NDArray[Any], n: NDArray[np.int64]) -> NDArray[np.float64]:
    """Divide; NaN where there is nothing to divide by: no faces is not fair, it is unknown."""
    shares: NDArray[np.float64] = counts / np.where(n == 0, np.nan, n)[:, None]
    return shares


def score_series(
    plugin: Any, scorer: Scorer | None, scores: Scores | None, reason: str | None, prompts: Sequence[Prompt]
) -> Iterator[Series]:
    """Yield a scorer's values: a value a prompt where its features are one number an image, and over all images."""
    spec, version = plugin.spec, int(plugin.version)
    nan, zeros = np.full(len(prompts), np.nan), np.zeros(len(prompts), dtype=np.int64)
    if scorer is None or scores is None or not len(scores.neutral_ids):
        why = reason or "no images"
        for value in spec.values:
            yield Series(value, version, QUALITY, nan, [why] * len(prompts), zeros, zeros, None, why)
        return
    place = {p.neutral_id: i for i, p in enumerate(prompts)}
    where = np.array([place[n] for n in scores.neutral_ids])
    n = np.bincount(where, minlength=len(prompts))
    overall = scorer.summarise(scores.features)
    single = scores.features.shape[1] == 1
    each = [scorer.summarise(scores.features[where == i]) if single and n[i] else {} for i in range(len(prompts))]
    for value in spec.values:
        found = [e.get(value) for e in each]
        reasons = [
            None if v is not None else ("defined over all images" if n[i] else "no images that can be scored")
            for i, v in enumerate(found)
        ]
        values = np.array([np.nan if v is None else v for v in found])
        short = None if overall.get(value) is not None else "too few images"
        yield Series(value, version, QUALITY, values, reasons, n, zeros, overall.get(value), short)
