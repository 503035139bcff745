"""What annotators return: checked, counted, and made into a label per image."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from fairbench.annotation import agreement, words
from fairbench.annotation.annotate import collect
from fairbench.display.dictionary import TABLES
from fairbench.errors import FairbenchError
from tests.builders.annotators import answer, sampled, truth_of
from tests.builders.cli import Cli
from tests.builders.fake_runs import FAIR, SIDED, FakeRun, draw_cells

MADE = FakeRun(draw_cells(SIDED, 3, prompts=10, images=12))


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return MADE.write(tmp_path_factory.mktemp("made") / "run")


@pytest.fixture
def folder(run: Path, tmp_path: Path) -> Path:
    sampled(tmp_path / "annotation", [run], per_prompt=10)
    return tmp_path / "annotation"


@pytest.mark.parametrize(
    ("answers", "least", "label"),
    [
        (["a", "a", "b"], 2, "a"),
        (["a", "b", "c"], 2, "unclear"),
        (["a", "b"], 2, "unclear"),
        (["a", "a", "b", "c", "d"], 2, "unclear"),  # the most frequent answer is no majority
        (["a", "a", "a", "b", "c"], 2, "a"),
        (["cannot tell", "cannot tell", "a"], 2, "cannot tell"),
        (["no person", "no person"], 2, "no person"),
        (["a"], 2, None),
        (["a"], 1, "a"),
        ([], 1, None),
    ],
)
def test_the_majority(answers: list[str], least: int, label: str | None) -> None:
    assert agreement.majority(answers, least) == label


def test_labels_of_annotators_without_errors_are_the_truth(run: Path, folder: Path) -> None:
    truth = truth_of(MADE, run)
    answer(folder, truth, [0.0, 0.0, 0.0])
    result = collect(folder, [])
    labels = result.labels
    assert len(labels) == 100
    for row in labels.to_dict("records"):
        assert {name: row[name] for name in ("gender", "race4")} == truth[row["image_id"]]
    *described, attribute = TABLES["labels.csv"][1]
    assert list(labels.columns) == [*described, "gender", "race4"] and attribute == "ATTRIBUTE"
    pd.testing.assert_frame_equal(pd.read_parquet(folder / "labels.parquet"), labels)
    assert pd.read_csv(folder / "labels.csv")["gender"].tolist() == labels["gender"].tolist()
    with (folder / "annotations.csv").open(newline="") as file:
        annotations = list(csv.DictReader(file))
    assert len(annotations) == 300 and annotations[0].keys() == {
        *("annotator", "item", "run_id", "image_id", "prompt_id", "sample_index", "gender", "race4"),
    }


def test_errors_of_annotators_are_found_and_mostly_outvoted(run: Path, folder: Path) -> None:
    truth = truth_of(MADE, run)
    answer(folder, truth, [0.02, 0.05, 0.25], cannot_tell=0.02, skips=0.03, seed=7)
    result = collect(folder, [])
    gender, race = result.summary["attributes"]
    wrong = [gender["errors"][name] for name in "123"]
    assert wrong[2] == pytest.approx(0.25, abs=0.12) and max(wrong[:2]) < 0.15
    assert [p["first"] + p["second"] for p in race["pairs"]] == ["12", "13", "23"]
    assert race["pairs"][0]["same"] > race["pairs"][2]["same"]
    labels = result.labels
    right = [row["gender"] == truth[row["image_id"]]["gender"] for row in labels.to_dict("records")]
    assert sum(right) / len(right) > 0.9
    for each in result.summary["attributes"]:
        assert sum(each["outcomes"].values()) == 100
        assert each["reliability"]["low"] < each["reliability"]["alpha"] < each["reliability"]["high"]
    assert sum(p["answered"] + p["skipped"] for p in result.summary["annotators"]) == 300


def concentration(genders: pd.Series, prompts: pd.Series) -> float:
    """Return the mean over prompts of (2 sum p^2 - 1), unbiased."""
    counts = pd.crosstab(prompts, genders).to_numpy()
    n = counts.sum(axis=1)
    return float((2 * (counts * (counts - 1)).sum(axis=1) / (n * (n - 1)) - 1).mean())


def test_three_percent_of_wrong_single_annotations_move_the_estimate_by_seven_hundredths(tmp_path: Path) -> None:
    """What the command says of annotators' errors, and that three people outvote them."""
    shown = np.concatenate([draw_cells(FAIR, 5, 12, 40), draw_cells(np.eye(8)[5], 6, 24, 40)])
    made = FakeRun(shown)
    folder = made.write(tmp_path / "run")
    sampled(tmp_path / "a", [folder], per_prompt=40, attributes=["gender"])
    truth, values = truth_of(made, folder), {}
    for people in (1, 3):
        paths = answer(tmp_path / "a", truth, [0.03] * people, into=tmp_path / str(people))
        labels = collect(tmp_path / "a", paths, one_annotator=people == 1).labels
        values[people] = concentration(labels["gender"], labels["prompt_id"])
    true = concentration(pd.Series([truth[i]["gender"] for i in labels["image_id"]]), labels["prompt_id"])
    assert true == pytest.approx(2 / 3, abs=0.04)
    assert values[1] - true == pytest.approx((0.94**2 - 1) * true, abs=0.02) == pytest.approx(-0.07, abs=0.02)
    assert abs(values[3] - true) < 0.01


