"""Janus' answers to questions against transformers' own text generation, on a tiny random checkpoint."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pytest
import torch

from fairbench.networks.janus import JanusModel, load
from fairbench.networks.janus_answers import _nucleus, answer
from fairbench.types import RgbImage

LIMIT = 12
RNG = np.random.default_rng(0)
# Sizes that need no resampling, in which transformers differs from the models' authors (tests/golden has those).
ONE, OTHER = (RNG.integers(256, size=shape, dtype=np.uint8) for shape in ((16, 16, 3), (16, 14, 3)))
QUESTIONS = ["What is this?", "What is the gender of this person? Answer with a single word.", "Who?", "A nurse"]
IMAGES: list[RgbImage | None] = [None, ONE, OTHER, None]


@pytest.fixture(scope="module")
def model(tiny_janus: Path) -> JanusModel:
    return load(tiny_janus, "cpu", "float32")


def chat(question: str, image: RgbImage | None) -> list[dict[str, object]]:
    content = [{"type": "image"}] * (image is not None) + [{"type": "text", "text": question}]
    return [{"role": "user", "content": content}]


def theirs(model: JanusModel, questions: Sequence[str], images: Sequence[RgbImage | None]) -> list[str]:
    """Greedy answers, as ids until the end of the sentence, of `generate` on what the processor makes of the chats."""
    processor = model.processor
    chats = [chat(question, image) for question, image in zip(questions, images, strict=True)]
    shown = [image for image in images if image is not None]
    inputs = processor(
        text=processor.apply_chat_template(chats, add_generation_prompt=True),
        images=shown or None,
        generation_mode="text",
        padding=True,
        return_tensors="pt",
    )
    out = model.net.generate(**inputs, generation_mode="text", do_sample=False, max_new_tokens=LIMIT)
    end = processor.tokenizer.eos_token_id
    rows = [row[inputs.input_ids.shape[1] :].tolist() for row in out]
    return [" ".join(map(str, row[: row.index(end)] if end in row else row)) for row in rows]


def said(
    model: JanusModel,
    questions: Sequence[str],
    images: Sequence[RgbImage | None],
    seeds: Sequence[int] | None = None,
    limit: int = LIMIT,
    **sampling: float,
) -> list[str]:
    """Answers as ids: a random model's bytes would mostly decode to one and the same mark."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(model.processor.tokenizer, "decode", lambda ids, **_: " ".join(map(str, ids)))
        return answer(model, questions, images, seeds, limit=limit, **sampling)


def ours(
    model: JanusModel, rows: Sequence[int] = range(4), seeds: Sequence[int] | None = None, **sampling: float
) -> list[str]:
    return said(model, [QUESTIONS[i] for i in rows], [IMAGES[i] for i in rows], seeds, **sampling)


def hooked(model: JanusModel, hook: Callable[..., object], call: Callable[[], list[str]]) -> list[str]:
    """Call with a hook on the language head, which is asked once a step."""
    handle = model.net.lm_head.register_forward_hook(hook)
    try:
        return call()
    finally:
        handle.remove()


