"""Files that annotators return: CSV of the page or of a spreadsheet, and what Label Studio exports as JSON."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from fairbench.annotation import label_studio, words
from fairbench.annotation.record import Annotation
from fairbench.cards.csvfile import Columns, read_csv
from fairbench.errors import CardError, FairbenchError

ANNOTATOR, ITEM = "annotator", "item"
SUFFIXES: Final = (".csv", ".json")
Key = tuple[str, str]
"""Annotator and item."""


@dataclass(frozen=True, slots=True)
class Answered:
    """One line of a returned file. answers: attribute -> label or other answer; without what was left empty."""

    where: str
    annotator: str
    item: str
    answers: Mapping[str, str]


def files(folder: Path, named: Sequence[Path]) -> list[Path]:
    """Return the files to collect: those named, else all in FOLDER/returned. Raises FairbenchError without any."""
    if named:
        return list(dict.fromkeys(named))
    in_folder = sorted(p for p in (folder / "returned").glob("*") if p.suffix.lower() in SUFFIXES)
    if not in_folder:
        raise FairbenchError(
            f"{folder / 'returned'} holds no CSV or JSON: put what annotators returned there, or name the files."
        )
    return in_folder


def read(paths: Iterable[Path], annotation: Annotation, items: Iterable[str]) -> dict[Key, Answered]:
    """Return who answered what: (annotator, item) -> answers, where at least one question is answered.

    Raises CardError, naming file, line, field and fix, for a missing column, an unknown item or answer, an item that
    one annotator answers twice, and an annotator of two files.
    """
    known, votes, file_of = set(items), dict[Key, Answered](), dict[str, Path]()
    for path in paths:
        of_file = dict[Key, Answered]()
        for line in _lines(path, annotation):
            if line.item not in known:
                raise CardError(
                    f"{line.where} {ITEM}: {line.item!r} is no item of this annotation; restore it, or name the file "
                    "of the annotation that it belongs to."
                )
            for attribute, answer in line.answers.items():
                _check_answer(annotation, line, attribute, answer)
            earlier = file_of.setdefault(line.annotator, path)
            if earlier != path:
                raise CardError(
                    f"{line.where} {ANNOTATOR}: {line.annotator!r} has answered in {earlier}, too; leave one of the "
                    "files out, or give one annotator another name."
                )
            key = (line.annotator, line.item)
            if key in of_file:
                raise CardError(
                    f"{line.where} {ITEM}: annotator {line.annotator!r} has answered {line.item!r} above; remove one."
                )
            of_file[key] = line
        votes |= of_file
    return {key: line for key, line in votes.items() if line.answers}


def _lines(path: Path, annotation: Annotation) -> Iterator[Answered]:
    if path.suffix.lower() == ".json":
        for number, (annotator, item, answers) in enumerate(label_studio.read(path, list(annotation.attributes)), 1):
            yield Answered(f"{path}, annotation {number}, field", annotator, item, answers)
        return
    for number, row in read_csv(path, Columns((ANNOTATOR, ITEM, *annotation.attributes), ("image",))):
        where = f"{path}, line {number}, field"
        if not row[ANNOTATOR]:
            raise CardError(f"{where} {ANNOTATOR}: it is empty; say who answered, by a name of your own or a number.")
        yield Answered(where, row[ANNOTATOR], row[ITEM], {a: row[a] for a in annotation.attributes if row[a]})


def _check_answer(annotation: Annotation, line: Answered, attribute: str, answer: str) -> None:
    choices = [*annotation.answers(attribute), words.SKIPPED]
    if answer not in choices:
        raise CardError(f"{line.where} {attribute}: {answer!r} is no answer; use one of {', '.join(choices)}.")
