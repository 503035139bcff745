"""`export --to hub-results`: read back with the hub's own parser."""

from __future__ import annotations

from pathlib import Path

import pyarrow.parquet as pq
from huggingface_hub import ModelCard, metadata_load

from tests.builders.cli import Cli
from tests.exporting.test_hf_dataset import HOSTILE, hostile, outside_of_code


def test_results_are_those_of_the_metrics_table(run: Path, cli: Cli, tmp_path: Path) -> None:
    assert "a/README.md" in cli("export", run, "--to", "hub-results", "--out", "a").succeeded().out
    results = ModelCard.load(tmp_path / "a" / "README.md").data.eval_results
    table = pq.read_table(run / "metrics.parquet").to_pylist()
    rows = {
        (row["metric"], row["attribute"], row["estimate"], row["n0"]): row
        for row in table
        if row["scope"] == "task" and row["value"] is not None and row["metric"][:4] not in ("shar", "gap[")
    }
    found = {
        (r.metric_type, r.metric_args["attribute"], r.metric_args["estimate"], r.metric_args.get("n0")): r
        for r in results
    }
    assert len(results) == len(found)
    assert set(found) == set(rows)
    assert {("concentration", "gender", "raw", None), ("clip_score", "quality", "raw", None)} <= set(found)
    for key, result in found.items():
        assert result.metric_value == rows[key]["value"]
        for name in ("ci_low", "ci_high", "floor", "ceiling", "n_faces"):
            assert result.metric_args.get(name) == rows[key][name]
        assert "never anyone's identity" in result.metric_args["labels"]
        assert (result.task_type, result.dataset_type) == ("text-to-image", "phantom-occupations")
        assert (result.verified, result.verify_token) == (None, None)
        assert result.dataset_args["run"] == table[0]["run_id"]
    assert "verif" not in (tmp_path / "a" / "README.md").read_text().split("---\n")[1]


def test_hostile_names_are_text(run: Path, cli: Cli, tmp_path: Path) -> None:
    copy = hostile(run, tmp_path / "odd")
    cli("export", copy, "--to", "hub-results", "--out", "a").succeeded()
    path = tmp_path / "a" / "README.md"
    assert metadata_load(path)["model-index"][0]["name"] == HOSTILE
    card = ModelCard.load(path)
    assert card.data.model_name == HOSTILE
    assert "<script>" not in outside_of_code(card.text)
