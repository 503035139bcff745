"""Each recipe calls its model's official code exactly as the public source allows (`signatures.yaml`), gives it the
card's settings, and draws from the image's seed. Nobody's weights are run here."""

from __future__ import annotations

import ast
import re
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml

from tests.workers import fakes, signatures, stage

LISTED = signatures.read()
HERE = {"torch", "numpy", "PIL", "fairbench_worker"}
"""What a recipe may import beside the standard library and the names of signatures.yaml."""


def source(recipe: str) -> str:
    return (stage.RECIPES / f"{recipe}.py").read_text(encoding="utf-8")


def changed(settings: dict[str, Any]) -> dict[str, Any]:
    """The settings with every number changed, so that a number written into the recipe shows."""
    return {
        name: value + 1 if type(value) is int else value + 0.25 if type(value) is float else value
        for name, value in settings.items()
    }


def names_in(entry: signatures.Entry) -> set[str]:
    """The names that the expressions of `expects` use."""
    trees = [ast.parse(text, mode="eval") for text in entry.expressions()]
    return {node.id for tree in trees for node in ast.walk(tree) if isinstance(node, ast.Name)}


def test_the_file_is_in_order_and_every_recipe_is_in_it() -> None:
    keys = list(yaml.safe_load(signatures.FILE.read_text(encoding="utf-8")))
    assert keys == sorted(keys)
    assert set(keys) == {path.stem for path in stage.RECIPES.glob("*.py")}


@pytest.mark.parametrize("recipe", LISTED)
def test_a_recipe_is_short_and_imports_only_what_is_listed(recipe: str) -> None:
    text = source(recipe)
    assert 15 <= len(text.splitlines()) <= 80
    tree = ast.parse(text, feature_version=(3, 8))
    top = [node for node in tree.body if isinstance(node, ast.Import | ast.ImportFrom)]
    roots = {entry.module.partition(".")[0] for entry in LISTED[recipe].names}
    for node in ast.walk(tree):
        if isinstance(node, ast.Import | ast.ImportFrom):
            names = [node.module or ""] if isinstance(node, ast.ImportFrom) else [alias.name for alias in node.names]
            for name in (full.partition(".")[0] for full in names):
                standard = name in sys.stdlib_module_names or name == "fairbench_worker"
                assert standard or (node not in top and name in HERE | roots), f"{recipe} imports {name}"


@pytest.mark.parametrize("recipe", LISTED)
def test_the_card_pins_the_commit_that_was_read(recipe: str) -> None:
    card = stage.card(recipe)
    sampling = card["sampling"]
    assert sampling["recipe"] == recipe == card["name"]
    assert sampling["repository"] == {"url": LISTED[recipe].repository, "commit": LISTED[recipe].commit}
    assert card["verified"] == "signatures" and "run this recipe" in " ".join(card["unverified"].split())
    environment = (stage.RECIPES / f"{recipe}.txt").read_text(encoding="utf-8")
    assert environment.splitlines()[0] == f"# python: {sampling['python_version']}"


@pytest.mark.parametrize("recipe", LISTED)
def test_a_recipe_draws_with_the_settings_of_the_card(recipe: str, tmp_path: Path) -> None:
    sampling = stage.card(recipe)["sampling"]
    image, made, seen = stage.draw(recipe, sampling["settings"], tmp_path)
    assert image.size == (sampling["width"], sampling["height"]) and image.mode == "RGB"
    assert seen.read == set(sampling["settings"]), "every setting of the card is read, and no other"
    named = {name for call in made.calls for name in names_in(call.entry)}
    named |= {name for path in LISTED[recipe].files for name in re.findall(r"{(\w+)}", path)}
    assert set(sampling["settings"]) <= named, "signatures.yaml says where each setting goes (`expects`)"
    stage.draw(recipe, changed(sampling["settings"]), tmp_path)


