"""Everything that Janus computes for us against an independent float64 computation, on rows and images that differ.

Prompts of unequal length in one batch, images of several shapes, both orders, weights none of which is trivial.
"""

from __future__ import annotations

from functools import partial

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from fairbench.networks import janus_answers, janus_tokens, logprobs
from fairbench.networks.janus import JanusModel, load
from fairbench.networks.janus_logprobs import AnswerLogProbs, TokenLogProbs, token_inputs
from fairbench.networks.sampling import gumbel, left_padded
from fairbench.types import RgbImage
from tests.builders.janus import save_uneven_janus
from tests.golden import janus_reference as reference

CLIP = ([0.48145466, 0.4578275, 0.40821073], [0.26862954, 0.26130258, 0.27577711])
SHAPES = ((16, 16), (64, 64), (40, 23), (23, 40), (50, 31), (9, 31), (200, 10), (11, 190), (481, 640), (7, 7))
TEXTS = ["A nurse", "A photo of the face of a computer programmer, a person", "A chef, a person in a room"]
VISION_HEADS, HEADS = 2, 4
CLOSE = {"rtol": 1e-4, "atol": 2e-4}


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> tuple[JanusModel, reference.State]:
    folder = save_uneven_janus(tmp_path_factory.mktemp("uneven"))
    return load(folder, "cpu", "float32"), reference.wide(load_file(folder / "model.safetensors"))


def pictures(shapes: tuple[tuple[int, int], ...] = SHAPES) -> list[RgbImage]:
    rng = np.random.default_rng(0)
    return [rng.integers(256, size=(*shape, 3), dtype=np.uint8) for shape in shapes]


def seen(model: JanusModel, images: list[RgbImage]) -> np.ndarray:
    """The vision encoder's input by the authors' formula."""
    settings = model.processor.image_processor
    return np.stack([reference.processed(i, 16, settings.image_mean, settings.image_std) for i in images])


class TestVision:
    @pytest.mark.parametrize(("mean", "std"), [([0.5] * 3, [0.5] * 3), CLIP])
    @pytest.mark.parametrize("side", [16, 96, 384])
    def test_images_are_shown_as_the_authors_do(
        self,
        tiny: tuple[JanusModel, reference.State],
        monkeypatch: pytest.MonkeyPatch,
        mean: list[float],
        std: list[float],
        side: int,
    ) -> None:
        """transformers' processor differs by up to 189 grey levels on images that are not square."""
        model, _ = tiny
        monkeypatch.setattr(model.processor.image_processor, "image_mean", mean)
        monkeypatch.setattr(model.processor.image_processor, "image_std", std)
        monkeypatch.setattr(model.net.config.vision_config, "image_size", side)
        shown = pictures()
        expected = np.stack([reference.processed(image, side, mean, std) for image in shown])
        np.testing.assert_allclose(janus_tokens.vision_input(model, shown), expected, atol=1e-6)
        np.testing.assert_allclose(janus_tokens.vision_input(model, shown[::-1]), expected[::-1], atol=1e-6)

    def test_a_square_of_its_size_is_not_resampled(self, tiny: tuple[JanusModel, reference.State]) -> None:
        model, _ = tiny
        image = pictures()[0]
        values = janus_tokens.vision_input(model, [image])[0]
        np.testing.assert_allclose(values.transpose(1, 2, 0), image / 127.5 - 1, atol=1e-6)

    def test_embeddings(self, tiny: tuple[JanusModel, reference.State]) -> None:
        model, state = tiny
        shown = pictures()
        expected = reference.vision(state, seen(model, shown), VISION_HEADS).mean(dim=1).numpy()
        np.testing.assert_allclose(janus_tokens.embed(model, shown, batch=3), expected, **CLOSE)
        np.testing.assert_allclose(janus_tokens.embed(model, shown[::-1]), expected[::-1], **CLOSE)
        assert expected.std(axis=0).mean() > 0.05, "images must be told apart"


def spoken(model: JanusModel, state: reference.State, question: str, image: RgbImage | None) -> torch.Tensor:
    """The embeddings of one question, without padding: words, and image features where the placeholders stand."""
    ids = model.question_ids(question, image is not None)
    x = reference.embedded(state, ids)
    if image is not None:
        features = reference.aligned(state, reference.vision(state, seen(model, [image]), VISION_HEADS))[0]
        x[[i for i, token in enumerate(ids) if token == model.net.config.image_token_id]] = features
    return x


