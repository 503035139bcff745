"""`fairbench store`: real runs in a store, listed, measured, checked, compacted and collected."""

from __future__ import annotations

import json
import os
import shutil
import time
from pathlib import Path

import pytest

from fairbench.cards import catalog
from fairbench.runs.labels import LabelStage
from fairbench.storage import compaction
from fairbench.storage.store import STAGES, Store
from fairbench.upkeep import collection
from tests.builders.cli import Cli, run_quietly

HOURS_AGO = 7200.0


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two runs of one model in one store, and one of another, made hours ago."""
    folder = tmp_path_factory.mktemp("made")
    twin = folder / "twin.yaml"
    card = catalog.find("models")["phantom-exact"].read_text()
    twin.write_text(
        card.replace("name: phantom-exact", "name: twin").replace("no_head_rate: 0.03", "no_head_rate: 0.1")
    )
    for name, model, n in (("a", "phantom-exact", 2), ("b", "phantom-exact", 4), ("c", twin, 1)):
        sizes = ("-n", n, "--limit-prompts", 3, "--batch-size", 3 if model == twin else 1)
        where = ("--store", folder / "store", "--out", folder / name)
        run_quietly("run", "--model", model, "--scorers", "none", *sizes, *where)
    return folder


@pytest.fixture
def folder(made: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of them, in the current folder, last changed two hours ago."""
    copy = shutil.copytree(made, tmp_path / "copy")
    age(copy / "store")
    monkeypatch.chdir(copy)
    monkeypatch.setenv("FAIRBENCH_STORE", "store")
    return copy


def age(store: Path, seconds: float = HOURS_AGO) -> None:
    for path in store.rglob("*"):
        os.utime(path, (time.time() - seconds,) * 2)


def shards(store: str = "store") -> list[Path]:
    return sorted(Path(store).rglob("part-*.parquet"))


def test_ls_says_whose_keys_these_are(cli: Cli, folder: Path) -> None:
    keys = cli("store", "ls", "--json").json()
    by_model = {(k["stage"], *k["models"]): k for k in keys}
    assert set(by_model) == {(stage, m) for stage in STAGES[:3] for m in ("twin", "phantom-exact")}
    images = by_model["images", "phantom-exact"]
    assert (images["rows"], images["shards"]) == (12, 12)
    assert (images["tasks"], images["labellers"]) == (["occupations-mini"], [])
    assert by_model["faces", "twin"]["labellers"] == ["phantom"]
    assert sum(k["bytes"] for k in keys) == sum(path.stat().st_size for path in shards())
    shown = cli("store", "ls", "--stage", "images", "--no-rows").succeeded().out
    assert "phantom-exact" in shown and "2 hours ago" in shown and "faces" not in shown


def test_du_adds_up(cli: Cli, folder: Path) -> None:
    (folder / "store" / "damaged").mkdir()
    (folder / "store" / "damaged" / "images-x-part-0.parquet").write_bytes(b"12345")
    groups = cli("store", "du", "--json").json()
    assert sum(g["bytes"] for g in groups) == sum(path.stat().st_size for path in shards()) + 5
    assert {"stage": "damaged", "models": "", "keys": 0, "files": 1, "bytes": 5} in groups
    assert "phantom-exact" in cli("store", "du").succeeded().out


def test_verify_names_what_is_damaged_and_moves_nothing(cli: Cli, folder: Path) -> None:
    assert cli("store", "verify", "-q").succeeded().out == f"{len(shards())} shards, none is damaged.\n"
    short, foreign = shards()[3], shards()[5]
    short.write_bytes(short.read_bytes()[:-1])
    done = cli("store", "verify", "--json", "-q")
    report = json.loads(done.out)
    assert done.code == 1 and report["shards"] == len(shards())
    assert [d["path"] for d in report["damaged"]] == [str(short.relative_to("."))] and short.exists()
    other = foreign.with_name(shards()[-1].name)  # whole, and of another table
    shutil.copy(shards()[-1], other)
    text = cli("store", "verify", "-q", "--stage", other.parent.parent.name)
    assert text.code == 1 and f"{other.relative_to('.')}: is not a fairbench images table" in text.out


def test_compact_changes_no_result(cli: Cli, folder: Path) -> None:
    before = {path: path.read_bytes() for path in folder.glob("?/metrics.csv")}
    assert len(before) == 3
    compacted = cli("store", "compact", "--json", "-q").json()
    assert {(c["stage"], c["shards"]) for c in compacted} >= {("images", 1)} and all(
        c["repeated"] == 0 for c in compacted
    )
    assert max(len(list(key.iterdir())) for key in Path("store").glob("*/*") if key.parent.name in STAGES) == 1
    again = ("--model", "phantom-exact", "--scorers", "none", "-n", 4, "--limit-prompts", 3, "--out", "b")
    cli("run", *again).succeeded()
    assert set(json.loads(Path("b/run.json").read_text())["made_in_this_process"].values()) == {0}
    assert {path: path.read_bytes() for path in folder.glob("?/metrics.csv")} == before
    assert cli("store", "compact").succeeded().out == "No key has several small shards.\n"


