"""Contact sheets: one PNG a prompt with boxes, labels and probabilities, so that a person can check the labeller."""

from __future__ import annotations

import io
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
from PIL import Image, ImageDraw, ImageFont

from fairbench import atomic, schemas
from fairbench.errors import ImageError
from fairbench.labeller import Labeller
from fairbench.stages.faces import counted
from fairbench.stages.pipeline import Outcome
from fairbench.stages.reading import ImageReader, ImageRow
from fairbench.store import Store
from fairbench.types import RgbImage

TILE, LINE, COLUMNS, MOST, FACES = 160, 15, 8, 64, 4
NOTE = "Labels are perceived presentation under the benchmark's categories, not anyone's identity."
_GREY, _INK, _BOX = (235, 235, 235), (20, 20, 20), (0, 160, 90)


@dataclass
class Seen:
    """What the run found in one image: (box, lines of text) of each counted face."""

    faces: list[tuple[list[float], list[str]]] = field(default_factory=list)


def write(outcome: Outcome, store: Store, folder: Path) -> list[Path]:
    """Write a sheet for every prompt; at most MOST images each, with faces first. Returns the paths."""
    seen = _seen(outcome, store)
    reader = ImageReader(store)
    by_prompt: dict[bytes, list[ImageRow]] = {}
    for row in outcome.rows:
        by_prompt.setdefault(row.request.neutral_id, []).append(row)
    paths = []
    for number, prompt in enumerate(outcome.plan.prompts):
        rows = by_prompt.get(prompt.neutral_id, [])
        shown = _chosen(rows, seen)
        title = f"{prompt.text}   ({len(shown)} of {len(rows)} images)"
        path = folder / f"{number:04d}-{re.sub(r'[^a-z0-9]+', '-', prompt.subject.lower()).strip('-')[:60]}.png"
        out = io.BytesIO()
        _sheet(title, _tiles(shown, seen, reader), len(shown), _lines(outcome.plan.labeller)).save(out, format="PNG")
        atomic.write_bytes(path, out.getvalue())
        paths.append(path)
    return paths


def _chosen(rows: Sequence[ImageRow], seen: dict[bytes, Seen]) -> list[ImageRow]:
    """Return at most MOST images, those without a face last; a quarter of the places is theirs if they need it."""
    faceless = [r for r in rows if r.request.image_id not in seen]
    others = [r for r in rows if r.request.image_id in seen]
    others = others[: max(MOST - len(faceless), MOST * 3 // 4)]
    return [*others, *faceless[: MOST - len(others)]]


def _lines(labeller: Labeller) -> int:
    several = FACES + 1 if labeller.card.face_policy.select == "all" else 0
    return max(len(labeller.card.attributes), several)


def _tiles(rows: Sequence[ImageRow], seen: dict[bytes, Seen], reader: ImageReader) -> Iterator[tuple[Any, list[str]]]:
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
        faces = seen.get(row.request.image_id, Seen()).faces
        yield _thumbnail(image, faces), _captions(faces)


def _captions(faces: Sequence[tuple[list[float], list[str]]]) -> list[str]:
    """Return a line an attribute; of several faces, numbered as their boxes are, a line a face."""
    if len(faces) < 2:
        return faces[0][1] if faces else ["no face"]
    short = [" ".join(line.split(": ", 1)[1] for line in text) for _, text in faces]
    more = [f"and {len(faces) - FACES} more faces"] if len(faces) > FACES else []
    return [f"{i}: {text}"[:30] for i, text in enumerate(short[:FACES], 1)] + more


def _wrap(text: str) -> list[str]:
    return [text[i : i + 26] for i in range(0, min(len(text), 130), 26)]


def _thumbnail(image: RgbImage, faces: Sequence[tuple[list[float], list[str]]]) -> Image.Image:
    height, width = image.shape[:2]
    scale = TILE / max(height, width)
    size = (max(1, round(width * scale)), max(1, round(height * scale)))
    thumb = Image.fromarray(image).resize(size, Image.Resampling.BILINEAR, reducing_gap=2.0)
    draw = ImageDraw.Draw(thumb)
    for i, (box, _) in enumerate(faces, 1):
        draw.rectangle([v * scale for v in box], outline=_BOX, width=2)
        if len(faces) > 1:
            draw.text((box[0] * scale + 3, box[1] * scale + 1), str(i), _BOX, ImageFont.load_default(12))
    return thumb


def _sheet(title: str, tiles: Iterator[tuple[Any, list[str]]], count: int, lines: int) -> Image.Image:
    font = ImageFont.load_default(12)
    columns = max(4, min(COLUMNS, count))
    step_x, step_y = TILE + 10, TILE + 8 + LINE * max(lines, 2)
    rows = -(-count // columns)
    sheet = Image.new("RGB", (columns * step_x + 10, rows * step_y + 60), "white")
    draw = ImageDraw.Draw(sheet)
    draw.text((10, 8), title, _INK, ImageFont.load_default(15))
    draw.text((10, 32), NOTE, (110, 110, 110), font)
    for i, (thumb, text) in enumerate(tiles):
        x, y = 10 + i % columns * step_x, 56 + i // columns * step_y
        draw.rectangle([x, y, x + TILE - 1, y + TILE - 1], fill=_GREY)
        if thumb is not None:
            sheet.paste(thumb, (x + (TILE - thumb.width) // 2, y + (TILE - thumb.height) // 2))
        inside = thumb is None
        for j, line in enumerate(text):
            draw.text((x + 4, y + 6 + j * LINE if inside else y + TILE + 2 + j * LINE), line, _INK, font)
    return sheet


def _seen(outcome: Outcome, store: Store) -> dict[bytes, Seen]:
    """Return the counted faces of every image of the run with their label lines."""
    plan = outcome.plan
    wanted = pa.array([r.request.image_id for r in outcome.rows], schemas.ID)
    lines: dict[bytes, dict[str, str]] = {}
    for _, table in store.scan("labels", plan.labels_key, ["face_id", "image_id", "attribute", "label", "prob"]):
        kept = table.filter(pc.is_in(table["image_id"], value_set=wanted)).to_pydict()
        for face_id, attribute, label, prob in zip(
            kept["face_id"], kept["attribute"], kept["label"], kept["prob"], strict=True
        ):
            lines.setdefault(face_id, {})[attribute] = f"{attribute}: {label} {prob:.2f}"
    found: dict[bytes, Seen] = {}
    done: set[bytes] = set()
    for _, table in store.scan("faces", plan.faces_key):
        ours = pc.is_in(table["image_id"], value_set=wanted)
        kept_faces = table.filter(pc.and_(ours, counted(table, plan.labeller.card.face_policy)))
        for row in kept_faces.select(["image_id", "face_id", "bbox_xyxy"]).to_pylist():
            if row["face_id"] in done:
                continue
            done.add(row["face_id"])
            text = lines.get(row["face_id"], {})
            ordered = [text[a] for a in plan.labeller.card.attributes if a in text]
            found.setdefault(row["image_id"], Seen()).faces.append((row["bbox_xyxy"], ordered))
    return found
