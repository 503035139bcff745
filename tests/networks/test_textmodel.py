"""Text models: what is remembered on disk, how answers are batched, and a causal language model of transformers."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from scipy.stats import chisquare
from transformers import LlamaForCausalLM

from fairbench.cards.cards import HubModel, ModelCard
from fairbench.display.progress import Silent
from fairbench.errors import FairbenchError, StoreError, WeightsError
from fairbench.networks import textmodel, weights
from fairbench.networks.sampling import gumbel
from fairbench.networks.textmodel import CachedText, CausalAnswers, OwnAnswers, of_card
from fairbench.types import BuildContext, RgbImage
from tests.builders.causal import SPECIAL, save_tiny_causal

WORDS = (*SPECIAL, "a", "nurse", "doctor", "female", "male", "person", "the", "photo", "of")


class Echo:
    """An adapter that answers with question and seed, and keeps the batches that it saw."""

    def __init__(self) -> None:
        self.batches: list[list[tuple[str, int]]] = []

    def answer(
        self,
        questions: Sequence[str],
        images: Sequence[RgbImage | None],
        seeds: Sequence[int] | None = None,
        *,
        temperature: float = 1.0,
        top_p: float = 1.0,
        limit: int = 32,
    ) -> list[str]:
        assert list(images) == [None] * len(questions)
        assert (temperature, top_p, limit) == (1.0, 1.0, textmodel.LIMIT)
        self.batches.append(list(zip(questions, seeds or (), strict=True)))
        return [f"{q} {s}" for q, s in self.batches[-1]]


def cached(adapter: Echo, key: str = "key", **ctx: object) -> CachedText:
    built = BuildContext(**{"block_size": 4, **ctx})  # type: ignore[arg-type]
    return CachedText(OwnAnswers("m", adapter, key), built, Silent())


def files() -> list[Path]:
    return sorted((weights.cache_dir() / "rewrites").glob("*.jsonl"))


def test_nothing_is_asked_twice_in_any_process() -> None:
    first, second, other = Echo(), Echo(), Echo()
    asked = (["x", "x", "y"], [1, 2, 1])
    assert cached(first).complete(*asked) == ["x 1", "x 2", "y 1"]
    assert cached(second).complete(["y", "x", "x"], [1, 3, 2]) == ["y 1", "x 3", "x 2"]
    assert second.batches == [[("x", 3)]]
    assert cached(other, "another key").complete(["x"], [1]) == ["x 1"]
    assert other.batches == [[("x", 1)]]
    assert len(files()) == 2


def test_a_batch_holds_one_prompt_and_in_reduced_precision_always_as_many_rows() -> None:
    prompts, seeds = ["x", "y"] * 5, list(range(10))
    plain, reduced = Echo(), Echo()
    answers = cached(plain).complete(prompts, seeds)
    assert answers == [f"{p} {s}" for p, s in zip(prompts, seeds, strict=True)]
    assert [len(b) for b in plain.batches] == [4, 1, 4, 1]
    assert cached(reduced, "bf16", dtype="bfloat16").complete(prompts, seeds) == answers
    assert [len(b) for b in reduced.batches] == [4] * 4
    assert all(len({q for q, _ in b}) == 1 for b in plain.batches + reduced.batches)


def test_a_torn_line_costs_its_own_answer_only() -> None:
    cached(Echo()).complete(["x", "x"], [1, 2])
    (path,) = files()
    path.write_bytes(path.read_bytes()[:-9] + b"\xff")
    again = Echo()
    assert cached(again).complete(["x", "x", "x"], [1, 2, 3]) == ["x 1", "x 2", "x 3"]
    assert again.batches == [[("x", 2), ("x", 3)]]
    assert cached(Echo()).complete(["x", "x", "x"], [1, 2, 3]) == ["x 1", "x 2", "x 3"]
    whole = [json.loads(line) for line in path.read_text("utf-8", "replace").splitlines() if line.endswith('"}')]
    assert {"prompt": "x", "seed": 3, "answer": "x 3"} in whole


def test_what_was_answered_before_a_crash_is_kept() -> None:
    class Dies(Echo):
        def answer(self, questions: Sequence[str], *args: object, **more: object) -> list[str]:  # type: ignore[override]
            if questions[0] == "y":
                raise FloatingPointError("the model's logits are not finite numbers")
            return super().answer(questions, *args, **more)  # type: ignore[arg-type]

    with pytest.raises(FairbenchError, match=r"m cannot write text in float32 .*not finite"):
        cached(Dies()).complete(["x", "y"], [1, 1])
    after = Echo()
    cached(after).complete(["x", "y"], [1, 1])
    assert after.batches == [[("y", 1)]]


def test_no_memory_is_told() -> None:
    class Full(Echo):
        def answer(self, *_: object, **__: object) -> list[str]:  # type: ignore[override]
            raise torch.OutOfMemoryError("CUDA out of memory")

    with pytest.raises(FairbenchError, match=r"m runs out of the memory of cpu when it writes 4 texts .*--batch-size"):
        cached(Full()).complete(["x"], [1])


def test_a_cache_that_is_no_folder_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("FAIRBENCH_CACHE", str(tmp_path / "file"))
    with pytest.raises(StoreError, match=r"rewrites.* cannot be read .*FAIRBENCH_CACHE"):
        cached(Echo()).complete(["x"], [1])
    with pytest.raises(StoreError, match=r"Cannot write .*rewrites"):
        textmodel.append(tmp_path / "file" / "rewrites" / "a.jsonl", {("x", 1): "y"})


def card(**fields: object) -> ModelCard:
    return ModelCard(name="m", title="M", adapter="janus", **fields)  # type: ignore[arg-type]


def test_a_card_has_the_text_model_it_names_else_its_own_else_none() -> None:
    def kind(model_card: ModelCard, adapter: object) -> type | None:
        found = of_card(model_card, adapter, BuildContext(), "key", Silent())
        return None if found is None else type(found._writer)

    assert kind(card(), Echo()) is OwnAnswers
    assert kind(card(), object()) is None
    named = card(text_model=HubModel(path="/nowhere"))  # nothing is looked for before it is asked
    assert kind(named, Echo()) is kind(named, object()) is CausalAnswers


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A random Llama with a dozen words, whose end-of-sentence word is as likely as any."""
    return save_tiny_causal(tmp_path_factory.mktemp("causal"), WORDS[3:])


