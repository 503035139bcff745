"""The commands that a user types, on tiny checkpoints of the real classes and on real photographs."""

from __future__ import annotations

import json
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from PIL import Image

from tests.builders.cli import Cli
from tests.builders.folders import ROOT, SHARED


def images(store: str) -> dict[bytes, str]:
    shards = Path(store).glob("images/*/part-*.parquet")
    rows = [r for p in shards for r in pq.read_table(p, columns=["image_id", "sha256", "status"]).to_pylist()]
    assert {r["status"] for r in rows} == {"ok"}
    return {r["image_id"]: r["sha256"] for r in rows}


@pytest.mark.slow
@pytest.mark.parametrize("checkpoint", ["tiny_janus", "tiny_sd"])
def test_a_model_folder_runs(cli: Cli, checkpoint: str, request: pytest.FixtureRequest) -> None:
    folder = request.getfixturevalue(checkpoint)
    args = ("run", "--model", folder, "--task", "occupations-mini", "--limit-prompts", "2", "--labeller", "phantom")
    found = cli(*args, "--images-per-prompt", "2", "--store", "one", "--out", "out", "--batch-size", "3")
    assert found.code == 0, found.err
    assert " faces in 4 images" in " ".join(found.out.split())
    other = cli(*args, "-n", "2", "--store", "two", "--batch-size", "2", "--no-sheets")
    assert other.code == 0, other.err
    assert images("one") == images("two")  # float32: an image does not depend on its batch
    assert len(set(images("one").values())) == 4


@pytest.mark.slow
def test_in_bfloat16_the_block_is_part_of_the_key(cli: Cli, tiny_janus: Path) -> None:
    args = (
        "run",
        "--model",
        tiny_janus,
        "--task",
        "occupations-mini",
        "--limit-prompts",
        "1",
        "-n",
        "3",
        "--labeller",
        "phantom",
        "--dry-run",
        "--json",
    )

    def key(*more: str) -> str:
        found = cli(*args, *more)
        assert found.code == 0, found.err
        return str(json.loads(found.out)["image_key"])

    assert key("--batch-size", "2") == key("--batch-size", "3")
    assert key("--dtype", "bfloat16", "--batch-size", "2") != key("--dtype", "bfloat16", "--batch-size", "3")
    assert key("--dtype", "bfloat16", "--batch-size", "3") != key()


def test_five_photographs(cli: Cli) -> None:
    if not (SHARED / "photos").is_dir() or not (SHARED / "weights" / "gear.onnx").exists():
        pytest.skip("the photographs and gear.onnx are not beside this checkout")
    pytest.importorskip("dlib", reason="the extra dlib is not installed")
    card = ROOT / "tests" / "data" / "labellers" / "gear-dlib.yaml"
    found = cli("run", "--model", f"folder:{SHARED / 'photos'}", "--labeller", card, "--out", "out/photos")
    assert found.code == 0, found.err
    record = json.loads(Path("out/photos/run.json").read_text())
    assert record["statuses"]["images"]["ok"] == record["statuses"]["faces"]["ok"] == 5
    assert record["statuses"]["labels"] == {"failed": 0, "ok": 15, "unclear": 0}
    (shard,) = Path("runs/store/labels").glob("*/part-*.parquet")
    rows = pq.read_table(shard).to_pylist()
    assert len(rows) == 15
    assert all(abs(sum(r["probs"]) - 1) < 1e-4 for r in rows)
    genders = [r["label"] for r in rows if r["attribute"] == "gender"]
    assert sorted(genders) == ["female"] * 3 + ["male"] * 2  # as the official FairFace model says of these five
    assert Image.open("out/photos/sheets/0000-all-images.png").width > 600
