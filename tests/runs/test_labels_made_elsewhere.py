"""Runs that measure with labels from a table: with the images, or with nothing but the table."""

from __future__ import annotations

import csv
import json
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from PIL import Image

import fairbench
from fairbench.errors import FairbenchError
from fairbench.leaderboard import board
from tests.builders.cli import Cli
from tests.builders.folders import ROOT
from tests.builders.images import noise
from tests.builders.runs import finished_run

SIZE = ("--task", "phantom-occupations", "--limit-prompts", "3", "-n", "12")
RUN = ("--model", "phantom-exact", *SIZE, "--no-sheets", "--store", "store")
GENDERS, RACES = ("female", "male"), ("WMELH", "Black", "Indian", "Asian")


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a run that a classifier labelled, and its store."""
    folder = tmp_path_factory.mktemp("made")
    finished_run(folder / "run", task="phantom-occupations", limit_prompts=3, images_per_prompt=12, scorers=())
    return folder


@pytest.fixture
def here(made: Path, tmp_path: Path) -> Path:
    """A copy of it in the folder where commands work."""
    shutil.copytree(made, tmp_path, dirs_exist_ok=True)
    return tmp_path


def write(path: Path, header: Sequence[str], rows: Sequence[Sequence[object]]) -> Path:
    with path.open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([header, *rows])
    return path


def values(folder: Path) -> dict[tuple[str, ...], float]:
    """The task's numbers of a run."""
    metrics = fairbench.load(folder).metrics
    rows = metrics[(metrics["scope"] == "task") & metrics["estimate"].isin(["raw", "rarefied"])]
    return {(r.attribute, r.metric, r.estimate): round(r.value, 9) for r in rows.itertuples() if r.value == r.value}


def images_of(folder: Path) -> pd.DataFrame:
    """The run's images, one of which shows no face."""
    images = fairbench.load(folder).images()
    assert images["gender"].isna().sum() == 1
    return images


def by_id(images: pd.DataFrame) -> list[list[object]]:
    return images[["image_id", "gender", "race4"]].fillna("no face").to_numpy().tolist()


def by_sample(images: pd.DataFrame) -> list[list[object]]:
    columns = ["prompt", "sample_index", "gender", "race4"]
    return images[columns].fillna("no face").to_numpy().tolist()[::-1]


def test_a_classifiers_own_labels_give_its_own_numbers(cli: Cli, here: Path) -> None:
    """By image id, by prompt and sample, and as `Run.images` writes them: with the images, and without."""
    images = images_of(here / "run")
    write(here / "ids.csv", ["image", "gender", "race4"], by_id(images))
    write(here / "samples.csv", ["prompt", "sample", "gender", "race4"], by_sample(images))
    images.to_csv(here / "images.csv", index=False)
    expected = values(here / "run")
    for name, more in (
        ("ids", RUN),
        ("samples", RUN),
        ("images", RUN),
        ("samples", ("--task", "phantom-occupations", "--store", "other")),
    ):
        cli("run", *more, "--labels", f"{name}.csv", "--labeller", "phantom", "--out", "out").succeeded()
        measured = values(here / "out")
        # Probabilities are 1 where a table has none, and mannequins without images have no scores.
        of_labels = {k: v for k, v in measured.items() if k[1] not in ("l2-softmax",)}
        assert of_labels == {k: v for k, v in expected.items() if k in of_labels}, name
        assert len(of_labels) > 30
        shutil.rmtree(here / "out")