class TestQuestions:
    @pytest.mark.parametrize("image", [None, ONE])
    def test_ids_are_the_processors(self, model: JanusModel, image: RgbImage | None) -> None:
        prompt = model.processor.apply_chat_template(chat(" What is this? ", image), add_generation_prompt=True)
        images = None if image is None else [image]
        expected = model.processor(text=[prompt], images=images, generation_mode="text")["input_ids"][0]
        ids = model.question_ids(" What is this? ", image is not None)
        assert ids == list(expected)
        assert ids.count(model.net.config.image_token_id) == (0 if image is None else model.tokens_per_image)

    def test_the_system_prompt_is_given_where_the_processor_says_so_and_never_for_images(
        self, model: JanusModel, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        decode = model.processor.tokenizer.decode
        words = decode(model.question_ids("Who?", False))
        assert words.startswith("<｜begin▁of▁sentence｜>You are a helpful language and vision assistant.")
        assert words.endswith("<|User|>: Who?\n\n<|Assistant|>:")
        assert "You are a helpful" in decode(model.question_ids("Who?", True))
        assert "You are a helpful" not in decode(model.prompt_ids("Who?"))
        monkeypatch.setattr(model.processor, "use_default_system_prompt", False)
        short = "<｜begin▁of▁sentence｜><|User|>: Who?\n\n<|Assistant|>:"
        assert decode(model.question_ids("Who?", False)) == short


class TestGreedy:
    def test_a_mixed_batch_answers_as_transformers_does(self, model: JanusModel) -> None:
        lengths = {len(model.question_ids(q, i is not None)) for q, i in zip(QUESTIONS, IMAGES, strict=True)}
        assert len(lengths) == 4
        found = ours(model)
        assert found == theirs(model, QUESTIONS, IMAGES)
        assert len(set(found)) == 4
        assert all(len(row.split()) == LIMIT for row in found)

    @pytest.mark.parametrize("row", range(4))
    def test_one_at_a_time(self, model: JanusModel, row: int) -> None:
        alone = ours(model, [row])
        assert alone == theirs(model, [QUESTIONS[row]], [IMAGES[row]])
        assert alone == [ours(model)[row]]

    def test_the_image_is_seen(self, model: JanusModel) -> None:
        found = said(model, ["Who?"] * 4, [None, ONE, OTHER, np.zeros_like(ONE)])
        assert len(set(found)) == 4

    def test_logits_of_every_step(self, model: JanusModel) -> None:
        runs: list[list[torch.Tensor]] = [[], []]
        for run, call in zip(runs, (ours, lambda m: theirs(m, QUESTIONS, IMAGES)), strict=True):
            hooked(model, lambda _m, _i, out, run=run: run.append(out.flatten(1).clone()), lambda c=call: c(model))
        assert len(runs[0]) == len(runs[1]) == LIMIT
        torch.testing.assert_close(torch.stack(runs[0]), torch.stack(runs[1]), rtol=1e-4, atol=1e-4)

    def test_an_answer_ends_at_the_end_of_the_sentence(self, model: JanusModel) -> None:
        """Rows that go on are neither stopped nor changed by those that have ended."""
        ends = {0: 3, 1: 0, 2: 7}

        def hook() -> Callable[..., torch.Tensor]:
            steps = itertools.count()

            def ends_rows(_module: object, _inputs: object, out: torch.Tensor) -> torch.Tensor:
                step, out = next(steps), out.clone()
                for row in (row for row, end in ends.items() if step == end):
                    out[row, ..., model.processor.tokenizer.eos_token_id] = 1e4
                return out

            return ends_rows

        whole = ours(model)
        found = hooked(model, hook(), lambda: ours(model))
        assert found == hooked(model, hook(), lambda: theirs(model, QUESTIONS, IMAGES))
        assert found == [" ".join(row.split()[: ends.get(i, LIMIT)]) for i, row in enumerate(whole)]

    def test_nothing_is_computed_once_all_have_ended(self, model: JanusModel) -> None:
        calls: list[int] = []

        def ends(_module: object, _inputs: object, out: torch.Tensor) -> torch.Tensor:
            calls.append(len(out))
            out = out.clone()
            out[:, model.processor.tokenizer.eos_token_id] = 1e4
            return out

        assert hooked(model, ends, lambda: ours(model)) == [""] * 4
        assert calls == [4]

    def test_words_are_decoded_without_special_tokens_and_outer_spaces(self, model: JanusModel) -> None:
        tokenizer = model.processor.tokenizer
        words = iter(tokenizer(" male", add_special_tokens=False)["input_ids"] + [model.boi, tokenizer.eos_token_id])

        def says(_module: object, _inputs: object, out: torch.Tensor) -> torch.Tensor:
            return torch.nn.functional.one_hot(torch.tensor([next(words)]), out.shape[1]).float()

        assert hooked(model, says, lambda: answer(model, ["Who?"], [None])) == ["male"]


class TestSampling:
    def test_an_answer_depends_on_its_seed_and_not_on_its_batch(self, model: JanusModel) -> None:
        seeds = [5, 2**62 + 1, 7, 7]
        together = ours(model, seeds=seeds, top_p=0.9)
        assert together == [ours(model, [i], seeds=[seeds[i]], top_p=0.9)[0] for i in range(4)]
        assert together[::-1] == ours(model, [3, 2, 1, 0], seeds=seeds[::-1], top_p=0.9)
        others = ours(model, seeds=[6, 2**62 + 2, 8, 9], top_p=0.9)
        assert all(one != other for one, other in zip(together, others, strict=True))

    @pytest.mark.parametrize("sampling", [{"temperature": 1e-6}, {"top_p": 1e-6}])
    def test_cold_or_narrow_sampling_is_greedy(self, model: JanusModel, sampling: dict[str, float]) -> None:
        assert ours(model, seeds=[1, 2, 3, 4], **sampling) == ours(model)

    @pytest.mark.parametrize(("temperature", "top_p"), [(1.0, 1.0), (0.6, 0.8), (1.5, 0.3)])
    def test_words_are_drawn_from_the_nucleus_as_often_as_they_should(
        self, model: JanusModel, temperature: float, top_p: float
    ) -> None:
        count, seen = 400, list[torch.Tensor]()
        found = hooked(
            model,
            lambda _m, _i, out: seen.append(out[0].double()),
            lambda: said(
                model, ["Who?"] * count, [None] * count, range(count), 1, temperature=temperature, top_p=top_p
            ),
        )
        expected = nucleus(torch.softmax(seen[0] / temperature, -1).tolist(), top_p)
        words = np.bincount([int(word) for word in found], minlength=len(expected)) / count
        assert not words[expected == 0].any()
        assert np.count_nonzero(words) > 5
        deviation = np.sqrt(expected * (1 - expected) / count)
        assert (np.abs(words - expected) <= 4.5 * deviation).all()

    @pytest.mark.parametrize("top_p", [1e-9, 0.1, 0.6, 0.95, 0.999])
    def test_the_nucleus_is_the_fewest_words_that_hold_top_p(self, top_p: float) -> None:
        logits = torch.from_numpy(np.random.default_rng(1).normal(size=(20, 50)) * 2)
        kept = _nucleus(logits, top_p)
        for row, before in zip(kept, logits, strict=True):
            expected = nucleus(before.softmax(-1).tolist(), top_p)
            np.testing.assert_allclose(row.softmax(-1), expected, rtol=1e-9)
            assert torch.equal(row[row.isfinite()], before[row.isfinite()])

    def test_all_words_are_in_the_nucleus_of_1(self) -> None:
        logits = torch.tensor([[0.0, -90.0, 3.0]])
        assert torch.equal(_nucleus(logits, 1.0), logits)


def nucleus(shares: list[float], top_p: float) -> np.ndarray:
    """Add words from the most probable on until they hold `top_p`; return their shares among themselves."""
    kept, held = np.zeros(len(shares)), 0.0
    for word in sorted(range(len(shares)), key=lambda i: -shares[i]):
        kept[word] = shares[word]
        held += shares[word]
        if held >= top_p:
            break
    return kept / kept.sum()


class TestEdges:
    def test_no_questions(self, model: JanusModel) -> None:
        assert answer(model, [], []) == []

    def test_as_many_images_as_questions(self, model: JanusModel) -> None:
        with pytest.raises(ValueError, match="shorter"):
            answer(model, ["Who?", "What?"], [None])

    @pytest.mark.parametrize("bad", [torch.nan, torch.inf])
    @pytest.mark.parametrize("seeds", [None, [1, 2, 3, 4]])
    def test_logits_that_are_no_numbers(self, model: JanusModel, bad: float, seeds: list[int] | None) -> None:
        def breaks(_module: object, _inputs: object, out: torch.Tensor) -> torch.Tensor:
            out = out.clone()
            out[2, 0] = bad
            return out

        with pytest.raises(FloatingPointError, match="logits are not finite"):
            hooked(model, breaks, lambda: ours(model, seeds=seeds))

    def test_placeholders_that_no_image_fills_are_refused(self, model: JanusModel) -> None:
        """Else the features of one row's image would run over into another row."""
        with pytest.raises(ValueError, match="do not match"):
            answer(model, ["Who?", "<image_placeholder>?"], [ONE, None])

    def test_a_processor_that_disagrees_with_the_model_is_refused(
        self, model: JanusModel, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(model.processor, "num_image_tokens", model.tokens_per_image - 1)
        with pytest.raises(ValueError, match="do not match"):
            ours(model)