def test_gc_keeps_what_the_named_runs_refer_to(cli: Cli, folder: Path) -> None:
    before = shards()
    planned = cli("store", "gc", "--keep", "b", "--json").json()
    assert {m for k in planned["keys"] for m in k["models"]} == {"twin"} and not planned["removed"]
    assert "add --yes" in cli("store", "gc", "--keep", "b").succeeded().out and shards() == before
    done = cli("store", "gc", "--keep", "b", "--yes", "--json").json()
    assert done["removed"] and done["bytes"] == planned["bytes"] > 0
    assert {k["models"][0] for k in cli("store", "ls", "--json").json()} == {"phantom-exact"}
    assert not [key for key in Path("store").glob("*/*") if key.is_dir() and not list(key.iterdir())]
    assert "nothing to remove" in cli("store", "gc", "--keep", folder, "--yes").succeeded().out  # runs below a folder


def test_gc_by_model_stage_key_and_age(cli: Cli, folder: Path) -> None:
    def planned(*options: object) -> set[tuple[str, str]]:
        return {(k["stage"], k["models"][0]) for k in cli("store", "gc", *options, "--json").json()["keys"]}

    assert planned("--model", "twin", "--stage", "labels") == {("labels", "twin")}
    images = [path.name for path in Path("store/images").iterdir()]
    assert len(planned("--key", images[0][:8])) == 1
    assert planned("--older-than", 1) == set() and len(planned("--older-than", 0.05)) == 6
    for wrong, words in (
        ([], "Say what is to go"),
        (["--model", "absent"], "the store knows phantom-exact, twin"),
        (["--stage", "pixels"], "name images, faces, labels, scores"),
        (["--key", "zzzz"], "no key of the store begins so"),
        (["--keep", "store"], "refers to no key"),
        (["--keep", "absent"], "there is no such folder"),
    ):
        done = cli("store", "gc", *wrong)
        assert done.code == 2 and words in done.err.replace("\n", " ")


def test_gc_leaves_what_a_process_may_be_working_on(cli: Cli, folder: Path) -> None:
    """Labels that were just written hold the images that they are of; a run that just began holds all of its keys."""
    labels = next(
        k["key"] for k in cli("store", "ls", "--json").json() if k["stage"] == "labels" and "twin" in k["models"]
    )
    os.utime(next(Path("store/labels", labels).iterdir()))
    planned = cli("store", "gc", "--older-than", 0, "--json").json()
    assert {m for k in planned["keys"] for m in k["models"]} == {"phantom-exact"}
    assert {(k["stage"], *k["models"]) for k in planned["in_use"]} == {(s, "twin") for s in STAGES[:3]}
    age(folder / "store")
    for note in Path("store/runs").iterdir():
        os.utime(note)
    assert cli("store", "gc", "--older-than", 0, "--json").json()["keys"] == []


def test_gc_leaves_what_came_into_use_after_it_looked(folder: Path) -> None:
    store = Store("store")
    everything = collection.Wanted(collection.Selection(), older_than=0)
    planned = collection.plan(store, everything)
    asked_for = next(Path("store/runs").iterdir())
    os.utime(asked_for)
    removed = collection.remove(store, planned)
    names = set(json.loads(asked_for.read_text())["keys"]["images"])
    assert len(removed.in_use) == 3 and len(removed.keys) == len(planned.keys) - 3
    assert {path.name for path in Path("store/images").iterdir()} == names


def test_gc_removes_what_was_set_aside_when_asked(cli: Cli, folder: Path) -> None:
    (folder / "store" / "damaged").mkdir()
    (folder / "store" / "damaged" / "images-x-part-0.parquet").write_bytes(b"12345")
    before = shards()
    assert cli("store", "gc", "--damaged", "--yes", "--json").json()["bytes"] == 5
    assert not list(Path("store/damaged").iterdir()) and shards() == before


def test_a_run_goes_on_while_its_images_are_merged(cli: Cli, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Between its look at the shards and its first picture."""
    shutil.rmtree("store/faces")
    shutil.rmtree("store/labels")
    (key,) = {path.parent.name for path in shards() if len(list(path.parent.iterdir())) == 12}
    compacted, run = [], LabelStage.run

    def compacts_first(self: LabelStage, *args: object) -> int:
        compacted.append(compaction.compact(Store("store"), "images", key))
        return run(self, *args)  # type: ignore[arg-type]

    monkeypatch.setattr(LabelStage, "run", compacts_first)
    cli(
        "run", "--model", "phantom-exact", "--scorers", "none", "-n", 4, "--limit-prompts", 3, "--out", "again"
    ).succeeded()
    assert compacted[0].shards == 1
    assert Path("again/metrics.csv").read_bytes() == Path("b/metrics.csv").read_bytes()