@pytest.mark.parametrize("recipe", LISTED)
def test_a_recipe_draws_from_the_seed_of_the_image(recipe: str, tmp_path: Path) -> None:
    _, made, _ = stage.draw(recipe, stage.card(recipe)["sampling"]["settings"], tmp_path)
    drawing = [call for call in made.calls if call.entry.draws]
    by_value = [call for call in made.calls if "seed" in names_in(call.entry)]
    assert drawing or by_value, "`draws`, or `seed` in `expects`, says where the randomness comes from"
    stage.seed_all(stage.SEED)
    fresh = fakes.generators()
    for call in drawing:
        if call.entry.draws == "global":
            assert (call.torch_state, call.numpy_state) == fresh, call.entry.name
            continue
        given = stage.argument(call, call.entry.draws or "")
        if isinstance(given, torch.Generator):
            given = given.initial_seed()
        assert given == stage.SEED % 2**call.entry.seed_bits, call.entry.name


def answered_in_text(recipe: str, folder: Path) -> list[fakes.Call]:
    """The calls of an image that the recipe must refuse to give, because the model answered in text."""
    sampling = stage.card(recipe)["sampling"]
    with stage.on(recipe, sampling["settings"], folder, refuses=True) as (module, made, seen):
        weights = {name: str(folder / name) for name in sampling["weights"]}
        model = module.load(str(folder), weights, seen, LISTED[recipe].device)
        stage.seed_all(stage.SEED)
        with pytest.raises(stage.Refused, match="I cannot draw that"):
            model.generate(stage.PROMPT, stage.SEED, sampling["width"], sampling["height"])
    return made.calls


@pytest.mark.parametrize("recipe", [name for name, quoted in LISTED.items() if quoted.refuses])
def test_an_answer_in_text_is_a_refusal(recipe: str, tmp_path: Path) -> None:
    calls = answered_in_text(recipe, tmp_path)
    _, made, _ = stage.draw(recipe, stage.card(recipe)["sampling"]["settings"], tmp_path)
    assert {call.entry.name for call in calls} != {call.entry.name for call in made.calls}


@pytest.mark.parametrize("recipe", LISTED)
def test_all_that_is_listed_is_called(recipe: str, tmp_path: Path) -> None:
    _, made, _ = stage.draw(recipe, stage.card(recipe)["sampling"]["settings"], tmp_path)
    called = {call.entry.name for call in made.calls}
    if LISTED[recipe].refuses:
        called |= {call.entry.name for call in answered_in_text(recipe, tmp_path)}
    idle = [e.name for e in LISTED[recipe].names if e.signature and not e.inspected and e.name not in called]
    assert not idle, "signatures.yaml lists nothing that the recipe does not use"


def listed(signature: str, **more: Any) -> signatures.Quoted:
    entry = signatures.Entry("official.code:draw", "draw.py", 1, signature=signature, **more)
    return signatures.Quoted("", "", "cpu", {}, {}, [entry])


def official(quoted: signatures.Quoted, patch: pytest.MonkeyPatch) -> Any:
    fakes.install(quoted, fakes.Stage({}), patch)
    import official.code  # type: ignore[import-not-found]

    return official.code


def test_a_fake_takes_the_quoted_arguments_and_no_others(monkeypatch: pytest.MonkeyPatch) -> None:
    code = official(listed("(prompt, steps=30, *, scale=2.0, **kwargs)", keywords={"eta": "a:1"}), monkeypatch)
    code.draw("a", 3, scale=1.0, eta=0.5)
    for wrong in ({"prompt": "a", "guidance": 3.0}, {}, {"prompt": "a", "n": 1}):
        with pytest.raises(fakes.Misuse):
            code.draw(**wrong)
    with pytest.raises(fakes.Misuse):
        code.draw("a", 3, 1.0)
    with pytest.raises(AttributeError):
        code.paint  # noqa: B018


def test_a_default_that_is_a_trap_must_be_overridden(monkeypatch: pytest.MonkeyPatch) -> None:
    code = official(listed("(prompt, scale=0)", traps={"scale": "0 turns guidance off"}), monkeypatch)
    code.draw("a", scale=0)
    with pytest.raises(fakes.Misuse, match="0 turns guidance off"):
        code.draw("a")
