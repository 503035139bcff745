"""`fairbench synthesize --images`: a set of one's own images, in a table or in folders."""

from __future__ import annotations

import csv
import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from fairbench.synthesis import balanced
from tests.builders.cli import Cli, Result, run_quietly
from tests.builders.folders import written_once
from tests.builders.small_sets import BASE, CARD, TASK


@pytest.fixture(autouse=True)
def _set(tmp_path: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
    """Copy a set that a model made, whose images are taken for one's own, and the model's card."""

    def write(folder: Path) -> None:
        with pytest.MonkeyPatch.context() as patch:
            patch.chdir(folder)
            Path("small.yaml").write_text(CARD)
            run_quietly(*BASE, "--max-tries", "9", "--out", "set")

    made = written_once(tmp_path_factory, "set", write)
    shutil.copytree(made / "set", tmp_path / "set")
    shutil.copy(made / "small.yaml", tmp_path)


def rows_of(name: str, change: Callable[[list[dict[str, str]]], None] = lambda rows: None) -> Path:
    """Write a CSV beside the images of a set, as if they were one's own."""
    with Path("set/rows.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    change(rows)
    path = Path("set", name)
    with path.open("w", newline="") as file:
        out = csv.DictWriter(file, ["path", "prompt", "subject", "gender", "source_prompt"], extrasaction="ignore")
        out.writeheader()
        out.writerows(rows)
    return path


def own(cli: Cli, path: Path, *more: str) -> Result:
    return cli("synthesize", "--model", "small.yaml", "--images", path, "--groups", "gender", "--out", "own", *more)


def test_own_images_become_a_set(cli: Cli) -> None:
    path = rows_of("mine.csv")
    found = own(cli, path)
    assert found.code == 0, found.err
    assert "No labeller has looked at these images" in found.out
    mine, theirs = balanced.read(Path("own")), balanced.read(Path("set"))
    assert [(r.sha256, r.group, r.prompt) for r in mine.rows] == [(r.sha256, r.group, r.prompt) for r in theirs.rows]
    assert mine.digest == theirs.digest
    confirmed = own(cli, path, "--confirm", "--out", "confirmed", "--json")
    assert confirmed.code == 0, confirmed.err
    assert [t["share"] for t in json.loads(confirmed.out)["confirmation"]] == [1, 1]


def test_own_images_that_the_labeller_does_not_confirm_are_left_out(cli: Cli) -> None:
    def lie(rows: list[dict[str, str]]) -> None:
        first, last = rows[0], next(r for r in rows if r["gender"] == "male")
        first["gender"], last["gender"] = last["gender"], first["gender"]

    path = rows_of("lies.csv", lie)
    found = own(cli, path, "--confirm", "--json")
    assert found.code == 0, found.err
    result = json.loads(found.out)
    assert [t["other"] for t in result["confirmation"]] == [1, 1]
    assert (result["images"], result["left_out"]) == (10, 2)
    groups = {row.sha256: row.group for row in balanced.read(Path("set")).rows}
    assert all(groups[row.sha256] == row.group for row in balanced.read(Path("own")).rows)


def test_own_images_of_which_a_group_is_lost(cli: Cli) -> None:
    def lie(rows: list[dict[str, str]]) -> None:
        for row in rows[:6]:
            row["gender"] = "female" if row["gender"] == "male" else "male"

    found = own(cli, rows_of("lies.csv", lie), "--confirm")
    assert found.code == 2
    assert "confirms no image of the prompt 'A photo of the face of a nurse, a person'" in " ".join(found.err.split())
    assert not Path("own").exists()


def test_own_images_must_be_enough(cli: Cli) -> None:
    found = own(cli, rows_of("mine.csv"), "-n", "4")
    assert found.code == 2
    assert "has 3 images of the group female, 4 are needed" in " ".join(found.err.split())


def folder_of(name: Callable[[balanced.Row], str]) -> Path:
    """Copy a set's images into a folder, each to where `name` says."""
    for row in balanced.read(Path("set")).rows:
        place = Path("mine", name(row))
        place.mkdir(parents=True, exist_ok=True)
        shutil.copy(row.image, place)
    (Path("mine") / ".DS_Store").write_bytes(b"of a file manager")
    return Path("mine")


def test_a_folder_of_prompts_becomes_a_set(cli: Cli) -> None:
    found = own(cli, folder_of(lambda row: f"{row.prompt}/{row.group[0].upper()}"))
    assert found.code == 0, found.err
    mine, theirs = balanced.read(Path("own")), balanced.read(Path("set"))
    assert {(r.sha256, r.group, r.prompt) for r in mine.rows} == {(r.sha256, r.group, r.prompt) for r in theirs.rows}
    assert {r.source_prompt for r in mine.rows} == {""}


def test_a_folder_of_subjects_stands_under_the_wordings_of_a_task(cli: Cli) -> None:
    path = folder_of(lambda row: f"{row.subject}/{row.group[0]}")
    found = own(cli, path, "--task", "phantom-mitigation-unseen")
    assert found.code == 2 and "mine/nurse: the task has no subject 'nurse'" in " ".join(found.err.split())
    Path("words.txt").write_text("Draw a {subject}\nPaint a {subject}\n")
    found = own(cli, path, "--templates", "words.txt", "--confirm", "--json", "--out", "worded")
    assert found.code == 0, found.err
    result = json.loads(found.out)
    assert (result["prompts"], result["images"]) == (4, 24)
    assert [t["of"] for t in result["confirmation"]] == [6, 6]  # an image under two wordings counts once
    found = own(cli, path, "--task", TASK)
    assert found.code == 0, found.err
    mine, theirs = balanced.read(Path("own")), balanced.read(Path("set"))
    fields = ("sha256", "group", "prompt", "subject", "source_prompt")
    assert {tuple(getattr(r, f) for f in fields) for r in mine.rows} == {
        tuple(getattr(r, f) for f in fields) for r in theirs.rows
    }


def test_files_of_a_folder_must_be_images(cli: Cli) -> None:
    path = folder_of(lambda row: f"{row.subject}/{row.group[0]}")
    (path / "nurse" / "male" / "broken.png").write_bytes(b"no picture")
    assert "broken.png" in own(cli, path).err and not Path("own").exists()
    shutil.rmtree(path / "nurse" / "male")
    found = own(cli, path)
    assert found.code == 2 and "mine/nurse has no folder of the group male: add mine/nurse/male" in found.err
    Path("empty").mkdir()
    assert "empty has no images" in own(cli, Path("empty")).err
    assert "--images nowhere: there is no such file or folder" in own(cli, Path("nowhere")).err


def test_a_table_in_the_folder_comes_first(cli: Cli) -> None:
    rows_of("images.csv")
    found = own(cli, Path("set"))
    assert found.code == 0, found.err
    assert balanced.read(Path("own")).digest == balanced.read(Path("set")).digest
    found = own(cli, Path("set"), "--task", TASK)
    assert found.code == 2 and "--task says what a model is to make: with --images set/images.csv" in found.err


@pytest.mark.parametrize(
    ("args", "words"),
    [
        (("--out", "mine"), "--out mine lies inside --images mine: name a folder outside of it"),
        (("--out", "mine/set"), "--out mine/set lies inside --images mine"),
        (("--images", ".", "--out", "set"), "--out set lies inside --images ."),
        (("--max-tries", "3"), "--max-tries says what a model is to make"),
        (("--seed", "3"), "--seed says what a model is to make"),
        (("--groups", "rase4"), "phantom gives no attribute 'rase4'"),
    ],
)
def test_what_a_folder_cannot_be_asked(cli: Cli, args: tuple[str, ...], words: str) -> None:
    Path("mine").mkdir()
    found = own(cli, Path("mine"), *args)
    assert (found.code, Path("own").exists()) == (2, False)
    assert words in " ".join(found.err.split())
    assert not list(Path("mine").iterdir())


def test_own_images_are_judged_as_those_of_a_run_are(cli: Cli) -> None:
    path = folder_of(lambda row: f"{row.subject}/{row.group[0]}")
    found = cli("synthesize", "--images", path, "--groups", "gender", "--out", "own", "--json")
    assert found.code == 0, found.err
    assert json.loads(found.out)["groups"] == [["male"], ["female"]]  # in the order of fairface, as for folder:
