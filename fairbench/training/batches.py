"""Rows of the balanced set -> mean token log-probabilities: of the image given its prompt, or of an answer."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray

from fairbench.display.progress import Progress, blocks
from fairbench.protocols import Trainable, TrainableAnswers
from fairbench.storage import atomic, pixels
from fairbench.synthesis.balanced import Balanced
from fairbench.types import RgbImage

QUESTION, CAPTION = "Describe this image.", "a photo of the face of a {subject}"
"""Question and answer of the understanding fine-tune: the occupation, and nothing about the person."""
_IMAGES_PER_BLOCK = 256


class Source(Protocol):
    """Makes a batch of rows and asks a module about it. `module` is what an accelerator wraps."""

    module: torch.nn.Module

    def mean_log_probs(self, module: Any, rows: NDArray[np.int64]) -> torch.Tensor:
        """Return the mean log-probability of a row's tokens, (rows,), float32. module: `self.module`, wrapped."""
        ...


class Images:
    """Images as the continuation of their neutral prompts or, for row R + i, of the prompt that row i was made from."""

    def __init__(self, model: Trainable, data: Balanced, tokens: NDArray[np.int64]) -> None:
        self._model, self._tokens = model, tokens
        self._prompts = [row.prompt for row in data.rows] + [row.source_prompt for row in data.rows]
        self.module: torch.nn.Module = model.token_scorer()

    def mean_log_probs(self, module: Any, rows: NDArray[np.int64]) -> torch.Tensor:
        """Return the mean over image tokens, (rows,)."""
        tokens = self._tokens[rows % len(self._tokens)].astype(np.int64)
        log_probs: torch.Tensor = module(*self._model.token_inputs([self._prompts[i] for i in rows], tokens))
        return log_probs.mean(dim=1)


class Answers:
    """A caption with the neutral occupation as the answer to a question about the image."""

    def __init__(self, model: TrainableAnswers, data: Balanced) -> None:
        self._model, self._data = model, data
        self.module: torch.nn.Module = model.answer_scorer()

    def mean_log_probs(self, module: Any, rows: NDArray[np.int64]) -> torch.Tensor:
        """Return the mean over the answer's tokens, with the end-of-text token, (rows,)."""
        answers = [CAPTION.replace("{subject}", self._data.rows[i].subject) for i in rows]
        images = [_read(self._data.rows[i].image) for i in rows]
        inputs, tokens = self._model.answer_inputs(QUESTION, answers, images)
        log_probs = module(*inputs)
        longest, lengths = log_probs.shape[1], torch.tensor(tokens, device=log_probs.device)
        of_answer = torch.arange(longest, device=log_probs.device) >= longest - lengths[:, None]
        total: torch.Tensor = (log_probs * of_answer).sum(dim=1)
        return total / lengths


def image_tokens(model: Trainable, data: Balanced, path: Path, progress: Progress) -> NDArray[np.int64]:
    """Return the image tokens (rows, N) that the model's own tokenizer gives, from `path` if they are there."""
    if path.exists():
        return np.asarray(np.load(path, allow_pickle=False))
    parts = []
    with progress.stage("image tokens", len(data.rows)) as stage:
        for block in blocks(data.rows, _IMAGES_PER_BLOCK, stage):
            parts.append(model.encode([_read(row.image) for row in block]))
    tokens, file = np.concatenate(parts), io.BytesIO()
    np.save(file, tokens, allow_pickle=False)
    atomic.write_bytes(path, file.getvalue())
    return tokens


def _read(path: Path) -> RgbImage:
    return pixels.decode(path.read_bytes(), str(path))
