"""The labeller `vqa` in runs of the phantom: what it reads, how that is marked, and what is never sent away."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest
import yaml
from PIL import Image

from fairbench.leaderboard import board
from fairbench.leaderboard.columns import COLUMNS
from tests.builders.cli import Cli
from tests.builders.folders import ROOT

CELLS = ("female,Black", "male,Asian", "female,WMELH", "male,Indian")
RUN = ("run", "--limit-prompts", 3, "--images-per-prompt", 6)


def card(folder: Path, name: str, **judge: object) -> Path:
    """Write the card phantom-vqa with another judge; return its path."""
    data = yaml.safe_load((ROOT / "models/labellers/phantom-vqa.yaml").read_text())
    data["name"] = name
    data["classifiers"][0]["judge"] = judge
    path = folder / f"{name}.yaml"
    path.write_text(yaml.safe_dump(data))
    return path


def labels_of(run: Path) -> pd.DataFrame:
    shards = sorted((run / "evidence" / "labels").rglob("*.parquet"))
    table = pd.concat([pq.read_table(shard).to_pandas() for shard in shards])
    return table.set_index(["image_id", "attribute"]).sort_index()


def test_the_phantom_reads_its_own_pictures_as_its_labeller_does(cli: Cli, tmp_path: Path) -> None:
    asked = cli(*RUN, "--labeller", "phantom-vqa", "--out", "asked").succeeded()
    cli(*RUN, "--out", "read").succeeded()
    ours, theirs = labels_of(tmp_path / "asked"), labels_of(tmp_path / "read")
    both = ours[["label"]].join(theirs["label"].rename("read"))
    assert len(both) == len(theirs) == 36 and (both["label"] == both["read"]).mean() >= 0.9
    for words in ("self-judged", "asked-labels", "by a model that was asked about each picture", "not judged"):
        assert words in " ".join(asked.out.split()), words
    record = json.loads((tmp_path / "asked" / "run.json").read_text())
    assert {"self-judged", "asked-labels"} <= {each["code"] for each in record["notices"]}


def test_a_self_judged_run_has_a_row_and_no_rank(cli: Cli, tmp_path: Path) -> None:
    cli(*RUN, "--labeller", "phantom-vqa", "--leaderboard", "board.csv").succeeded()
    row = next(iter(board.read(tmp_path / "board.csv")))
    assert "self-judged" in row["notices"] and row[board.RANKED_BY] and row["rank"] == ""
    honest = dict.fromkeys(COLUMNS, "") | row | {"notices": "none", "labels_sha256": "0" * 64, "run_id": "0" * 32}
    assert [r["rank"] for r in board.rank([row, honest])] == ["", "1"]


def test_another_model_as_judge_is_not_self_judging(cli: Cli, tmp_path: Path) -> None:
    labeller = card(tmp_path, "by-the-phantom", model="phantom")
    result = cli(*RUN, "--model", "phantom-exact", "--labeller", labeller, "--out", "exact").succeeded()
    assert "asked-labels" in result.out and "self-judged" not in result.out
    result = cli(*RUN, "--labeller", labeller, "--out", "own").succeeded()
    assert "self-judged" in result.out


def test_answers_that_name_nothing_are_counted_as_unclear(cli: Cli, tmp_path: Path) -> None:
    data = yaml.safe_load((ROOT / "models/labellers/phantom-vqa.yaml").read_text())
    data["classifiers"][0]["questions"]["race4"] = {"text": "What is the occupation of the person?"}
    (tmp_path / "odd.yaml").write_text(yaml.safe_dump(data))
    result = cli(*RUN, "--labeller", tmp_path / "odd.yaml", "--out", "odd").succeeded()
    labels = labels_of(tmp_path / "odd").reset_index()
    race = labels[labels["attribute"] == "race4"]
    assert (race["status"] == "unclear").all() and race["label"].isna().all() and race["probs"].isna().all()
    assert (labels[labels["attribute"] == "gender"]["status"] == "ok").mean() > 0.8
    assert "with an unclear label: race4 18 (100.0 %)" in " ".join(result.out.split())


@pytest.mark.parametrize("address", ["https://api.example.com/v1", "http://10.0.0.7:8000/v1", "http://models:8000/v1"])
def test_pictures_of_unknown_origin_are_never_sent_away(cli: Cli, tmp_path: Path, address: str) -> None:
    labeller = card(tmp_path, "served", endpoint={"model": "org/vlm", "base_url": address})
    (tmp_path / "pictures").mkdir()
    for i in range(4):
        Image.fromarray(np.full((32, 32, 3), 20 + 40 * i, dtype=np.uint8)).save(tmp_path / "pictures" / f"{i}.png")
    refused = cli("run", "--model", "folder:pictures", "--labeller", labeller)
    assert refused.code == 2 and refused.err.count("\n") == 1
    assert address in refused.err and "photographs of people" in refused.err
    manifest = tmp_path / "truth.csv"
    manifest.write_text("path,gender,race4\n" + "".join(f"pictures/{i}.png,{c}\n" for i, c in enumerate(CELLS)))
    where = ("--images", manifest, "--domain", "photographs", "--out", "c.json")
    counted = cli("calibrate", "--labeller", labeller, *where)
    assert counted.code == 2 and address in counted.err, counted.err


def test_who_answers_must_be_one_and_must_answer(cli: Cli, tmp_path: Path) -> None:
    for judge, part in (
        ({}, "exactly one of model, transformers and endpoint"),
        ({"model": "phantom", "endpoint": {"model": "m"}}, "exactly one"),
        ({"model": "no-such-model"}, "no-such-model"),
        ({"model": "phantom-exact"}, "answers no questions"),
        ({"endpoint": {"model": "m", "key_variable": "sk-secret123"}}, "key_variable"),
        ({"endpoint": {"model": "m"}}, "base_url"),
    ):
        refused = cli(*RUN, "--model", "phantom-exact", "--labeller", card(tmp_path, "wrong", **judge))
        assert refused.code == 2 and part in refused.err and "Traceback" not in refused.err, refused.err
        assert "sk-secret123" not in refused.err
