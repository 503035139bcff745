"""Emu3 checkpoints with random weights: the real classes and file layout of BAAI/Emu3-Gen-hf."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import torch
import yaml
from tokenizers import AddedToken
from transformers import (
    Emu3Config,
    Emu3ForConditionalGeneration,
    Emu3ImageProcessor,
    Emu3Processor,
    Emu3TextConfig,
    Emu3VQVAEConfig,
    GenerationConfig,
    PreTrainedTokenizerFast,
)

from fairbench.adapters.emu3 import Emu3Adapter
from fairbench.cards import catalog
from fairbench.cards.cards import HubModel, ModelCard
from fairbench.types import BuildContext
from tests.builders import bpe

PAD, BOS, EOS, EOL, EOF = "<|endoftext|>", "<|extra_203|>", "<|extra_204|>", "<|extra_200|>", "<|extra_201|>"
IMAGE, BOI, EOI, WRAPPER = "<image>", "<|image start|>", "<|image end|>", "<|image token|>"
_EXTRA = {
    "image_token": IMAGE,
    "boi_token": BOI,
    "eoi_token": EOI,
    "image_wrapper_token": WRAPPER,
    "eof_token": EOF,
}
CORPUS = (
    "A photo of the face of a nurse, a person",
    "A computer programmer. masterpiece, film grained",
    "lowres, text",
)
SIZE = {"ratio": "3:2", "image_area": 1536}
"""4 rows of 6 tokens, 32 x 48 pixels: an exchange of rows and columns shows."""


def save_tiny_emu3(folder: Path, seed: int = 0, *, codes: int = 40, scattered: bool = True) -> Path:
    """Save a random Emu3 and return its folder. No vector of weights is trivial.

    codes: of the image tokenizer. scattered: their tokens lie apart in the vocabulary and out of order, which the
    format allows; those of the published models lie in one piece.
    """
    tokenizer = _tokenizer(codes, scattered)
    text = Emu3TextConfig(
        vocab_size=len(tokenizer),
        hidden_size=64,
        intermediate_size=96,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        max_position_embeddings=1024,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
    )
    # Four resolutions, so three halvings: 8 pixels a token. Four frames, as the published tokenizer.
    vq = Emu3VQVAEConfig(
        codebook_size=codes, base_channels=32, channel_multiplier=[1, 1, 1, 1], num_res_blocks=1, hidden_size=32
    )
    config = Emu3Config(text_config=text, vq_config=vq, vocabulary_map=tokenizer.get_vocab())
    net = Emu3ForConditionalGeneration(config).eval()
    _fill(net, seed)
    net.generation_config = GenerationConfig(
        bos_token_id=text.bos_token_id, eos_token_id=text.eos_token_id, pad_token_id=text.pad_token_id
    )
    net.save_pretrained(folder)
    images = Emu3ImageProcessor(image_mean=[0.45, 0.5, 0.4], image_std=[0.3, 0.25, 0.28])
    Emu3Processor(images, tokenizer).save_pretrained(folder)
    # As published: a file of its own for images, and a name that is a trap for loaders.
    images.save_pretrained(folder)
    path = folder / "tokenizer_config.json"
    published = {"tokenizer_class": "GPT2Tokenizer", "extra_special_tokens": _EXTRA}
    path.write_text(json.dumps(json.loads(path.read_text()) | published, indent=2))
    return folder


def save_emu3_card(folder: Path, seed: int = 0) -> Path:
    """Save a tiny Emu3 and a card that says of it what the card emu3 says but for the size; return the card's path."""
    save_tiny_emu3(folder / "emu3", seed)
    card = yaml.safe_load(catalog.find("models")["emu3"].read_text(encoding="utf-8"))
    card |= {"name": "tiny-emu3", "weights": {"path": "emu3"}, "labeller": "phantom"}
    card["sampling"] |= SIZE
    path = folder / "tiny-emu3.yaml"
    path.write_text(yaml.safe_dump(card), encoding="utf-8")
    return path


def emu3_adapter(folder: Path, params: Mapping[str, object] | None = None, **context: object) -> Emu3Adapter:
    """Return the adapter of a checkpoint, of 4 x 6 tokens unless `params` say otherwise; `context`: as a run tells."""
    card = ModelCard(name="tiny", title="Tiny", adapter="emu3", weights=HubModel(path=str(folder)))
    return Emu3Adapter(card, Emu3Adapter.Params(**SIZE | dict(params or {})), BuildContext(**context))


def _tokenizer(codes: int, scattered: bool) -> PreTrainedTokenizerFast:
    visual = [f"<|visual token {code:06d}|>" for code in range(codes)]
    special = [PAD, BOS, EOS, EOL, EOF, IMAGE, BOI, EOI, WRAPPER]
    if scattered:
        words = [*special, *(f"<|extra_{n}|>" for n in range(20)), *visual]
        words = [words[i] for i in np.random.default_rng(0).permutation(len(words))]
    else:
        words = [*special, *visual]
    added = [AddedToken(word, special=True) for word in words]
    names = {"bos_token": BOS, "eos_token": EOS, "pad_token": PAD}
    return bpe.tokenizer(CORPUS, 330 + len(words), added, **names, extra_special_tokens=_EXTRA)


def _fill(net: Emu3ForConditionalGeneration, seed: int) -> None:
    """Fill weights so that logits depend on the prompt and compete with the noise, codes on the image."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, weight in net.named_parameters():
            if weight.ndim > 1:
                gain = 3.0 if name.startswith("lm_head") else 1.3 if "vqmodel" in name else 1.0
                weight.normal_(0.0, gain * weight[0].numel() ** -0.5, generator=generator)
            else:
                one = 1.0 if "norm" in name and name.endswith("weight") else 0.0
                weight.copy_(one + 0.2 * torch.randn(weight.shape, generator=generator))
        for name, value in net.named_buffers():
            if name.endswith("running_mean"):
                value.normal_(0.0, 0.3, generator=generator)
            elif name.endswith("running_var"):
                value.uniform_(0.5, 2.0, generator=generator)
        # Codes that images really have: latents of noise of several sizes.
        sides = (1, 2, 4, 8)
        noise = [torch.randn((1, 3, 64 // side, 64 // side), generator=generator) for side in sides]
        shown = torch.cat([torch.nn.functional.interpolate(n, size=(64, 64)) for n in noise])
        vq = net.model.vqmodel
        states = vq.encode(shown, [(64, 64)] * len(shown)).last_hidden_state
        latents = vq.quant_conv(states.transpose(1, 2)).transpose(1, 2).movedim(2, -1).flatten(0, -2)
        book = vq.quantize.embedding.weight
        book.copy_(latents[torch.randperm(len(latents), generator=generator)[: len(book)]])
