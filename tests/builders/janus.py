"""Janus checkpoints with random weights: the real classes and file layout of deepseek-community/Janus-Pro-1B."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file
from transformers import (
    JanusConfig,
    JanusForConditionalGeneration,
    JanusProcessor,
    JanusVisionConfig,
    JanusVQVAEConfig,
    LlamaConfig,
    PreTrainedTokenizerFast,
)
from transformers.models.janus.image_processing_pil_janus import JanusImageProcessorPil

from fairbench.adapters.janus import JanusAdapter
from fairbench.cards.cards import HubModel, ModelCard
from fairbench.phantom.making.architecture import BOI, BOS, CHAT_TEMPLATE, EOI, EOS, IMAGE, PAD, generation_config
from fairbench.types import BuildContext
from tests.builders import bpe

CORPUS = (
    "A photo of the face of a nurse, a person",
    "A photo of the face of a computer programmer, a person",
    "What is the gender of this person? Possible answers: male, female, unknown. Answer with a single word.",
)
BOOK = "model.vqmodel.quantize.embedding.weight"
TINY = {"hidden": 64, "layers": 2, "heads": 4, "vocabulary": 128, "grid": 4, "text_vocabulary": 400}
MEDIUM = {"hidden": 768, "layers": 12, "heads": 12, "vocabulary": 16384, "grid": 24, "text_vocabulary": 400}
"""Sizes of about 100 million parameters, for benchmarks."""


def save_tiny_janus(folder: Path, seed: int = 0, **sizes: int) -> Path:
    """Save a random Janus (sizes as in `TINY`, which they override) and return its folder.

    hidden, layers, heads: the language model. vocabulary: image tokens. grid: an image has grid x grid tokens of 4 x 4
    pixels. Weights are scaled so that the logits depend on the prompt and compete with the sampling noise.
    """
    unknown = set(sizes) - set(TINY)
    if unknown:
        raise TypeError(f"unknown sizes {sorted(unknown)}, known: {sorted(TINY)}")
    size = TINY | sizes
    tokenizer = _tokenizer(size["text_vocabulary"])
    net = JanusForConditionalGeneration(_config(size, tokenizer)).eval()
    _scale(net, seed)
    net.generation_config = generation_config(tokenizer)
    net.save_pretrained(folder)
    pixels = 4 * size["grid"]
    processor = JanusProcessor(
        JanusImageProcessorPil(size={"height": pixels, "width": pixels}, image_mean=[0.5] * 3, image_std=[0.5] * 3),
        tokenizer,
        chat_template=CHAT_TEMPLATE,
        use_default_system_prompt=True,
        num_image_tokens=size["grid"] ** 2,
    )
    processor.save_pretrained(folder)
    # The published checkpoints call their byte-level tokenizer so, which is a trap for loaders.
    path = folder / "tokenizer_config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"tokenizer_class": "LlamaTokenizerFast"}, indent=2))
    return folder


def janus_adapter(folder: Path, params: Mapping[str, object] | None = None, **context: object) -> JanusAdapter:
    """Return the adapter of a checkpoint; `context`: dtype, block_size and what else a run tells it."""
    card = ModelCard(name="tiny", title="Tiny", adapter="janus", weights=HubModel(path=str(folder)))
    return JanusAdapter(card, JanusAdapter.Params(**(params or {})), BuildContext(**context))


def save_uneven_janus(folder: Path, spread: float = 0.1, seed: int = 0) -> Path:
    """Save a tiny Janus whose image codes' lengths have this relative spread, and no vector of weights is trivial.

    What leaves out a normalisation, a bias or a norm's factor gives other numbers on it, as it does on a trained model.
    """
    path = save_tiny_janus(folder, seed) / "model.safetensors"
    state = load_file(path)
    rng = torch.Generator().manual_seed(seed + 100)
    for name, weight in state.items():
        if weight.ndim == 1:
            state[name] = weight + 0.3 * torch.randn(weight.shape, generator=rng)
    directions = torch.nn.functional.normalize(torch.randn(state[BOOK].shape, generator=rng), dim=1)
    state[BOOK] = directions * (1 + spread * torch.randn((len(directions), 1), generator=rng))
    save_file(state, path, metadata={"format": "pt"})
    return folder


def _tokenizer(vocabulary: int) -> PreTrainedTokenizerFast:
    return bpe.tokenizer(
        CORPUS,
        vocabulary,
        [BOS, EOS, PAD, IMAGE, BOI, EOI],
        bos_token=BOS,
        eos_token=EOS,
        pad_token=PAD,
        add_bos_token=True,
        extra_special_tokens={"image_token": IMAGE, "boi_token": BOI, "eoi_token": EOI},
    )


def _config(size: dict[str, int], tokenizer: PreTrainedTokenizerFast) -> JanusConfig:
    hidden = size["hidden"]
    text = LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=hidden,
        intermediate_size=hidden * 8 // 3,
        num_hidden_layers=size["layers"],
        num_attention_heads=size["heads"],
        num_key_value_heads=size["heads"],
        max_position_embeddings=2048,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
    )
    vision = JanusVisionConfig(
        hidden_size=32,
        num_hidden_layers=1,
        num_attention_heads=2,
        mlp_ratio=2.0,
        image_size=4 * size["grid"],
        patch_size=4,
        num_image_tokens=size["grid"] ** 2,
        projection_dim=hidden,
    )
    # Three resolutions: the decoder doubles twice, to 4 pixels a token.
    vq = JanusVQVAEConfig(
        embed_dim=8,
        num_embeddings=size["vocabulary"],
        latent_channels=32,
        base_channels=32,
        channel_multiplier=[1, 1, 1],
        num_res_blocks=1,
        projection_dim=hidden,
        image_token_embed_dim=hidden,
    )
    return JanusConfig(
        text_config=text,
        vision_config=vision,
        vq_config=vq,
        image_token_id=tokenizer.image_token_id,
        tie_word_embeddings=False,
    )


def _scale(net: JanusForConditionalGeneration, seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, weight in net.named_parameters():
            if weight.ndim > 1:
                gain = 2.0 if name.endswith("vision_head.weight") else 1.0
                weight.normal_(0.0, gain * weight[0].numel() ** -0.5, generator=generator)
