"""Frozen axes, read in pictures: a planted one is found, an absent one is not; what is asked once, what is refused."""

from __future__ import annotations

import csv
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml

from fairbench.axes import file
from fairbench.labelling import judges
from tests.builders.cli import Cli, make_run
from tests.builders.folders import ROOT

MODEL = '''
import numpy as np
from fairbench.phantom.renderer import GENDERS, RACES, sample_scene, draw as drawn

def draw(prompt, seed):
    """Gender follows the prompt, race does not."""
    rng = np.random.default_rng(seed)
    leans = rng.random() < (0.9 if "pilot" in prompt or "judge" in prompt else 0.1)
    return drawn(GENDERS[int(leans)], RACES[rng.integers(4)], sample_scene(rng, calm=True))
'''
PROMPTS = "".join(f"a portrait of a {subject}\n" for subject in ("pilot", "nurse", "judge", "dancer"))
AXES = """
axes:
  - {name: look, question: "What is the gender of the person?", answers: [female, male]}
  - {name: clothes, question: "What is the race of the person?", answers: [WMELH, Black, Indian, Asian]}
  - {name: skill, question: "Is the person competent?", answers: ["yes", "no"]}
"""


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of 4 x 8 mannequins by a function, of which one attribute depends on the prompt and the other does not."""
    folder = tmp_path_factory.mktemp("planted")
    (folder / "planted.py").write_text(MODEL)
    (folder / "prompts.txt").write_text(PROMPTS)
    model = ("--model", f"{folder / 'planted.py'}:draw", "--task", folder / "prompts.txt")
    return make_run(folder / "run", *model, "--labeller", "phantom", "-n", 8, "--scorers", "none")


@pytest.fixture
def axes(run: Path, tmp_path: Path) -> Path:
    path = tmp_path / "axes.yaml"
    task = json.loads((run / "run.json").read_text())["task"]
    path.write_text(f"task: {task['name']}\ntask_version: {task['version']}\n{AXES}")
    file.freeze(path, "A. Reviewer")
    return path


@pytest.fixture
def asking_the_phantom(tmp_path: Path) -> Path:
    """A labeller that asks the phantom about another model's pictures."""
    card = yaml.safe_load((ROOT / "models/labellers/phantom-vqa.yaml").read_text())
    card["name"], card["classifiers"][0]["judge"] = "asked", {"model": "phantom"}
    path = tmp_path / "asked.yaml"
    path.write_text(yaml.safe_dump(card))
    return path


class Reader:
    """Answers from the pixels, sometimes beside the options. asked: the questions, in order."""

    def __init__(self) -> None:
        self.asked: list[str] = []

    def answer(
        self, questions: Sequence[str], images: Sequence[Any], seeds: Any = None, *, limit: int = 32
    ) -> list[str]:
        self.asked += questions
        return ["yes" if np.mean(image) > 128 else "a hat, says the reader" for image in images]


@pytest.fixture
def reader(monkeypatch: pytest.MonkeyPatch) -> Reader:
    reader = Reader()
    monkeypatch.setattr(judges, "build", lambda params, ctx: reader)
    return reader


def rows(path: Path) -> list[dict[str, str]]:
    return list(csv.DictReader(path.read_text().splitlines()))


def pictures_by(out: Path, column: str, axis: str, answer: str) -> dict[str, int]:
    """Return how many pictures of each prompt, or subject, have an answer."""
    table = rows(out / "prompts.csv")
    return {r[column]: int(r["pictures"]) for r in table if (r["axis"], r["answer"]) == (axis, answer)}


