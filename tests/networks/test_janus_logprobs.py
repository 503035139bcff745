"""Log-probabilities of image tokens against transformers' own generation and a slow sum over explicit prefixes."""

from __future__ import annotations

import copy
from pathlib import Path

import numpy as np
import pytest
import torch

from fairbench.networks.janus import JanusModel, load
from fairbench.networks.janus_logprobs import TokenLogProbs
from fairbench.networks.sampling import left_padded

TEXTS = ["A nurse", "A photo of the face of a computer programmer, a person", "A chef, a person in a room"]
CLOSE = {"rtol": 1e-4, "atol": 1e-5}


@pytest.fixture(scope="module")
def model(tiny_janus: Path) -> JanusModel:
    return load(tiny_janus, "cpu", "float32")


@pytest.fixture(scope="module")
def prompts(model: JanusModel) -> list[list[int]]:
    rows = [model.prompt_ids(text) for text in TEXTS]
    assert len({len(row) for row in rows}) == 3
    return rows


@pytest.fixture(scope="module")
def tokens(model: JanusModel) -> torch.Tensor:
    codes = np.random.default_rng(0).integers(model.vocabulary, size=(len(TEXTS), model.tokens_per_image))
    return torch.from_numpy(codes)


@torch.no_grad()
def slowly(model: JanusModel, prompt: list[int], tokens: torch.Tensor) -> torch.Tensor:
    """Read the prompt and all tokens before each token anew, in one row without padding."""
    inner = model.net.model
    found = []
    for place, token in enumerate(tokens):
        parts = [model.net.get_input_embeddings()(torch.tensor(prompt))]
        parts += [inner.generation_aligner(inner.generation_embeddings(before[None])) for before in tokens[:place]]
        hidden = inner.language_model(inputs_embeds=torch.cat(parts)[None]).last_hidden_state[0, -1]
        found.append(inner.generation_head(hidden).softmax(-1)[token].log())
    return torch.stack(found)


def test_they_are_those_of_explicit_prefixes(model: JanusModel, prompts: list[list[int]], tokens: torch.Tensor) -> None:
    with torch.no_grad():
        together = TokenLogProbs(model.net)(*left_padded(prompts, model.pad), tokens)
    assert together.shape == tokens.shape
    assert together.dtype == torch.float32
    for row, prompt, codes in zip(together, prompts, tokens, strict=True):
        torch.testing.assert_close(row, slowly(model, prompt, codes), **CLOSE)
    assert together.std() > 0.3, "alike everywhere, they could not tell a right place from a wrong one"


def test_padding_does_not_change_them(model: JanusModel, prompts: list[list[int]], tokens: torch.Tensor) -> None:
    log_probs = TokenLogProbs(model.net)
    ids, keep = left_padded(prompts, model.pad)
    more = torch.full((len(prompts), 9), model.pad)
    with torch.no_grad():
        found = log_probs(ids, keep, tokens)
        wider = log_probs(
            torch.cat([more, ids], 1), torch.cat([torch.zeros_like(more, dtype=torch.bool), keep], 1), tokens
        )
        alone = [log_probs(*left_padded([p], model.pad), t[None]) for p, t in zip(prompts, tokens, strict=True)]
    torch.testing.assert_close(found, wider, **CLOSE)
    torch.testing.assert_close(found, torch.cat(alone), **CLOSE)


def test_a_prefix_of_the_tokens_and_a_single_one(
    model: JanusModel, prompts: list[list[int]], tokens: torch.Tensor
) -> None:
    log_probs, read = TokenLogProbs(model.net), left_padded(prompts, model.pad)
    with torch.no_grad():
        found = log_probs(*read, tokens)
        for count in (1, 5):
            torch.testing.assert_close(log_probs(*read, tokens[:, :count]), found[:, :count], **CLOSE)


def test_with_and_without_the_prompt_they_are_those_of_transformers_generation(
    model: JanusModel, prompts: list[list[int]]
) -> None:
    """Its raw logits are two halves: of the prompts, and of prompts whose text is padding that is attended."""
    chats = [[{"role": "user", "content": [{"type": "text", "text": text}]}] for text in TEXTS]
    texts = model.processor.apply_chat_template(chats, add_generation_prompt=True)
    inputs = model.processor(text=texts, generation_mode="image", return_tensors="pt", padding=True)
    steps: list[torch.Tensor] = []
    hook = model.net.model.generation_head.register_forward_hook(lambda _m, _i, out: steps.append(out.detach()))
    drawn = model.net.generate(
        input_ids=inputs.input_ids,
        attention_mask=inputs.attention_mask,
        generation_mode="image",
        do_sample=False,
        guidance_scale=3.0,
    )
    hook.remove()
    whole = torch.stack(steps, dim=1).log_softmax(-1)
    expected = whole.gather(-1, drawn.repeat(2, 1)[..., None])[..., 0]

    ids, keep = left_padded(prompts, model.pad)
    assert torch.equal(ids, inputs.input_ids)
    assert torch.equal(keep, inputs.attention_mask.bool())
    blank = ids.masked_fill((ids != model.bos) & (ids != model.boi), model.pad)
    with torch.no_grad():
        stated, unstated = (TokenLogProbs(model.net)(rows, keep, drawn) for rows in (ids, blank))
    torch.testing.assert_close(stated, expected[: len(TEXTS)], **CLOSE)
    torch.testing.assert_close(unstated, expected[len(TEXTS) :], **CLOSE)
    assert (stated - unstated).abs().mean() > 0.1


def test_padding_is_told_by_its_place_not_by_its_token() -> None:
    ids, keep = left_padded([[1, 9, 9, 5], [1, 5]], 9)
    assert ids.tolist() == [[1, 9, 9, 5], [9, 9, 1, 5]]
    assert keep.tolist() == [[True] * 4, [False, False, True, True]]


def test_what_learns(model: JanusModel, prompts: list[list[int]], tokens: torch.Tensor) -> None:
    net = copy.deepcopy(model.net).requires_grad_(True)
    net.model.vqmodel.requires_grad_(False)
    TokenLogProbs(net)(*left_padded(prompts, model.pad), tokens).mean().backward()
    moved = {name for name, p in net.named_parameters() if p.grad is not None and bool(p.grad.any())}
    inner = net.model
    for part in ("language_model", "generation_embeddings", "generation_aligner", "generation_head"):
        for name, _ in getattr(inner, part).named_parameters():
            assert f"model.{part}.{name}" in moved
    assert not any(n.startswith(("model.vqmodel", "model.vision_model", "lm_head")) for n in moved)
    assert all(p.grad is None for p in inner.vqmodel.parameters())
