"""metrics: shares -> values, a prompt at a time and as the mean over prompts, each with its counts."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from fairbench import registry, schemas
from fairbench.config import RESERVED
from fairbench.labeller import Labeller
from fairbench.protocols import Metric, Scorer
from fairbench.stages.counts import Counts, cross_name
from fairbench.stages.scores import Scores
from fairbench.types import Prompt

FACES, QUALITY = RESERVED
"""The `attribute` of rates of faces and of scorers."""
References = Mapping[str, Mapping[str, tuple[float, ...]]]
"""attribute -> subject -> reference shares in the labeller's declared order."""


@dataclass(frozen=True, slots=True)
class RunNames:
    """What every row of the metrics table repeats."""

    run_id: str
    model: str
    method: str
    task: str
    labeller: str


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


def attributes(labeller: Labeller) -> list[tuple[str, ...]]:
    """Return every attribute and declared cross, as tuples of attribute names."""
    return [(a,) for a in labeller.card.attributes] + [tuple(c) for c in labeller.card.crosses]


def evaluate(counts: Counts, prompts: Sequence[Prompt], references: References) -> Iterator[Series]:
    """Evaluate every metric on every attribute it is defined for."""
    for name in registry.names("metrics"):
        metric: Metric = registry.resolve("metrics", name)
        if metric.spec.input == "faces":
            yield _face_rate(metric, counts)
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
    if spec.labels is not None:
        order = _order(counts.labeller, names, spec.labels)
        if order is None:
            return None
        shares = shares[:, order]
    reference: NDArray[np.float64] | None = None
    reasons: list[str | None] = [None if k else "no faces" for k in n]
    if spec.needs_reference:
        known = references.get(attribute)
        if known is None:
            return None
        nothing = (np.nan,) * shares.shape[1]
        reference = np.array([known.get(p.subject, nothing) for p in prompts], dtype=np.float64)
        reasons = [r or (None if p.subject in known else "no reference") for r, p in zip(reasons, prompts, strict=True)]
    return Series(
        spec.name,
        spec.version,
        attribute,
        np.asarray(metric(shares, reference), dtype=np.float64),
        reasons,
        n,
        counts.selected - n,
    )


def _order(labeller: Labeller, names: tuple[str, ...], wanted: tuple[str, ...]) -> list[int] | None:
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


def table(names: RunNames, prompts: Sequence[Prompt], counts: Counts, series: Sequence[Series]) -> pa.Table:
    """Return the metrics table: for each series a row a prompt, then the task's row."""
    rows: list[dict[str, Any]] = []
    common = {f: getattr(names, f) for f in RunNames.__slots__}
    for s in series:
        shared = {
            **common,
            "metric": s.metric,
            "metric_version": s.version,
            "attribute": s.attribute,
            "estimate": "raw",
        }
        for i, prompt in enumerate(prompts):
            value = float(s.values[i])
            rows.append(
                {**shared, "scope": "prompt", "scope_value": prompt.text, "value": None if np.isnan(value) else value,
                 "reason": s.reasons[i], "n_requested": int(counts.requested[i]), "n_images": int(counts.images[i]),
                 "n_faces": int(s.faces[i]), "n_excluded": int(s.excluded[i])}
            )  # fmt: skip
        value_or_none, reason = _task_value(s)
        rows.append(
            {**shared, "scope": "task", "scope_value": names.task, "value": value_or_none, "reason": reason,
             "n_requested": int(counts.requested.sum()), "n_images": int(counts.images.sum()),
             "n_faces": int(s.faces.sum()), "n_excluded": int(s.excluded.sum())}
        )  # fmt: skip
    return schemas.build("metrics", {n: [r.get(n) for r in rows] for n in schemas.schema("metrics").names})


def _task_value(s: Series) -> tuple[float | None, str | None]:
    """Return the mean over prompts that have a value, and what to know about it: a prompt left out is never silent."""
    if s.attribute == QUALITY:
        return s.overall, s.overall_reason
    known = ~np.isnan(s.values)
    why = next((r for r in s.reasons if r), None)
    if not known.any():
        return None, why or "no faces"
    left_out = int((~known).sum())
    note = f"mean over {int(known.sum())} of {len(known)} prompts ({left_out} without: {why})" if left_out else None
    return float(np.mean(s.values[known])), note