class TestAnswers:
    QUESTIONS = ("What is this?", "Who?", "What is the gender of this person? Answer with a single word.", "A nurse")

    def images(self) -> list[RgbImage | None]:
        one, other = pictures(((40, 23), (16, 16)))
        return [one, None, other, one]

    @pytest.mark.parametrize("step", [1, -1])
    def test_what_a_mixed_batch_reads(self, tiny: tuple[JanusModel, reference.State], step: int) -> None:
        model, state = tiny
        questions, images = self.QUESTIONS[::step], self.images()[::step]
        with torch.inference_mode():
            embeds, keep = janus_answers._prefill(model, questions, images)
        assert len({int(row.sum()) for row in keep}) > 2
        for row, question, image in zip(range(4), questions, images, strict=True):
            expected = spoken(model, state, question, image)
            torch.testing.assert_close(embeds[row, keep[row]].double(), expected, **CLOSE)
            assert not keep[row, : -len(expected)].any()

    def test_greedy_words(self, tiny: tuple[JanusModel, reference.State], monkeypatch: pytest.MonkeyPatch) -> None:
        model, state = tiny
        monkeypatch.setattr(model.processor.tokenizer, "decode", lambda ids, **_: " ".join(map(str, ids)))
        expected = []
        for question, image in zip(self.QUESTIONS, self.images(), strict=True):
            x, words = spoken(model, state, question, image), []
            for _ in range(6):
                word = int(reference.word_logits(state, x, HEADS)[-1].argmax())
                if word == model.processor.tokenizer.eos_token_id:
                    break
                words.append(word)
                x = torch.cat([x, reference.embedded(state, [word])])
            expected.append(" ".join(map(str, words)))
        assert janus_answers.answer(model, self.QUESTIONS, self.images(), limit=6) == expected
        assert len(set(expected)) > 1

    def test_log_probabilities_of_answers(self, tiny: tuple[JanusModel, reference.State]) -> None:
        """Answers of unequal length, right-aligned behind questions about images of several shapes."""
        model, state = tiny
        shown = pictures(((40, 23), (16, 16), (9, 31)))
        answers = [[7, 30, 12], [55], [9, 200, 41, 41, 8]]
        questions = [model.question_ids(q, True) for q in self.QUESTIONS[:3]]
        ids, keep = left_padded([q + a for q, a in zip(questions, answers, strict=True)], model.pad)
        pixels = torch.from_numpy(janus_tokens.vision_input(model, shown))
        with torch.inference_mode():
            together = AnswerLogProbs(model.net)(ids, keep, pixels, 5)
        for row, (question, image, answer) in enumerate(zip(self.QUESTIONS, shown, answers, strict=False)):
            x = torch.cat([spoken(model, state, question, image), reference.embedded(state, answer)])
            logits = reference.word_logits(state, x, HEADS)[-len(answer) - 1 : -1].log_softmax(-1)
            expected = logits[range(len(answer)), answer]
            torch.testing.assert_close(together[row, -len(answer) :].double(), expected, **CLOSE)


class TestImageTokens:
    def test_log_probabilities(self, tiny: tuple[JanusModel, reference.State]) -> None:
        model, state = tiny
        tokens = np.random.default_rng(0).integers(model.vocabulary, size=(3, model.tokens_per_image))
        scorer, inputs = TokenLogProbs(model.net), partial(token_inputs, model)
        together = logprobs.log_probs(scorer, inputs, TEXTS, tokens, batch=2)
        expected = []
        for text, row in zip(TEXTS, tokens, strict=True):
            logits = reference.image_logits(state, model.prompt_ids(text), row, HEADS)
            expected.append(logits.log_softmax(-1)[range(len(row)), row].numpy())
        np.testing.assert_allclose(together, expected, rtol=1e-4, atol=1e-3)
        np.testing.assert_allclose(
            logprobs.log_probs(scorer, inputs, TEXTS[::-1], tokens[::-1])[::-1], expected, rtol=1e-4, atol=1e-3
        )

    @pytest.mark.parametrize(("guidance", "temperature"), [(5.0, 1.0), (1.0, 1.0), (2.5, 0.7)])
    def test_every_drawn_token_is_the_best_under_its_own_noise(
        self, tiny: tuple[JanusModel, reference.State], guidance: float, temperature: float
    ) -> None:
        """Each image's tokens, given what was drawn before; the unconditional half reads padding for every word."""
        model, state = tiny
        prompts, seeds = [model.prompt_ids(text) for text in TEXTS], [5, 2**62 + 3, 9]
        tokens = model.sample(prompts, seeds, guidance, temperature)
        noise = np.concatenate(list(gumbel(seeds, model.tokens_per_image, model.vocabulary)))
        for image, (prompt, row) in enumerate(zip(prompts, tokens, strict=True)):
            blank = [prompt[0], *[model.pad] * (len(prompt) - 2), prompt[-1]]
            stated, unstated = (reference.image_logits(state, ids, row, HEADS) for ids in (prompt, blank))
            scores = unstated + guidance * (stated - unstated) + temperature * torch.from_numpy(noise[:, image])
            np.testing.assert_array_equal(row, scores.argmax(-1).numpy())
        assert len({row.tobytes() for row in tokens}) == 3
