"""Labelled mannequins as files: what `calibrate`, `audit` and `synthesize` read as anybody's labelled images."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from fairbench.cards import catalog
from fairbench.display.progress import SILENT, Progress
from fairbench.networks import janus
from fairbench.phantom import drawing, layout
from fairbench.phantom.planted import CELLS
from fairbench.phantom.reading import BATCH, renders
from fairbench.storage import atomic, folders, kinds, pixels

MANIFEST = "manifest.csv"
_STREAM = 0x1AB  # other random numbers than those of training and measurement


def export(folder: Path, per_group: int, seed: int, *, decoded: bool, progress: Progress = SILENT) -> Path:
    """Write per_group mannequins of each of the 8 cells as PNG files and return the manifest's path, written last.

    decoded: as the phantom's image tokenizer gives them back, which is what its own images look like. No image is
    written twice, although a tokenizer of few tokens gives some of them back more than once.
    """
    folders.check(folder, kinds.LABELLED_IMAGES)
    with folders.replacing(folder, kinds.LABELLED_IMAGES) as new_folder:
        checkpoint = catalog.find("models")["phantom"].parent / layout.CHECKPOINT
        vq = janus.load(checkpoint, "cpu", "float32").net.model.vqmodel if decoded else None
        _export(new_folder, per_group, seed, vq, progress)
    return folder / MANIFEST


def _export(folder: Path, per_group: int, seed: int, vq: Any | None, progress: Progress) -> None:
    rng = np.random.default_rng([seed, _STREAM])
    rows: list[tuple[str, str, str]] = []
    written: set[bytes] = set()
    missing = np.full(len(CELLS), per_group)
    with progress.stage("images", per_group * len(CELLS)) as stage:
        while missing.any():
            images, cells = renders(BATCH, rng)
            if vq is not None:
                images = drawing.decoded(vq, drawing.encoded(vq, images))
            for image, cell in zip(images, cells, strict=True):
                data = pixels.encode(image)
                if not missing[cell] or data in written:
                    continue
                written.add(data)
                missing[cell] -= 1
                name = f"images/{len(rows):06d}.png"
                atomic.write_bytes(folder / name, data)
                rows.append((name, *CELLS[cell]))
                stage.advance()
    atomic.write_text(folder / MANIFEST, atomic.csv_text([("path", "gender", "race4"), *rows]))
