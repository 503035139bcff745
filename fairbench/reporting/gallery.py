"""The pictures of a report: thumbnails as files, and what is known of each image."""

from __future__ import annotations

import io
import math
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from fairbench import registry, threads
from fairbench.display import plain
from fairbench.display.progress import Progress
from fairbench.errors import FairbenchError
from fairbench.labelling.labeller import LabelSpace
from fairbench.runs import evidence
from fairbench.runs.result import Run

if TYPE_CHECKING:
    from PIL.Image import Image

SIDE: Final = 192
"""Longest side of a thumbnail in pixels."""
QUALITY: Final = 78
CHUNK: Final = 1000
"""Images of one script of data."""
_WAITING: Final = 64
"""Files of pictures that may wait for their thumbnail: what is held in memory."""
Thumbnail = tuple[tuple[int, int], bytes]
"""Width and height of the picture itself, and the thumbnail's file."""


def records(run: Run) -> list[dict[str, Any]]:
    """Return what is known of every image: prompt (its index), sample, seed, status, error, and its faces.

    A face: box ([left, top, right, bottom] in pixels; null: unknown), counted, and attribute -> [label, probability].
    """
    table, boxes = run.images(), run.boxes()
    attributes = list(LabelSpace(run.record.labeller).card.attributes)
    prompt_of = {prompt.neutral_id.hex(): i for i, prompt in enumerate(evidence.read_prompts(run.folder))}
    images: dict[str, dict[str, Any]] = {}
    for row in table.to_dict("records"):
        image = images.setdefault(
            row["image_id"],
            {
                "id": row["image_id"],
                "prompt": prompt_of[row["prompt_id"]],
                "sample": int(row["sample_index"]),
                "seed": str(row["seed"]),  # beyond what a script's numbers hold
                "status": row["status"],
                "error": plain.shown(row["error"]) if isinstance(row["error"], str) else None,
                "asked": plain.shown(row["text"]) if row["text"] != row["prompt"] else None,
                "faces": [],
            },
        )
        if not _none(row["face"]):
            labels = {a: [_text(row[a]), _number(row[f"{a}.prob"])] for a in attributes}
            box = boxes.get((row["image_id"], int(row["face"])))
            image["faces"].append(
                {"box": box and [round(v, 1) for v in box], "counted": bool(row["counted"]), "labels": labels}
            )
    return list(images.values())


NOT_USED: Final = "This file could not be used."
"""In place of an error that names a file of the user's."""
REAL_PEOPLE: Final = "files of their own, which may show real people"
"""What is said of pictures that are left out unless they are asked for."""


def of_files(run: Run) -> bool:
    """Whether the run's images are, or may be, files of the user's, which may show real people."""
    try:
        adapter = registry.resolve("adapters", run.record.model.adapter)
    except FairbenchError:  # of a plug-in that is not here
        return True
    return all(hasattr(adapter, name) for name in ("prompts", "requests"))  # protocols.PromptSource


def write(run: Run, images: list[dict[str, Any]], folder: Path, progress: Progress) -> str | None:
    """Write a thumbnail of every image that has pixels, and note in its record its file and size.

    Returns why there are no pictures, where the store is gone; None where all were written.
    """
    by_id = {bytes.fromhex(image["id"]): image for image in images}
    drawn = [key for key, image in by_id.items() if image["status"] in ("ok", "no_face")]
    try:
        with progress.stage("thumbnails", len(drawn)) as bar, ThreadPoolExecutor(threads.count()) as pool:
            folder.mkdir(parents=True, exist_ok=True)
            for image_id, (size, data) in _thumbnails(run.picture_loaders(drawn), pool):
                name = f"{image_id.hex()[:20]}.webp"
                (folder / name).write_bytes(data)  # the report is put in its place when it is whole
                by_id[image_id] |= {"file": name, "size": size}
                bar.advance()
    except FairbenchError as err:
        return str(err)
    return None


def _thumbnails(
    loaders: Iterable[tuple[bytes, Callable[[], Image]]], pool: ThreadPoolExecutor
) -> Iterator[tuple[bytes, Thumbnail]]:
    """Yield ids and thumbnails; pictures are decoded in the pool, too, which takes longest."""
    waiting: deque[tuple[bytes, Future[Thumbnail]]] = deque()
    for image_id, load in loaders:
        waiting.append((image_id, pool.submit(_thumbnail, load)))
        if len(waiting) >= _WAITING:
            first, done = waiting.popleft()
            yield first, done.result()
    for first, done in waiting:
        yield first, done.result()


def _thumbnail(load: Callable[[], Image]) -> Thumbnail:
    picture = load()
    small, out = picture.convert("RGB"), io.BytesIO()
    small.thumbnail((SIDE, SIDE), reducing_gap=1.0)  # means of whole blocks first, which costs a fifth
    # No metadata of the image goes along. Method 2 takes a third of the default's time for files 5 % larger.
    small.save(out, format="WEBP", quality=QUALITY, method=2)
    return picture.size, out.getvalue()


def _none(value: Any) -> bool:
    return value is None or value != value or str(value) == "<NA>"


def _text(value: Any) -> str | None:
    return value if isinstance(value, str) else None


def _number(value: Any) -> float | None:
    return None if _none(value) or not math.isfinite(value) else round(float(value), 4)
