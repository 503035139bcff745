"""`check` names what `run` would refuse: absent weights, tasks, references, calibrations and truth files."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

import pytest

from fairbench.cards.catalog import find
from fairbench.linting import cards
from tests.builders.cli import Cli

MODEL = "name: m\ntitle: M\nadapter: phantom-exact\nlabeller: phantom\n"
TASK = (
    "name: t\nversion: 1\ntitle: T\nsubjects: s.csv\nsource: s\nlicence: l\ntemplates: [{id: a, text: 'a {subject}'}]\n"
)


def problems(path: Path, text: str) -> str:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    return "\n".join(map(str, cards.problems(path)))


@pytest.mark.parametrize(
    ("lines", "words"),
    [
        ("weights: {path: nowhere}\n", "line 5, field weights: The model folder .*nowhere does not exist"),
        ("text_model: {path: nowhere}\n", "line 5, field text_model: The model folder .*nowhere does not exist"),
        ("lora: nowhere\n", "line 5, field lora: .*nowhere is no folder of a LoRA adapter"),
        ("default_task: occupation\n", "line 5, field default_task: There is no task 'occupation'.*did you mean"),
        ("scorers:\n  clip-score: {path: nowhere}\n", "line 6, field scorers.clip-score.folder: The model folder"),
        ("truth: [{name: a, file: gone.csv, attributes: [gender]}]\n", "field truth.0.file: .*gone.csv cannot be read"),
    ],
)
def test_what_a_model_card_names_must_be_there(tmp_path: Path, lines: str, words: str) -> None:
    assert problems(tmp_path / "whole.yaml", MODEL) == ""
    assert re.search(words, problems(tmp_path / "m.yaml", MODEL + lines))


def test_an_adapter_that_cannot_be_built(tmp_path: Path) -> None:
    text = "name: m\ntitle: M\nadapter: folder\nlabeller: phantom\nsampling: {path: nowhere}\n"
    assert "field adapter: " in problems(tmp_path / "m.yaml", text)
    assert "nowhere is neither a folder nor a manifest" in problems(tmp_path / "m.yaml", text)
    assert "`weights` is missing" in problems(tmp_path / "d.yaml", MODEL.replace("phantom-exact", "diffusers"))


def test_weights_beside_a_labeller_card(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("FAIRBENCH_WEIGHTS_DIR", raising=False)
    monkeypatch.setenv("FAIRBENCH_CACHE", str(tmp_path / "cache"))
    card = find("labellers")["phantom"]
    text = card.read_text().replace("calibration:", "# calibration:")
    says = problems(tmp_path / "phantom.yaml", text)
    assert "field routes.0.detector.weights: Weights phantom_detector.onnx were not found" in says
    assert "field classifiers.0.weights: Weights phantom_classifier.onnx were not found" in says
    shutil.copytree(card.parent / "weights", tmp_path / "weights")
    assert problems(tmp_path / "phantom.yaml", text) == ""
    (tmp_path / "weights" / "phantom_detector.onnx").write_bytes(b"another")
    assert "has sha256" in problems(tmp_path / "phantom.yaml", text)


@pytest.mark.parametrize(
    ("table", "words"),
    [
        (None, "references.gender: .*r.csv cannot be read"),
        ("subject,female,male\nnurse,0.9,0.3\n", "the shares of 'nurse' must lie in .0, 1. and sum to 1"),
        ("subject,female,male\nnurse,many,0.3\n", "could not convert"),
        ("subject,female,male\nnurse,nan,nan\n", "must lie in .0, 1. and sum to 1"),
        ("subject,women,men\nnurse,2,3\n", "must lie in .0, 1. and sum to 1"),
        ("name,female,male\nnurse,1,0\n", "the column 'subject' is missing"),
        ("subject,female,male\n", "holds no rows"),
        ("subject,femal,male\nnurse,1,0\n", "did you mean 'female'"),
    ],
)
def test_references_that_a_run_would_refuse(tmp_path: Path, table: str | None, words: str) -> None:
    (tmp_path / "t").mkdir()
    (tmp_path / "t" / "s.csv").write_text("subject\nnurse\n")
    if table is not None:
        (tmp_path / "t" / "r.csv").write_text(table)
    assert re.search(
        words,
        problems(tmp_path / "t" / "task.yaml", TASK + "references: {gender: r.csv}\nreferences_source: a census\n"),
    )


def test_references_with_further_columns_are_fine(tmp_path: Path) -> None:
    (tmp_path / "t").mkdir()
    (tmp_path / "t" / "s.csv").write_text("subject\nnurse\n")
    (tmp_path / "t" / "r.csv").write_text("subject,female,male,source\nnurse,.9,.1,census\n")
    assert (
        problems(tmp_path / "t" / "task.yaml", TASK + "references: {gender: r.csv}\nreferences_source: a census\n")
        == ""
    )


def test_a_card_of_an_adapter_that_somebody_published(tmp_path: Path, cli: Cli) -> None:
    card = "method: lora\nbase: sdxl\nweights: {path: nowhere}\n"
    assert "field weights: The model folder" in problems(tmp_path / "l.yaml", card)
    (tmp_path / "nowhere").mkdir()
    assert cli("check", str(tmp_path / "l.yaml")).code == 0
