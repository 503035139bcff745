"""Our Janus loop against transformers' own generation, on a tiny random checkpoint: prompt, logits and tokens."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from transformers import JanusProcessor
from transformers.generation import LogitsProcessor, LogitsProcessorList

from fairbench.networks.janus import JanusModel, load
from fairbench.networks.sampling import gumbel
from tests.builders.janus import save_tiny_janus

TEXTS = ["A photo of the face of a nurse, a person", "A computer programmer", "A photo of the face of a chef"]
SEEDS = [11, 2**62 + 5, 7]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_tiny_janus(tmp_path_factory.mktemp("janus"), grid=6)


@pytest.fixture(scope="module")
def model(folder: Path) -> JanusModel:
    return load(folder, "cpu", "float32")


class SameNoise(LogitsProcessor):
    """Adds our noise to both halves of the doubled batch, before guidance, which leaves their difference alone."""

    def __init__(self, seeds: list[int], steps: int, size: int, temperature: float) -> None:
        chunks = np.concatenate(list(gumbel(seeds, steps, size)))
        self.noise = iter(temperature * torch.from_numpy(chunks))

    def __call__(self, input_ids: torch.Tensor, scores: torch.Tensor) -> torch.Tensor:
        return scores + next(self.noise).repeat(2, 1)


def oracle(model: JanusModel, guidance: float, temperature: float) -> tuple[np.ndarray, list[torch.Tensor]]:
    """Tokens and raw logits of every step (2B rows) of `generate`, from the processor's own input ids."""
    chats = [[{"role": "user", "content": [{"type": "text", "text": text}]}] for text in TEXTS]
    prompts = model.processor.apply_chat_template(chats, add_generation_prompt=True)
    inputs = model.processor(text=prompts, generation_mode="image", return_tensors="pt", padding=True)
    logits: list[torch.Tensor] = []
    hook = model.net.model.generation_head.register_forward_hook(lambda _m, _i, out: logits.append(out.detach()))
    noise = SameNoise(SEEDS, model.tokens_per_image, model.vocabulary, temperature)
    try:
        tokens = model.net.generate(
            input_ids=inputs.input_ids,
            attention_mask=inputs.attention_mask,
            generation_mode="image",
            do_sample=False,
            guidance_scale=guidance,
            logits_processor=LogitsProcessorList([noise]),
        )
    finally:
        hook.remove()
    return tokens.numpy(), logits


def our_logits(model: JanusModel, **sampling: float) -> tuple[np.ndarray, list[torch.Tensor]]:
    logits: list[torch.Tensor] = []
    hook = model.net.model.generation_head.register_forward_hook(lambda _m, _i, out: logits.append(out.detach()))
    try:
        tokens = model.sample([model.prompt_ids(text) for text in TEXTS], SEEDS, **sampling)
    finally:
        hook.remove()
    return tokens, logits


def test_prompt_string_is_the_published_one(model: JanusModel) -> None:
    ids = model.prompt_ids("  A photo of the face of a nurse, a person ")
    assert model.processor.tokenizer.decode(ids) == (
        "<｜begin▁of▁sentence｜><|User|>: A photo of the face of a nurse, a person\n\n<|Assistant|>:<begin_of_image>"
    )


@pytest.mark.parametrize("text", [*TEXTS, "Une infirmière, 护士"])
def test_prompt_ids_are_the_processors(folder: Path, model: JanusModel, text: str) -> None:
    processor = JanusProcessor.from_pretrained(folder)
    prompt = processor.apply_chat_template(
        [{"role": "user", "content": [{"type": "text", "text": text}]}], add_generation_prompt=True
    )
    assert model.prompt_ids(text) == processor(text=[prompt], generation_mode="image")["input_ids"][0].tolist()


@pytest.mark.parametrize(("guidance", "temperature"), [(5.0, 1.0), (2.5, 0.7)])
def test_logits_and_tokens_of_every_step(model: JanusModel, guidance: float, temperature: float) -> None:
    """Prompts of unequal length in one batch; transformers pads to the longest, we to a fixed multiple."""
    expected_tokens, expected = oracle(model, guidance, temperature)
    tokens, logits = our_logits(model, guidance=guidance, temperature=temperature)
    assert len(logits) == len(expected) == model.tokens_per_image == 36
    for step, (ours, theirs) in enumerate(zip(logits, expected, strict=True)):
        torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-4, msg=lambda m, s=step: f"step {s}: {m}")
    np.testing.assert_array_equal(tokens, expected_tokens)
    assert len({tuple(row) for row in tokens}) == len(TEXTS)
    assert torch.stack(expected).std(dim=-1).mean() > 0.3, "flat logits would let the noise alone choose the tokens"


def test_guidance_1_computes_the_conditional_half_alone(model: JanusModel) -> None:
    """transformers crashes at guidance 1, so the oracle is the conditional half of its first step at guidance 5."""
    _, expected = oracle(model, 5.0, 1.0)
    tokens, logits = our_logits(model, guidance=1.0)
    assert all(step.shape == (len(TEXTS), model.vocabulary) for step in logits)
    torch.testing.assert_close(logits[0], expected[0][: len(TEXTS)], rtol=1e-4, atol=1e-4)
    noise = np.concatenate(list(gumbel(SEEDS, model.tokens_per_image, model.vocabulary)))
    np.testing.assert_array_equal(tokens, (torch.stack(logits).numpy() + noise).argmax(-1).T)


def test_pixels_follow_the_official_formula(model: JanusModel) -> None:
    tokens = np.arange(36, dtype=np.int64) % model.vocabulary
    with torch.no_grad():
        x = model.net.decode_image_tokens(torch.from_numpy(tokens[None]))[0].numpy()
    expected = np.zeros(x.shape, dtype=np.uint8)
    expected[:] = np.clip((x + 1) / 2 * 255, 0, 255)
    pixels = model.pixels(tokens)
    assert pixels.shape == (24, 24, 3)
    np.testing.assert_array_equal(pixels, expected)
