"""What a recipe offers besides images, held against the same model in this process: the phantom as a foreign model."""

from __future__ import annotations

import json
import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from fairbench import registry
from fairbench.adapters.janus import JanusAdapter
from fairbench.audit import draws
from fairbench.cards import catalog
from fairbench.errors import FairbenchError
from fairbench.protocols import EmbeddingModel, TokenModel, UnderstandingModel
from fairbench.types import BuildContext, ImageRequest
from tests.builders.cli import Cli
from tests.builders.folders import ROOT
from tests.builders.workers import write_card

PROMPT = "A portrait of a senator"
SETTINGS = {"guidance": 2.0, "temperature": 0.9, "checkout": str(ROOT)}
FIELDS: dict[str, Any] = {
    "stub": "foreign_phantom",
    "settings": SETTINGS,
    "width": 64,
    "height": 64,
}


def built(path: Path) -> Any:
    loaded = catalog.load_model(str(path))
    plugin = registry.resolve("adapters", loaded.card.adapter)
    return plugin(loaded.card, registry.parse_params(plugin, loaded.card.sampling), BuildContext(base_dir=path.parent))


@pytest.fixture(scope="module")
def foreign(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    adapter = built(write_card(tmp_path_factory.mktemp("foreign"), **FIELDS))
    yield adapter
    adapter.close()


@pytest.fixture(scope="module")
def native() -> Any:
    loaded = catalog.load_model("phantom")
    params = JanusAdapter.Params(guidance=2.0, temperature=0.9)
    return JanusAdapter(loaded.card, params, BuildContext(base_dir=loaded.base_dir))


def requests(seeds: Sequence[int]) -> list[ImageRequest]:
    return [ImageRequest(b"%d" % seed, b"p", b"n", PROMPT, i, seed) for i, seed in enumerate(seeds)]


@pytest.mark.long
def test_a_foreign_model_gives_what_the_same_model_gives_here(foreign: Any, native: Any) -> None:
    assert isinstance(foreign, TokenModel) and isinstance(foreign, EmbeddingModel)
    assert isinstance(foreign, UnderstandingModel)
    asked = requests([3, 2**62 + 5])
    images = [r.pixels for r in native.generate(asked)]
    assert [np.array_equal(r.pixels, image) for r, image in zip(foreign.generate(asked), images, strict=True)] == [
        True,
        True,
    ]
    tokens = native.tokens(asked)
    assert np.array_equal(foreign.tokens(asked), tokens)
    native.params = JanusAdapter.Params(guidance=1.0, temperature=1.0)
    plain = native.tokens(asked)
    assert not np.array_equal(plain, tokens)
    assert np.array_equal(draws.unguided(FakeSpec(foreign)).tokens(asked), plain)  # type: ignore[arg-type]
    assert np.array_equal(foreign.encode(images), native.encode(images))
    assert all(map(np.array_equal, foreign.decode(tokens), native.decode(tokens)))
    texts = [PROMPT, "A portrait of a nurse"]
    np.testing.assert_array_equal(foreign.log_probs(texts, tokens), native.log_probs(texts, tokens))
    np.testing.assert_array_equal(foreign.embed(images), native.embed(images))
    questions = ["Is this person male or female?", "Is a senator male or female?"]
    shown = [images[0], None]
    for seeds in ([5, 6], None):
        assert foreign.answer(questions, shown, seeds, limit=4) == native.answer(questions, shown, seeds, limit=4)


@pytest.fixture
def grey(tmp_path: Path) -> Iterator[Any]:
    adapter = built(write_card(tmp_path, "grey"))
    yield adapter
    adapter.close()


def test_arrays_images_and_answers_travel_both_ways(grey: Any) -> None:
    asked = requests([1, 2])
    tokens = grey.tokens(asked)
    assert tokens.dtype == np.int64
    assert np.array_equal(tokens, [2 * (np.arange(128) % 8) + len(PROMPT)] * 2)
    plain = draws.unguided(FakeSpec(grey)).tokens(asked)  # type: ignore[arg-type]
    assert np.array_equal(plain, [np.arange(128) % 8 + len(PROMPT)] * 2)
    images = [r.pixels for r in grey.generate(asked)]
    assert all(np.array_equal(image, decoded) for image, decoded in zip(images, grey.decode(tokens), strict=True))
    assert np.array_equal(images[0][..., 0].reshape(-1), tokens[0])
    assert np.array_equal(grey.encode(images), tokens)
    log_probs = grey.log_probs(["ab", "abcd"], tokens)
    np.testing.assert_allclose(log_probs, -tokens / [[2], [4]], rtol=1e-6)
    np.testing.assert_allclose(grey.embed(images), [image.mean(axis=(0, 1)) for image in images], rtol=1e-6)
    answers = grey.answer(["a", "b", "a"], [images[0], None, None], [7, 8, 7])
    assert answers == [f"a (16, 8) 7 {first(7)}", f"b no image 8 {first(8)}", f"a no image 7 {first(7)}"]
    assert grey.answer(["a"], [None], None) == [f"a no image None {first(0)}"]


def first(seed: int) -> str:
    return f"{random.Random(seed).random():.6f}"


def test_what_a_recipe_cannot_answer_stops_with_a_sentence(grey: Any) -> None:
    with pytest.raises(FairbenchError, match=r"The recipe's embed returned an array of shape \(2, 3\), not \(3, 3\)"):
        grey.embed([np.zeros((8, 16, 3), np.uint8)] * 3)
    with pytest.raises(FairbenchError, match=r"answer failed: answer takes no temperature, and 0.5 is asked for"):
        grey.answer(["a"], [None], [1], temperature=0.5)
    with pytest.raises(FairbenchError, match=r"decode failed: ValueError: cannot reshape"):
        grey.decode(np.zeros((1, 5), np.int64))
    assert not list(grey._session._folder.iterdir())  # what was sent is removed, also where it failed


@dataclass(frozen=True)
class FakeSpec:
    """What `unguided` reads of a run."""

    adapter: Any
    card: Any = field(default_factory=lambda: catalog.load_model("phantom").card)


def test_a_recipe_without_tokens_offers_none(tmp_path: Path, cli: Cli) -> None:
    adapter = built(write_card(tmp_path))
    assert not any(isinstance(adapter, each) for each in (TokenModel, EmbeddingModel, UnderstandingModel))
    refused = cli("audit", "--model", tmp_path / "stub.yaml", "--limit-prompts", 1, "-n", 4)
    assert refused.code == 2 and "offers no image tokens" in refused.err


def test_training_says_that_it_needs_the_network_here(tmp_path: Path, cli: Cli, balanced_manifest: Path) -> None:
    refused = cli("train", "sft", "--model", write_card(tmp_path), "--data", balanced_manifest, "--out", "out")
    assert refused.code == 2 and "training needs an adapter that holds the network itself" in refused.err


@pytest.mark.long
def test_an_audit_reaches_a_foreign_model_and_finds_the_same(cli: Cli, tmp_path: Path) -> None:
    settings = {**SETTINGS, "guidance": 1.0, "temperature": 1.0}
    card = write_card(tmp_path, **{**FIELDS, "settings": settings})
    reports = {}
    for name, model in (("foreign", card), ("native", "phantom")):
        task = ("--task", "phantom-occupations", "--limit-prompts", 1, "-n", 4, "--samples", 1)
        cli("audit", "--model", model, *task, "--out", name, "--quiet").succeeded()
        reports[name] = json.loads((tmp_path / name / "audit.json").read_text())
    for part in ("generation", "encoder", "tokenizer", "language", "understanding"):
        assert reports["native"][part] and reports["foreign"][part] == reports["native"][part], part
