"""What a recipe does where its model's code would cut a prompt, resample an image or answer in words: it says so."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any
from unittest import mock

import pytest

from tests.workers import signatures, stage

LONG = "nurse " * 2000
READS = ["mmada", "omnigen2-worker", "show-o", "tokenflow"]
"""Recipes of models that read so many tokens and no more; the official code cuts the rest."""


def draw(
    recipe: str, folder: Path, prompt: str = stage.PROMPT, width: int = 0, height: int = 0, **settings: Any
) -> Any:
    """One image of the recipe, with the card's size and settings unless others are given."""
    sampling = stage.card(recipe)["sampling"]
    with stage.on(recipe, sampling["settings"] | settings, folder) as (module, made, seen):
        weights = {name: str(folder / name) for name in sampling["weights"]}
        model = module.load(str(folder), weights, seen, made.known["device"])
        return model.generate(prompt, 1, width or sampling["width"], height or sampling["height"])


@pytest.mark.parametrize("recipe", READS)
def test_a_prompt_that_would_be_cut_is_refused(recipe: str, tmp_path: Path) -> None:
    draw(recipe, tmp_path)
    with pytest.raises(ValueError, match=r"the prompt has \d+ tokens"):
        draw(recipe, tmp_path, LONG)


@pytest.mark.parametrize(("recipe", "width"), [("bagel-worker", 1040), ("omnigen2-worker", 1000)])
def test_a_size_that_the_code_would_change_unseen_is_refused(recipe: str, width: int, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=str(width)):
        draw(recipe, tmp_path, width=width)


@pytest.mark.parametrize("recipe", ["tokenflow", "vila-u"])
def test_code_that_knows_cuda_alone_says_so(recipe: str, tmp_path: Path) -> None:
    sampling = stage.card(recipe)["sampling"]
    with (
        stage.on(recipe, sampling["settings"], tmp_path) as (module, _, seen),
        pytest.raises(ValueError, match="must be a CUDA device, not cpu"),
    ):
        module.load(str(tmp_path), {}, seen, "cpu")


def test_vila_u_says_that_the_files_of_transformers_were_not_replaced(tmp_path: Path) -> None:
    sampling = stage.card("vila-u")["sampling"]
    with stage.on("vila-u", sampling["settings"], tmp_path) as (module, _, seen):
        mixin = sys.modules["transformers.generation.utils"].GenerationMixin
        mixin.generate = lambda self, inputs=None, **kwargs: None  # as published
        with pytest.raises(RuntimeError, match="transformers_replace"):
            module.load(str(tmp_path), {"model": str(tmp_path)}, seen, "cuda")


@pytest.mark.parametrize(
    ("answer", "error", "words"),
    [
        ("I would rather not.", stage.Refused, "I would rather not"),
        ("<|image start|>64*", RuntimeError, "max_new_tokens"),
    ],
)
def test_emu35_without_an_image_is_a_refusal_or_an_unfinished_image(
    answer: str, error: type[Exception], words: str, tmp_path: Path
) -> None:
    sampling = stage.card("emu3.5")["sampling"]
    with stage.on("emu3.5", sampling["settings"], tmp_path) as (module, _, seen):
        weights = {name: str(tmp_path / name) for name in sampling["weights"]}
        model = module.load(str(tmp_path), weights, seen, "cpu")
        code = sys.modules["src.utils.generation_utils"]
        code.multimodal_decode = lambda outputs, tokenizer, vision_tokenizer: [("text", answer)]  # type: ignore[attr-defined]
        type(model.tokenizer).decode = lambda *_, **__: answer
        with pytest.raises(error, match=words):
            model.generate(stage.PROMPT, 1, 1024, 1024)


def test_bagel_answers_from_the_seed_or_with_the_likeliest_words(tmp_path: Path) -> None:
    sampling = stage.card("bagel-worker")["sampling"]
    called = next(e for e in signatures.read()["bagel-worker"].names if e.path[-1] == "__call__")
    with (
        mock.patch.dict(called.traps, clear=True),  # they are about drawing
        stage.on("bagel-worker", sampling["settings"], tmp_path) as (module, made, seen),
    ):
        model = module.load(str(tmp_path), {"model": str(tmp_path)}, seen, "cpu")
        assert model.answer("Who is this?", "picture", None, limit=5) == "a nurse"
        model.answer("Who?", None, 7, temperature=0.5)
        likeliest, drawn = (call.arguments for call in made.calls[-2:])
    shared = {"understanding_output": True, "text": "Who is this?", "image": "picture"}
    assert likeliest == {**shared, "do_sample": False, "text_temperature": 1.0, "max_think_token_n": 6}
    shared = {"understanding_output": True, "text": "Who?", "image": None}
    assert drawn == {**shared, "do_sample": True, "text_temperature": 0.5, "max_think_token_n": 33}
