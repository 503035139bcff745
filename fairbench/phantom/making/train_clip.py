"""The phantom's own CLIP: whether an image shows the mannequin that a caption asks for.

A caption does not label one image: one that names no attribute fits every mannequin, one that names a gender every
other. So each pair of a batch is a yes or no of its own, the sigmoid loss of Zhai et al. (2023), and no caption is
pushed away from an image that it describes. An image without a head, or of nobody, fits no caption.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import open_clip
import torch
from safetensors.torch import save as as_safetensors
from tokenizers import Regex, Tokenizer, models, normalizers, pre_tokenizers, processors
from torch import nn
from torch.nn import functional
from transformers import PreTrainedTokenizerFast

from fairbench.display.progress import SILENT, Progress
from fairbench.phantom import text
from fairbench.phantom.clip import UNKNOWN, caption, fits
from fairbench.phantom.drawing import as_pixels
from fairbench.phantom.making import corpus
from fairbench.phantom.making.loop import fit
from fairbench.storage import atomic
from fairbench.training.schedule import Schedule

BATCH = 64
SCHEDULE = Schedule(steps=600, rate=1.5e-3, warm_up=0.1)
PAD, START, END = "<pad>", "<start>", "<end>"
CONTEXT = 32


def tokenizer() -> PreTrainedTokenizerFast:
    """Return a tokenizer whose tokens are the words of `text.corpus()`, in lower case and without punctuation."""
    special = (PAD, START, END, UNKNOWN)
    words = sorted({word for line in text.corpus() for word in re.findall(r"\w+", line.lower())})
    whole = Tokenizer(models.WordLevel({word: i for i, word in enumerate((*special, *words))}, unk_token=UNKNOWN))
    whole.normalizer = normalizers.Sequence([normalizers.Lowercase(), normalizers.Replace(Regex(r"\W+"), " ")])
    whole.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    whole.post_processor = processors.TemplateProcessing(
        single=f"{START} $A {END}", special_tokens=[(START, special.index(START)), (END, special.index(END))]
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=whole, pad_token=PAD, bos_token=START, eos_token=END, unk_token=UNKNOWN
    )


def config() -> dict[str, Any]:
    """Return the content of open_clip_config.json: 0.36 million parameters."""
    words = tokenizer()
    tokens = {"pool_type": "eos", "pad_id": words.pad_token_id, "eos_id": words.eos_token_id}
    text_config = {"context_length": CONTEXT, "vocab_size": len(words), "width": 64, "heads": 2, "layers": 2, **tokens}
    text_config["hf_tokenizer_name"] = "phantom"  # any name: it makes open_clip read the tokenizer in the same folder
    model = {
        "embed_dim": 32,
        # A pair fits where the cosine is above -bias / scale, at first 0.5: a score of 0 stays far below what fits.
        "init_logit_scale": float(np.log(10.0)),
        "init_logit_bias": -5.0,
        "vision_cfg": {"image_size": 64, "patch_size": 8, "layers": 2, "width": 96, "head_width": 32},
        "text_cfg": text_config,
    }
    half = [0.5, 0.5, 0.5]
    preprocess = {"mean": half, "std": half, "interpolation": "bicubic", "resize_mode": "shortest"}
    return {"model_cfg": model, "preprocess_cfg": preprocess}


class Agreement(nn.Module):
    """The objective: whether each image and each caption of a batch fit."""

    def __init__(self, model: Any) -> None:
        super().__init__()
        self.model, self._tokenizer = model, tokenizer()

    def forward(self, step: int, rng: np.random.Generator) -> tuple[torch.Tensor, Mapping[str, torch.Tensor]]:
        """Compare BATCH degraded renders with as many captions."""
        renders = corpus.make(BATCH, rng, corpus.degraded)
        captions = [caption(rng) for _ in range(BATCH)]
        target = torch.from_numpy(fits(captions, renders.gender, renders.race) & renders.head)
        logits = self.model.get_logits(as_pixels(renders.images), self._tokens([c.text for c in captions]))[1]
        loss = functional.binary_cross_entropy_with_logits(logits, target.float())
        return loss, {"accuracy": ((logits > 0) == target).float().mean()}

    def _tokens(self, texts: list[str]) -> Any:
        # As open_clip's own wrapper of a tokenizer does it.
        return self._tokenizer(
            texts, return_tensors="pt", max_length=CONTEXT, padding="max_length", truncation=True
        ).input_ids

    def after_step(self, step: int, rng: np.random.Generator) -> None:
        """Do nothing: the optimiser does it all."""


def train(
    folder: Path, seed: int, progress: Progress = SILENT, schedule: Schedule = SCHEDULE
) -> tuple[Any, list[dict[str, float]]]:
    """Return the trained open_clip model in evaluation mode, and the logged figures.

    folder: where the state is kept, from which a stopped training goes on. Raises FairbenchError as `fit` does.
    """
    torch.manual_seed(seed)
    model = open_clip.CLIP(**config()["model_cfg"])
    history = fit(Agreement(model), schedule, folder, seed, progress, "clip")
    return model.eval().requires_grad_(False), history


def save(model: Any, folder: Path) -> None:
    """Write a folder in open_clip's layout: config, float16 weights, tokenizer. The same model gives the same bytes."""
    state = {name: value.half().contiguous() for name, value in model.state_dict().items()}
    tokenizer().save_pretrained(folder)
    atomic.write_text(folder / "open_clip_config.json", json.dumps(config(), indent=2) + "\n")
    atomic.write_bytes(folder / "open_clip_model.safetensors", as_safetensors(state, {"format": "pt"}))
