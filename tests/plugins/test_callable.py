"""A function is a model: `--model FILE.py:NAME` and `fairbench.run(function)`, their keys, and what they may return."""

from __future__ import annotations

import functools
import json
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

import fairbench
from fairbench.adapters import callable as adapter
from fairbench.errors import FairbenchError, OutOfMemory, PluginError
from fairbench.notices import collecting
from fairbench.runs import spec
from fairbench.types import BuildContext, ImageRequest, ImageResult
from tests.builders.cli import Cli
from tests.builders.processes import start

DRAW = """\
import os
import signal

import numpy as np
from fairbench.phantom.renderer import render


def draw(prompt, seed):
    with open("calls.txt", "a") as file:
        print(seed, file=file)
    if len(open("calls.txt").readlines()) == int(os.environ.get("KILLED_AT", 0)):
        os.kill(os.getpid(), signal.SIGKILL)
    rng = np.random.default_rng(seed)
    return render(str(rng.choice(["female", "male"])), "Black", rng, 64, True)
"""
ARGS = ("--task", "occupations-mini", "--limit-prompts", "2", "-n", "8", "--labeller", "phantom", "--no-sheets")
NOTEBOOK = """
import fairbench
from my_model import draw

run = fairbench.run(draw, name="mine", version=1, task="occupations-mini", limit_prompts=2, images_per_prompt=8,
                    labeller="phantom", sheets=False, out="out", progress=False)
print(run.id)
"""


