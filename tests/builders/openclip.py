"""A tiny open_clip model with random weights and its own word tokenizer, as a folder in open_clip's layout."""

from __future__ import annotations

import json
from pathlib import Path

import open_clip
import torch
from safetensors.torch import save_file
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors
from transformers import PreTrainedTokenizerFast

SPECIAL = ("<pad>", "<start>", "<end>", "<unk>")
LETTERS = tuple("abcdefghijklmnopqrstuvwxyz0123456789.,-'")
MODEL = {
    "embed_dim": 16,
    "vision_cfg": {"image_size": 32, "layers": 2, "width": 32, "head_width": 16, "patch_size": 8},
    "text_cfg": {
        "context_length": 77,
        "vocab_size": len(SPECIAL) + len(LETTERS),
        "width": 32,
        "heads": 2,
        "layers": 2,
        # any name makes open_clip read the tokenizer from the folder; the last token is where a text is read off
        "hf_tokenizer_name": "tiny",
        "pad_id": 0,
        "eos_id": 2,
        "pool_type": "eos",
    },
}
PREPROCESS = {"mean": [0.5, 0.5, 0.5], "std": [0.5, 0.5, 0.5], "interpolation": "bicubic", "resize_mode": "shortest"}


def save_tiny_openclip(folder: Path, seed: int = 0) -> Path:
    """Write open_clip_config.json, open_clip_model.safetensors and a letter-wise tokenizer; return `folder`.

    32 x 32 pixels, embeddings of 16 numbers, a context of 77 letters. The same seed gives the same files.
    """
    folder.mkdir(parents=True, exist_ok=True)
    _tokenizer().save_pretrained(folder)
    (folder / "open_clip_config.json").write_text(json.dumps({"model_cfg": MODEL, "preprocess_cfg": PREPROCESS}))
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = open_clip.CLIP(**MODEL)
        with torch.no_grad():  # the default start is so small that all embeddings are nearly the same
            for weight in model.parameters():
                if weight.ndim > 1:
                    weight.normal_(std=0.2)
    state = {name: value.contiguous() for name, value in model.state_dict().items()}
    save_file(state, folder / "open_clip_model.safetensors")
    return folder


def _tokenizer() -> PreTrainedTokenizerFast:
    vocabulary = {token: index for index, token in enumerate([*SPECIAL, *LETTERS])}
    letters = Tokenizer(models.WordLevel(vocabulary, unk_token="<unk>"))
    letters.normalizer = normalizers.Sequence([normalizers.Lowercase(), normalizers.Replace(" ", "")])
    letters.pre_tokenizer = pre_tokenizers.Split("", "isolated")
    letters.post_processor = processors.TemplateProcessing(
        single="<start> $A <end>", special_tokens=[("<start>", 1), ("<end>", 2)]
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=letters, pad_token="<pad>", bos_token="<start>", eos_token="<end>", unk_token="<unk>"
    )
