"""The understanding side of a Janus checkpoint: a question, with or without an image, -> the model's answer."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from fairbench.networks.janus import JanusModel
from fairbench.networks.janus_tokens import vision_input
from fairbench.networks.sampling import StepDecoder, gumbel, left_padded
from fairbench.types import RgbImage


def answer(
    model: JanusModel,
    questions: Sequence[str],
    images: Sequence[RgbImage | None],
    seeds: Sequence[int] | None = None,
    *,
    temperature: float = 1.0,
    top_p: float = 1.0,
    limit: int = 32,
    on_step: Callable[[int], None] = lambda step: None,
) -> list[str]:
    """Return one answer per question, of at most `limit` tokens.

    images: what each question is about; None asks in text alone. seeds: one per question, then words are sampled at
    `temperature` from the fewest that hold `top_p` of the probability; None takes the most probable word at each step.
    All rows are one batch: cut long lists. on_step: called with the number of words drawn so far. Raises
    FloatingPointError where the logits are not finite numbers.
    """
    import torch

    if not questions:
        return []
    net, tokenizer = model.net, model.processor.tokenizer
    words: list[list[int]] = [[] for _ in questions]
    going = torch.ones(len(questions), dtype=torch.bool)
    noise = _noise(seeds, limit, net.config.text_config.vocab_size)
    with torch.inference_mode():
        embeds, keep = _prefill(model, questions, images)
        decoder = StepDecoder(net.model.language_model, keep, limit)
        for step in range(1, limit + 1):
            logits = net.lm_head(decoder(embeds)).float().cpu()
            if not logits.isfinite().all():
                raise FloatingPointError("the model's logits are not finite numbers")
            if noise is not None:
                logits = _nucleus(logits / temperature, top_p) + torch.from_numpy(next(noise))
            drawn = logits.argmax(dim=-1)
            on_step(step)
            going &= drawn != tokenizer.eos_token_id
            if not going.any():
                break
            for row in torch.nonzero(going).flatten().tolist():
                words[row].append(int(drawn[row]))
            embeds = net.get_input_embeddings()(drawn[:, None].to(net.device))
    return [tokenizer.decode(row, skip_special_tokens=True).strip() for row in words]


def _prefill(model: JanusModel, questions: Sequence[str], images: Sequence[RgbImage | None]) -> tuple[Any, Any]:
    """Return embeddings (rows, T, hidden), with those of the images in place, and which positions are no padding."""
    import torch

    rows = [model.question_ids(q, image is not None) for q, image in zip(questions, images, strict=True)]
    ids, keep = left_padded(rows, model.pad)
    ids, keep = ids.to(model.net.device), keep.to(model.net.device)
    embeds = model.net.get_input_embeddings()(ids)
    shown = [image for image in images if image is not None]
    if shown:
        pixels = torch.from_numpy(vision_input(model, shown))
        features = model.net.model.get_image_features(pixels.to(embeds.device, embeds.dtype)).pooler_output
        # transformers' own mask: it refuses placeholders that are not as many as there are features to take them.
        placeholders = model.net.model.get_placeholder_mask(ids, embeds, features)
        embeds = embeds.masked_scatter(placeholders, features.to(embeds.dtype))
    return embeds, keep


def _noise(seeds: Sequence[int] | None, limit: int, size: int) -> Any:
    """Yield Gumbel noise (rows, size) for each step; None to take the most probable word."""
    if seeds is None:
        return None
    return (step for chunk in gumbel(seeds, limit, size) for step in np.asarray(chunk))


def _nucleus(logits: Any, top_p: float) -> Any:
    """Set all but the fewest words that together have probability `top_p` to minus infinity."""
    import torch

    if top_p >= 1.0:
        return logits
    ordered, order = logits.sort(dim=-1, descending=True)
    before = ordered.softmax(dim=-1).cumsum(dim=-1) - ordered.softmax(dim=-1)
    ordered = ordered.masked_fill(before >= top_p, -torch.inf)  # the first word always stays
    return torch.empty_like(logits).scatter(-1, order, ordered)
