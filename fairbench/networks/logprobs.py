"""Log-probabilities of given image tokens, a few rows at a time."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

BATCH: Final = 32
_POSITIONS: Final = BATCH * 640
"""Positions that are computed at once, at most: 32 images of 576 tokens with their prompts."""


def log_probs(
    scorer: Callable[..., Any],
    inputs: Callable[[Sequence[str], NDArray[np.int64]], tuple[Any, ...]],
    texts: Sequence[str],
    tokens: NDArray[np.int64],
    batch: int = BATCH,
) -> NDArray[np.float32]:
    """Return log p(token | text, tokens before it) of given image tokens (rows, N), one text per row, shape (rows, N).

    scorer, inputs: as `protocols.Trainable` has them. batch: rows at once; fewer where images have many tokens.
    """
    import torch

    length = tokens.shape[1]
    size = max(1, min(batch, _POSITIONS // (length + 64)))
    parts = [np.zeros((0, length), dtype=np.float32)]
    with torch.inference_mode():
        for start in range(0, len(texts), size):
            rows = slice(start, start + size)
            parts.append(scorer(*inputs(texts[rows], tokens[rows])).cpu().numpy())
    return np.concatenate(parts)
