"""An installed package whose plug-ins are broken, each kind in each way: one sentence, before work where it can be."""

from __future__ import annotations

import json
import sys
import textwrap
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from fairbench import registry
from tests.builders.cards import write_task
from tests.builders.cli import Cli, Result

FAULTS = ("none", "import", "constructor", "call", "type")
SOURCE = """
import numpy as np
from fairbench.errors import FairbenchError
from fairbench.protocols import MetricSpec, Params, ScorerSpec
from fairbench.types import Face, ImageResult, LabelSchema

FAULT = {fault!r}
if FAULT == "import":
    raise ImportError("cannot find their library")


class Base:
    version = 1

    def __init__(self, *arguments):
        self.arguments = arguments
        if FAULT == "constructor":
            raise KeyError("their constructor")

    def answer(self, right):
        if FAULT == "call":
            raise ZeroDivisionError("their call")
        return 17 if FAULT == "type" else right


class Adapter(Base):
    def generate(self, requests):
        return self.answer([ImageResult("ok", np.full((32, 32, 3), 0.5)) for _ in requests])


class Detector(Base):
    def detect(self, images):
        return self.answer([[Face((1, 1, 20, 20), 0.9)] for _ in images])


class Crop(Base):
    def cut(self, image, face):
        return self.answer(image[:16, :16])


class Classifier(Base):
    def __init__(self, params, ctx, declared):
        super().__init__()
        self.schema = LabelSchema({{"gender": ("Male", "Female")}})

    def classify(self, chips):
        return self.answer({{"gender": [[0.25, 0.75]] * len(chips)}})


class Scorer(Base):
    spec = ScorerSpec("brightness", "none", "mean grey level", ("brightness",))
    backbone = "none"

    def features(self, images, prompts):
        return self.answer(np.array([[image.mean()] for image in images]))

    def summarise(self, features):
        return {{"brightness": float(features.mean())}}


class Method(Base):
    def adapt(self, card):
        return card

    def rewrite(self, prompts, ctx):
        return self.answer([p.prompt.text + "." for p in prompts])


class Metric(Base):
    spec = MetricSpec("their-metric", 1, "lower", "[0, 1]", 0.0, "largest share", limits=lambda k: (0.0, 1.0))

    def __call__(self, p, ref=None):
        return self.answer(p.max(axis=-1))


metric = "no metric" if FAULT == "constructor" else Metric()
task = {{"call": "/no/such/folder", "type": 17, "constructor": None}}.get(FAULT, {folder!r})
"""
POINTS = {
    "adapters": "Adapter",
    "detectors": "Detector",
    "crops": "Crop",
    "classifiers": "Classifier",
    "scorers": "Scorer",
    "methods": "Method",
    "metrics": "metric",
    "tasks": "task",
}
REASONS = {
    "import": "cannot be imported: ImportError: cannot find their library",
    "constructor": "failed: it raised KeyError: 'their constructor'",
    "call": "failed: it raised ZeroDivisionError: their call",
    "type": "returned int",
}
CARD = """\
name: theirs
title: Theirs
routes:
  - detector: {{type: {detectors}}}
    crop: {{type: {crops}}}
classifiers: [{{type: {classifiers}}}]
attributes:
  gender: {{labels: [Male, Female]}}
"""


@pytest.fixture
def install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[str, str], str]]:
    """Install a package with one plug-in of a kind and the fault given, and working ones of the other kinds."""
    site, task = tmp_path / "site", write_task(tmp_path / "their-task", ["nurse", "pilot"])
    site.mkdir()
    monkeypatch.syspath_prepend(str(site))

    def call(kind: str, fault: str) -> str:
        info = site / "their_pack-1.0.dist-info"
        info.mkdir(exist_ok=True)
        (info / "METADATA").write_text("Metadata-Version: 2.1\nName: Their_Pack\nVersion: 1.0\n")
        points = {k: f"their_{'broken' if k == kind else 'good'}:{name}" for k, name in POINTS.items()}
        text = "".join(f"[fairbench.{k}]\nx = {value}\n" for k, value in points.items())
        (info / "entry_points.txt").write_text(text)
        for module, own in (("their_good", "none"), ("their_broken", fault)):
            (site / f"{module}.py").write_text(textwrap.dedent(SOURCE).format(fault=own, folder=str(task)))
        _forget()
        return "their-pack/x"

    yield call
    _forget()


def _forget() -> None:
    registry._third_party.cache_clear()
    for module in ("their_good", "their_broken"):
        sys.modules.pop(module, None)


def run(cli: Cli, *args: str, adapter: str = "their-pack/x", labeller: str = "theirs.yaml") -> Result:
    names = dict.fromkeys(("detectors", "crops", "classifiers"), "their-pack/x")
    Path("theirs.yaml").write_text(CARD.format(**names))
    Path("model.yaml").write_text(f"name: grey\ntitle: Grey\nadapter: {adapter}\n")
    given = {"--task": "their-pack/x", "--method": "their-pack/x", "--scorers": "their-pack/x"}
    more = [part for option, value in given.items() if option not in args for part in (option, value)]
    return cli(
        "run",
        "--model",
        "model.yaml",
        "--labeller",
        labeller,
        "-n",
        "3",
        "--no-sheets",
        "--json",
        "--out",
        "out",
        *more,
        *args,
    )


