"""Contact sheets: one PNG a prompt with boxes, labels and probabilities, so that a person can check the labeller."""

from __future__ import annotations

import io
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
from PIL import Image, ImageDraw, ImageFont

from fairbench.display.labels import expanded
from fairbench.display.plain import line
from fairbench.errors import ImageError
from fairbench.labelling.faces import counted
from fairbench.labelling.labeller import Labeller
from fairbench.runs.pipeline import Outcome
from fairbench.storage import atomic, schemas
from fairbench.storage.ids import IdIndex
from fairbench.storage.reading import ImageReader, ImageRow
from fairbench.storage.store import Store
from fairbench.types import RgbImage

TILE, LINE, COLUMNS, MOST, FACES = 160, 15, 8, 64, 4
NOTE = "Labels are perceived presentation under the benchmark's categories, not anyone's identity."
_GREY, _INK, _BOX = (235, 235, 235), (20, 20, 20), (0, 160, 90)


@dataclass(frozen=True, slots=True)
class Box:
    """A counted face: its id and its place in the image, in pixels; [] where nobody said where."""

    face_id: bytes
    corners: list[float]


Boxes = dict[bytes, list[Box]]
Lines = dict[bytes, dict[str, str]]


def write(outcome: Outcome, store: Store, folder: Path) -> list[Path]:
    """Write a sheet for every prompt; at most MOST images each, with faces first. Returns the paths."""
    boxes = _boxes(outcome, store)
    by_prompt: dict[bytes, list[ImageRow]] = {}
    for row in outcome.rows:
        by_prompt.setdefault(row.request.neutral_id, []).append(row)
    shown = {neutral_id: _chosen(rows, boxes) for neutral_id, rows in by_prompt.items()}
    lines = _lines(
        outcome, store, [b for rows in shown.values() for r in rows for b in boxes.get(r.request.image_id, [])]
    )
    note = f"{NOTE}\n{expanded(x for labels in outcome.spec.labeller.declared.labels.values() for x in labels)}"
    reader, captions = ImageReader(store), _Captions(boxes, lines, outcome.spec.labeller)
    paths = []
    for number, prompt in enumerate(outcome.spec.prompts):
        rows = shown.get(prompt.neutral_id, [])
        title = f"{prompt.text}   ({len(rows)} of {len(by_prompt.get(prompt.neutral_id, []))} images)"
        path = folder / f"{number:04d}-{re.sub(r'[^a-z0-9]+', '-', prompt.subject.lower()).strip('-')[:60]}.png"
        out = io.BytesIO()
        _sheet(title, note, _tiles(rows, captions, reader), len(rows), captions.most).save(out, format="PNG")
        atomic.write_bytes(path, out.getvalue())
        paths.append(path)
    return paths


class _Captions:
    """Words below a picture."""

    def __init__(self, boxes: Boxes, lines: Lines, labeller: Labeller) -> None:
        self.boxes, self._lines, self._attributes = boxes, lines, list(labeller.card.attributes)
        several = FACES + 1 if labeller.card.face_policy.select == "all" else 0
        self.most = max(len(self._attributes), several)

    def of(self, image_id: bytes) -> list[str]:
        """Return a line an attribute; of several faces, numbered as their boxes are, a line a face."""
        lines = [self._lines.get(b.face_id, {}) for b in self.boxes.get(image_id, [])]
        if len(lines) < 2:
            return [f"{a}: {lines[0][a]}" for a in self._attributes if a in lines[0]] if lines else ["no face"]
        short = [" ".join(labels[a] for a in self._attributes if a in labels) for labels in lines]
        more = [f"and {len(lines) - FACES} more faces"] if len(lines) > FACES else []
        return [f"{i}: {text}"[:30] for i, text in enumerate(short[:FACES], 1)] + more