def test_images_of_a_folder_are_matched_by_path(cli: Cli, here: Path) -> None:
    rows = []
    for i, prompt in enumerate(("nurse", "senator")):
        for j in range(4):
            path = here / "pictures" / prompt / f"{j}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(noise((16, 16), seed=10 * i + j)[0]).save(path)
            rows.append([f"{prompt}/{j}.png", GENDERS[(i + j) % 2 if i else 0]])
    write(here / "labels.csv", ["image", "gender"], rows)
    command = ("run", "--model", "folder:pictures", "--labels", "labels.csv", "--scorers", "none", "--out", "out")
    cli(*command).succeeded()
    run = fairbench.load(here / "out")
    assert run.shares("gender")["share"].tolist() == [1.0, 0.0, 0.5, 0.5]
    assert len(list((here / "out" / "sheets").glob("*.png"))) == 2  # pictures are shown, though without boxes
    write(here / "labels.csv", ["image", "gender"], [[str(here / "pictures" / str(n)), g] for n, g in rows])
    absolute = cli(*command, "--json").json()
    assert absolute
    assert fairbench.load(here / "out").shares("gender")["share"].tolist() == [1.0, 0.0, 0.5, 0.5]
    write(here / "labels.csv", ["image", "gender"], [["0.png", "male"], ["x.png", "female"]])
    assert "line 2, field image: 0.png may be 2 images of the run; write more of the path" in cli(*command).err


def labels_only(folder: Path, name: str = "labels.csv", *, prompts: int = 10, flip: int = 0) -> Path:
    """A table of ten prompts of 12 images: one without a face, one with two, one that is unclear."""
    rows: list[list[object]] = []
    for p in range(prompts):
        for i in range(12):
            gender, race = GENDERS[int(i + flip >= p)], RACES[(i + p) % 4]
            if i == 0:
                rows.append([f"{p}-{i}.png", f"a photo of worker {p}", "", "", ""])
                continue
            rows.append([f"{p}-{i}.png", f"a photo of worker {p}", 0, "unclear" if i == 1 else gender, race])
            if i == 2:
                rows.append([f"{p}-{i}.png", f"a photo of worker {p}", 1, gender, race])
    return write(folder / name, ["image", "prompt", "face", "gender", "race4"], rows)


def test_a_table_alone_is_a_run(cli: Cli, tmp_path: Path) -> None:
    labels_only(tmp_path)
    found = cli("run", "--labels", "labels.csv", "--out", "out", "--leaderboard", "b.csv").succeeded()
    assert "labels-only: There are no images here" in found.out
    record = json.loads((tmp_path / "out" / "run.json").read_text())
    assert record["model"]["name"] == record["labeller"]["name"] == "labels"
    assert record["labeller"]["classifiers"] == [
        {"type": "table", "sha256": record["labeller"]["classifiers"][0]["sha256"]}
    ]
    assert record["statuses"]["images"]["ok"] == 120
    assert record["statuses"]["faces"] == {"failed": 0, "no_face": 10, "no_image": 0, "ok": 120}
    assert record["statuses"]["labels"] == {"failed": 0, "ok": 230, "unclear": 10}
    run = fairbench.load(tmp_path / "out")
    first = run.shares("gender").iloc[:2]
    assert first["share"].tolist() == [0.0, 1.0]
    assert first["n"].tolist() == [11, 11] and first["n_excluded"].tolist() == [1, 1]
    assert {n.code for n in run.notices.itertuples()} == {"assumed-classes", "labels-only"}
    with pytest.raises(FairbenchError, match="has no pixels: the run has labels alone"):
        run.picture(run.images()["image_id"][0])
    verdict = cli("leaderboard", "verify", "b.csv", "--strict").succeeded()
    assert "agree with their evidence: 1" in " ".join(verdict.out.split())
    (row,) = board.read(tmp_path / "b.csv")
    assert row["n_images"] == "120"


def test_the_example(cli: Cli, tmp_path: Path) -> None:
    cli("run", "--labels", ROOT / "examples" / "labels.csv", "--labeller", "phantom", "--out", "out").succeeded()
    run = fairbench.load(tmp_path / "out")
    assert [len(run.prompts), *run.prompts["n_with_face"]] == [3, 11, 11, 11]