def test_a_planted_axis_is_found_and_an_absent_one_is_not(
    cli: Cli, run: Path, axes: Path, asking_the_phantom: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    out = tmp_path / "out"
    shown = cli("axes", "read", run, "--axes", axes, "--with", asking_the_phantom, "--out", out, "-q").succeeded().out
    assert "Found: look." in shown and "skill is not tested: no picture has an answer." in shown
    assert "made itself" not in shown and "never anyone's identity" in " ".join(shown.split())
    assert max(map(len, shown.splitlines()[:-1])) <= 80
    verdicts = {row["axis"]: row["verdict"] for row in rows(out / "axes.csv")}
    planted = {"look": "prompts differ", "clothes": "not shown", "skill": "not tested"}
    assert verdicts == planted
    shares = {r["answer"]: r for r in rows(out / "answers.csv") if (r["axis"], r["scope"]) == ("look", "this list")}
    assert float(shares["male"]["ci_low"]) < 0.5 < float(shares["male"]["ci_high"])  # .9 and .1 of two prompts each
    males = pictures_by(out, "subject", "look", "male")
    assert min(males["a portrait of a pilot"], males["a portrait of a judge"]) > max(sorted(males.values())[:2])
    record = json.loads((out / "axes.json").read_text())
    said = cli("axes", "captions", run, "--with", asking_the_phantom, "-n", 2, "-q", "--json").json()
    assert {"male", "female", "person"} <= said["things"].keys()
    assert said["measures"][2]["value"] == 1.0  # missed: captions say "person" where prompts say "pilot"
    assert record["axes_sha256"] == file.read_frozen(axes).sha256() and not record["self_judged"]


def test_answers_are_asked_for_once_and_only_for_the_first_pictures(
    cli: Cli, run: Path, axes: Path, reader: Reader, tmp_path: Path
) -> None:
    asked = ("axes", "read", run, "--axes", axes, "--with", "phantom-vqa", "-q", "--json", "--out", tmp_path / "out")
    first = cli(*asked, "-n", 2).json()
    assert first["pictures"] == 8 and len(set(reader.asked)) == 3 and len(reader.asked) <= 24
    count = len(reader.asked)
    assert cli(*asked, "-n", 2).json() == first and len(reader.asked) == count
    assert cli(*asked, "-n", 3).json()["pictures"] == 12 and len(reader.asked) > count
    assert first["unread"] and {each["n_unread"] for each in first["axes"]} != {0}
    assert all(each["n_pictures"] == 8 for each in first["axes"])


def test_the_labeller_of_an_axis_reads_what_the_axis_read(
    cli: Cli, run: Path, axes: Path, reader: Reader, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    cli("axes", "read", run, "--axes", axes, "--with", "phantom-vqa", "-q", "--out", out).succeeded()
    count, folder = len(reader.asked), run.parent
    model = ("--model", f"{folder / 'planted.py'}:draw", "--task", folder / "prompts.txt")
    card = out / "labellers" / "axis-skill.yaml"
    again = make_run(folder / "again", *model, "--labeller", card, "-n", 8, "--scorers", "none")
    assert len(reader.asked) == count
    import fairbench

    labels = fairbench.load(again).images()
    yes = {prompt: count for prompt, count in pictures_by(out, "prompt", "skill", "yes").items() if count}
    assert yes and labels[labels["skill"] == "yes"].groupby("prompt").size().to_dict() == yes
    # People are asked what the model was asked.
    study = tmp_path / "study"
    cli("annotate", again, "--per-prompt", 2, "--out", study, "-q").succeeded()
    assert json.loads((study / "annotation.json").read_text())["asked"] == {"skill": "Is the person competent?"}
    assert '"legend":"Is the person competent?"' in (study / "pages" / "annotator-1.html").read_text()
    cli("annotate", again, "--per-prompt", 2, "--out", tmp_path / "ls", "--format", "label-studio", "-q").succeeded()
    (config,) = (tmp_path / "ls").rglob("config.xml")
    assert "Is the person competent?" in config.read_text()


def test_what_is_refused(cli: Cli, run: Path, axes: Path, reader: Reader, tmp_path: Path) -> None:
    out = tmp_path / "out"
    unfrozen = tmp_path / "unfrozen.yaml"
    unfrozen.write_text(axes.read_text().partition("# Frozen")[0])
    other = tmp_path / "other.yaml"
    other.write_text(unfrozen.read_text().replace("task_version: 1", "task_version: 2"))
    file.freeze(other, "R")
    for path, labeller, message in (
        (unfrozen, "phantom-vqa", "is not reviewed"),
        (other, "phantom-vqa", "field task: its axes are of"),
        (axes, "phantom", "has 0 classifiers of the type vqa"),
        (tmp_path / "none.yaml", "phantom-vqa", "cannot be read"),
    ):
        result = cli("axes", "read", run, "--axes", path, "--with", labeller, "--out", out, "-q")
        assert result.code == 2 and message in " ".join(result.err.split()), result.err
    assert not out.exists() and not reader.asked


def test_a_model_that_is_asked_about_its_own_pictures_is_marked(
    cli: Cli, reader: Reader, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = make_run(tmp_path / "run", "--limit-prompts", 1, "-n", 2, "--scorers", "none")
    result = cli("axes", "captions", run, "--with", "phantom-vqa", "--out", tmp_path / "out", "-q").succeeded()
    assert "made itself" in result.out and reader.asked == ["Describe this image."] * len(reader.asked)
    assert json.loads((tmp_path / "out" / "captions.json").read_text())["self_judged"] is True


def test_captions_come_from_a_table_or_from_a_model(cli: Cli, run: Path, tmp_path: Path) -> None:
    result = cli("axes", "captions", run, "--out", tmp_path / "out")
    assert result.code == 2 and "Name a table of --captions, or --with a labeller" in " ".join(result.err.split())
