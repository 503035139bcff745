"""The metrics table: every value and estimate of a run, with the counts behind it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from fairbench.measure.counts import Counts
from fairbench.measure.estimates import NOTHING_VARIES, Estimate
from fairbench.measure.quantities import THESE
from fairbench.measure.series import QUALITY, Series
from fairbench.storage import schemas
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
    """Return the metrics table: for each series a row a prompt and the task's row; then the estimates.

    What is estimated of a series' own task value (its interval, floor and ceiling) stands in that row.
    """
    common = {f: getattr(names, f) for f in RunNames.__slots__}
    own = {(e.metric, e.attribute): e for e in estimates if e.scope == THESE and e.estimate == "raw"}
    rows: list[dict[str, Any]] = []
    faces: dict[str, NDArray[np.int64]] = {}
    for s in series:
        faces.setdefault(s.attribute, s.faces)
        shared = {**common, "metric": s.metric, "metric_version": s.version, "attribute": s.attribute,
                  "estimate": "raw"}  # fmt: skip
        for i, prompt in enumerate(prompts):
            rows.append({**shared, "scope": "prompt", "scope_value": prompt.text, "value": _known(float(s.values[i])),
                         "reason": s.reasons[i], **_numbers(counts, s.faces, s.excluded, i)})  # fmt: skip
        value, reason = _task_value(s)
        extra = own.pop((s.metric, s.attribute), None)
        rows.append({**shared, **({} if extra is None else _uncertainty(extra)), "scope": THESE,
                     "scope_value": names.task, "value": value, "reason": _reasons(reason, extra),
                     "n_prompts": int((~np.isnan(s.values)).sum()),
                     **_numbers(counts, s.faces, s.excluded, None)})  # fmt: skip
    versions = {s.metric: s.version for s in series}
    for e in estimates:
        if e.estimate == "raw" and e.scope == THESE and (e.metric, e.attribute) not in own:
            continue
        n = faces.get(e.attribute, counts.selected)
        rows.append({**common, "metric": e.metric, "metric_version": versions.get(e.metric, 1),
                     "attribute": e.attribute, "estimate": e.estimate, "scope": e.scope,
                     "scope_value": names.task if e.prompt is None else prompts[e.prompt].text,
                     "value": _known(e.value), "reason": e.reason, "n_prompts": e.prompts, **_uncertainty(e),
                     **_numbers(counts, n, counts.selected - n, e.prompt)})  # fmt: skip
    return schemas.build("metrics", {n: [r.get(n) for r in rows] for n in schemas.schema("metrics").names})


def _numbers(
    counts: Counts, faces: NDArray[np.int64], excluded: NDArray[np.int64], prompt: int | None
) -> dict[str, int]:
    """Return how many requests, images and faces stand behind a row: of one prompt, or of all."""
    found = {"n_requested": counts.requested, "n_images": counts.images, "n_faces": faces, "n_excluded": excluded}
    return {name: int(n.sum() if prompt is None else n[prompt]) for name, n in found.items()}


def _uncertainty(e: Estimate) -> dict[str, Any]:
    numbers = {"ci_low": e.low, "ci_high": e.high, "error": e.error, "floor": e.floor, "floor_p95": e.floor_p95,
               "ceiling": e.ceiling}  # fmt: skip
    found: dict[str, Any] = {name: _known(value) for name, value in numbers.items()}
    return {**found, "ci_method": e.ci_method, "n0": e.n0, "calibration_sha": e.calibration}


def _reasons(reason: str | None, extra: Estimate | None) -> str | None:
    """Return why prompts are left out, and why there is no interval where that is the estimate's own word."""
    without = extra is not None and (extra.reason or "").endswith(NOTHING_VARIES)
    return "; ".join(r for r in (reason, NOTHING_VARIES if without else None) if r) or None


def _known(value: float) -> float | None:
    return None if np.isnan(value) else value


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
