"""The language model and the vision side: captions to image tokens, images and questions to answers."""

from __future__ import annotations

import secrets
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn
from torch.nn import functional
from transformers import JanusForConditionalGeneration
from transformers.utils import logging

from fairbench.display.progress import SILENT, Progress
from fairbench.networks.janus import JanusModel
from fairbench.networks.janus_logprobs import TokenLogProbs
from fairbench.networks.sampling import left_padded
from fairbench.phantom import drawing, text
from fairbench.phantom.drawing import as_pixels
from fairbench.phantom.making import architecture
from fairbench.phantom.making.loop import fit
from fairbench.phantom.planted import CELLS
from fairbench.phantom.reading import batches
from fairbench.training.schedule import Schedule

SCHEDULE = Schedule(steps=2200, rate=2e-3, betas=(0.9, 0.98))
CAPTIONS, EXCHANGES = 96, 24
"""Rows per step of either kind."""
UNCONDITIONAL = 0.08
"""Share of captions that are blanked, for guidance."""
_IMAGES = 32_000
_IGNORED = -100


@dataclass(frozen=True)
class Pool:
    """What the model is shown. tokens: (n, N). pixels: (m, side, side, 3) uint8, renders and decoded renders by turns.
    cells: indices into CELLS, (n,).
    """

    tokens: NDArray[np.int64]
    pixels: NDArray[np.uint8]
    cells: NDArray[np.int64]

    def rows(self, cells: NDArray[np.int64], rng: np.random.Generator) -> NDArray[np.int64]:
        """Return for each cell the row of an image that shows it. Cells are stored in turn: 0, 1, ... 7, 0, 1, ..."""
        return cells + len(CELLS) * rng.integers(len(self.cells) // len(CELLS), size=len(cells))


def make_pool(vq: Any, seed: int, images: int = _IMAGES, with_pixels: int = 4096) -> Pool:
    """Render and encode; store the pixels of the first `with_pixels` images, those of every other one decoded again."""
    rng = np.random.default_rng([seed, images])
    tokens, pixels, cells = [], [], []
    for batch, cell in batches(images, rng):
        codes = drawing.encoded(vq, batch)
        tokens.append(codes)
        cells.append(cell)
        if len(cells) * len(cell) <= with_pixels:
            shown = batch.copy()
            shown[1::2] = drawing.decoded(vq, codes[1::2])
            pixels.append(shown)
    return Pool(np.concatenate(tokens), np.concatenate(pixels), np.concatenate(cells))


class TextAndImages(nn.Module):
    """The objective: next image token after a caption, next word of the answer after a question."""

    def __init__(self, model: JanusModel, pool: Pool, steps: int) -> None:
        super().__init__()
        self.log_probs = TokenLogProbs(model.net)
        self._model, self._pool, self._steps = [model], pool, steps  # in a list: not a submodule a second time
        self._ids: dict[str, list[int]] = {}

    def forward(self, step: int, rng: np.random.Generator) -> tuple[torch.Tensor, Mapping[str, torch.Tensor]]:
        """Return the mean loss of both kinds of rows."""
        drawn = -self.log_probs(*self._captions(step, rng)).mean()
        answered = self._answers(rng)
        return drawn + 0.5 * answered, {"image": drawn.detach(), "text": answered.detach()}

    def after_step(self, step: int, rng: np.random.Generator) -> None:
        """Do nothing: the optimiser does it all."""

    def _captions(self, step: int, rng: np.random.Generator) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        # Attributes first: a model that draws what a caption states can then learn what to draw when it states nothing.
        stated = max(0.45, 0.85 - step / self._steps)
        texts, cells = zip(*(text.caption(rng, stated) for _ in range(CAPTIONS)), strict=True)
        model = self._model[0]
        ids, attended = left_padded([self._prompt(t) for t in texts], model.pad)
        blank = torch.from_numpy(rng.random(CAPTIONS) < UNCONDITIONAL)[:, None]
        ids = torch.where(blank, model.blanked(ids), ids)
        rows = self._pool.rows(np.array(cells), rng)
        return ids, attended, torch.from_numpy(self._pool.tokens[rows])

    def _prompt(self, caption: str) -> list[int]:
        if caption not in self._ids:
            self._ids[caption] = self._model[0].prompt_ids(caption)
        return self._ids[caption]

    def _answers(self, rng: np.random.Generator) -> torch.Tensor:
        model, net = self._model[0], self.log_probs.net
        exchanges = [text.exchange(rng) for _ in range(EXCHANGES)]
        tokenizer = model.processor.tokenizer
        questions = [model.question_ids(e.question, e.cell is not None) for e in exchanges]
        answers = [tokenizer(" " + e.answer, add_special_tokens=False)["input_ids"] for e in exchanges]
        full = [q + a + [tokenizer.eos_token_id] for q, a in zip(questions, answers, strict=True)]
        ids, attended = left_padded(full, model.pad)
        labels = torch.full_like(ids, _IGNORED)
        for row, (q, f) in enumerate(zip(questions, full, strict=True)):
            labels[row, len(q) - len(f) :] = torch.tensor(f[len(q) :])
        pixels = as_pixels(np.stack([self._picture(e.cell, rng) for e in exchanges if e.cell is not None]))
        logits = net(input_ids=ids, attention_mask=attended, pixel_values=pixels, use_cache=False).logits
        return functional.cross_entropy(logits[:, :-1].flatten(0, 1), labels[:, 1:].flatten(), ignore_index=_IGNORED)

    def _picture(self, cell: int, rng: np.random.Generator) -> NDArray[np.uint8]:
        side = architecture.SIDE
        if cell < 0:
            return np.full((side, side, 3), rng.integers(256), dtype=np.uint8)
        per_cell = len(self._pool.pixels) // len(CELLS)
        return np.asarray(self._pool.pixels[cell + len(CELLS) * int(rng.integers(per_cell))])


def new_model(vq: Any, seed: int) -> JanusModel:
    """Return an untrained model around a trained image tokenizer."""
    tokenizer = architecture.text_tokenizer(text.corpus())
    torch.manual_seed(seed)
    net = JanusForConditionalGeneration(architecture.config(tokenizer))
    net.model.vqmodel.load_state_dict(vq.state_dict())
    net.model.vqmodel.requires_grad_(False)
    # A copy of the codebook is a better start than noise: similar codes begin with similar embeddings.
    net.model.generation_embeddings.weight.data.copy_(vq.quantize.embedding.weight)
    return JanusModel(net, architecture.processor(tokenizer))


def save(model: JanusModel, folder: Path) -> None:
    """Write a checkpoint in transformers format: float16 safetensors, configurations, text tokenizer, processor."""
    logging.disable_progress_bar()  # its bar would tear ours
    temporary = folder.with_name(f".{folder.name}.{secrets.token_hex(4)}.tmp")
    model.net.generation_config = architecture.generation_config(model.processor.tokenizer)
    model.net.half().save_pretrained(temporary)
    model.processor.save_pretrained(temporary)
    for file in temporary.iterdir():
        file.chmod(0o644)  # weights are written for their owner alone
    shutil.rmtree(folder, ignore_errors=True)
    temporary.replace(folder)


def train(
    vq: Any, folder: Path, seed: int, schedule: Schedule = SCHEDULE, progress: Progress = SILENT
) -> tuple[JanusModel, list[dict[str, float]]]:
    """Return the trained model in evaluation mode, and its history."""
    model = new_model(vq, seed)
    objective = TextAndImages(model, make_pool(vq, seed), schedule.steps)
    history = fit(objective, schedule, folder, seed, progress, "language model")
    model.net.eval().requires_grad_(False)
    return model, history
