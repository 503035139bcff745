"""A comparison's files: compare.json, compare.csv, and compare.png where matplotlib is installed."""

from __future__ import annotations

import csv
import io
import json
import logging
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import fairbench
from fairbench import keys
from fairbench.comparison import plots
from fairbench.comparison.compare import Comparison
from fairbench.comparison.effects import LEAST_FACES, QUOTA
from fairbench.comparison.labellers import LabellerComparison
from fairbench.comparison.ranks import Ranking
from fairbench.comparison.sides import Side
from fairbench.comparison.verdicts import Row
from fairbench.display.json_values import plain as to_plain
from fairbench.errors import MissingExtra
from fairbench.runs.folder import LABEL_NOTE
from fairbench.storage import atomic, folders

log = logging.getLogger(__name__)
_NAMED = 4
_COLUMNS = (
    "baseline", "run", "attribute", "estimand", "scope", "a", "b", "effect", "low", "high", "p", "p_adjusted", "family",
    "margin", "claim", "p_equivalence", "p_equivalence_adjusted", "verdict", "n_prompts", "left_out", "quota", "reason",
)  # fmt: skip


def default_folder(found: Comparison | LabellerComparison) -> Path:
    """Return a folder name that tells the runs."""
    ids = [side.run.run_id for side in found.sides]
    words = [i[:8] for i in ids] if len(ids) <= _NAMED else [ids[0][:8], keys.digest("compare", ids).hex()[:12]]
    return Path("runs") / "-".join(["compare", *words])


def write(found: Comparison | LabellerComparison, folder: Path) -> dict[str, Any]:
    """Write the picture, compare.csv and compare.json; return what the last holds. Raises FairbenchError."""
    folders.check(folder, folders.COMPARISON)
    whole = manifest(found)
    table = whole["effects"] if isinstance(found, Comparison) else [_flat(a) for a in whole["attributes"]]
    with folders.replacing(folder, folders.COMPARISON) as new:
        try:
            plots.write(found, new / "compare.png")
        except MissingExtra as err:
            log.warning("%s", err)
        atomic.write_text(new / "compare.csv", _csv(table))
        atomic.write_text(new / "compare.json", json.dumps(whole, indent=2, allow_nan=False) + "\n")
    return whole


def manifest(found: Comparison | LabellerComparison) -> dict[str, Any]:
    """Return the result as plain data; what could not be computed is None."""
    common = {"note": LABEL_NOTE, "fairbench": fairbench.__version__, "alpha": found.alpha}
    body = _of_runs(found) if isinstance(found, Comparison) else _of_labellers(found)
    plain: dict[str, Any] = to_plain({**common, **body})
    return plain


def _of_runs(found: Comparison) -> dict[str, Any]:
    quota = {side.letter for side in found.sides if side.quota}
    return {
        "kind": "runs",
        "runs": [_run(side) for side in found.sides],
        "variants": found.variants,
        "pairing": found.pairing,
        "n_prompts": found.n_prompts,
        "least_faces": LEAST_FACES,
        "primary": found.primary,
        "margins": {"source": found.margins.source, **found.margins.values},
        "effects": [_effect(row, quota) for row in found.rows],
        "rankings": [_ranking(found.sides, ranking) for ranking in found.rankings],
        "selection": None if found.selection is None else asdict(found.selection),
        "notes": found.notes + ([f"{', '.join(sorted(quota))}: {QUOTA}."] if quota else []),
    }


def _effect(row: Row, quota: set[str]) -> dict[str, Any]:
    values = {**asdict(row), "family": row.family, "quota": not quota.isdisjoint({row.run, row.baseline})}
    return {name: values[name] for name in _COLUMNS}


def _ranking(sides: Sequence[Side], ranking: Ranking) -> dict[str, Any]:
    ranks = ranking.ranks
    each = zip(sides, ranks.mean, ranks.rank, ranks.low, ranks.high, strict=True)
    runs = [{"run": s.letter, "rd": m, "rank": r, "best": low, "worst": high} for s, m, r, low, high in each]
    return {"attribute": ranking.attribute, "runs": runs, "n_prompts": ranks.n_prompts, "left_out": ranks.n_left_out}


def _of_labellers(found: LabellerComparison) -> dict[str, Any]:
    return {
        "kind": "labellers",
        "runs": [_run(side) for side in found.sides],
        "matched_by": found.matched_by,
        "faces": found.matched,
        "unmatched": found.alone,
        "attributes": [asdict(a) for a in found.attributes],
        "not_shared": found.skipped,
    }


def _run(side: Side) -> dict[str, Any]:
    record, counts = side.run.record, side.run.counts
    return {
        "letter": side.letter, "name": side.name, "run_id": side.run.run_id, "folder": str(side.run.folder),
        "model": record["model"]["name"], "method": record["method"], "task": record["task"]["name"],
        "labeller": record["labeller"]["name"], "seed": record["declared"]["seed"], "quota": side.quota,
        "n_images": int(counts.images.sum()), "n_faces": int(counts.with_face.sum()), "prompts_left_out": side.alone,
    }  # fmt: skip


def _flat(attribute: Mapping[str, Any]) -> dict[str, Any]:
    """Return one CSV row of an attribute's agreement; tables of counts are in the JSON."""
    row = {k: v for k, v in attribute.items() if k not in {"labels", "table", "agreement", "top"}}
    top = "; ".join(f"{t['first']} > {t['second']}: {t['count']}" for t in attribute["top"])
    return {"attribute": row.pop("attribute"), **attribute["agreement"], **row, "top": top}


def _csv(rows: Iterable[Mapping[str, Any]]) -> str:
    table, out = list(rows), io.StringIO()
    writer = csv.DictWriter(out, list(table[0]) if table else ["attribute"], lineterminator="\n")
    writer.writeheader()
    writer.writerows(table)
    return out.getvalue()