def causal(folder: Path, **ctx: object) -> CausalAnswers:
    return CausalAnswers(HubModel(path=str(folder)), BuildContext(**ctx))  # type: ignore[arg-type]


def test_a_causal_model_draws_each_answer_from_its_own_seed(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(textmodel, "LIMIT", 24)
    model = causal(folder)
    seeds = list(range(40))
    answers = model.write(["a nurse"] * 40, seeds)
    assert len(set(answers)) > 20
    assert all("<" not in a for a in answers)
    assert [model.write(["a nurse"], [s])[0] for s in seeds[:6]] == answers[:6]
    assert model.write(["a nurse", "a nurse"], [7, 3]) == [answers[7], answers[3]]


def test_a_causal_model_sees_the_prompt_in_its_chat_template(folder: Path) -> None:
    model = causal(folder)
    _, tokenizer = model._loaded
    assert tokenizer.decode(model._ids(tokenizer, "a nurse")) == "the a nurse person"


def test_words_have_the_models_own_probabilities(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(textmodel, "LIMIT", 1)
    model = causal(folder)
    net, tokenizer = model._loaded
    with torch.inference_mode():
        expected = net(torch.tensor([model._ids(tokenizer, "a doctor")])).logits[0, -1].softmax(-1)
    counts = Counter(model.write(["a doctor"] * 3000, range(3000)))
    special = float(expected[:3].sum())  # these are not written
    cells = [counts[""], *(counts[word] for word in WORDS[3:])]
    assert sum(cells) == 3000
    assert chisquare(cells, [3000 * special, *(3000 * expected[3:].double()).tolist()], sum_check=False).pvalue > 1e-3


BENT = {
    "repetition_penalty": 5.0,
    "no_repeat_ngram_size": 1,
    "min_new_tokens": 20,
    "suppress_tokens": [4, 5],
    "forced_eos_token_id": 6,
    "temperature": 0.1,
    "top_k": 1,
    "top_p": 0.1,
    "do_sample": True,
    "num_beams": 3,
    "bad_words_ids": [[7]],
    "begin_suppress_tokens": [8],
}
"""What published generation settings do to a distribution."""


def drawn_one_by_one(net: Any, ids: list[int], seed: int, limit: int) -> list[int]:
    """Read the whole row anew before each word, without padding, mask or cache; the best under Gumbel noise."""
    noise = np.concatenate(list(gumbel([seed], limit, net.config.vocab_size)))[:, 0]
    words: list[int] = []
    for step in range(limit):
        with torch.inference_mode():
            logits = net(torch.tensor([ids + words])).logits[0, -1].double()
        words.append(int((logits + torch.from_numpy(noise[step]).double()).argmax()))
        if words[-1] == net.config.eos_token_id:
            break
    return words


@pytest.mark.parametrize("settings", [{}, BENT], ids=["plain", "bent"])
@pytest.mark.parametrize("template", [True, False])
def test_answers_of_a_padded_batch_are_the_models_own_draws(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, settings: dict[str, Any], template: bool
) -> None:
    """Prompts of unequal length in one batch, in both orders; whatever the checkpoint's generation settings say."""
    monkeypatch.setattr(textmodel, "LIMIT", 10)
    for path in folder.iterdir():
        if template or path.name != "chat_template.jinja":
            (tmp_path / path.name).write_bytes(path.read_bytes())
    file = tmp_path / "generation_config.json"
    file.write_text(json.dumps({**json.loads(file.read_text()), **settings}))
    prompts = ["a nurse", "a photo of the female doctor of the male nurse", "person"]
    seeds = [3, 2**62 + 1, 11]
    net = LlamaForCausalLM.from_pretrained(folder)
    before, after = (["the"], ["person"]) if template else ([], [])
    expected = []
    for prompt, seed in zip(prompts, seeds, strict=True):
        ids = [WORDS.index(word) for word in [*before, *prompt.split(), *after]]
        words = drawn_one_by_one(net, ids, seed, 10)
        expected.append(" ".join(WORDS[w] for w in words if w > 2))
    assert causal(tmp_path).write(prompts, seeds) == expected
    assert causal(tmp_path).write(prompts[::-1], seeds[::-1]) == expected[::-1]
    assert len(set(expected)) == 3
    assert max(len(text.split()) for text in expected) > 4


def test_the_identity_is_the_weights_and_where_it_matters_dtype_and_block(folder: Path, tmp_path: Path) -> None:
    same = causal(folder).identity()
    assert causal(folder, block_size=9).identity() == same
    reduced = causal(folder, dtype="bfloat16", block_size=4).identity()
    assert len({same, reduced, causal(folder, dtype="bfloat16", block_size=9).identity()}) == 3
    for path in folder.iterdir():
        (tmp_path / path.name).write_bytes(path.read_bytes())
    assert causal(tmp_path).identity() == same
    (tmp_path / "generation_config.json").write_text("{}")
    assert causal(tmp_path).identity() != same


def test_only_safetensors_are_loaded(folder: Path, tmp_path: Path) -> None:
    for path in folder.iterdir():
        if path.suffix != ".safetensors":
            (tmp_path / path.name).write_bytes(path.read_bytes())
    torch.save(LlamaForCausalLM.from_pretrained(folder).state_dict(), tmp_path / "pytorch_model.bin")
    with pytest.raises(WeightsError, match=r"text_model: .* cannot be loaded .* safetensors"):
        causal(tmp_path).write(["a"], [0])