def numbers(found: Result) -> dict[tuple[str, str], Any]:
    rows = reversed(json.loads(found.out)["metrics"])  # the plain value stands before what is estimated of it
    return {(m["metric"], m["attribute"]): m["value"] for m in rows}


def test_a_package_of_working_plug_ins_of_every_kind_runs(cli: Cli, install: Callable[[str, str], str]) -> None:
    """Its adapter has no Params and returns floats, its metric and scorer are no classes of ours."""
    install("adapters", "none")
    found = run(cli)
    assert found.code == 0, found.err
    values = numbers(found)
    assert values["their-metric", "gender"] == 1.0
    assert values["brightness", "quality"] == 128
    assert values["rd", "gender"] == 1.0
    assert "left-out" not in found.err


@pytest.mark.parametrize("fault", FAULTS[1:])
@pytest.mark.parametrize("kind", ["adapters", "detectors", "crops", "classifiers", "methods", "tasks"])
def test_what_a_run_cannot_do_without_is_one_sentence_before_any_work(
    cli: Cli, install: Callable[[str, str], str], kind: str, fault: str
) -> None:
    name = install(kind, fault)
    found = run(cli)
    assert found.code == 2, found.out
    assert "Traceback" not in found.err
    (sentence,) = [line for line in found.err.splitlines() if line.startswith("Error")]
    if (kind, fault) == ("adapters", "call"):
        assert "failed on each of its first 6 images: the model raised ZeroDivisionError: their call" in sentence
    elif kind == "tasks" and fault != "import":
        assert f"{name!r} (their_broken:task) is broken: " in sentence
    else:
        assert f"The {kind[:-1]} {name!r} " in sentence
        assert REASONS[fault] in sentence
    assert not list(Path("runs/store").glob("images/*/*"))


@pytest.mark.parametrize("fault", FAULTS[1:])
@pytest.mark.parametrize(("kind", "code"), [("metrics", "plugin-left-out"), ("scorers", "scorer-left-out")])
def test_a_broken_metric_or_scorer_is_left_out_and_the_run_goes_on(
    cli: Cli, install: Callable[[str, str], str], kind: str, code: str, fault: str
) -> None:
    name = install(kind, fault)
    found = run(cli, "-v")
    assert found.code == 0, found.err
    said = " ".join(found.err.split())
    assert f"{code}: " in said and f"The {kind[:-1]} {name!r} " in said
    assert "metric has a `spec`" in said if (kind, fault) == ("metrics", "constructor") else True
    values = numbers(found)
    assert values["rd", "gender"] == 1.0
    assert ("their-metric", "gender") in values or kind == "metrics"
    assert values.get(("brightness", "quality")) == (None if kind == "scorers" else 128)


@pytest.mark.parametrize("fault", ["import", "constructor", "call", "type"])
def test_a_broken_metric_breaks_neither_list_nor_compare(
    cli: Cli, install: Callable[[str, str], str], fault: str
) -> None:
    install("metrics", fault)
    for out, seed in (("a", "0"), ("b", "1")):
        assert run(cli, "--seed", seed, "--out", out).code == 0
    found = cli("compare", "a", "b", "--json")
    assert found.code == 0, found.err
    assert "plugin-left-out" in found.err
    listed = cli("list", "metrics")
    assert listed.code == 0
    assert ("(broken: The metric 'their-pack/x'" in listed.out) == (fault in ("import", "constructor"))


def test_list_names_broken_plug_ins_of_every_kind(cli: Cli, install: Callable[[str, str], str]) -> None:
    for kind in POINTS:
        if kind != "tasks":
            install(kind, "import")
            found = cli("list", kind)
            assert found.code == 0
            assert "their-pack/x" in found.out
            assert "(broken: " in found.out


def test_a_broken_task_breaks_neither_other_tasks_nor_the_list(cli: Cli, install: Callable[[str, str], str]) -> None:
    install("tasks", "import")
    found = run(cli, "--task", "occupations-mini", "--limit-prompts", "2")
    assert found.code == 0, found.err
    listed = cli("list", "tasks")
    assert listed.code == 0
    assert "occupations-mini" in listed.out
    assert "plugin-left-out: The task 'their-pack/x'" in " ".join(listed.err.split())


def test_metrics_names_which_are_computed(cli: Cli, install: Callable[[str, str], str]) -> None:
    install("adapters", "none")
    found = run(cli, "--metrics", "entropy,their-pack/x", "--scorers", "none")
    assert found.code == 0, found.err
    every = {metric for metric, _ in numbers(found)}
    assert {"rd", "entropy", "their-metric"} <= every
    assert not {"spd", "mad", "l2-softmax"} & every
    whole = run(cli, "--scorers", "none", "--out", "whole")
    assert json.loads(found.out)["run_id"] == json.loads(whole.out)["run_id"]
    wrong = run(cli, "--metrics", "entrpy")
    assert wrong.code == 2
    assert "There is no metric 'entrpy' (did you mean 'entropy'?)" in wrong.err
