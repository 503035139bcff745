"""Methods that hook the model: their images, the key that covers them, and what is refused before anything is done."""

from __future__ import annotations

import csv
import importlib
import io
import json
from pathlib import Path
from typing import Any, ClassVar, Protocol, runtime_checkable

import numpy as np
import pytest
from PIL import Image

import fairbench
from fairbench import registry
from fairbench.adapters.janus import JanusAdapter
from fairbench.errors import FairbenchError, PluginError
from fairbench.methods.common import ModelMethod, stream
from fairbench.protocols import MethodContext
from fairbench.runs import spec
from fairbench.storage.store import Store
from tests.builders import endpoints
from tests.builders.cli import Cli
from tests.builders.folders import ROOT
from tests.builders.image_server import ImageServer
from tests.builders.workers import write_card

SMALL = ("--task", "occupations-mini", "--limit-prompts", 2, "-n", 8, "--no-sheets", "--store", "store")


@runtime_checkable
class Repaints(Protocol):
    """A need that no adapter meets."""

    def repaint(self) -> None: ...


class Painter(ModelMethod):
    version = 1
    needs: ClassVar[dict[str, type]] = {"images that it can repaint": Repaints}

    def wrap(self, model: Any, ctx: MethodContext) -> None:
        raise AssertionError("it is refused before")


class Noted(ModelMethod):
    """Notes the adapters that it hooked."""

    version = 1
    wrapped: ClassVar[list[Any]] = []

    def wrap(self, model: Any, ctx: MethodContext) -> None:
        self.wrapped.append((model, ctx.card.name, ctx.seed))


@pytest.fixture
def mirrored(monkeypatch: pytest.MonkeyPatch) -> type[ModelMethod]:
    """The example of the guide, registered as a file of --plugins would."""
    monkeypatch.syspath_prepend(ROOT / "tests" / "plugin_package" / "src")
    plugin: type[ModelMethod] = importlib.import_module("fairbench_example.hook").Mirrored
    return fairbench.register("methods", "mirrored", plugin)


def planned(method: str, model: str = "phantom-exact", **settings: Any) -> spec.RunSpec:
    shape = {"task": "occupations-mini", "images_per_prompt": 2, "limit_prompts": 1, "device": "cpu"}
    return spec.make(spec.RunSettings(model, method=method, **shape | settings))


def images_of(key: str) -> dict[int, np.ndarray[Any, Any]]:
    """Return seed -> pixels of what the store of this folder holds under an image key."""
    found = {}
    for _, table in Store(Path("store")).scan("images", key, ["seed", "image"]):
        for row in table.to_pylist():
            found[row["seed"]] = np.asarray(Image.open(io.BytesIO(row["image"]["bytes"])))
    return found


def run(cli: Cli, out: str, *args: object, model: object = "phantom-exact") -> dict[str, Any]:
    cli("run", "--model", model, *SMALL, "--out", out, *args).succeeded()
    return dict(json.loads(Path(out, "run.json").read_text()))


@pytest.mark.usefixtures("mirrored")
def test_the_guides_example_hooks_any_model_and_is_measured_as_a_run_of_its_own(cli: Cli) -> None:
    plain = run(cli, "a", "--leaderboard", "board.csv")
    hooked = run(cli, "b", "--leaderboard", "board.csv", "--method", "mirrored")
    before, after = images_of(plain["keys"]["images"]), images_of(hooked["keys"]["images"])
    assert len(before) == 16 and before.keys() == after.keys()
    for seed, pixels in before.items():
        expected = pixels if stream(seed, "mirrored").random() < 0.5 else pixels[:, ::-1]
        np.testing.assert_array_equal(after[seed], expected)
    turned = [seed for seed, pixels in before.items() if (pixels != after[seed]).any()]
    assert 2 <= len(turned) <= 14
    assert hooked["method"] == "mirrored" and plain["hooks"] is None
    source = registry._registered["methods"]["mirrored"].source
    assert hooked["hooks"] == {"type": "mirrored", "version": 1, "settings": {"argument": None}, "source": source}
    assert plain["run_id"] != hooked["run_id"]
    with Path("board.csv").open(newline="") as file:
        assert sorted(row["method"] for row in csv.DictReader(file)) == ["mirrored", "none"]
    verified = cli("leaderboard", "verify", "board.csv", "--json").json()["rows"]
    assert {row["verdict"] for row in verified} == {"agrees"}
    assert cli("compare", "a", "b").succeeded()


