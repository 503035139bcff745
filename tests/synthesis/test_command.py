"""`fairbench synthesize` through the command line: what it makes, keeps, resumes, shares and refuses."""

from __future__ import annotations

import hashlib
import json
import shutil
import signal
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from fairbench.errors import OutOfMemory
from fairbench.synthesis import balanced
from fairbench.types import ImageRequest, ImageResult
from tests.builders.cli import Cli
from tests.builders.folders import ROOT
from tests.builders.processes import KillAtWrite, start
from tests.builders.small_sets import BASE, CARD, TASK


@pytest.fixture(autouse=True)
def _card(tmp_path: Path) -> None:
    (tmp_path / "small.yaml").write_text(CARD)


def made(cli: Cli, out: str, *more: str) -> dict[str, Any]:
    found = cli(*BASE, "--max-tries", "9", "--out", out, "--json", *more)
    assert found.code == 0, found.err
    return dict(json.loads(found.out))


def stored(store: str = "runs/store") -> dict[str, dict[str, Any]]:
    """Return every stored image by its hash."""
    columns = ["sha256", "text", "seed", "method", "image"]
    rows = [r for p in Path(store).glob("images/*/part-*") for r in pq.read_table(p, columns=columns).to_pylist()]
    return {r["sha256"]: r for r in rows}


def files(out: str) -> dict[str, bytes]:
    return {p.relative_to(out).as_posix(): p.read_bytes() for p in Path(out).rglob("*") if p.is_file()}


def test_a_set_holds_confirmed_images_of_every_group(cli: Cli) -> None:
    found = made(cli, "set")
    held = balanced.read(Path("set"))
    assert found["images"] == len(held.rows) == 12
    assert {(p, g): len(i) for p, groups in held.by_prompt().items() for g, i in groups.items()} == {
        (f"A photo of the face of a {subject}, a person", (gender,)): 3
        for subject in ("nurse", "engineer")
        for gender in ("female", "male")
    }
    known = stored()
    for row in held.rows:
        content = row.image.read_bytes()
        assert known[row.sha256]["image"]["bytes"] == content  # as stored, not encoded again
        assert hashlib.sha256(content).hexdigest() == row.sha256
        assert known[row.sha256]["text"] == row.source_prompt
        assert row.source_prompt == row.prompt.replace(row.subject, f"{row.group[0]} {row.subject}")
    assert {r["method"] for r in known.values()} == {"synthesize"}
    tallies = found["confirmation"]
    assert sum(t["images"] for t in tallies) == len(known) > 12
    for t in tallies:
        assert t["images"] == t["confirmed"] + t["no_face"]  # this model never draws another gender than it is told
        assert t["of"] == 6 and 0 <= t["low"] < t["share"] < t["high"] <= 1
    assert json.loads(Path("set/manifest.json").read_text())["provenance"]["confirmation"] == tallies


def test_what_it_prints(cli: Cli) -> None:
    found = cli(*BASE, "--max-tries", "9", "--out", "set")
    assert found.code == 0, found.err
    printed = found.out.replace("\n", " ")
    for words in (
        "small · confirmed by phantom",
        "12 images: 2 prompts x 2 groups x 3 each",
        "never anyone's identity",
    ):
        assert words in printed


def test_the_tiny_unified_model_makes_a_set(cli: Cli) -> None:
    Path("words.txt").write_text("# taught wordings\na photo of the face of a {subject}\nDraw a {subject}\n")
    found = cli(
        "synthesize",
        "--model",
        "phantom",
        "--task",
        TASK,
        "--limit-prompts",
        "1",
        "--groups",
        "gender",
        "-n",
        "2",
        "--templates",
        "words.txt",
        "--json",
    )
    assert found.code == 0, found.err
    result = json.loads(found.out)
    held = balanced.read(Path(result["out"]))
    assert Path(result["out"]).parent == Path("runs/balanced")
    assert list(held.by_prompt()) == ["a photo of the face of a nurse", "Draw a nurse"]
    assert all(t["share"] > 0.5 for t in result["confirmation"])


def test_again_it_makes_nothing_and_a_larger_set_only_what_is_new(cli: Cli) -> None:
    first = made(cli, "set")
    before, shards = files("set"), set(Path("runs/store").rglob("*"))
    assert made(cli, "set") == first
    made(cli, "other")
    assert files("set") == before == files("other")
    assert set(Path("runs/store").rglob("*")) == shards
    known = stored()
    larger = made(cli, "larger", "-n", "4")
    assert larger["images"] == 16
    assert known.keys() < stored().keys()
    assert {r.sha256 for r in balanced.read(Path("set")).rows} < {r.sha256 for r in balanced.read(Path("larger")).rows}


def test_it_shares_no_image_with_an_evaluation(cli: Cli) -> None:
    made(cli, "set")
    own = {(r["text"], r["seed"]) for r in stored().values()}
    found = cli(
        "run",
        "--model",
        "small.yaml",
        "--task",
        TASK,
        "--limit-prompts",
        "2",
        "-n",
        "8",
        "--no-sheets",
        "--out",
        "run",
        "--scorers",
        "none",
    )
    assert found.code == 0, found.err
    assert json.loads(Path("run/run.json").read_text())["made_in_this_process"]["images"] == 16
    evaluated = {(r["text"], r["seed"]) for r in stored().values() if r["method"] == "none"}
    assert len(evaluated) == 16
    assert not {seed for _, seed in own} & {seed for _, seed in evaluated}


