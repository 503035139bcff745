"""No command takes anything away from a folder that holds somebody else's files, or puts its own among them."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path

import pytest

from fairbench.runs import people
from tests.builders.balanced import save_balanced
from tests.builders.cli import Cli, Result
from tests.builders.processes import start

RUN = ("run", "--model", "phantom-exact", "--task", "occupations-mini", "--limit-prompts", "1", "--quiet")
SMALL = (*RUN, "-n", "2", "--no-sheets")
THEIRS = (
    "evidence/0123/run.json",
    "evidence/labels/part.parquet",
    "run.json",
    "metrics.csv",
    "plan.json",
    "compare.json",
    "audit.json",
    "manifest.csv",
    "manifest.json",
    "images/000000.png",
    "work/seed.json",
    "state/state.pt",
    "b.csv",
    "provenance.json",
    "validation.json",
    "validation.cells.jsonl",
    "phantom/janus/model.safetensors",
    ".a.tmp",
    "calibration.json",
)


@pytest.fixture
def theirs(tmp_path: Path) -> Path:
    """A folder full of files whose names are those of ours."""
    for name in THEIRS:
        path = tmp_path / "theirs" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f"mine: {name}")
    return tmp_path / "theirs"


def files(folder: Path) -> dict[str, bytes]:
    return {p.relative_to(folder).as_posix(): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()}


def refused(found: Result, *words: str) -> None:
    assert found.code == 2, found.out + found.err
    assert "Traceback" not in found.err
    told = " ".join(found.err.split())
    assert all(word in told for word in words), told


@pytest.mark.parametrize(
    "command",
    [
        SMALL,
        ("audit", "--model", "phantom", "--task", "phantom-occupations", "--limit-prompts", "1", "-n", "4"),
        ("phantom", "build"),
        ("phantom", "images", "--per-group", "1"),
        ("validate", "--quick"),
        ("plan", "--task", "occupations", "--labeller", "phantom", "--detect", "0.1"),
        (
            "synthesize",
            "--model",
            "phantom",
            "--task",
            "phantom-occupations-train",
            "--groups",
            "gender",
            "-n",
            "1",
            "--limit-prompts",
            "1",
        ),
    ],
    ids=lambda command: "-".join(command[: 2 if command[0] == "phantom" else 1]),
)
def test_a_folder_of_others_is_refused_before_any_work(cli: Cli, theirs: Path, command: tuple[str, ...]) -> None:
    before = files(theirs)
    refused(cli(*command, "--out", theirs), "theirs", "name a" if command[0] != "synthesize" else "name another")
    assert files(theirs) == before
    assert not Path("runs/store/images").exists()


def test_a_training_is_refused(cli: Cli, theirs: Path, tmp_path: Path) -> None:
    manifest = save_balanced(tmp_path / "set")
    before = files(theirs)
    refused(cli("train", "sft", "--model", "phantom", "--data", manifest, "--steps", "1", "--out", theirs), "theirs")
    assert files(theirs) == before


def test_a_comparison_and_a_leaderboard_are_refused(cli: Cli, theirs: Path) -> None:
    assert cli(*SMALL, "--out", "a").code == 0
    before = files(theirs)
    refused(cli("compare", "a", "a", "--out", theirs), "files that are not a comparison")
    refused(cli("leaderboard", "add", "a", "--csv", theirs / "b.csv"), "b.csv, line 1")
    run_id = json.loads(Path("a/run.json").read_text())["run_id"]
    (theirs / "b.csv").unlink()
    (theirs / "evidence" / run_id).mkdir()
    (theirs / "evidence" / run_id / "notes.txt").write_text("mine")
    before = files(theirs)
    refused(cli("leaderboard", "add", "a", "--csv", theirs / "b.csv"), run_id, "notes.txt")
    assert files(theirs) == before


def test_a_calibration_replaces_no_other_json(cli: Cli, theirs: Path) -> None:
    assert cli("phantom", "images", "--per-group", "1", "--out", "images").code == 0
    before = files(theirs)
    args = ("calibrate", "--labeller", "phantom", "--images", "images/manifest.csv", "--domain", "renders", "--out")
    refused(cli(*args, theirs / "calibration.json"), "is a file that is not a calibration")
    assert files(theirs) == before
    assert cli(*args, "new/c.json").code == 0
    assert cli(*args, "new/c.json").code == 0, "its own is replaced"


def test_a_copy_of_a_leaderboards_folder_keeps_its_evidence(cli: Cli) -> None:
    """A folder `evidence` is a common name: a run once replaced one that held all rows' evidence."""
    assert cli(*SMALL, "--out", "a", "--leaderboard", "boards/b.csv").code == 0
    before = files(Path("boards"))
    refused(cli(*SMALL, "--out", "boards"), "boards holds files that are not a run (", "name a folder that is new")
    assert files(Path("boards")) == before


def test_the_users_files_in_a_run_folder_stay(cli: Cli) -> None:
    assert cli(*SMALL, "--out", "out").code == 0
    for name in ("notes.txt", "evidence/notes.txt", "sheets/mine.png"):
        Path("out", name).parent.mkdir(exist_ok=True)
        Path("out", name).write_text("mine")
    assert cli(*SMALL, "--out", "out").code == 0
    assert cli(*RUN, "-n", "3", "--no-sheets", "--out", "out").code == 0
    assert all(files(Path("out"))[name] == b"mine" for name in ("notes.txt", "evidence/notes.txt", "sheets/mine.png"))


