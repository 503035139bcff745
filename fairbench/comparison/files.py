"""A comparison's files: compare.json, compare.csv, and compare.png where matplotlib is installed."""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import fairbench
from fairbench import keys
from fairbench.comparison import plots
from fairbench.comparison.compare import Result, RunComparison
from fairbench.comparison.effects import MIN_FACES_PER_PROMPT
from fairbench.comparison.labellers import LabellerComparison
from fairbench.comparison.sides import QUOTA, Side
from fairbench.comparison.verdicts import Row
from fairbench.comparison.wrappers import Wrappers
from fairbench.display.json_values import plain as to_plain
from fairbench.display.note import label_note
from fairbench.errors import MissingExtra
from fairbench.stats.ranking import Ranks
from fairbench.storage import atomic, folders, kinds

log = logging.getLogger(__name__)
_MAX_IDS_IN_NAME = 4
_COLUMNS = (
    *("baseline", "run", "attribute", "estimand", "scope", "a", "b", "effect", "low", "high"),
    *("p", "p_adjusted", "family", "margin", "claim", "p_equivalence", "p_equivalence_adjusted", "verdict"),
    *("n_prompts", "left_out", "quota", "reason"),
)


def default_folder(result: Result) -> Path:
    """Return a folder that is named after the runs."""
    ids = [side.run.run_id for side in result.sides]
    shown = [i[:8] for i in ids]
    if len(ids) > _MAX_IDS_IN_NAME:
        shown = [shown[0], keys.digest("compare", ids).hex()[:12]]
    return Path("runs") / "-".join(["compare", *shown])


def write(result: Result, folder: Path) -> dict[str, Any]:
    """Write the picture, compare.csv and compare.json, and return the content of the last. Raises FairbenchError."""
    folders.check(folder, kinds.COMPARISON)
    record = manifest(result)
    with folders.replacing(folder, kinds.COMPARISON) as new:
        try:
            plots.write(result, new / "compare.png")
        except MissingExtra as err:
            log.warning("%s", err)
        table = rows(result, record)
        header = list(table[0]) if table else ["attribute"]
        atomic.write_text(new / "compare.csv", atomic.csv_text([header, *(row.values() for row in table)]))
        atomic.write_text(new / "compare.json", json.dumps(record, indent=2, allow_nan=False) + "\n")
    return record


def manifest(result: Result) -> dict[str, Any]:
    """Return the result as plain data; what could not be computed is None."""
    note = label_note(*(side.read_by for side in result.sides))
    common = {"note": note, "fairbench": fairbench.__version__, "alpha": result.alpha}
    specific = _of_runs(result) if isinstance(result, RunComparison) else _of_labellers(result)
    record: dict[str, Any] = to_plain({**common, **specific})
    return record


def rows(result: Result, record: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Return the rows of compare.csv. record: the content of compare.json."""
    return record["effects"] if isinstance(result, RunComparison) else [_flat(a) for a in record["attributes"]]


def _of_runs(result: RunComparison) -> dict[str, Any]:
    quota = {side.letter for side in result.sides if side.quota}
    return {
        "kind": "runs",
        "runs": [_run(side) for side in result.sides],
        "variants": result.variants,
        "pairing": result.pairing,
        "n_prompts": result.n_prompts,
        "least_faces": MIN_FACES_PER_PROMPT,
        "primary": result.primary,
        "registration": None if result.registration is None else asdict(result.registration),
        "second": None if result.second is None else _second(result.second),
        "hacking": None if result.hacking is None else asdict(result.hacking),
        "wrappers": None if result.wrappers is None else _wrappers(result.wrappers, quota),
        "orders": [asdict(each) for each in result.orders],
        "tipping": [asdict(point) for point in result.tipping],
        "margins": {"source": result.margins.source, **result.margins.values},
        "effects": [_effect(row, quota) for row in result.rows],
        "rankings": [_ranking(result.sides, name, ranks) for name, ranks in result.rankings.items()],
        "selection": None if result.selection is None else asdict(result.selection),
        "notes": result.notes + ([f"{', '.join(sorted(quota))}: {QUOTA}."] if quota else []),
    }


def _second(result: RunComparison) -> dict[str, Any]:
    """Return the runs and the primary effects as a second labeller reads the same images."""
    primary = [row for row in result.rows if row.family == "primary"]
    quota = {side.letter for side in result.sides if side.quota}
    return {"runs": [_run(side) for side in result.sides], "effects": [_effect(row, quota) for row in primary]}


def _wrappers(wrappers: Wrappers, quota: set[str]) -> dict[str, Any]:
    """Return the effects of system prompts against their controls, and how many words each text has."""
    effects = [_effect(row, quota) for row in wrappers.rows]
    return {"controls": wrappers.controls, "words": wrappers.words, "effects": effects}


def _effect(row: Row, quota: set[str]) -> dict[str, Any]:
    values = {**asdict(row), "family": row.family, "quota": not quota.isdisjoint({row.run, row.baseline})}
    return {name: values[name] for name in _COLUMNS}


def _ranking(sides: Sequence[Side], attribute: str, ranks: Ranks) -> dict[str, Any]:
    values = zip(sides, ranks.mean, ranks.rank, ranks.low, ranks.high, strict=True)
    runs = [
        {"run": s.letter, "concentration": m, "rank": r, "best": low, "worst": high} for s, m, r, low, high in values
    ]
    return {"attribute": attribute, "runs": runs, "n_prompts": ranks.n_prompts, "left_out": ranks.n_left_out}


def _of_labellers(result: LabellerComparison) -> dict[str, Any]:
    return {
        "kind": "labellers",
        "runs": [_run(side) for side in result.sides],
        "matched_by": result.matched_by,
        "faces": result.matched,
        "unmatched": result.unmatched,
        "attributes": [asdict(a) for a in result.attributes],
        "not_shared": result.not_shared,
    }


def _run(side: Side) -> dict[str, Any]:
    record, counts = side.run.record, side.run.counts
    return {
        "letter": side.letter,
        "name": side.name,
        "run_id": side.run.run_id,
        "folder": str(side.run.folder),
        "model": record.model.name,
        "method": record.method,
        "task": record.task.name,
        "labeller": record.labeller.name,
        "seed": record.declared.seed,
        "quota": side.quota,
        "n_images": int(counts.images.sum()),
        "n_faces": int(counts.with_face.sum()),
        "prompts_left_out": side.n_left_out,
    }


def _flat(attribute: Mapping[str, Any]) -> dict[str, Any]:
    """Return one CSV row of an attribute's agreement; tables of counts are in the JSON."""
    row = {k: v for k, v in attribute.items() if k not in {"labels", "table", "agreement", "top"}}
    top = "; ".join(f"{t['first']} > {t['second']}: {t['count']}" for t in attribute["top"])
    return {"attribute": row.pop("attribute"), **attribute["agreement"], **row, "top": top}
