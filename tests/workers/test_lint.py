"""`fairbench check` on recipes: what would fail in the model's own environment is found without it."""

from __future__ import annotations

from pathlib import Path

import pytest

from fairbench.linting import recipes
from tests.builders.cli import Cli
from tests.builders.workers import write_card

GOOD = """
import os
import sys

from fairbench_worker import Refused


def load(repository, weights, settings, device):
    import torch

    return Model(settings)


class Model:
    def __init__(self, settings):
        self.settings = settings

    def generate(self, prompt, seed, width, height):
        return self.settings["steps"]

    def answer(self, question, image, seed, limit=32):
        raise Refused(question)
"""


def problems(folder: Path, text: str, environment: str | None = "# python: 3.10\npillow\n") -> list[str]:
    path = folder / "mine.py"
    path.write_text(text, encoding="utf-8")
    if environment is not None:
        path.with_suffix(".txt").write_text(environment, encoding="utf-8")
    return [f"{p.path.name}:{p.line} {p.field}: {p.message}" for p in recipes.problems(path)]


def test_a_good_recipe_has_no_problem(tmp_path: Path) -> None:
    assert problems(tmp_path, GOOD) == []


@pytest.mark.parametrize(
    ("old", "new", "problem"),
    [
        ("def load(", "def open(", "mine.py:1 load: it is missing"),
        ("weights, settings, device", "weights, settings", "mine.py:8 load: it takes (repository, weights, settings)"),
        ("def generate(", "def draw(", "mine.py:1 generate: no class has this method"),
        ("seed, width, height", "width, height, seed", "generate: it takes (prompt, width, height, seed), not (prompt"),
        ("image, seed, limit", "seed, limit", "answer: it takes (question, seed, limit)"),
        ("import os\n", "import numpy\n", "mine.py:2 import numpy: only the standard library may be imported here"),
        ("import os\n", "try:\n    from torch import nn\nexcept ImportError:\n    nn = 1\n", "import torch: only the"),
        ("import os\n", "from . import other\n", "import .: only the standard library"),
        ('settings["steps"]', 'settings.get("steps", 50)', "settings: `settings.get` may hide that the card lacks"),
        (
            'settings["steps"]',
            'prompt.removeprefix("a")',
            "removeprefix: recipes are written in Python 3.8: this is there",
        ),
        (
            'self.settings["steps"]',
            "zip(prompt, seed, strict=True)",
            "zip: recipes are written in Python 3.8: `strict`",
        ),
        ("import os\n", "from functools import cache\n", "cache: recipes are written in Python 3.8"),
        ("prompt, seed, width", "prompt: str | None, seed, width", "str | None: recipes are written in Python 3.8"),
        ("(self, settings)", "(self, settings: dict[str, int])", "dict[str, int]: recipes are written in Python 3.8"),
        (
            "return Model(",
            "match device:\n        case _: pass\n    return Model(",
            "a recipe is written in Python 3.8",
        ),
        ("import os\n", "import os os\n", "line 2: a recipe is written in Python 3.8 (invalid syntax)"),
    ],
)
def test_each_breach_is_named_with_its_line(tmp_path: Path, old: str, new: str, problem: str) -> None:
    assert old in GOOD
    found = problems(tmp_path, GOOD.replace(old, new, 1))
    assert len(found) == 1 and problem in found[0], found


def test_annotations_that_are_not_evaluated_may_be_new(tmp_path: Path) -> None:
    text = "from __future__ import annotations\n" + GOOD.replace("prompt, seed,", "prompt: str | None, seed,")
    assert problems(tmp_path, text) == []


def test_the_environment_is_part_of_a_recipe(tmp_path: Path) -> None:
    assert "write mine.txt beside it" in problems(tmp_path, GOOD, None)[0]
    assert "begin with a line `# python: 3.10`" in problems(tmp_path, GOOD, "torch==2.5.1\n")[0]
    (shell,) = problems(tmp_path, GOOD, "# python: 3.10\n# then: cp {repository}/* {site_packages}\n")
    assert "is run without a shell: write bash -c" in shell


def test_a_cards_recipe_is_checked_with_it_and_named_once(cli: Cli, tmp_path: Path) -> None:
    folder = tmp_path / "workers"
    folder.mkdir()
    assert problems(folder, GOOD.replace('["steps"]', ".get('steps')"))
    card = write_card(tmp_path, str(folder / "mine"), python_version="3.12")
    alone = cli("check", card)
    assert alone.code == 2 and alone.out.splitlines()[-1] == "1 cards, 2 problems"
    assert "field sampling.python_version: it is 3.12, but mine.txt is for Python 3.10" in alone.out
    both = cli("check", tmp_path)
    assert both.out.splitlines()[-1] == "2 cards, 2 problems" and both.out.count("settings.get") == 1
    by_name = cli("check", write_card(tmp_path, "mine", recipe="mine", python_version="3.10"))
    assert "settings.get" in by_name.out  # a recipe beside the card, by name
    missing = cli("check", write_card(tmp_path, "stub", recipe="mein"))
    assert "There is no recipe 'mein'" in missing.out