def test_the_order_of_rows_is_nothing(cli: Cli, tmp_path: Path) -> None:
    """The labeller is the content; a table in which one label differs is another labeller of the same images."""
    labels_only(tmp_path)
    first = cli("run", "--labels", "labels.csv", "--out", "a", "--json")
    rows = list(csv.reader((tmp_path / "labels.csv").open(encoding="utf-8")))
    reordered = sorted(rows[1:], key=lambda row: (row[1], row[0][::-1]))  # the prompts' order is that of the lines
    (tmp_path / "again").mkdir()
    write(tmp_path / "again" / "labels.csv", [*rows[0], "stratum"], [[*row, "x"] for row in reordered])
    again = cli("run", "--labels", "again/labels.csv", "--out", "b", "--json")
    assert first.succeeded() and again.succeeded()
    ids = [json.loads((tmp_path / name / "run.json").read_text()) for name in "ab"]
    assert ids[0]["run_id"] == ids[1]["run_id"] and ids[0]["labeller_id"] == ids[1]["labeller_id"]
    assert ids[1]["made_in_this_process"] == {"images": 0, "labels": 0}
    rows[5][3] = "male" if rows[5][3] == "female" else "female"
    write(tmp_path / "labels.csv", rows[0], rows[1:])
    cli("run", "--labels", "labels.csv", "--out", "c").succeeded()
    other = json.loads((tmp_path / "c" / "run.json").read_text())
    assert other["labeller_id"] != ids[0]["labeller_id"]
    assert other["keys"]["images"] == ids[0]["keys"]["images"]


def test_a_run_that_was_stopped_goes_on(cli: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from fairbench.storage.store import Store

    labels_only(tmp_path)
    monkeypatch.setattr("fairbench.runs.labels.PARCEL", 16)
    write_shard: Callable[..., Any] = Store.write
    for last in ("labels", "faces"):
        shards = []

        def until(self: Store, stage: str, key: str, table: Any, last: str = last, shards: list[str] = shards) -> Any:
            shards.append(stage)
            if shards.count(last) == 3:
                raise KeyboardInterrupt
            return write_shard(self, stage, key, table)

        with monkeypatch.context() as patch:
            patch.setattr(Store, "write", until)
            assert cli("run", "--labels", "labels.csv", "--out", "out", "--store", "s").code == 130
    cli("run", "--labels", "labels.csv", "--out", "out", "--store", "s").succeeded()
    cli("run", "--labels", "labels.csv", "--out", "whole", "--store", "t").succeeded()
    assert (tmp_path / "out" / "metrics.csv").read_bytes() == (tmp_path / "whole" / "metrics.csv").read_bytes()


def test_a_classifier_and_a_table_on_the_same_images(cli: Cli, here: Path) -> None:
    images = images_of(here / "run")
    rows = by_id(images)
    for row in rows[:6]:
        row[1] = "male" if row[1] == "female" else "female"
    write(here / "people.csv", ["image", "gender", "race4"], rows)
    cli("run", *RUN, "--labels", "people.csv", "--labeller", "phantom", "--out", "people").succeeded()
    gender, race, _ = cli("compare", "run", "people", "--json").json()["attributes"]
    table = gender["table"]
    assert (sum(map(sum, table)), table[0][1] + table[1][0]) == (35, 6)
    assert race["agreement"]["raw"] == 1


@pytest.mark.long
def test_tables_of_two_models_compare_and_say_what_is_assumed(cli: Cli, tmp_path: Path) -> None:
    labels_only(tmp_path, "before.csv")
    labels_only(tmp_path, "after.csv", flip=4)
    for name in ("before", "after"):
        cli("run", "--labels", f"{name}.csv", "--out", name).succeeded()
    compared = cli("compare", "before", "after").succeeded()
    assert "Labels of before.csv, Labels of after.csv" in compared.out
    assert "that all were made in the same way is assumed" in compared.out
    same = cli("run", "--model", "labels-only:before", "--labels", "after.csv", "--out", "second").succeeded()
    assert same and "Two labellers on the same images" in cli("compare", "before", "second").succeeded().out
    write(tmp_path / "other.csv", ["image", "prompt", "gender"], [["1", "a photo of worker 1", "x"], ["2", "p", "y"]])
    cli("run", "--labels", "other.csv", "--out", "other").succeeded()
    assert "declare the same classes with --labeller" in cli("compare", "before", "other").err


def test_one_table_of_several_models(cli: Cli, tmp_path: Path) -> None:
    """The column `model` says whose rows a run counts; both runs then have one labeller, and rank together."""
    rows = [
        [m, f"occupation {p}", GENDERS[int(i < 5 + (m == "B"))], RACES[i % 4]]
        for m in "AB"
        for p in range(4)
        for i in range(9)
    ]
    write(tmp_path / "study.csv", ["model", "prompt", "gender", "race4"], rows)
    for name in "AB":
        cli("run", "--labels", "study.csv", "--model", f"labels-only:{name}", "--out", name).succeeded()
    labellers = {json.loads((tmp_path / name / "run.json").read_text())["labeller_id"] for name in "AB"}
    assert len(labellers) == 1
    assert "was assumed" not in cli("compare", "A", "B").succeeded().out
    found = cli("run", "--labels", "study.csv", "--out", "none")
    assert "study.csv, field model: no row is of 'study'" in found.err and "labels-only:A" in found.err


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda rows: rows.pop(3), "has no row for 1 of the run's images, such as "),
        (lambda rows: rows.append([rows[0][0], "male", "Asian"]), "is labelled in line 2 already"),
        (lambda rows: rows[4].__setitem__(1, "Male"), "line 6, field gender: 'Male' is no class of gender"),
    ],
)
def test_what_does_not_fit_the_images_is_one_sentence(
    cli: Cli, here: Path, change: Callable[[list[list[object]]], object], words: str
) -> None:
    rows = by_id(images_of(here / "run"))
    change(rows)
    write(here / "ids.csv", ["image", "gender", "race4"], rows)
    found = cli("run", *RUN, "--labels", "ids.csv", "--labeller", "phantom", "--out", "out")
    assert found.code == 2 and words in found.err
    assert not (here / "out").exists()