def test_what_the_command_says(cli: Cli, run: Path, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    paths = answer(folder, truth_of(MADE, run), [0.4, 0.4, 0.4], into=folder.parent)
    done = cli("annotate", "--collect", folder, *paths, "--describe", "three colleagues of the author").succeeded()
    text = " ".join(done.out.split())
    assert "race4: alpha is" in text and "below .67: these people do not agree enough" in text
    assert "majority of these annotators perceives, not truth" in text
    assert "3 % of wrong single annotations move the estimates by .07" in text
    assert "Annotators: three colleagues of the author" in text
    assert words.NOTE in text
    assert max(map(len, done.out.splitlines())) <= 80 or str(folder) in done.out
    assert json.loads((folder / "annotation.json").read_text())["annotators"]["described"].startswith("three")
    written = json.loads((folder / "agreement.json").read_text())
    assert cli("annotate", "--collect", folder, *paths, "--json").json() == written


def test_a_low_alpha_where_nearly_all_images_show_one_label(run: Path, folder: Path) -> None:
    everyone = {image: {"gender": "male", "race4": "Black"} for image in truth_of(MADE, run)}
    answer(folder, everyone, [0.02, 0.02, 0.02])
    text = " ".join(repr(collect(folder, [])).split())
    assert "of the pairs of answers are equal: nearly all images show one answer" in text
    answer(folder, everyone, [0.0, 0.0, 0.0])
    assert "race4: there is no alpha, because only one answer occurs." in " ".join(repr(collect(folder, [])).split())


def test_half_finished_files_are_counted(cli: Cli, run: Path, folder: Path) -> None:
    paths = answer(folder, truth_of(MADE, run), [0.0, 0.0, 0.0])
    paths[0].write_text("\n".join(paths[0].read_text().splitlines()[:31]))
    blank = paths[1].read_text().splitlines()
    paths[1].write_text("\n".join([*blank[:51], *(",".join([*line.split(",")[:2], "", ""]) for line in blank[51:])]))
    result = cli("annotate", "--collect", folder, "--json").json()
    assert [p["answered"] for p in result["annotators"]] == [30, 50, 100]
    outcomes = result["attributes"][0]["outcomes"]
    assert outcomes[""] == 50  # one answer is too few for a label
    table = cli("annotate", "--collect", folder).succeeded().out
    assert [line.split()[:4] for line in table.splitlines() if line[:2] in ("1 ", "2 ", "3 ")] == [
        ["1", "30", "0", "70"],
        ["2", "50", "0", "50"],
        ["3", "100", "0", "0"],
    ]


def test_one_annotator_only_if_told_so(run: Path, folder: Path) -> None:
    paths = answer(folder, truth_of(MADE, run), [0.0])
    with pytest.raises(FairbenchError, match=r"Only '1' has answered, .*3 % of wrong .* or say --one-annotator"):
        collect(folder, paths)
    assert not (folder / "labels.parquet").exists()
    result = collect(folder, paths, one_annotator=True)
    assert set(result.labels["gender"]) == {"female", "male"}
    assert result.summary["attributes"][0]["reliability"]["alpha"] is None
    assert "gender: there is no alpha, because no image has two answers." in " ".join(repr(result).split())


def changed(path: Path, line: int, column: int, value: str) -> None:
    rows = list(csv.reader(path.open(newline="")))
    rows[line][column] = value
    with path.open("w", newline="") as file:
        csv.writer(file, lineterminator="\n").writerows(rows)


@pytest.mark.parametrize(
    ("line", "column", "value", "words_"),
    [
        (3, 1, "0123456789ab", r"annotations-1.csv, line 4, field item: '0123456789ab' is no item of this annotation"),
        (3, 2, "femal", r"line 4, field gender: 'femal' is no answer; use one of female, male, cannot tell, no person"),
        (3, 3, "unclear", r"line 4, field race4: 'unclear' is no answer"),
        (3, 0, "", r"line 4, field annotator: it is empty"),
        (3, 0, "2", r"annotations-2.csv, line 2, field annotator: '2' has answered in .*annotations-1.csv, too"),
        (0, 2, "sex", r"annotations-1.csv, line 1: the column 'gender' is missing"),
        (0, 2, "gendr", r"line 1, field gendr: there is no such column \(did you mean 'gender'\?\)"),
    ],
)
def test_what_cannot_be_collected_is_one_sentence(
    run: Path, folder: Path, line: int, column: int, value: str, words_: str
) -> None:
    paths = answer(folder, truth_of(MADE, run), [0.0, 0.0, 0.0])
    collect(folder, paths)
    before = {p.name: p.read_bytes() for p in folder.iterdir() if p.is_file()}
    changed(paths[0], line, column, value)
    with pytest.raises(FairbenchError, match=words_) as caught:
        collect(folder, paths)
    assert "\n" not in str(caught.value)
    assert {p.name: p.read_bytes() for p in folder.iterdir() if p.is_file()} == before


def test_the_same_item_or_file_twice(run: Path, folder: Path) -> None:
    paths = answer(folder, truth_of(MADE, run), [0.0, 0.0])
    copy = folder / "copy.csv"
    copy.write_bytes(paths[0].read_bytes())
    with pytest.raises(FairbenchError, match=r"copy.csv, line 2, field annotator: '1' has answered in .*-1.csv, too"):
        collect(folder, [*paths, copy])
    collect(folder, [*paths, paths[0]])  # one file named twice is one file
    lines = paths[0].read_text().splitlines()
    paths[0].write_text("\n".join([*lines, lines[5]]))
    with pytest.raises(FairbenchError, match=r"line 102, field item: annotator '1' has answered .* above; remove one"):
        collect(folder, paths)


def test_nothing_returned_yet(run: Path, folder: Path) -> None:
    with pytest.raises(FairbenchError, match=r"returned holds no CSV or JSON: put what annotators returned there"):
        collect(folder, [])
    paths = answer(folder, truth_of(MADE, run), [0.0])
    paths[0].write_text("annotator,item,gender,race4\n")
    with pytest.raises(FairbenchError, match="The files hold no answer"):
        collect(folder, paths)