def _chosen(rows: Sequence[ImageRow], boxes: Boxes) -> list[ImageRow]:
    """Return at most MOST images, those without a face last; a quarter of the places is theirs if they need it."""
    faceless = [r for r in rows if r.request.image_id not in boxes]
    others = [r for r in rows if r.request.image_id in boxes]
    others = others[: max(MOST - len(faceless), MOST * 3 // 4)]
    return [*others, *faceless[: MOST - len(others)]]


def _tiles(
    rows: Sequence[ImageRow], captions: _Captions, reader: ImageReader
) -> Iterator[tuple[Image.Image | None, list[str]]]:
    """Yield (thumbnail or None, lines of text), one an image, streamed."""
    pixels = reader.stream([r for r in rows if r.status == "ok"])
    for row in rows:
        if row.status != "ok":
            yield None, [row.status, *_wrap(row.error or "")]
            continue
        image = next(pixels)[1]
        if isinstance(image, ImageError):
            yield None, ["failed", *_wrap(str(image))]
            continue
        image_id = row.request.image_id
        yield _thumbnail(image, captions.boxes.get(image_id, [])), captions.of(image_id)


def _wrap(text: str) -> list[str]:
    text = line(text)
    return [text[i : i + 26] for i in range(0, min(len(text), 130), 26)]


def _thumbnail(image: RgbImage, boxes: Sequence[Box]) -> Image.Image:
    height, width = image.shape[:2]
    scale = TILE / max(height, width)
    size = (max(1, round(width * scale)), max(1, round(height * scale)))
    thumb = Image.fromarray(image).resize(size, Image.Resampling.BILINEAR, reducing_gap=2.0)
    draw = ImageDraw.Draw(thumb)
    for i, box in enumerate(boxes, 1):
        corners = [v * scale for v in box.corners]
        if not corners:  # a face of a table of labels has no box
            continue
        draw.rectangle(corners, outline=_BOX, width=2)
        if len(boxes) > 1:
            draw.text((corners[0] + 3, corners[1] + 1), str(i), _BOX, ImageFont.load_default(12))
    return thumb


def _sheet(
    title: str, note: str, tiles: Iterator[tuple[Image.Image | None, list[str]]], count: int, lines: int
) -> Image.Image:
    font = ImageFont.load_default(12)
    columns = max(4, min(COLUMNS, count))
    step_x, step_y = TILE + 10, TILE + 8 + LINE * max(lines, 2)
    rows = -(-count // columns)
    sheet = Image.new("RGB", (columns * step_x + 10, rows * step_y + 60), "white")
    draw = ImageDraw.Draw(sheet)
    draw.text((10, 8), line(title), _INK, ImageFont.load_default(15))
    draw.text((10, 27), note, (110, 110, 110), font)
    for i, (thumb, text) in enumerate(tiles):
        x, y = 10 + i % columns * step_x, 56 + i // columns * step_y
        draw.rectangle([x, y, x + TILE - 1, y + TILE - 1], fill=_GREY)
        if thumb is not None:
            sheet.paste(thumb, (x + (TILE - thumb.width) // 2, y + (TILE - thumb.height) // 2))
        inside = thumb is None
        for j, words in enumerate(text):
            draw.text((x + 4, y + 6 + j * LINE if inside else y + TILE + 2 + j * LINE), line(words), _INK, font)
    return sheet


def _boxes(outcome: Outcome, store: Store) -> Boxes:
    """Return the counted faces of every image of the run that has one."""
    spec = outcome.spec
    ours = IdIndex(pa.array([r.request.image_id for r in outcome.rows], schemas.ID))
    boxes: Boxes = {}
    for _, table in store.scan("faces", spec.faces_key):
        kept = table.filter(pc.and_(ours.contains(table["image_id"]), counted(table, spec.labeller.card.face_policy)))
        fresh: Boxes = {}
        for row in kept.select(["image_id", "face_id", "bbox_xyxy"]).to_pylist():
            fresh.setdefault(row["image_id"], []).append(Box(row["face_id"], row["bbox_xyxy"] or []))
        boxes |= {k: v for k, v in fresh.items() if k not in boxes}  # two processes may have detected the same image
    return boxes


def _lines(outcome: Outcome, store: Store, boxes: Sequence[Box]) -> Lines:
    """Return face id -> attribute -> label and probability, of the faces that are shown."""
    shown = IdIndex(pa.array([b.face_id for b in boxes], schemas.ID))
    lines: Lines = {}
    for _, table in store.scan("labels", outcome.spec.labels_key, ["face_id", "attribute", "status", "label", "prob"]):
        for row in table.filter(shown.contains(table["face_id"])).to_pylist():
            text = row["status"] if row["label"] is None else f"{row['label']} {row['prob']:.2f}"
            lines.setdefault(row["face_id"], {})[row["attribute"]] = text
    return lines
