"""What a user types, on a tiny Emu3: a run killed and resumed, an audit, SFT, BPO, and their adapter in a run."""

from __future__ import annotations

import itertools
import json
import signal
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
from PIL import Image

from fairbench.phantom.renderer import GENDERS, RACES, render
from tests.builders.cli import Cli
from tests.builders.processes import KillAtWrite, start

RUN = ("--task", "occupations-mini", "--limit-prompts", 2, "--no-sheets", "--scorers", "none", "--device", "cpu")


def images(store: Path) -> dict[bytes, str]:
    shards = store.glob("images/*/part-*.parquet")
    rows = [r for p in shards for r in pq.read_table(p, columns=["image_id", "sha256", "status"]).to_pylist()]
    assert {r["status"] for r in rows} == {"ok"}
    return {r["image_id"]: r["sha256"] for r in rows}


@pytest.mark.long
@pytest.mark.slow
def test_a_killed_run_goes_on_with_the_same_images(cli: Cli, emu3_card: Path, tmp_path: Path) -> None:
    args = ("run", "--model", emu3_card, *RUN, "-n", 3, "--json")
    killed = start(tmp_path, *args, "--batch-size", 2, "--store", "parts", "--out", "parts-run", program=KillAtWrite(3))
    assert killed.wait() == -signal.SIGKILL, killed.err
    before = images(tmp_path / "parts")
    assert 0 < len(before) < 6
    parts = cli(*args, "--batch-size", 2, "--store", "parts", "--out", "parts-run").json()
    whole = cli(*args, "--batch-size", 5, "--store", "whole", "--out", "whole-run").json()
    found = images(tmp_path / "parts")
    assert found == images(tmp_path / "whole")
    assert found.items() >= before.items()
    assert len(set(found.values())) == 6
    assert parts["metrics"] == whole["metrics"]
    record = json.loads((tmp_path / "parts-run" / "run.json").read_text())
    assert "'image_size': [48, 32]" in str(record), "the settings that were really used are told"


def mannequins(folder: Path) -> Path:
    """A manifest of two mannequins of every group."""
    rng, rows = np.random.default_rng(0), ["path,gender,race4"]
    for index, (gender, race) in enumerate([*itertools.product(GENDERS, RACES)] * 2):
        Image.fromarray(render(gender, race, rng)).save(folder / f"{index}.png")
        rows.append(f"{index}.png,{gender},{race}")
    manifest = folder / "probe.csv"
    manifest.write_text("\n".join(rows) + "\n")
    return manifest


@pytest.mark.long
@pytest.mark.slow
def test_audit(cli: Cli, emu3_card: Path, tmp_path: Path) -> None:
    """What the checkpoint has not is said; the rest is measured."""
    args = ("--model", emu3_card, "--task", "occupations-mini", "--limit-prompts", 1, "-n", 4, "--device", "cpu")
    probe = ("--probe-images", mannequins(tmp_path))
    record: dict[str, Any] = cli("audit", *args, *probe, "--store", "store", "--out", "out", "--json").json()
    words = {v["component"]: v["words"] for v in record["verdicts"]}
    assert words["vision encoder"] == (
        "Not measured: the adapter 'emu3' has no vision encoder (protocol EmbeddingModel)."
    )
    assert words["understanding"] == (
        "Not measured: the adapter 'emu3' answers no questions (protocol UnderstandingModel)."
    )
    assert {part["attribute"] for part in record["tokenizer"]} == {"gender", "race4"}
    biases = record["language"]["log_probs"]
    assert [bias["images"] for bias in biases] == [4, 8]  # two of every group
    assert all(bias["rd"]["low"] <= bias["rd"]["value"] <= bias["rd"]["high"] for bias in biases)
    assert {d["attribute"] for d in record["language"]["divergences"]} == {"gender", "race4"}


@pytest.mark.slow
def test_sft_then_bpo_then_run(cli: Cli, emu3_card: Path, balanced_manifest: Path, tmp_path: Path) -> None:
    same = ("--model", emu3_card, "--data", balanced_manifest, "--steps", 2, "--rank", 4, "--device", "cpu")
    look = ("--eval-every", 2, "--eval-task", "occupations-mini", "--eval-prompts", 1, "--eval-images", 2)
    cli("train", "sft", *same, *look, "--batch", 4, "--lr", "1e-2", "--out", "sft").succeeded()
    rows = [json.loads(line) for line in (tmp_path / "sft" / "metrics.jsonl").read_text().splitlines()]
    assert rows[0]["loss"] > 0
    assert rows[-1]["eval/images"] == 2
    bpo = (*same[:6], *same[8:], "--from", "sft", "--groups", "gender", "--lr", "1e-2", "--batch", 2, "--out", "bpo")
    cli("train", "bpo", *bpo).succeeded()
    identity = json.loads((tmp_path / "bpo" / "provenance.json").read_text())["identity"]
    assert identity["image reading version"] == [1, 4, 6]
    run = ("run", "--model", emu3_card, *RUN, "-n", 1, "--store", "store", "--json")
    cli(*run, "--out", "plain").succeeded()
    cli(*run, "--method", "lora:bpo", "--out", "tuned").succeeded()
    plain, tuned = (
        json.loads((tmp_path / name / "run.json").read_text())["keys"]["images"] for name in ("plain", "tuned")
    )
    drawn = [
        {r["sha256"] for p in (tmp_path / "store" / "images").glob(f"{key}*/*.parquet") for r in _rows(p)}
        for key in (plain, tuned)
    ]
    assert all(drawn)
    assert not drawn[0] & drawn[1], "the adapter changes every image"
    no = cli("train", "i2t", *same, "--out", "i2t")
    assert (no.code, "answers no questions" in no.err, Path("i2t").exists()) == (2, True, False)


def _rows(path: Path) -> list[dict[str, Any]]:
    return list(pq.read_table(path, columns=["sha256"]).to_pylist())