def test_sheets_of_the_same_run_stay(cli: Cli) -> None:
    assert cli(*RUN, "-n", "2", "--out", "out").code == 0
    sheets = {n for n in files(Path("out")) if n.startswith("sheets/")}
    assert cli(*SMALL, "--out", "out").code == 0
    assert {n for n in files(Path("out")) if n.startswith("sheets/")} == sheets != set()
    assert cli(*RUN, "-n", "3", "--no-sheets", "--out", "out").code == 0
    assert not {n for n in files(Path("out")) if n.startswith("sheets/")}, "they show another run"
    (aside,) = Path().glob("out-*")
    assert {n for n in files(aside) if n.startswith("sheets/")} == sheets


def test_out_may_be_where_one_stands(cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also inside another run's folder; the folder stays the same one, so that a shell in it stays there too."""
    Path("here").mkdir()
    monkeypatch.chdir("here")
    number = os.stat(".").st_ino
    assert cli(*SMALL, "--out", ".", "--leaderboard", "b.csv").code == 0
    first = files(Path("evidence"))
    found = cli(*RUN, "-n", "3", "--no-sheets", "--out", ".", "--leaderboard", "b.csv")
    assert found.code == 0, found.err
    assert os.stat(".").st_ino == number
    (aside,) = Path("..").glob("here-*")
    assert files(aside / "evidence").items() >= {k: v for k, v in first.items() if k.startswith("labels/")}.items()
    assert len(Path("b.csv").read_text().splitlines()) == 3
    assert Path("runs/store/images").is_dir()


@pytest.mark.parametrize(
    ("out", "words"),
    [
        ("runs/store", "lies inside the store"),
        ("runs/store/images/x", "lies inside the store"),
        ("file", "--out file is a file: name a folder"),
        ("file/x", "a part of that path is a file"),
        ("link", "--out link is a file: name a folder"),
        ("loop", "Cannot write loop"),
        ("x" * 300, "the name is too long"),
    ],
)
def test_a_place_that_cannot_be_is_told_before_any_work(cli: Cli, out: str, words: str) -> None:
    Path("file").write_text("mine")
    Path("link").symlink_to("file")
    Path("loop").symlink_to("loop")
    refused(cli(*SMALL, "--out", out), words)
    assert Path("file").read_text() == "mine"
    assert sorted(p.name for p in Path().iterdir()) == ["file", "link", "loop"]


def test_a_read_only_folder_is_told_before_any_work(cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    make = Path.mkdir

    def refuse(self: Path, *args: object, **kwargs: object) -> None:
        if "closed" in str(self):
            raise PermissionError(13, "Permission denied")
        make(self, *args, **kwargs)  # type: ignore[arg-type]

    monkeypatch.setattr(Path, "mkdir", refuse)
    refused(cli(*SMALL, "--out", "closed/out"), "Cannot write closed/out: permission is denied")
    assert list(Path().iterdir()) == []


def test_a_run_that_fails_leaves_no_folder(cli: Cli) -> None:
    Path("mine").mkdir()
    for out in ("new/er", "mine"):
        refused(cli(*SMALL, "--labeller", "fairface", "--out", out), "FAIRBENCH_WEIGHTS_DIR")
    assert not Path("new").exists()
    assert Path("mine").is_dir(), "it was there before"


def test_out_alone_is_no_description_of_a_run(cli: Cli) -> None:
    assert cli(*SMALL, "--out", "old", "--seed", "3").code == 0
    before = files(Path("old"))
    found = cli("run", "--out", "old", "--quiet")
    command = "fairbench run --model phantom-exact --task occupations-mini --method none --images-per-prompt 2"
    refused(found, "--out old holds run ", f"type {command} --limit-prompts 1 --seed 3 --out old; for another run")
    assert files(Path("old")) == before
    typed = " ".join(found.err.split()).split("type fairbench ")[1].split(";")[0].split()
    again = cli(*typed, "--json", "--quiet")
    assert json.loads(again.out)["run_id"] == json.loads(before["run.json"])["run_id"]


@pytest.mark.long
def test_the_same_run_four_times_at_once(cli: Cli, tmp_path: Path) -> None:
    args = (*RUN, "-n", "4", "--out", "out", "--leaderboard", "b.csv")
    runs = [start(tmp_path, *args) for _ in range(4)]
    assert [run.wait() for run in runs] == [0] * 4, [run.err for run in runs]
    shutil.rmtree(tmp_path / "runs")
    cli("leaderboard", "verify", "b.csv", "--strict").succeeded()
    assert len((tmp_path / "b.csv").read_text().splitlines()) == 2
    kept = [n for n in files(tmp_path / "out") if n.startswith("evidence/")]
    assert len(kept) == 5, kept  # the marker, images, faces, labels, and the calibration
    assert not [p for p in tmp_path.rglob(".*") if p.name != ".b.csv.lock"]


def test_labels_by_people_stay_with_their_run(cli: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The same run, made again, keeps them; another run's go with it."""
    monkeypatch.chdir(tmp_path)
    assert cli(*SMALL, "--json", "--out", "out").code == 0
    run_id = json.loads(Path("out/run.json").read_text())["run_id"]
    people.write(people.People(run_id=run_id, labels_sha256="0" * 64, images=0, annotators=1, rows=[]), Path("out"))
    said = {name: files(Path("out"))[name] for name in ("people.json", "people.csv")}
    assert cli(*SMALL, "--json", "--out", "out").code == 0
    assert said.items() <= files(Path("out")).items()
    assert cli(*SMALL, "--json", "--seed", "1", "--out", "out").code == 0
    assert "people.json" not in files(Path("out"))
    (aside,) = Path().glob("out-*")
    assert said.items() <= files(aside).items()