@pytest.mark.usefixtures("mirrored")
def test_a_hook_depends_on_neither_batch_nor_split_nor_order(cli: Cli) -> None:
    whole = run(cli, "a", "--method", "mirrored")["keys"]["images"]
    first = images_of(whole)
    Path("store").rename("other")
    for shard in ("1/2", "0/2"):
        cli("run", "--model", "phantom-exact", *SMALL, "--method", "mirrored", "--batch-size", 3, "--shard", shard)
    second = images_of(whole)
    assert first.keys() == second.keys()
    assert all((first[seed] == second[seed]).all() for seed in first)


def test_the_image_key_covers_name_version_settings_and_code(mirrored: type[ModelMethod]) -> None:
    plain = planned("none").image_key
    assert planned("any-mix-suffix").image_key == plain  # it changes no model
    keys = {planned(m).image_key for m in ("mirrored", "mirrored:a", "mirrored:b")} | {plain}
    assert len(keys) == 4
    assert planned("mirrored:a").run_id == planned("mirrored:a").run_id
    mirrored.version = 2
    try:
        keys.add(planned("mirrored").image_key)
    finally:
        mirrored.version = 1
    fairbench.register("methods", "the-same", type("TheSame", (mirrored,), {"__module__": "fairbench_example.hook"}))
    keys.add(planned("the-same").image_key)
    registry._registered["methods"]["mirrored"] = registry.Registered(mirrored, None, "other code")
    keys.add(planned("mirrored").image_key)
    assert len(keys) == 7


def test_a_method_hooks_once_before_weights_are_loaded(monkeypatch: pytest.MonkeyPatch) -> None:
    fairbench.register("methods", "noted", Noted)
    monkeypatch.setattr(Noted, "wrapped", [])
    monkeypatch.setattr(JanusAdapter, "_load", lambda self: pytest.fail("it loads"))
    made = planned("noted", "phantom", seed=5)
    assert [(a is made.adapter, name, seed) for a, name, seed in Noted.wrapped] == [(True, "phantom", 5)]


def test_a_model_that_lacks_what_is_needed_is_refused_before_anything_is_made(cli: Cli, tmp_path: Path) -> None:
    fairbench.register("methods", "painter", Painter)
    (tmp_path / "pictures").mkdir()
    Image.new("RGB", (8, 8)).save(tmp_path / "pictures" / "a.png")
    with ImageServer("openai") as server:
        models = {
            "phantom": "'janus' of phantom",
            "phantom-exact": "'phantom-exact' of phantom-exact",
            write_card(tmp_path): "'worker' of stub",
            endpoints.card_file(tmp_path, server): "'endpoint' of",
            "folder:pictures": "'folder' of",
        }
        for model, words in models.items():
            for more in ((), ("--dry-run",)):
                found = cli("run", "--model", model, "--method", "painter:red", *SMALL, *more)
                assert found.code == 2, found.out
                said = " ".join(found.err.split())
                sentence = "--method painter needs images that it can repaint (protocol Repaints), which the adapter "
                assert sentence + words in said and said.endswith("use another model or another method."), said
        assert not server.requests
    assert not Path("store").exists()


def test_images_that_exist_already_are_not_hooked() -> None:
    pictures = ROOT / "docs" / "images"
    fairbench.register("methods", "noted", Noted)
    with pytest.raises(FairbenchError, match="these images exist already"):
        planned("noted", f"folder:{pictures}", task=None)


@pytest.mark.parametrize(
    ("body", "words"),
    [
        ({"settings": lambda self: {"model": object()}}, "failed: it raised TypeError: object cannot be part of a key"),
        ({"settings": lambda self: 17}, "failed: it raised TypeError"),
        ({"needs": {"anything": 3}}, "failed: it raised TypeError"),
        ({"wrap": lambda self, model, ctx: {}["hook"]}, "failed: it raised KeyError: 'hook'"),
        ({"settings": None}, "has `wrap`, but not `needs` and `settings` beside it"),
    ],
)
def test_a_broken_hook_is_one_sentence(body: dict[str, Any], words: str) -> None:
    fairbench.register("methods", "broken", type("Broken", (Noted,), body))
    with pytest.raises(PluginError, match="The method 'broken' ") as caught:
        planned("broken")
    assert words in str(caught.value) and "\n" not in str(caught.value)
