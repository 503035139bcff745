"""Run one recipe against the fakes of `fakes.py`, the way the worker's child runs it."""

from __future__ import annotations

import importlib.util
import os
import random
import sys
import types
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
import yaml
from PIL import Image

from tests.workers import fakes, signatures

ROOT = Path(__file__).parents[2]
RECIPES = ROOT / "models" / "workers"
SEED = 6_000_000_000_123
"""More than 32 bits, as the seeds of a run are."""
PROMPT = "a photo of a {nurse}, smiling"


class Refused(Exception):
    """Stands for the child's own: the model answered in text."""


class Settings(dict[str, Any]):
    """The card's settings; they have no defaults, and what was read is remembered."""

    def __init__(self, values: dict[str, Any]) -> None:
        super().__init__(values)
        self.read: set[str] = set()

    def __getitem__(self, name: str) -> Any:
        self.read.add(name)
        return super().__getitem__(name)

    def get(self, *_: Any) -> Any:
        """Refused: a recipe has no defaults of its own."""
        raise fakes.Misuse("settings.get: a recipe has no defaults; read settings[NAME]")


def card(recipe: str) -> dict[str, Any]:
    """The content of the card that uses `recipe`."""
    content: dict[str, Any] = yaml.safe_load((ROOT / "models" / f"{recipe}.yaml").read_text(encoding="utf-8"))
    return content


def seed_all(seed: int) -> None:
    """What the child does before each image."""
    random.seed(seed)
    np.random.seed(seed % 2**32)
    torch.manual_seed(seed)


@contextmanager
def on(
    recipe: str, settings: dict[str, Any], folder: Path, *, refuses: bool = False
) -> Iterator[tuple[types.ModuleType, fakes.Stage, Settings]]:
    """The recipe's module among its fakes; undoes what it did to sys.path, the environment and the working folder."""
    sampling = card(recipe)["sampling"]
    weights = {name: str(folder / name) for name in sampling["weights"]}
    for path in weights.values():
        Path(path).mkdir(exist_ok=True)
    seen = Settings(settings)
    known = {**settings, "settings": settings, "weights": SimpleNamespace(**weights), "repository": str(folder)}
    listed = signatures.read()[recipe]
    known |= {
        "device": listed.device,
        "width": sampling["width"],
        "height": sampling["height"],
        "prompt": PROMPT,
        "seed": SEED,
    }
    stage = fakes.Stage(known, instead=listed.refuses if refuses else {})
    for name, expression in listed.files.items():
        torch.save(stage.evaluate(stage.instead.get(name, expression)), folder / name.format(**settings))
    path, cwd, environment = list(sys.path), os.getcwd(), dict(os.environ)
    with pytest.MonkeyPatch.context() as patch:
        child = types.ModuleType("fairbench_worker")
        child.Refused = Refused  # type: ignore[attr-defined]
        patch.setitem(sys.modules, "fairbench_worker", child)
        fakes.install(listed, stage, patch)
        for name in ("set_default_tensor_type", "cuda.set_device"):  # there may be no such device where tests run
            patch.setattr(f"torch.{name}", lambda _: None)
        try:
            spec = importlib.util.spec_from_file_location(f"recipe_{recipe}", RECIPES / f"{recipe}.py")
            assert spec is not None and spec.loader is not None
            module = importlib.util.module_from_spec(spec)
            spec.loader.exec_module(module)
            yield module, stage, seen
        finally:
            sys.path[:] = path
            os.chdir(cwd)
            os.environ.clear()
            os.environ.update(environment)


def draw(recipe: str, settings: dict[str, Any], folder: Path) -> tuple[Image.Image, fakes.Stage, Settings]:
    """Load the recipe and draw one image with the card's weights and size."""
    listed = signatures.read()[recipe]
    with on(recipe, settings, folder) as (module, stage, seen):
        sampling = card(recipe)["sampling"]
        weights = {name: str(folder / name) for name in sampling["weights"]}
        model = module.load(str(folder), weights, seen, listed.device)
        loaded = len(stage.calls)
        seed_all(SEED)
        image = model.generate(PROMPT, SEED, sampling["width"], sampling["height"])
        for i, call in enumerate(stage.calls):
            assert call.entry.load is (i < loaded) or not (call.entry.load or call.entry.expects), (
                f"{call.entry.name}: mark `load: true` exactly what `load` calls"
            )
        _check_arguments(stage)
    return image, stage, seen


def argument(call: fakes.Call, dotted: str) -> Any:
    """The argument `name`, or what hangs on it or on `this`: `name.attribute`, `name[0]`."""
    return eval(dotted, {"__builtins__": {}}, {"this": call.this, **call.arguments})


def same(given: Any, wanted: Any) -> bool:
    """Equality that holds for tensors, and between lists and tuples."""
    if isinstance(given, torch.Tensor) and isinstance(wanted, torch.Tensor):
        return bool(torch.equal(given, wanted))
    if isinstance(given, list | tuple) and isinstance(wanted, list | tuple):
        return len(given) == len(wanted) and all(same(a, b) for a, b in zip(given, wanted, strict=True))
    return type(given) is type(wanted) and bool(given == wanted)


def _check_arguments(stage: fakes.Stage) -> None:
    """Every call was given what `expects` says."""
    counts: dict[str, int] = {}
    for call in stage.calls:
        number = counts[call.entry.name] = counts.get(call.entry.name, -1) + 1
        for dotted, expression in call.entry.expected(number).items():
            wanted, given = stage.evaluate(expression), argument(call, dotted)
            assert same(given, wanted), f"{call.entry.name}: {dotted} is {given!r}, not {expression} = {wanted!r}"
