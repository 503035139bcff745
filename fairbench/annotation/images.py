"""The sampled images as annotators see them: scaled down, encoded again (no metadata travels), the face's place."""

from __future__ import annotations

import base64
import io
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import pyarrow as pa

from fairbench.display.progress import Progress
from fairbench.runs.result import Run

if TYPE_CHECKING:
    from PIL.Image import Image

SIDE: Final = 640
"""Pixels of the longer side, unless the face would be too small then."""
FACE: Final = 112
"""Pixels of the longer side of the face, at least, where the image has them."""
LEAST: Final = 320
"""Pixels to which the longer side of a tiny image is enlarged."""
MOST: Final = 1280
"""Pixels of the longer side, at most."""
_QUALITY: Final = 88
_WHOLE: Final = (0.0, 0.0, 1.0, 1.0)
_LINES: Final = ((4, (0, 0, 0)), (2, (255, 255, 255)))
"""Width and colour of the lines of a drawn mark: one that is seen on light images, and on it one for dark ones."""


@dataclass(frozen=True, slots=True)
class Shown:
    """An image for annotators. jpeg: its bytes. box: left, top, width and height of the face, as shares of the image's;
    None where no face is asked about.
    """

    jpeg: bytes
    width: int
    height: int
    box: tuple[float, float, float, float] | None

    @property
    def text(self) -> str:
        """The bytes in base64."""
        return base64.b64encode(self.jpeg).decode()

    @property
    def uri(self) -> str:
        """The image as a data URI."""
        return f"data:image/jpeg;base64,{self.text}"


def read(runs: Sequence[Run], sample: pa.Table, progress: Progress, *, marked: bool) -> dict[str, Shown]:
    """Return item -> its image. marked: the face's box is drawn into it. Raises FairbenchError, ImageError."""
    rows = sample.select(["item", "run_id", "image_id", "face_box"]).to_pylist()
    images = dict[str, Shown]()
    with progress.stage("pictures", len(rows)) as bar:
        for run in runs:
            own = {bytes.fromhex(row["image_id"]): row for row in rows if row["run_id"] == run.id}
            for row, image in _of_run(run, own):
                images[row["item"]] = shown(image, row["face_box"], marked=marked)
                bar.advance(1)
    return images


def _of_run(run: Run, rows: Mapping[bytes, dict[str, Any]]) -> Iterator[tuple[dict[str, Any], Image]]:
    yield from ((rows[image_id], image) for image_id, image in run.pictures(rows))


def shown(image: Image, face: Sequence[float] | None, *, marked: bool = False) -> Shown:
    """Return an image as annotators see it. face: left, top, right, bottom in its pixels; it may reach beyond them.

    A box that is the whole image marks nothing, as with labellers that are asked about whole images.
    """
    from PIL import Image as Pillow

    width, height = image.size
    box = None if face is None else _share(face, width, height)
    box = None if box == _WHOLE else box
    needed = SIDE / max(width, height)
    if box is not None:
        needed = max(needed, FACE / max(box[2] * width, box[3] * height, 1.0))
    scale = max(min(1.0, needed, MOST / max(width, height)), LEAST / max(width, height))
    size = (max(1, round(width * scale)), max(1, round(height * scale)))
    if size != image.size:
        image = image.resize(size, Pillow.Resampling.LANCZOS, reducing_gap=3.0)
    if marked and box is not None:
        image = _with_mark(image, box)
    out = io.BytesIO()
    image.save(out, format="JPEG", quality=_QUALITY, optimize=True)
    return Shown(out.getvalue(), *size, box)


def _share(face: Sequence[float], width: int, height: int) -> tuple[float, float, float, float]:
    """Return the box in shares of the image's sides, cut at its edges."""
    left, right = (min(max(x / width, 0.0), 1.0) for x in (face[0], face[2]))
    top, bottom = (min(max(y / height, 0.0), 1.0) for y in (face[1], face[3]))
    return (round(left, 4), round(top, 4), round(right - left, 4), round(bottom - top, 4))


def _with_mark(image: Image, box: tuple[float, float, float, float]) -> Image:
    from PIL import ImageDraw

    marked = image.copy()
    left, top, width, height = box
    corners = [left * image.width, top * image.height, (left + width) * image.width, (top + height) * image.height]
    for line, colour in _LINES:
        ImageDraw.Draw(marked).rectangle(corners, outline=colour, width=line)
    return marked