@pytest.fixture(autouse=True)
def _nothing_given(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(adapter, "_given", {})


def requests(count: int) -> list[ImageRequest]:
    return [ImageRequest(bytes(16), bytes(16), bytes(16), f"prompt {i}", i, i) for i in range(count)]


def drawn(function: Callable[..., Any], count: int = 2) -> list[ImageResult]:
    """Return what a function draws, through the adapter."""
    params = adapter.CallableParams(function=adapter.offer(function, "mine", 1).partition(":")[2])
    card = fairbench.ModelCard(name="mine", title="Mine", adapter="callable")
    return adapter.CallableAdapter(card, params, BuildContext()).generate(requests(count))


def key(model: str) -> str:
    return spec.make(spec.RunSettings(model, "occupations-mini", labeller="phantom", images_per_prompt=1)).image_key


@pytest.mark.slow
@pytest.mark.long
@pytest.mark.parametrize("way", ["command", "notebook"])
def test_a_killed_run_goes_on_and_ends_with_the_same_numbers(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, way: str
) -> None:
    numbers = []
    for name, killed_at in (("whole", 0), ("killed", 12)):
        folder = tmp_path / name
        folder.mkdir()
        (folder / "my_model.py").write_text(DRAW)
        for kill in filter(None, (killed_at, -1)):
            monkeypatch.setenv("KILLED_AT", str(kill))
            if way == "command":
                process = start(folder, "run", "--model", "my_model.py:draw", *ARGS, "--out", "out", "-q")
                code, errors = process.wait(), process.err
            else:
                done = subprocess.run([sys.executable, "-c", NOTEBOOK], cwd=folder, capture_output=True, text=True)
                code, errors = done.returncode, done.stderr
            assert code == (-signal.SIGKILL if kill > 0 else 0), errors
        calls = (folder / "calls.txt").read_text().split()
        assert len(calls) == 16 + (4 if killed_at else 0)  # the block in flight is drawn again, no other
        assert len(set(calls)) == 16
        numbers.append((folder / "out/metrics.csv").read_bytes())
    assert numbers[0] == numbers[1]


def test_a_file_is_keyed_by_its_content_and_its_version(cli: Cli) -> None:
    """Two copies of a file are one model; an edit, and a new version, are another."""
    keys = {}
    for name, text in {
        "a": DRAW,
        "copy": DRAW,
        "edited": DRAW + "\n# edited\n",
        "two": DRAW + "\ndraw.version = 2\n",
        "of-file": "version = 2\n" + DRAW,
    }.items():
        Path(name).mkdir()
        Path(name, "my_model.py").write_text(text)
        keys[name] = key(f"{name}/my_model.py:draw")
    assert keys["a"] == keys["copy"]
    assert len(set(keys.values())) == 4
    found = spec.make(spec.RunSettings("two/my_model.py:draw", labeller="phantom"))
    assert found.card.name == "my_model.draw"
    assert found.adapter.effective_settings()["version"] == 2


def test_a_function_of_a_file_runs_and_is_named_in_the_record(cli: Cli) -> None:
    Path("my_model.py").write_text(DRAW)
    found = cli("run", "--model", "my_model.py:draw", *ARGS, "--out", "out", "--json").json()
    assert found["run_id"]
    record = json.loads(Path("out/run.json").read_text())
    assert [f["name"] for f in record["plugin_files"]] == ["my_model.py"]
    assert record["effective_settings"]["sha256"] == record["plugin_files"][0]["sha256"]
    assert cli("run", "--model", "my_model.py:draw", *ARGS, "--dry-run").succeeded().out.count("16 in the store") == 1
    Path("card.yaml").write_text("name: mine\ntitle: Mine\nadapter: callable\nsampling: {function: my_model.py:draw}\n")
    assert key("card.yaml") == key("my_model.py:draw")  # the card's own name is in no key


@pytest.mark.parametrize(
    ("model", "words"),
    [
        ("my_model.py", "my_model.py is a Python file: name its function too, as in my_model.py:draw."),
        ("my_model.py:drew", "There is no function 'drew' in my_model.py (did you mean 'draw'?)."),
        ("my_model.py:np", "np in my_model.py is no function"),
        ("my_model.py:Draw", "Draw in my_model.py is no function"),
        ("my_model.py:one", "my_model.py:one takes (prompt): it must take a prompt and a seed"),
        ("my_model.py:old", "The version of my_model.py:old is '1.0': give a whole number."),
        ("none.py:draw", "The plug-in file none.py cannot be read"),
        ("broken.py:draw", "The plug-in file broken.py cannot be imported: it raised SystemExit: 3, in line 2."),
        ("callable:draw", "There is no function 'draw': write FILE.py:NAME, or give it to fairbench.run."),
        ("callable:", "callable: needs a function behind the colon, as in callable:FUNCTION."),
    ],
)
def test_what_is_no_function_is_one_sentence(cli: Cli, model: str, words: str) -> None:
    more = "class Draw: pass\ndef one(prompt): pass\ndef old(prompt, seed): pass\nold.version = '1.0'\n"
    Path("my_model.py").write_text(DRAW + more)
    Path("broken.py").write_text("import sys\nsys.exit(3)\n")
    found = cli("run", "--model", model, *ARGS, "--out", "out")
    assert found.code == 2
    assert words in found.err and "Traceback" not in found.err
    assert not Path("out").exists() and not Path("runs").exists()


GREY = np.full((4, 4, 3), 51, np.uint8)


@pytest.mark.parametrize(
    "image", [GREY, GREY / 255, (GREY / 255).astype(np.float32), Image.fromarray(GREY), ImageResult("ok", GREY)]
)
def test_an_image_is_a_picture_or_an_array_and_none_is_a_refusal(image: Any) -> None:
    def one(prompt: str, seed: int) -> Any:
        return image if seed else None

    def several(prompts: list[str], seeds: list[int]) -> Any:
        return (one(*each) for each in zip(prompts, seeds, strict=True))

    for function in (one, several, functools.partial(one)):
        refused, ok = drawn(function)
        assert (refused.status, refused.error) == ("refused", "the function returned None")
        assert ok.status == "ok" and ok.pixels is not None
        np.testing.assert_array_equal(ok.pixels, GREY)


def test_an_image_whose_function_raises_has_failed_and_no_other_is_drawn_again() -> None:
    calls = []

    def draw(prompt: str, seed: int) -> Any:
        calls.append(seed)
        if seed == 1:
            raise KeyError("their\nerror")
        if seed == 2:
            raise SystemExit
        return GREY

    assert [r.status for r in drawn(draw, 4)] == ["ok", "failed", "failed", "ok"]
    assert [r.error for r in drawn(draw, 4)][1:3] == [
        r"the model raised KeyError: 'their\nerror'",
        "the model raised SystemExit",
    ]
    assert calls == [0, 1, 2, 3] * 2


class OutOfMemoryError(Exception):
    """As torch has it."""


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        (17, "The function mine returned int as an image: return a PIL image"),
        (iter(int, 1), "The function mine returned callable_iterator as an image"),
        (GREY.astype(np.int64), "int64"),
        (np.zeros((10**4, 10**4, 1), np.uint8), "of shape (10000, 10000, 1)"),
    ],
)
def test_nonsense_is_one_sentence(answer: Any, words: str) -> None:
    with pytest.raises(PluginError) as caught:
        drawn(lambda prompt, seed: answer)
    assert words in str(caught.value) and len(str(caught.value)) < 300


