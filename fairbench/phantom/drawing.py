"""Many images of many captions, drawn by the phantom and read back: the counts behind its realised truth."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fairbench.display.progress import SILENT, Progress
from fairbench.errors import FairbenchError
from fairbench.networks.janus import JanusModel, rgb
from fairbench.phantom.planted import CELLS
from fairbench.phantom.reading import Cells, Reader
from fairbench.storage import atomic

BLOCK, FEW = 256, 8
"""Images drawn at a time, and encoded or decoded: more of these do not fit into a processor's cache."""


def images(model: JanusModel, captions: Sequence[str], seeds: Sequence[int], guidance: float) -> NDArray[np.uint8]:
    """Return one image a caption, uint8 (n, side, side, 3): as the adapter draws them, but decoded in batches.

    Raises FairbenchError where the model's logits are not finite numbers.
    """
    tokens = model.sample([model.prompt_ids(c) for c in captions], seeds, guidance, read_once=True)
    if (tokens < 0).any():
        raise FairbenchError("The phantom's logits are not finite numbers: its weights are damaged, build it again.")
    return decoded(model.net.model.vqmodel, tokens)


def encoded(vq: Any, images: NDArray[np.uint8]) -> NDArray[np.int64]:
    """Return the image tokens (n, N) of images (n, side, side, 3)."""
    import torch

    from fairbench.networks.janus_tokens import codes_of
    from fairbench.phantom.making.train_tokenizer import as_pixels

    vq = vq.to(memory_format=torch.channels_last)  # the layout that is fastest on a CPU
    with torch.inference_mode():
        parts = [codes_of(vq, as_pixels(images[i : i + FEW])) for i in range(0, len(images), FEW)]
        return np.asarray(torch.cat(parts).numpy())


def decoded(vq: Any, tokens: NDArray[np.int64]) -> NDArray[np.uint8]:
    """Return the images (n, side, side, 3) of image tokens (n, N)."""
    import torch

    vq = vq.to(memory_format=torch.channels_last)
    with torch.inference_mode():
        codes = torch.from_numpy(tokens)
        return np.concatenate(
            [rgb(vq.decode(codes[i : i + FEW]).permute(0, 2, 3, 1).numpy()) for i in range(0, len(codes), FEW)]
        )


def read_back(
    model: JanusModel, reader: Reader, captions: Sequence[str], each: int, seed: int, guidance: float,
    keep: Path | None = None, progress: Progress = SILENT, name: str = "drawn",
) -> Cells:  # fmt: skip
    """Return the cell of `each` images a caption, shape (captions, each); NOBODY where no face was found.

    Noise depends on seed, caption index and image index alone. keep: a file where finished captions are remembered, so
    that a stopped count goes on. Raises FairbenchError for a caption without a single face: it has no shares.
    """
    done = _remembered(keep, captions, each, seed, guidance)
    with progress.stage(name, len(captions) - len(done), "prompts") as stage:
        for row in range(len(done), len(captions)):
            rng = np.random.default_rng([seed, row])
            seeds = [int(s) for s in rng.integers(2**63, size=each)]
            parts = [seeds[start : start + BLOCK] for start in range(0, each, BLOCK)]
            cells = [reader.read(images(model, [captions[row]] * len(part), part, guidance)) for part in parts]
            done.append(np.concatenate(cells).tolist())
            if max(done[-1]) < 0:
                raise FairbenchError(
                    f"No face was found in any of {each} images of {captions[row]!r} at guidance {guidance:g}: this "
                    "phantom cannot be measured, build one with another seed in another folder."
                )
            if keep:
                record = {"of": _identity(captions, each, seed, guidance), "cells": done}
                atomic.write_text(keep, json.dumps(record) + "\n")
            stage.advance()
    return np.array(done, dtype=np.int64).reshape(len(captions), each)


def _identity(captions: Sequence[str], each: int, seed: int, guidance: float) -> dict[str, Any]:
    return {"captions": list(captions), "each": each, "seed": seed, "guidance": guidance}


def _remembered(keep: Path | None, captions: Sequence[str], each: int, seed: int, guidance: float) -> list[list[int]]:
    if keep is None or not keep.exists():
        return []
    stored: dict[str, Any] = json.loads(keep.read_text(encoding="utf-8"))
    same = stored["of"] == _identity(captions, each, seed, guidance)
    return list(stored["cells"]) if same else []


def counted(cells: Cells) -> NDArray[np.int64]:
    """Return how often each of CELLS was read, (captions, 8) from (captions, each); no face is left out."""
    return np.stack([np.bincount(row[row >= 0], minlength=len(CELLS)) for row in cells])
