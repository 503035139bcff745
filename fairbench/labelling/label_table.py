"""Label tables: labels of faces that were made elsewhere, by people or by another tool, as a CSV.

A row is a face, or an image on which nobody is seen. It names its image, or a prompt and the number of the sample, and
has a column per attribute. docs/howto/labels-made-elsewhere.md describes the columns.
"""

from __future__ import annotations

import hashlib
import math
import re
import unicodedata
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from fairbench import keys, registry
from fairbench.cards.cards import RESERVED_LABELS, LabellerCard
from fairbench.cards.csvfile import read_csv
from fairbench.cards.texts import nfc
from fairbench.contracts import SUM_TOLERANCE
from fairbench.errors import CardError
from fairbench.labelling import label_columns
from fairbench.labelling.label_columns import LabelColumns

UNCLEAR: Final = "unclear"
_UNCLEAR_WORDS: Final = (UNCLEAR, "cannot tell")
_NOBODY: Final = (*RESERVED_LABELS, "no_face", "no_person")
_IMAGE_ID: Final = re.compile(r"[0-9a-fA-F]{32}")


@dataclass(frozen=True, slots=True)
class LabelRow:
    """A face of a table, or an image without one.

    image: a file or an image's id, "" where the row names a prompt and a sample (both from 0). numbered: the sample is
    the row's own place among those of its prompt, as the table has neither images nor samples. face: its number, None
    where nobody is seen. labels: attribute -> label, or UNCLEAR; empty where nobody is seen. probs: attribute -> the
    probability of each class, where the table has them.
    """

    line: int
    model: str
    image: str
    prompt: str
    is_text: bool
    sample: int | None
    numbered: bool
    face: int | None
    labels: Mapping[str, str]
    probs: Mapping[str, tuple[float, ...]]

    @property
    def key(self) -> tuple[str, ...]:
        """What tells the row's image from other images of the table."""
        return (self.model, self.image) if self.image else (self.model, "", self.prompt, str(self.sample))

    @property
    def name(self) -> str:
        """The image in words."""
        return self.image or f"sample {self.sample} of {self.prompt!r}"


@dataclass(frozen=True, slots=True)
class LabelTable:
    """A checked table. sha256: of its content; order of rows and columns, blanks and further columns do not count."""

    path: Path
    columns: LabelColumns
    rows: tuple[LabelRow, ...]
    sha256: str

    def where(self, row: LabelRow, field: str) -> str:
        """Return the beginning of a sentence about a row."""
        return f"{self.path}, line {row.line}, field {field}"

    def of_model(self, name: str) -> list[LabelRow]:
        """Return the rows of a model; without a column `model`, all. Raises CardError where the model has none."""
        if not any(row.model for row in self.rows):
            return list(self.rows)
        rows = [row for row in self.rows if row.model == name]
        if not rows:
            models = sorted({row.model for row in self.rows})
            raise CardError(
                f"{self.path}, field model: no row is of {name!r}{registry.suggest(name, models)}; name one of "
                f"{', '.join(models[:8])} with --model, as in --model labels-only:{models[0]}."
            )
        return rows


def read(path: Path, card: LabellerCard | None = None) -> LabelTable:
    """Read a label table. card: declares the attributes and their classes; None takes them from the table.

    Raises CardError, naming file, line, field and fix, for whatever does not hold.
    """
    columns = label_columns.of_file(path, card)
    cells = list(read_csv(path, columns.known))
    if not cells:
        raise CardError(f"{path} holds no rows: add one for each face, and one for each image without a face.")
    runs = {row["run_id"]: line for line, row in reversed(cells) if "run_id" in row}
    if len(runs) > 1:
        raise CardError(
            f"{path}, line {max(runs.values())}, field run_id: the labels are of {len(runs)} runs; keep one's."
        )
    columns = columns.with_classes(cells)
    rows = _Reader(path, columns).read(cells)
    content = sorted(_canonical(row) for row in rows)
    sha256 = hashlib.sha256(keys.canonical(content).encode()).hexdigest()
    return LabelTable(path, columns, tuple(rows), sha256)


def _canonical(row: LabelRow) -> list[Any]:
    face = -1 if row.face is None else row.face
    sample = -1 if row.image or row.numbered else row.sample
    place = [row.model, row.image, "" if row.image else row.prompt, sample, face]
    return [*place, sorted(row.labels.items()), [[name, *row.probs[name]] for name in sorted(row.probs)]]


