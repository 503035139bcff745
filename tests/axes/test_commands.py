"""The commands: from a proposal to a frozen file, and captions of a run to their measures."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import pytest

from fairbench.axes import asking, file, writers
from fairbench.networks.textmodel import CachedText
from tests.builders.cli import Cli, make_run

ANSWER = "glasses | Does the person wear glasses? | yes / no"


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("axes") / "run"
    return make_run(folder, "--model", "phantom-exact", "--limit-prompts", "3", "-n", "4", "--scorers", "none")


def rows(path: Path) -> list[dict[str, str]]:
    return list(csv.DictReader(path.read_text().splitlines()))


def captions_of(run: Path, path: Path, caption: str = "a person with a hat") -> Path:
    import fairbench

    images = fairbench.load(run).images().drop_duplicates("image_id")["image_id"]
    path.write_text("image,caption\n" + "".join(f"{image},{caption}\n" for image in images))
    return path


def test_a_proposal_is_reviewed_and_frozen(cli: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(CachedText, "complete", lambda self, prompts, seeds: [ANSWER for _ in prompts])
    monkeypatch.setenv("COLUMNS", "80")
    out = tmp_path / "axes.yaml"
    asked = ("axes", "propose", "--task", "occupations-mini", "--with", "phantom", "--out", out, "-q")
    shown = cli(*asked, "--limit-prompts", 2).succeeded().out
    assert "Does the person wear glasses?" in shown and "Nothing is read yet" in shown
    assert max(map(len, shown.splitlines()[:-1])) <= 80
    proposed = file.read(out)
    by = proposed.proposed_by
    assert by is not None and (by.model, by.prompts) == ("phantom", 2)
    assert cli(*asked, "--json").json()["axes"][0]["answers"] == ["yes", "no"]  # an unfrozen file is written again
    frozen = cli("axes", "freeze", out, "--reviewed-by", "A. Reviewer", "--json").json()
    assert frozen["frozen"]["sha256"] == file.read_frozen(out).sha256()
    kept = out.read_bytes()
    refused = cli(*asked)
    assert refused.code == 2 and "is not an unfrozen file of axes" in refused.err and out.read_bytes() == kept


def test_a_model_that_proposes_nothing_leaves_no_file(
    cli: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(writers, "LIMIT", 12)
    out = tmp_path / "axes.yaml"
    asked = ("axes", "propose", "--task", "occupations-mini", "--with", "phantom", "--out", out, "--limit-prompts", 1)
    result = cli(*asked, "-q")
    assert result.code == 2 and "none of 1 answers held an axis" in result.err and not out.exists()


def test_models_that_write_no_text_are_refused(cli: Cli, tmp_path: Path) -> None:
    asked = ("axes", "propose", "--task", "occupations-mini", "--out", tmp_path / "axes.yaml", "-q", "--with")
    for writer, message in (
        ("phantom-exact", "answers no questions and its card names no text_model"),
        ("text:nowhere", "there is no such folder"),
        ("text:owner/name", "with the commit of its weights"),
    ):
        result = cli(*asked, writer)
        assert result.code == 2 and message in " ".join(result.err.split())
    assert not list(tmp_path.iterdir())


def test_axes_of_another_task_are_not_frozen(cli: Cli, tmp_path: Path) -> None:
    path = tmp_path / "axes.yaml"
    path.write_text('task: mine\ntask_version: 1\naxes: [{name: hat, question: "A hat?", answers: ["yes", "no"]}]\n')
    assert cli("axes", "freeze", path, "--reviewed-by", "R").code == 2  # no such task
    result = cli("axes", "freeze", path, "--reviewed-by", "R", "--task", "occupations-mini")
    assert result.code == 2 and "field task: it is of mine" in result.err


def test_captions_of_a_table(cli: Cli, run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    table, out = captions_of(run, tmp_path / "c.csv"), tmp_path / "out"
    shown = cli("axes", "captions", run, "--captions", table, "--out", out).succeeded().out
    assert "12 pictures of 3 prompts." in shown and "never" in shown and "hat 12" in shown
    assert max(map(len, shown.splitlines()[:-1])) <= 80
    found = {(r["measure"], r["scope"]): r for r in rows(out / "measures.csv")}
    # The prompts ask for face, person and an occupation, of one or more words; captions show person and hat.
    assert float(found["missed", "this list"]["value"]) == 0.0
    assert 0.7 < float(found["hallucination", "this list"]["value"]) < 0.9
    assert float(found["subject-unnamed", "this list"]["value"]) == 1.0
    summary = json.loads((out / "captions.json").read_text())
    assert summary["things"] == {"hat": 12} and summary["note"].endswith("never anyone's identity.")
    # What is written can be given again, and is then the same.
    again = cli("axes", "captions", run, "--captions", out / "captions.csv", "--out", tmp_path / "two", "--json").json()
    assert again["measures"] == summary["measures"]


def test_pictures_without_a_caption_are_counted(cli: Cli, run: Path, tmp_path: Path) -> None:
    table = captions_of(run, tmp_path / "c.csv")
    table.write_text("".join(table.read_text().splitlines(keepends=True)[:-2]))
    summary = cli("axes", "captions", run, "--captions", table, "--out", tmp_path / "out", "--json").json()
    assert (summary["without_caption"], summary["measures"][0]["n_images"]) == (2, 10)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda lines: [*lines, "00ff,a hat"], "line 14, field image: the run has no picture '00ff'"),
        (lambda lines: [*lines, lines[1]], "line 14, field image: .* has a caption already"),
        (lambda lines: [lines[0], lines[1].partition(",")[0] + ","], "line 2, field caption: it is empty"),
        (lambda lines: lines[:1], "holds no captions"),
        (lambda lines: ["image,text", *lines[1:]], "the column 'caption' is missing"),
    ],
)
def test_a_table_that_is_wrong_is_one_sentence(cli: Cli, run: Path, tmp_path: Path, change, message: str) -> None:  # type: ignore[no-untyped-def]
    import re

    table = captions_of(run, tmp_path / "c.csv")
    table.write_text("\n".join(change(table.read_text().splitlines())) + "\n")
    result = cli("axes", "captions", run, "--captions", table, "--out", tmp_path / "out")
    assert result.code == 2 and re.search(message, result.err) and not (tmp_path / "out").exists()


def test_prompts_are_chosen_at_equal_distances() -> None:
    assert asking._spread(range(10), 4) == [0, 3, 6, 9] and asking._spread(range(2), 9) == [0, 1]
