"""The metrics table: every value and estimate of a run, with the counts behind it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import pyarrow as pa

from fairbench.measure.counts import Counts
from fairbench.measure.estimates import NOTHING_VARIES, Estimate
from fairbench.measure.quantities import THIS_LIST
from fairbench.measure.series import QUALITY, Series
from fairbench.storage import schemas
from fairbench.storage.ids import IntArray
from fairbench.types import Prompt


@dataclass(frozen=True, slots=True)
class RunNames:
    """What every row of the metrics table repeats."""

    run_id: str
    model: str
    method: str
    task: str
    labeller: str


def build(
    names: RunNames, prompts: Sequence[Prompt], counts: Counts, series: Sequence[Series], estimates: Sequence[Estimate]
) -> pa.Table:
    """Return the metrics table: for each series a row per prompt and the task's row; then the estimates.

    What is estimated of a series' own task value (its interval, floor and ceiling) stands in that row.
    """
    common = asdict(names)
    own = {(e.metric, e.attribute): e for e in estimates if e.scope == THIS_LIST and e.estimate == "raw"}
    rows: list[dict[str, Any]] = []
    for s in series:
        shared = {"metric": s.metric, "metric_version": s.version, "attribute": s.attribute, "estimate": "raw"}
        values, texts = s.values.tolist(), [prompt.text for prompt in prompts]
        for i, (text, value, reason) in enumerate(zip(texts, values, s.reasons, strict=True)):
            cells = {"scope": "prompt", "scope_value": text, "value": _null_for_nan(value), "reason": reason}
            rows.append({**common, **shared, **cells, **_numbers(counts, s.faces, s.excluded, i)})
        value, reason = _task_value(s)
        interval = own.pop((s.metric, s.attribute), None)
        cells = {"scope": THIS_LIST, "scope_value": names.task, "value": value, "reason": _reasons(reason, interval)}
        cells |= {"n_prompts": int((~np.isnan(s.values)).sum())} | ({} if interval is None else _uncertainty(interval))
        rows.append({**common, **shared, **cells, **_numbers(counts, s.faces, s.excluded, None)})
    versions = {s.metric: s.version for s in series}
    faces_of = {s.attribute: s.faces for s in reversed(series)}
    for e in estimates:
        if e.estimate == "raw" and e.scope == THIS_LIST and (e.metric, e.attribute) not in own:
            continue
        faces = faces_of.get(e.attribute, counts.selected)
        scope = {"scope": e.scope, "scope_value": names.task if e.prompt is None else prompts[e.prompt].text}
        cells = {"attribute": e.attribute, "estimate": e.estimate, "value": _null_for_nan(e.value), "reason": e.reason}
        cells |= {"metric": e.metric, "metric_version": versions.get(e.metric, 1), "n_prompts": e.prompts}
        numbers = {**_numbers(counts, faces, counts.selected - faces, e.prompt), **(e.counted or {})}
        rows.append({**common, **scope, **cells, **_uncertainty(e), **numbers})
    return schemas.build("metrics", {name: [row.get(name) for row in rows] for name in schemas.schema("metrics").names})


def _numbers(counts: Counts, faces: IntArray, excluded: IntArray, prompt: int | None) -> dict[str, int]:
    """Return how many requests, images and faces stand behind a row: of one prompt, or of all."""
    columns = {"n_requested": counts.requested, "n_images": counts.images, "n_faces": faces, "n_excluded": excluded}
    return {name: int(n.sum() if prompt is None else n[prompt]) for name, n in columns.items()}


def _uncertainty(e: Estimate) -> dict[str, Any]:
    numbers = {"ci_low": e.low, "ci_high": e.high, "error": e.error}
    numbers |= {"floor": e.floor, "floor_p95": e.floor_p95, "ceiling": e.ceiling}
    others = {"ci_method": e.ci_method, "n0": e.n0, "calibration_sha": e.calibration}
    return {**{name: _null_for_nan(value) for name, value in numbers.items()}, **others}


def _reasons(reason: str | None, interval: Estimate | None) -> str | None:
    """Return why prompts are left out, and why there is no interval where that is the estimate's own word."""
    nothing_varies = interval is not None and (interval.reason or "").endswith(NOTHING_VARIES)
    return "; ".join(r for r in (reason, NOTHING_VARIES if nothing_varies else None) if r) or None


def _null_for_nan(value: float) -> float | None:
    return None if np.isnan(value) else value


def _task_value(s: Series) -> tuple[float | None, str | None]:
    """Return the mean over prompts that have a value, and what to know about it: a prompt left out is never silent."""
    if s.attribute == QUALITY:
        return s.overall, s.overall_reason
    values = s.values[~np.isnan(s.values)]
    why = next((reason for reason in s.reasons if reason), None)
    if not len(values):
        return None, why or "no faces"
    used, left_out = len(values), len(s.values) - len(values)
    note = f"mean over {used} of {len(s.values)} prompts ({left_out} without: {why})" if left_out else None
    return float(np.mean(values)), note
