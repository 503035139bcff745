"""Tables that people write, as CSV or as JSON lines, with named columns; errors name file, line and field.

The names of columns are matched without surrounding blanks and without case. A name that nearly is a known one is an
error, because ignoring it would change numbers; any other unknown column is reported by a notice.
"""

from __future__ import annotations

import csv
import io
import json
import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, Literal

from fairbench.cards.textfile import read_text
from fairbench.errors import CardError
from fairbench.notices import notice
from fairbench.storage.cells import bare

Others = Literal["notice", "allow"]
IMAGE_IS_PATH: Final[Mapping[str, str]] = {"image": "path"}
"""`aliases` of manifests: their column of image files is `path`, and `image` is read as that."""
MAX_FIELD: Final = 1 << 20
"""Characters of one field of a CSV."""


@dataclass(frozen=True)
class Columns:
    """What a table's columns are called.

    others: "notice" reports columns that are neither required nor optional; "allow" passes them on to the caller.
    aliases: another name -> the name in `required` or `optional` that it stands for.
    """

    required: Sequence[str]
    optional: Sequence[str] = ()
    others: Others = "notice"
    aliases: Mapping[str, str] = field(default_factory=dict)

    def names(self, header: Iterable[str], path: Path, line: int) -> list[str]:
        """Return the known name of every column, its own where it has none.

        Raises CardError for a name that stands twice and for one that nearly is a known name that is absent.
        """
        header = [name.strip() for name in header]
        names = [self._canonical(name) for name in header]
        duplicate = next((n for i, n in enumerate(names) if n and n in names[:i]), None)
        if duplicate is not None:
            raise CardError(f"{path}, line {line}: the column {duplicate!r} stands twice; remove or rename one.")
        absent = [n for n in (*self.required, *self.optional, *self.aliases) if self.aliases.get(n, n) not in names]
        for name in names:
            near = None if name in self._all() else _nearest(name, absent)
            if near is not None:
                shown = " ".join(name.split())  # a quoted name may hold a line end
                raise CardError(
                    f"{path}, line {line}, field {shown}: there is no such column (did you mean {near!r}?); rename or "
                    "remove it."
                )
        return names

    def _all(self) -> list[str]:
        return [*self.required, *self.optional]

    def _canonical(self, name: str) -> str:
        names = {n: n for n in self._all()} | dict(self.aliases)
        if name in names:
            return names[name]
        folded = [n for n in names if n.casefold() == name.casefold()]
        return names[folded[0]] if len(folded) == 1 else name  # labels may differ in case alone

    def check_required(self, names: Iterable[str], path: Path, line: int, hint: str = "") -> None:
        """Raise CardError where a required column is absent."""
        missing = next((c for c in self.required if c not in names), None)
        if missing is not None:
            raise CardError(f"{path}, line {line}: the column {missing!r} is missing{hint}.")

    def report_others(self, names: Iterable[str], path: Path) -> None:
        """Report the columns that are not read."""
        ignored = [n for n in dict.fromkeys(names) if n and n not in self._all()]
        if ignored and self.others == "notice":
            text = f"{path} has {len(ignored)} column{'s' * (len(ignored) > 1)} that nothing reads."
            notice("ignored-column", text, count=len(ignored), examples=ignored)


def read_csv(path: Path, columns: Columns) -> Iterator[tuple[int, dict[str, str]]]:
    """Yield (line number, row): known column name -> value without surrounding blanks. Lines without a value are none.

    Raises CardError: unreadable, not separated by commas, a missing, doubled or misspelt column, a ragged row.
    """
    lines = _cells(path)
    first, header = next(lines, (1, []))
    names = columns.names(header, path, first)
    columns.check_required(names, path, first, separator_hint(header))
    columns.report_others(names, path)
    for line, cells in lines:
        if not any(map(str.strip, cells)):
            continue
        if len(cells) != len(names):
            raise CardError(
                f"{path}, line {line}: the row has another number of fields ({len(cells)}) than line {first} "
                f"({len(names)}); fix it, or put quotes around a field that holds a comma."
            )
        nameless = next((i for i, (n, cell) in enumerate(zip(names, cells, strict=True)) if not n and cell.strip()), -1)
        if nameless >= 0:
            raise CardError(f"{path}, line {first}: column {nameless + 1} has no name; name it, or empty it.")
        yield line, {name: cell.strip() for name, cell in zip(names, cells, strict=True) if name}