class _Reader:
    """Turns lines into rows, and remembers what stands where, so that no face is labelled twice."""

    def __init__(self, path: Path, columns: LabelColumns) -> None:
        self._path, self._columns = path, columns
        self._lines: dict[tuple[str, ...], dict[int | None, int]] = {}
        self._samples: dict[tuple[str, str], int] = {}

    def read(self, cells: Sequence[tuple[int, Mapping[str, str]]]) -> list[LabelRow]:
        rows = [self._row(line, row) for line, row in cells]
        for row in rows:
            self._refuse_repeat(row)
        return rows

    def _row(self, line: int, cells: Mapping[str, str]) -> LabelRow:
        where = f"{self._path}, line {line}, field"
        labels, probs = self._labels(where, cells)
        face = self._face(where, cells, labels)
        model, prompt = cells.get("model", ""), nfc(cells.get("prompt") or cells.get("prompt_id") or "")
        if "model" in cells and not model:
            raise CardError(f"{where} model: it is empty; name the model, or leave the column out.")
        image, sample, numbered = self._image(where, cells, face), _number(where, "sample", cells.get("sample")), False
        if not image and not prompt:
            raise CardError(f"{where} {'image' if 'image' in cells else 'prompt'}: it is empty; say which it is of.")
        if not image and sample is None:
            sample, numbered = self._samples.get((model, prompt), 0), True
            self._samples[model, prompt] = sample + 1
            if "sample" in cells or face not in (None, 0):
                raise CardError(
                    f"{where} {'sample' if 'sample' in cells else 'face'}: nothing says which image of the prompt this "
                    "is; give the image or the number of the sample in every row."
                )
        if face is None:
            labels, probs = {}, {}
        is_text = bool(cells.get("prompt"))
        return LabelRow(line, model, image, prompt, is_text, sample, numbered, face, labels, probs)

    def _image(self, where: str, cells: Mapping[str, str], face: int | None) -> str:
        image = unicodedata.normalize("NFC", cells.get("image", "")).replace("\\", "/")
        if "image" in cells and not image:
            raise CardError(f"{where} image: it is empty; name the image's file or id.")
        return image.lower() if _IMAGE_ID.fullmatch(image) else image

    def _labels(self, where: str, cells: Mapping[str, str]) -> tuple[dict[str, str], dict[str, tuple[float, ...]]]:
        """Return a line's labels as they are counted; "" where a field is empty, a word of _NOBODY as it is."""
        labels, probs = dict[str, str](), dict[str, tuple[float, ...]]()
        for name in self._columns.given:
            classes = self._columns.classes[name]
            values = self._probabilities(where, name, classes, cells)
            label = cells.get(name, "")
            if values is not None and not label:
                label = classes[values.index(max(values))]
            if label in _UNCLEAR_WORDS:
                label, values = UNCLEAR, None
            elif label and label not in (*classes, *_NOBODY):
                choices = [*classes, UNCLEAR]
                raise CardError(
                    f"{where} {name}: {label!r} is no class of {name}{registry.suggest(label, choices)}; write one of "
                    f"{', '.join(choices)}, or declare the classes with --labeller."
                )
            labels[name] = label
            if values is not None:
                probs[name] = values
        return labels, probs

    def _probabilities(
        self, where: str, name: str, classes: Sequence[str], cells: Mapping[str, str]
    ) -> tuple[float, ...] | None:
        """Return the probabilities of an attribute's classes, scaled to sum to 1; None where a line has none."""
        if name not in self._columns.with_probabilities:
            return None
        fields = [f"{name}[{label}]" for label in classes]
        texts = [cells[field] for field in fields]
        if not any(texts):
            return None
        values = [_probability(where, field, text) for field, text in zip(fields, texts, strict=True)]
        total = math.fsum(values)
        if abs(total - 1) > SUM_TOLERANCE:
            raise CardError(f"{where} {fields[0]}: the probabilities of {name} sum to {total:.4g}; they must sum to 1.")
        return tuple(value / total for value in values)

    def _face(self, where: str, cells: Mapping[str, str], labels: Mapping[str, str]) -> int | None:
        """Return the face's number, None where nobody is seen, which all fields have to say then."""
        status, number = cells.get("status", ""), cells.get("face")
        if status not in ("", "ok", *_NOBODY):
            raise CardError(f"{where} status: {status!r} is neither ok nor no face; write one of these.")
        seen = {name: label for name, label in labels.items() if label and label not in _NOBODY}
        said_nobody = status in _NOBODY or any(label in _NOBODY for label in labels.values())
        if not seen and (said_nobody or number == ""):
            return None
        if said_nobody:
            name, label = next(iter(seen.items()))
            raise CardError(
                f"{where} {name}: it says {label!r}, where another field says that nobody is seen; fix one."
            )
        if number == "":
            raise CardError(
                f"{where} face: it is empty, but the row has labels; write the face's number, 0 for the first."
            )
        empty = next((name for name, label in labels.items() if not label), None)
        if empty is not None:
            raise CardError(f"{where} {empty}: it is empty; write a class, {UNCLEAR}, or no face where nobody is seen.")
        return _number(where, "face", number) or 0

    def _refuse_repeat(self, row: LabelRow) -> None:
        lines = self._lines.setdefault(row.key, {})
        other = lines.get(row.face)
        if other is None and lines and (row.face is None or None in lines):
            other = next(iter(lines.values()))
        if other is not None:
            what = "an image without a face" if row.face is None else f"face {row.face}"
            raise CardError(
                f"{self._path}, line {row.line}, field {'image' if row.image else 'sample'}: {row.name} is labelled in "
                f"line {other} already (here as {what}); remove one line, or number its faces in a column face."
            )
        lines[row.face] = row.line


def _number(where: str, field: str, text: str | None) -> int | None:
    if not text:
        return None
    if not re.fullmatch(r"[0-9]{1,9}", text):
        raise CardError(f"{where} {field}: {text[:80]!r} is no whole number from 0.")
    return int(text)


def _probability(where: str, field: str, text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not 0 <= value <= 1:
        raise CardError(f"{where} {field}: {text[:80]!r} is no probability; write a number from 0 to 1.")
    return value
