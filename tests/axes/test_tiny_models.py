"""Real classes with random weights: a language model that proposes axes, a vision language model that is asked."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import yaml
from PIL import Image

from fairbench.axes import captioned, file, writers
from tests.builders.causal import save_tiny_causal
from tests.builders.cli import Cli, make_run
from tests.builders.vlms import save_tiny_vlm

LINES = (  # each is one word of the tiny model, so that what it writes at random has the form that is asked for
    "glasses | Does the person wear glasses? | yes / no\n",
    "place | Where is the person? | indoors / outdoors\n",
    "uniform | Does the nurse wear a uniform? | yes / no\n",
    "nonsense\n",
)


def labeller(folder: Path, **judge: Any) -> Path:
    """Write a card that asks about whole pictures, and return its path."""
    asked = {"type": "vqa", "judge": judge, "questions": {"hat": {"text": "Is there a hat?"}}, "limit": 4}
    card = {
        "name": "asked",
        "title": "Asked",
        "routes": [{"detector": {"type": "whole-image"}, "crop": {"type": "box", "padding": 0.0}}],
        "classifiers": [asked],
        "attributes": {"hat": {"labels": ["yes", "no"]}},
    }
    path = folder / "asked.yaml"
    path.write_text(yaml.safe_dump(card))
    return path


def frozen_axes(run: Path, path: Path) -> Path:
    """Write and freeze one axis for a run's task; return the file."""
    task = json.loads((run / "run.json").read_text())["task"]
    axes = 'axes: [{name: hat, question: "Is there a hat?", answers: ["yes", "no"]}]'
    path.write_text(f"task: {task['name']}\ntask_version: {task['version']}\n{axes}\n")
    file.freeze(path, "R")
    return path


def test_a_language_model_proposes_axes(cli: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(writers, "LIMIT", 24)
    folder = save_tiny_causal(tmp_path / "causal", LINES, positions=1024)
    (tmp_path / "prompts.csv").write_text("prompt,subject\na nurse,nurse\na pilot,pilot\na cook,cook\n")
    asked = ("axes", "propose", "--task", tmp_path / "prompts.csv", "--with", f"text:{folder}", "-q")
    cli(*asked, "--out", tmp_path / "one.yaml").succeeded()
    cli(*asked, "--out", tmp_path / "two.yaml", "--seed", 1).succeeded()
    one, two = file.read(tmp_path / "one.yaml"), file.read(tmp_path / "two.yaml")
    assert {axis.name for axis in one.axes} <= {"glasses", "place"} and one.axes
    assert {each.why for each in one.left_out} == {"it names 'nurse', which the prompt says"}
    assert one.proposed_by is not None and one.proposed_by.model == "causal"
    assert [a.prompts for a in one.axes] != [a.prompts for a in two.axes]
    again = cli(*asked, "--out", tmp_path / "again.yaml").succeeded()
    assert file.read(tmp_path / "again.yaml") == one and "rewrites" not in again.err


def test_a_vision_language_model_is_asked(cli: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(writers, "LIMIT", 12)
    monkeypatch.setattr(captioned, "LIMIT", 12)
    save_tiny_vlm(tmp_path / "vlm", "idefics3")
    card = labeller(tmp_path, transformers={"path": "vlm"})
    run = make_run(tmp_path / "run", "--model", "phantom-exact", "--limit-prompts", 2, "-n", 2, "--scorers", "none")
    axes = frozen_axes(run, tmp_path / "axes.yaml")
    result = cli("axes", "read", run, "--axes", axes, "--with", card, "-q", "--json").json()
    (hat,) = result["axes"]
    assert hat["n_pictures"] == 4 and result["self_judged"] is False
    captions = cli("axes", "captions", run, "--with", card, "-q", "--json").json()
    assert captions["measures"][0]["n_images"] + captions["empty"] == 4
    written = yaml.safe_load((tmp_path / "run-axes" / "labellers" / "axis-hat.yaml").read_text())
    assert written["classifiers"][0]["judge"]["transformers"]["path"] == str(tmp_path / "vlm")  # found from anywhere
    refused = cli(
        "axes", "propose", "--task", "occupations-mini", "--with", f"labeller:{card}", "--out", "a.yaml", "-q"
    )
    assert refused.code == 2 and "held an axis" in refused.err


def test_pictures_of_unknown_origin_are_never_sent_away(cli: Cli, tmp_path: Path) -> None:
    for name in ("a", "b"):
        (tmp_path / "given" / name).mkdir(parents=True)
        Image.new("RGB", (24, 24), "red" if name == "a" else "blue").save(tmp_path / "given" / name / "0.png")
    run = make_run(tmp_path / "run", "--model", f"folder:{tmp_path / 'given'}", "--labeller", "phantom")
    card = labeller(tmp_path, endpoint={"model": "org/vlm", "base_url": "https://api.example.com/v1"})
    axes = frozen_axes(run, tmp_path / "axes.yaml")
    refused = cli("axes", "read", run, "--axes", axes, "--with", card, "-q")
    assert refused.code == 2 and "https://api.example.com/v1" in refused.err and "photographs of people" in refused.err
    refused = cli("axes", "captions", run, "--with", card, "-q")
    assert refused.code == 2
