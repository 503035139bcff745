"""The folder of an annotation: what is sent out (pages/, label-studio/ or csv/), what stays, and what was collected."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any, Final, Literal

import pyarrow as pa
import pyarrow.parquet as pq

from fairbench.annotation import label_studio, page, record, returned, sampling, words
from fairbench.annotation.agreement import Agreement
from fairbench.annotation.collect import Collected
from fairbench.annotation.images import Shown
from fairbench.annotation.record import Annotation
from fairbench.display.json_values import plain
from fairbench.errors import FairbenchError
from fairbench.storage import atomic, folders, kinds

Format = Literal["html", "label-studio", "csv"]
FORMATS: Final = ("html", "label-studio", "csv")
SENT: Final[Mapping[str, str]] = {"html": "pages", "label-studio": "label-studio", "csv": "csv"}
"""Format -> the folder that is sent to annotators."""
MAX_PAGE: Final = 400 << 20
"""Bytes of a page: browsers hold no longer text."""


def check(folder: Path) -> None:
    """Refuse, before any work, a folder that cannot be written or that holds something else. Raises FairbenchError."""
    folders.check(folder, kinds.ANNOTATION)


def write(
    folder: Path, annotation: Annotation, sample: pa.Table, images: Mapping[str, Shown], how: Format
) -> list[Path]:
    """Write the sample and what annotators get; return the files for them.

    Nothing of an earlier call is removed. Raises FairbenchError where the folder holds another annotation, whose pages
    may have been sent out.
    """

    def look_at_earlier(real: Path) -> None:
        earlier = record.read(real) if (real / record.FILE).is_file() else annotation
        if earlier.id != annotation.id:
            raise FairbenchError(
                f"{folder} holds another annotation, whose answers would belong to no image: name another folder."
            )
        if not annotation.annotators.described:
            kept = annotation.described(earlier.annotators.described)
            atomic.write_text(new / record.FILE, kept.json_text())

    with folders.replacing(folder, kinds.ANNOTATION, before=look_at_earlier) as new:
        _write_parquet(new / sampling.FILE, sample)
        atomic.write_text(new / record.FILE, annotation.json_text())
        if how == "html":
            _pages(new / SENT[how], annotation, images)
        elif how == "label-studio":
            _label_studio(new / SENT[how], annotation, images)
        else:
            _csv(new / SENT[how], annotation, images)
        names = [p.relative_to(new) for p in sorted((new / SENT[how]).iterdir()) if p.is_file()]
    return [folder / name for name in names]


def _pages(folder: Path, annotation: Annotation, images: Mapping[str, Shown]) -> None:
    size = sum(len(image.jpeg) for image in images.values()) * 4 // 3
    if size > MAX_PAGE:
        raise FairbenchError(
            f"A page of {len(images)} images has {size >> 20} MiB, and browsers read at most {MAX_PAGE >> 20}: lower "
            "--per-prompt, or use --format csv."
        )
    for number in range(1, annotation.annotators.number + 1):
        text = page.page(annotation, images, number)
        atomic.write_chunks(folder / f"annotator-{number}.html", (piece.encode() for piece in text))


def _label_studio(folder: Path, annotation: Annotation, images: Mapping[str, Shown]) -> None:
    items = page.order(annotation, list(images), 1)
    uris = {name: image.uri for name, image in images.items()}
    atomic.write_text(folder / "config.xml", label_studio.config(annotation.attributes, annotation.asked))
    atomic.write_text(folder / "tasks.json", label_studio.tasks(items, uris))


def _csv(folder: Path, annotation: Annotation, images: Mapping[str, Shown]) -> None:
    for name, image in images.items():
        atomic.write_bytes(folder / "images" / f"{name}.jpg", image.jpeg)
    header = [returned.ANNOTATOR, returned.ITEM, "image", *annotation.attributes]
    for number in range(1, annotation.annotators.number + 1):
        items = page.order(annotation, list(images), number)
        rows = [[number, item, f"images/{item}.jpg", *[""] * len(annotation.attributes)] for item in items]
        atomic.write_text(folder / f"annotator-{number}.csv", atomic.csv_text([header, *rows]))


def write_collected(folder: Path, collected: Collected) -> dict[str, Any]:
    """Write annotations.csv, labels.parquet, labels.csv and agreement.json; return what the last one holds."""
    content = summary(collected)
    columns = ["annotator", "item", *collected.annotations[0]] if collected.annotations else []
    header = list(dict.fromkeys(columns))
    with folders.replacing(folder, kinds.ANNOTATION) as new:
        _write_parquet(new / "labels.parquet", collected.labels)
        rows = (list(row.values()) for row in collected.labels.to_pylist())
        atomic.write_text(new / "labels.csv", atomic.csv_text([collected.labels.column_names, *rows]))
        lines = ([row[name] for name in header] for row in collected.annotations)
        atomic.write_text(new / "annotations.csv", atomic.csv_text([header, *lines]))
        atomic.write_text(new / "agreement.json", json.dumps(content, indent=2, allow_nan=False) + "\n")
    return content


def summary(collected: Collected) -> dict[str, Any]:
    """Return the agreement as plain data; what could not be computed is None."""
    annotation = collected.annotation
    content: dict[str, Any] = plain(
        {
            "note": annotation.note,
            "target": words.TARGET,
            "errors": words.ERRORS,
            "annotation": annotation.id,
            "annotators_described": annotation.annotators.described,
            "images": collected.images,
            "annotators": [asdict(each) for each in collected.annotators],
            "attributes": [_attribute(each) for each in collected.agreements],
            "least_alpha": words.MIN_ALPHA,
        }
    )
    return content


def _attribute(agreement: Agreement) -> dict[str, Any]:
    return {**asdict(agreement), "reliable": agreement.reliable}


def _write_parquet(path: Path, table: pa.Table) -> None:
    sink = pa.BufferOutputStream()
    pq.write_table(table, sink, write_page_checksum=True)
    atomic.write_bytes(path, memoryview(sink.getvalue()))


def describe(folder: Path, annotation: Annotation, who: str) -> Annotation:
    """Store who the annotators are, in words, and return the record."""
    changed = annotation.described(who)
    atomic.write_text(folder / record.FILE, changed.json_text())
    return changed
