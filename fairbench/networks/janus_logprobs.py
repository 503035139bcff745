"""Log-probabilities under a Janus model, of image tokens and of answers: what every loss is made of."""

from __future__ import annotations

import operator
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn
from torch.nn import functional

from fairbench.networks.janus import JanusModel
from fairbench.networks.janus_tokens import vision_input
from fairbench.networks.sampling import left_padded
from fairbench.types import RgbImage


class TokenLogits(nn.Module):
    """Wraps a JanusForConditionalGeneration: `forward(ids, keep, tokens)` -> logits (rows, N, codes).

    One module with one forward, since data-parallel wrappers see gradients only of what their own forward calls.
    """

    def __init__(self, net: Any) -> None:
        super().__init__()
        self.net = net

    def forward(self, ids: torch.Tensor, keep: torch.Tensor, tokens: torch.Tensor) -> torch.Tensor:
        """Return the logits of each token, given the prompt and the tokens before it, in float32 or better.

        ids: (rows, T), prompts that end with begin-of-image, padded on the left. keep: bool (rows, T), False for
        padding. tokens: (rows, N), codes of the image tokenizer.
        """
        inner = self.net.model
        drawn = self.net.prepare_embeddings_for_image_generation(tokens[:, :-1])
        embeds = torch.cat([inner.language_model.get_input_embeddings()(ids), drawn], dim=1)
        mask = torch.cat([keep, keep.new_ones(drawn.shape[:2])], dim=1)
        hidden = inner.language_model(inputs_embeds=embeds, attention_mask=mask, use_cache=False).last_hidden_state
        logits: torch.Tensor = inner.generation_head(hidden[:, -tokens.shape[1] :])
        return logits if logits.dtype == torch.float64 else logits.float()


class TokenLogProbs(TokenLogits):
    """As `TokenLogits`, for the tokens alone: log p(token | prompt, tokens before it), (rows, N)."""

    def forward(self, ids: torch.Tensor, keep: torch.Tensor, tokens: torch.Tensor) -> torch.Tensor:
        """Return log-probabilities, in float32 or better; see `TokenLogits.forward`."""
        logits = super().forward(ids, keep, tokens)
        picked = functional.cross_entropy(logits.flatten(0, 1), tokens.flatten(), reduction="none")
        return -picked.view(tokens.shape)


class AnswerLogProbs(nn.Module):
    """Wraps the same model: `forward(ids, keep, pixels, length)` -> log-probabilities of the last words."""

    def __init__(self, net: Any) -> None:
        super().__init__()
        self.net = net

    def forward(self, ids: torch.Tensor, keep: torch.Tensor, pixels: torch.Tensor, length: int) -> torch.Tensor:
        """Return log p(word | image, words before it) of the last `length` words, (rows, length), in float32.

        ids: (rows, T), an image's placeholders, a question and its answer, padded on the left. keep: bool (rows, T).
        pixels: (rows, 3, side, side), as the processor gives them. The logits of all T words would fill the memory.
        """
        inner = self.net.model(input_ids=ids, attention_mask=keep, pixel_values=pixels, use_cache=False)
        logits = self.net.lm_head(inner.last_hidden_state[:, -length - 1 : -1]).float()
        words = ids[:, -length:]
        picked = functional.cross_entropy(logits.flatten(0, 1), words.flatten(), reduction="none")
        return -picked.view(words.shape)


def token_inputs(model: JanusModel, texts: Sequence[str], tokens: NDArray[np.int64]) -> tuple[Any, ...]:
    """Return the inputs of `TokenLogProbs`, for image tokens (rows, N), each row under its own text."""
    ids, keep = left_padded([model.prompt_ids(text) for text in texts], model.pad)
    drawn = torch.from_numpy(np.ascontiguousarray(tokens))
    return tuple(part.to(model.net.device) for part in (ids, keep, drawn))


def blank_inputs(model: JanusModel, texts: Sequence[str], tokens: NDArray[np.int64]) -> tuple[Any, ...]:
    """Return the same inputs for the unconditional rows that guidance leads away from."""
    ids, keep, drawn = token_inputs(model, texts, tokens)
    return torch.where(keep, model.blanked(ids), ids), keep, drawn


def answer_inputs(
    model: JanusModel, questions: Sequence[str], answers: Sequence[str], images: Sequence[RgbImage]
) -> tuple[tuple[Any, ...], list[int]]:
    """Return the inputs of `AnswerLogProbs`, an image, a question and an answer per row, and the tokens of each answer.

    The end-of-text token is an answer's last.
    """
    net, tokenizer = model.net, model.processor.tokenizer
    asked = [model.question_ids(question, with_image=True) for question in questions]
    words = [tokenizer(f" {answer}", add_special_tokens=False)["input_ids"] for answer in answers]
    words = [[*ids, tokenizer.eos_token_id] for ids in words]
    ids, keep = left_padded([*map(operator.add, asked, words)], model.pad)
    pixels = torch.from_numpy(vision_input(model, images)).to(net.device, net.dtype)
    lengths = [len(answer) for answer in words]
    return (ids.to(net.device), keep.to(net.device), pixels, max(lengths)), lengths