def test_several_answers_are_as_many_as_the_prompts() -> None:
    for answer, words in ((iter(int, 1), "more than 2 results"), ([GREY], "1 results"), (None, "returned NoneType")):
        with pytest.raises(PluginError, match=words):
            drawn(lambda prompts, seeds, answer=answer: answer)

    def out_of_memory(prompts: list[str], seeds: list[int]) -> Any:
        raise OutOfMemoryError

    with pytest.raises(OutOfMemory):
        drawn(out_of_memory)


class Model:
    def draw(self, prompt: str, seed: int) -> Any:
        return GREY

    def __call__(self, prompt: str, seed: int) -> Any:
        return GREY


@pytest.mark.parametrize(
    ("model", "what"),
    [
        (Model().draw, "method"),
        (lambda prompt, seed: GREY, "lambda"),
        (Model(), "Model"),
        (functools.partial(Model().draw), "partial"),
    ],
)
def test_what_has_no_name_of_its_own_is_refused_unless_named(model: Any, what: str) -> None:
    with pytest.raises(
        FairbenchError, match=rf"A {what} has no name .* fairbench\.run\(\.\.\., name='my-model', version=1\)"
    ):
        adapter.offer(model)
    assert adapter.offer(model, "my-model", 1) == "callable:my-model"
    assert key("callable:my-model") == key("callable:my-model")


@pytest.mark.parametrize(
    ("function", "named", "words"),
    [
        (17, {}, "model is 17: name a model, or give a function"),
        (Model, {}, "give a function of a prompt and a seed"),
        (Model(), {"name": "My Model"}, "name is 'My Model': use a-z"),
        (Model(), {"name": "phantom"}, "There is a model card called 'phantom'"),
        (Model(), {"name": "mine", "version": "1"}, "version is '1': give a whole number"),
        (Model(), {"name": "mine", "version": True}, "version is True"),
    ],
)
def test_a_wrong_model_name_or_version_is_one_sentence(function: Any, named: dict[str, Any], words: str) -> None:
    with pytest.raises(FairbenchError, match=words):
        adapter.offer(function, **named)


def test_keys_of_functions_that_are_given() -> None:
    """By name and version; without a version by a token that stands for this function in this process alone."""

    def draw(prompt: str, seed: int) -> Any:
        return GREY

    def draw_otherwise(prompt: str, seed: int) -> Any:
        return GREY + 1

    with collecting() as reported:
        first = key(adapter.offer(draw, "mine", 1))
        assert key(adapter.offer(draw, "mine", 1)) == first
        assert key(adapter.offer(draw, "mine", 2)) != first
        assert not reported
        own = key(adapter.offer(draw))
        assert own == key(adapter.offer(draw)) != first
        assert [n.code for n in reported] == ["own-key"]
    draw_otherwise.__name__ = "draw"
    assert key(adapter.offer(draw_otherwise)) != own
    adapter.offer(draw, "mine", 1)
    with collecting() as reported:
        assert key(adapter.offer(draw_otherwise, "mine", 1)) == first
    assert [n.code for n in reported] == ["code-changed"]