def read_header(path: Path) -> list[str]:
    """Return the names of a CSV's columns as they are written, without surrounding blanks. Raises CardError."""
    return [name.strip() for name in next(_cells(path), (1, []))[1]]


def _cells(path: Path) -> Iterator[tuple[int, list[str]]]:
    """Yield the number of the line where a record begins, and its cells; empty lines are skipped.

    Apostrophes that `cells.guarded` puts before formulas are taken off.
    """
    reader = csv.reader(io.StringIO(read_text(path), newline=""), strict=True)
    last_line, limit = 0, csv.field_size_limit()
    while True:
        csv.field_size_limit(MAX_FIELD)  # the limit is the process's own: set around each step
        try:
            cells = next(reader, None)
        except csv.Error as err:
            raise CardError(f"{path}, line {last_line + 1} is not CSV ({err}): fix its quotes.") from err
        finally:
            csv.field_size_limit(limit)
        if cells is None:
            return
        line, last_line = last_line + 1, reader.line_num
        if cells:
            yield line, [bare(cell) for cell in cells]


def number(text: str) -> float:
    """Return the number that a field says, NaN where it says none."""
    try:
        return float(text)
    except ValueError:
        return math.nan


def separator_hint(header: Sequence[str]) -> str:
    """Return the end of a sentence that says what separates the fields, where that is no comma; else ""."""
    names, joined = {";": "semicolons", "\t": "tabs", "|": "bars"}, ",".join(header)
    separator = next((name for sign, name in names.items() if sign in joined), None)
    return f"; the fields are separated by {separator}: save the file with commas" if separator else ""


def read_jsonl(path: Path, columns: Columns) -> Iterator[tuple[int, dict[str, Any]]]:
    """Yield (line number, object) of JSON lines, with the fields named as `read_csv` names columns. Raises CardError.

    What is not read is reported after the last line, because any line may bring a new field.
    """
    names_of: dict[tuple[str, ...], list[str]] = {}  # lines mostly have the same fields
    for number, line in enumerate(read_text(path).split("\n"), start=1):  # other line ends may stand inside a string
        if not line.strip():
            continue
        pairs = _object(line, path, number)
        header = tuple(name for name, _ in pairs)
        if header not in names_of:
            names_of[header] = columns.names(header, path, number)
            columns.check_required(names_of[header], path, number)
        yield number, {name: value for name, (_, value) in zip(names_of[header], pairs, strict=True)}
    columns.report_others((name for names in names_of.values() for name in names), path)


def _object(line: str, path: Path, number: int) -> list[tuple[str, Any]]:
    """Return an object's names and values, in pairs, so that a name that stands twice is seen."""
    try:
        pairs = json.loads(line, object_pairs_hook=list)
    except (ValueError, RecursionError) as err:
        raise CardError(f"{path}, line {number}: not valid JSON ({err}).") from err
    if not line.lstrip().startswith("{"):
        raise CardError(f'{path}, line {number}: each line is one object, as in {{"path": "a.png"}}.')
    return list(pairs)


def _nearest(name: str, absent: Iterable[str]) -> str | None:
    """Return the known name that `name` may be a misspelling of: at most 2 edits away, 1 where it is short.

    Names that differ in their digits alone, as race4 and race7, are different names.
    """
    distances: list[tuple[int, str]] = []
    for other in absent:
        max_edits = 2 if len(other) >= 6 else 1
        distance = edit_distance(name.casefold(), other.casefold(), max_edits)
        if distance <= max_edits and _letters(name) != _letters(other):
            distances.append((distance, other))
    return min(distances, default=(0, None))[1]


def _letters(name: str) -> str:
    return "".join(c for c in name.casefold() if not c.isdigit())


def edit_distance(word: str, other: str, limit: int) -> int:
    """Return how many letters to insert, delete, change or swap with their neighbour; `limit` + 1 for more than that.

    >>> edit_distance("promt", "prompt", 2), edit_distance("imgae", "image", 2), edit_distance("subject", "text", 2)
    (1, 1, 3)
    """
    if abs(len(word) - len(other)) > limit:
        return limit + 1
    rows = [list(range(len(other) + 1))]
    for i, a in enumerate(word, start=1):
        row = [i]
        for j, b in enumerate(other, start=1):
            row.append(min(rows[-1][j] + 1, row[-1] + 1, rows[-1][j - 1] + (a != b)))
            if i > 1 and j > 1 and a == other[j - 2] and word[i - 2] == b:
                row[j] = min(row[j], rows[-2][j - 2] + 1)
        rows.append(row)
    return min(rows[-1][-1], limit + 1)
