"""Rows -> mean token log-probabilities: of images given their prompts, or of answers about images."""

from __future__ import annotations

import copy
import io
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from fairbench.display.progress import Progress, blocks
from fairbench.protocols import Denoising, Trainable, TrainableAnswers
from fairbench.storage import atomic, pixels
from fairbench.synthesis.balanced import Balanced
from fairbench.types import RgbImage

_IMAGES_PER_BLOCK = 256


class Images:
    """Images as the continuations of prompts: row i is image i modulo their number, under prompt i."""

    def __init__(
        self, model: Trainable, prompts: Sequence[str], tokens: NDArray[np.int64], *, own: bool = False
    ) -> None:
        """tokens: (images, N). prompts: as many as images, or several times as many. own: they are not the set's."""
        self.own, self.images = own, len(tokens)
        self._model, self._prompts, self._tokens = model, prompts, tokens
        self.module: torch.nn.Module = model.token_scorer()
        self.tokens_per_image = tokens.shape[1]

    def shifted(self, by: int) -> Images:
        """Return the same images, row i under prompt i + by."""
        shifted = copy.copy(self)
        shifted._prompts = self._prompts[by:]
        return shifted

    def mean_log_probs(self, module: Any, rows: NDArray[np.int64]) -> torch.Tensor:
        """Return the mean over image tokens, (rows,). module: `self.module`, as an accelerator wraps it."""
        tokens = self._tokens[rows % len(self._tokens)].astype(np.int64)
        log_probs: torch.Tensor = module(*self._model.token_inputs([self._prompts[i] for i in rows], tokens))
        return log_probs.mean(dim=1)


@dataclass(frozen=True, slots=True)
class Exchange:
    """A question about an image, and its answer."""

    image: Path
    question: str
    answer: str


class Answers:
    """Answers to questions about images."""

    def __init__(self, model: TrainableAnswers, exchanges: Sequence[Exchange], cut_at: int | None = None) -> None:
        """cut_at: tokens at which an answer was cut, which then has no end to learn."""
        self._model, self._exchanges, self._cut_at = model, exchanges, cut_at
        self.module: torch.nn.Module = model.answer_scorer()

    def mean_log_probs(self, module: Any, rows: NDArray[np.int64]) -> torch.Tensor:
        """Return the mean over the answer's tokens, with the end-of-text token, (rows,)."""
        exchanges = [self._exchanges[i] for i in rows]
        images = [read(e.image) for e in exchanges]
        inputs, tokens = self._model.answer_inputs(
            [e.question for e in exchanges], [e.answer for e in exchanges], images
        )
        log_probs = module(*inputs)
        longest, lengths = log_probs.shape[1], torch.tensor(tokens, device=log_probs.device)
        positions = torch.arange(longest, device=log_probs.device)
        of_answer = positions >= longest - lengths[:, None]
        if self._cut_at is not None:
            cut = lengths > self._cut_at
            of_answer &= ~(cut[:, None] & (positions == longest - 1))
            lengths = lengths - cut.to(lengths)
        total: torch.Tensor = (log_probs * of_answer).sum(dim=1)
        return total / lengths


def image_tokens(model: Trainable, data: Balanced, path: Path, progress: Progress) -> NDArray[np.int64]:
    """Return the image tokens (rows, N) that the model's own tokenizer gives, from `path` if they are there."""
    if path.exists():
        return np.asarray(np.load(path, allow_pickle=False))
    parts = []
    with progress.stage("image tokens", len(data.rows)) as stage:
        for block in blocks(data.rows, _IMAGES_PER_BLOCK, stage):
            parts.append(model.encode([read(row.image) for row in block]))
    tokens = np.concatenate(parts)
    keep(path, tokens)
    return tokens


def image_latents(model: Denoising, data: Balanced, path: Path, progress: Progress) -> NDArray[np.float32]:
    """Return the latents (rows, C, h, w) that the model's own autoencoder gives, from `path`, where they are kept."""
    if not path.exists():
        with progress.stage("latents", len(data.rows)) as stage:
            parts = [model.encode([read(row.image) for row in block]) for block in blocks(data.rows, 16, stage)]
        keep(path, np.concatenate(parts))
    latents: NDArray[np.float32] = np.load(path, mmap_mode="r", allow_pickle=False)
    return latents


def keep(path: Path, tokens: NDArray[Any]) -> None:
    """Write tokens, or latents, whole. Raises StoreError."""
    file = io.BytesIO()
    np.save(file, tokens, allow_pickle=False)
    atomic.write_bytes(path, file.getvalue())


def read(path: Path) -> RgbImage:
    """Return an image of the set."""
    return pixels.decode(path.read_bytes(), str(path))
