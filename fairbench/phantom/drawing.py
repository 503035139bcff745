"""Many images of many captions, drawn by the phantom and read back: the counts behind its realised truth."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from fairbench.display.progress import SILENT, Progress
from fairbench.errors import FairbenchError
from fairbench.networks.janus import JanusModel, rgb
from fairbench.phantom.planted import CELLS
from fairbench.phantom.reading import Cells, Reader
from fairbench.storage import atomic

if TYPE_CHECKING:
    import torch

BLOCK = 256
"""Images drawn at a time."""
CODED_AT_ONCE = 8
"""Images encoded or decoded at a time: more of these do not fit into a processor's cache."""


def images(model: JanusModel, captions: Sequence[str], seeds: Sequence[int], guidance: float) -> NDArray[np.uint8]:
    """Return one image per caption, uint8 (n, side, side, 3): as the adapter draws them, but decoded in batches.

    Raises FairbenchError where the model's logits are not finite numbers.
    """
    tokens = model.sample([model.prompt_ids(c) for c in captions], seeds, guidance, read_once=True)
    if (tokens < 0).any():
        raise FairbenchError("The phantom's logits are not finite numbers: its weights are damaged, build it again.")
    return decoded(model.net.model.vqmodel, tokens)


def as_pixels(images: NDArray[np.uint8]) -> torch.Tensor:
    """Return float (n, 3, side, side) in [-1, 1], channels last in memory (faster on a CPU)."""
    import torch

    values = torch.from_numpy(images).permute(0, 3, 1, 2).float() / 127.5 - 1
    return values.contiguous(memory_format=torch.channels_last)


def encoded(vq: Any, images: NDArray[np.uint8]) -> NDArray[np.int64]:
    """Return the image tokens (n, N) of images (n, side, side, 3)."""
    import torch

    from fairbench.networks.janus_tokens import codes_of

    vq = vq.to(memory_format=torch.channels_last)  # the layout that is fastest on a CPU
    with torch.inference_mode():
        batches = [as_pixels(images[i : i + CODED_AT_ONCE]) for i in range(0, len(images), CODED_AT_ONCE)]
        return np.asarray(torch.cat([codes_of(vq, batch) for batch in batches]).numpy())


def decoded(vq: Any, tokens: NDArray[np.int64]) -> NDArray[np.uint8]:
    """Return the images (n, side, side, 3) of image tokens (n, N)."""
    import torch

    vq = vq.to(memory_format=torch.channels_last)
    with torch.inference_mode():
        batches = torch.split(torch.from_numpy(tokens), CODED_AT_ONCE)
        return np.concatenate([rgb(vq.decode(batch).permute(0, 2, 3, 1).numpy()) for batch in batches])


def read_back(
    model: JanusModel,
    reader: Reader,
    captions: Sequence[str],
    images_per_caption: int,
    seed: int,
    guidance: float,
    record_path: Path | None = None,
    progress: Progress = SILENT,
    stage_name: str = "drawn",
) -> Cells:
    """Return the cell of every image, shape (captions, images_per_caption); NOBODY where no face was found.

    Noise depends on seed, caption index and image index alone. record_path: a file where finished captions are
    remembered, so that a stopped count goes on. Raises FairbenchError for a caption without a single face, which has
    no shares.
    """
    identity = {"captions": list(captions), "each": images_per_caption, "seed": seed, "guidance": guidance}
    rows: list[list[int]] = recorded(record_path, identity).get("cells", [])
    with progress.stage(stage_name, len(captions) - len(rows), "prompts") as stage:
        for index in range(len(rows), len(captions)):
            rng = np.random.default_rng([seed, index])
            seeds = rng.integers(2**63, size=images_per_caption).tolist()
            blocks = [seeds[start : start + BLOCK] for start in range(0, images_per_caption, BLOCK)]
            cells = [reader.read(images(model, [captions[index]] * len(block), block, guidance)) for block in blocks]
            rows.append(np.concatenate(cells).tolist())
            if max(rows[-1]) < 0:
                raise FairbenchError(
                    f"No face was found in any of {images_per_caption} images of {captions[index]!r} at guidance "
                    f"{guidance:g}: this phantom cannot be measured, build one with another seed in another folder."
                )
            record(record_path, identity, cells=rows)
            stage.advance()
    return np.array(rows, dtype=np.int64).reshape(len(captions), images_per_caption)


def recorded(path: Path | None, identity: Any) -> dict[str, Any]:
    """Return what `record` wrote into the file for the same identity; empty where it holds nothing of the kind."""
    if path is None or not path.exists():
        return {}
    contents: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return contents if contents["of"] == identity else {}


def record(path: Path | None, identity: Any, **figures: Any) -> None:
    """Write figures to a file, from which a stopped measurement goes on. identity: all that they depend on."""
    if path is not None:
        atomic.write_text(path, json.dumps({"of": identity, **figures}) + "\n")


def count_cells(cells: Cells) -> NDArray[np.int64]:
    """Return how often each of CELLS was read, (captions, 8), from (captions, images), leaving out NOBODY."""
    return np.stack([np.bincount(row[row >= 0], minlength=len(CELLS)) for row in cells])
