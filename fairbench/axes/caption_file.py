"""Captions of a run's pictures, as a table: a row per picture, with the columns image and caption."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Final

from fairbench.axes.run_images import RunImages
from fairbench.cards.csvfile import Columns, read_csv
from fairbench.errors import CardError
from fairbench.storage import atomic

HEADER: Final = ("image", "caption")


def read(path: Path, images: RunImages) -> dict[bytes, str]:
    """Return id of an image -> its caption, in the run's order.

    Raises CardError for a row whose image the run does not have, that stands twice or has no caption, and where no row
    is left. Pictures without a row have no caption.
    """
    captions: dict[bytes, str] = {}
    for line, row in read_csv(path, Columns(HEADER, ("prompt",), aliases={"image_id": "image"})):
        where = f"{path}, line {line}, field"
        try:
            image = bytes.fromhex(row["image"])
        except ValueError:
            image = b""
        if image not in images.prompt_of:
            raise CardError(
                f"{where} image: the run has no picture {row['image']!r:.100}; its column image_id of "
                "`fairbench.load(RUN).images()` names them."
            )
        if image in captions:
            raise CardError(f"{where} image: {row['image']} has a caption already; remove one.")
        if not row["caption"]:
            raise CardError(f"{where} caption: it is empty; write the caption, or remove the row.")
        captions[image] = row["caption"]
    if not captions:
        raise CardError(f"{path} holds no captions: write a row per picture, with its image and caption.")
    return {image: captions[image] for image in images.prompt_of if image in captions}


def write(path: Path, images: RunImages, captions: Mapping[bytes, str]) -> None:
    """Write captions as `read` reads them, with the prompts beside them."""
    atomic.write_text(path, atomic.csv_text(_rows(images, captions)))


def _rows(images: RunImages, captions: Mapping[bytes, str]) -> Iterable[Sequence[str]]:
    yield (*HEADER, "prompt")
    for image, caption in captions.items():
        yield image.hex(), caption, images.prompts[images.prompt_of[image]].text