def test_rows_of_images_beyond_a_part_of_a_run_are_said(cli: Cli, here: Path) -> None:
    """A limit says that only a part is wanted; a whole run knows no image that is not its own."""
    images = images_of(here / "run")
    write(here / "ids.csv", ["image", "gender", "race4"], by_id(images))
    options = ("--labels", "ids.csv", "--labeller", "phantom", "--out", "out", "--no-sheets", "--store", "store")
    part = cli("run", "--model", "phantom-exact", *SIZE[:4], "-n", "3", *options).succeeded()
    assert "27 rows of ids.csv are of images that this part of the run does not have" in " ".join(part.out.split())
    write(
        here / "ids.csv",
        ["prompt", "sample", "gender", "race4"],
        [*by_sample(images), ["senator", 160, "male", "Asian"]],
    )
    whole = cli("run", "--model", "phantom-exact", *SIZE[:2], *options)
    assert whole.code == 2 and "line 38, field prompt: the run has no image sample 160 of 'senator'" in whole.err
    write(here / "ids.csv", ["prompt", "sample", "gender", "race4"], by_sample(images))
    whole = cli("run", "--model", "phantom-exact", *SIZE[:2], *options)
    assert whole.code == 2 and "has no row for 988 of the run's images" in whole.err  # before any is made


def test_wrong_words_of_a_command_are_one_sentence(cli: Cli, tmp_path: Path) -> None:
    labels_only(tmp_path)
    by_prompt = [["a photo of worker 1", "female"], ["a photo of worker 1", "male"]]
    write(tmp_path / "prompts.csv", ["prompt", "gender"], by_prompt)
    for args, words in (
        (("--labels", "absent.csv"), "absent.csv cannot be read (No such file or directory)"),
        (("--model", "labels-only:x"), "labels-only:x has no images, only labels: name their table with --labels"),
        (("--labels", "labels.csv", "--scorers", "clip-score"), "--scorers look at images"),
        (("--labels", "labels.csv", "--method", "any-mix-suffix"), "these images exist already"),
        (("--labels", "labels.csv", "--task", "occupations-mini"), "'a photo of worker 0' is no prompt of the task"),
        (("--labels", "prompts.csv", *RUN), "line 2, field prompt: nothing says which image of the prompt"),
    ):
        found = cli("run", *args)
        assert found.code == 2 and words in found.err, (args, found.err)
        assert "Traceback" not in found.err