@pytest.mark.parametrize(
    ("after", "name"),
    [
        (3, ""),
        pytest.param(5, "", marks=pytest.mark.slow),
        pytest.param(9, "", marks=pytest.mark.slow),
        (-1, "rows.csv"),
    ],
)
def test_killed_anywhere_it_goes_on(cli: Cli, tmp_path: Path, after: int, name: str) -> None:
    args = [*BASE, "--max-tries", "9", "--store", "killed-store", "--out", "killed"]
    killed = start(tmp_path, *args, program=KillAtWrite(after, name))
    assert killed.wait() == -signal.SIGKILL, killed.err
    assert not Path("killed").exists()
    before = stored("killed-store")
    made(cli, "killed", "--store", "killed-store")
    made(cli, "straight", "--store", "other-store")
    assert files("killed") == files("straight")
    assert before.keys() <= stored("killed-store").keys() == stored("other-store").keys()


def test_out_of_memory_the_same_command_finds_its_set(cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    from fairbench.adapters.janus import JanusAdapter

    generate, refused = JanusAdapter.generate, list[int]()

    def short(self: JanusAdapter, requests: Sequence[ImageRequest]) -> list[ImageResult]:
        if self.ctx.block_size > 4:
            refused.append(self.ctx.block_size)
            raise OutOfMemory("injected")
        return generate(self, requests)

    monkeypatch.setattr(JanusAdapter, "generate", short)
    Path("half.yaml").write_text(
        (ROOT / "models/phantom.yaml")
        .read_text()
        .replace("block_size: 256", "block_size: 16")
        .replace("path: phantom", f"path: {ROOT}/models/phantom")
        .replace("file: phantom", f"file: {ROOT}/models/phantom")
    )
    args = (
        "synthesize",
        "--model",
        "half.yaml",
        "--dtype",
        "bfloat16",
        "--task",
        TASK,
        "--limit-prompts",
        "1",
        "--groups",
        "gender",
        "-n",
        "1",
        "--out",
        "set",
        "--json",
    )
    first = cli(*args)
    assert first.code == 0, first.err
    assert refused == [16, 16, 8, 8]  # each once more, then half
    model = json.loads(Path("set/manifest.json").read_text())["provenance"]["model"]
    assert (model["dtype"], model["block_size"]) == ("bfloat16", 4)
    before = files("set")
    again = cli(*args)
    assert (again.code, again.out) == (0, first.out), again.err
    assert len(refused) == 4 and files("set") == before
    shutil.rmtree("set")
    assert json.loads(cli(*args).out)["digest"] == json.loads(first.out)["digest"]


def test_a_group_that_cannot_be_filled_is_one_sentence(cli: Cli) -> None:
    found = cli(*BASE, "--max-tries", "1", "--out", "set")
    assert found.code == 2
    sentence = " ".join(found.err.split("Error: ")[1].split())
    assert "The prompt 'A photo of the face of a" in sentence
    assert "of 3 confirmed images of the group" in sentence and "after 3 tries" in sentence
    assert "raise --max-tries" in sentence
    assert not Path("set").exists() and not list(Path().glob(".set.*"))
    known = stored()
    assert len(known) == 12
    made(cli, "set")
    assert known.keys() < stored().keys()  # and goes on from what was made


@pytest.mark.parametrize(
    ("args", "words"),
    [
        (("--groups", "gendre"), "did you mean 'gender'"),
        (("--groups", "gender_x_gender"), "cross different ones"),
        (("--model", "folder:mine"), "makes no images"),
        (("--confirm",), "--confirm belongs to --images"),
        (("--out", "taken"), "taken holds something else already"),
        (("--out", "taken/notes.txt"), "taken/notes.txt holds something else already"),
        (("--out", "taken/notes.txt/set"), "taken/notes.txt is a file: name another --out"),
        (("--per-group", "0"), "'--per-group' / '-n'"),
        (("--task", "occupations-stated"), "a balanced set needs neutral prompts: name another task"),
        (("--dtype", "int8"), "name float32, bfloat16 or float16"),
        (("--images", "rows.csv"), "--limit-prompts says what a model is to make"),
        (("--labeller", "fairface", "--groups", "race7"), "FAIRBENCH_WEIGHTS_DIR"),
    ],
)
def test_what_cannot_be_asked_is_one_sentence(cli: Cli, args: tuple[str, ...], words: str) -> None:
    Path("taken").mkdir()
    Path("taken/notes.txt").write_text("mine")
    Path("mine").mkdir()
    (Path("mine") / "a.png").write_bytes(b"")
    found = cli(*BASE, "--out", "set", *args)
    assert found.code == 2
    assert words in " ".join(found.err.split())
    assert "Traceback" not in found.err
    assert not Path("set").exists() and not Path("runs/store/images").exists()


def test_the_task_is_never_taken_for_granted(cli: Cli) -> None:
    found = cli("synthesize", "--model", "small.yaml")
    assert found.code == 2 and "--task is missing" in found.err


# --- one's own images ---
