"""Tiny SigLIP and CLIP checkpoints with random weights: the classes, tokenizers and file layouts of published ones."""

from __future__ import annotations

import io
from pathlib import Path

import sentencepiece
import torch
from transformers import (
    CLIPConfig,
    CLIPImageProcessor,
    CLIPModel,
    CLIPTokenizer,
    SiglipConfig,
    SiglipImageProcessor,
    SiglipModel,
    SiglipTokenizer,
)

CONTEXT = 24
_SIDE = 32
_TOWER = {"hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2, "num_attention_heads": 2}
_CORPUS = ["a photo of a nurse", "a photo of the face of a pilot who looks at the camera", "abcdefghijklmnopqrstuvwxyz"]


def save_tiny_siglip(folder: Path, seed: int = 0) -> Path:
    """Write a SiglipModel with its sentencepiece tokenizer and image processor; return the folder."""
    pieces = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(_CORPUS * 20),
        model_writer=pieces,
        vocab_size=60,
        hard_vocab_limit=False,
        unk_id=2,
        eos_id=1,
        pad_id=0,
        bos_id=-1,
        minloglevel=2,
    )
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "spiece.model").write_bytes(pieces.getvalue())
    tokenizer = SiglipTokenizer(str(folder / "spiece.model"), model_max_length=CONTEXT)
    text = {**_TOWER, "vocab_size": len(tokenizer), "max_position_embeddings": CONTEXT, "projection_size": 32}
    config = SiglipConfig(text_config=text, vision_config={**_TOWER, "image_size": _SIDE, "patch_size": 8})
    net = _spread(SiglipModel(config), seed)
    with torch.no_grad():
        net.logit_scale.fill_(2.3)
        net.logit_bias.fill_(-10.0)
    net.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    SiglipImageProcessor(size={"height": _SIDE, "width": _SIDE}).save_pretrained(folder)
    return folder


def save_tiny_clip(folder: Path, seed: int = 0) -> Path:
    """Write a CLIPModel with its tokenizer and image processor; return the folder."""
    letters = sorted({letter for text in _CORPUS for letter in text if letter != " "})
    words = [*letters, *(f"{letter}</w>" for letter in letters), "<|startoftext|>", "<|endoftext|>"]
    tokenizer = CLIPTokenizer({word: i for i, word in enumerate(words)}, [], model_max_length=CONTEXT)
    ends = {"bos_token_id": len(words) - 2, "eos_token_id": len(words) - 1, "pad_token_id": len(words) - 1}
    text = {**_TOWER, **ends, "vocab_size": len(words), "max_position_embeddings": CONTEXT}
    vision = {**_TOWER, "image_size": _SIDE, "patch_size": 8}
    net = _spread(CLIPModel(CLIPConfig(text_config=text, vision_config=vision, projection_dim=16)), seed)
    net.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    CLIPImageProcessor(size={"shortest_edge": _SIDE}, crop_size={"height": _SIDE, "width": _SIDE}).save_pretrained(
        folder
    )
    return folder


def _spread(net: torch.nn.Module, seed: int) -> torch.nn.Module:
    """Return the model with weights so large that embeddings differ, and whose norms are not 1."""
    with torch.random.fork_rng(devices=[]), torch.no_grad():
        torch.manual_seed(seed)
        for parameter in net.parameters():
            if parameter.ndim > 1:
                parameter.normal_(std=0.2)
    return net.eval()
