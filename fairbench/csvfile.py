"""CSV files that people write: required columns, UTF-8 with or without a byte-order mark, errors with line numbers."""

from __future__ import annotations

import csv
from collections.abc import Iterator, Sequence
from pathlib import Path

from fairbench.errors import CardError


def read_csv(path: Path, required: Sequence[str]) -> Iterator[tuple[int, dict[str, str]]]:
    """Yield (line number, row) with stripped values. Raises CardError: unreadable, a missing column, a ragged row."""
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            reader = csv.DictReader(file, strict=True)
            missing = [c for c in required if c not in (reader.fieldnames or [])]
            if missing:
                raise CardError(f"{path}, line 1: the column {missing[0]!r} is missing.")
            for row in reader:
                if None in row or None in row.values():
                    raise CardError(
                        f"{path}, line {reader.line_num}: the row has another number of fields than line 1."
                    )
                yield reader.line_num, {k: v.strip() for k, v in row.items()}
    except OSError as err:
        raise CardError(f"{path} cannot be read ({err.strerror}).") from err
    except (ValueError, csv.Error) as err:
        raise CardError(f"{path} is not a CSV file in UTF-8 ({err}).") from err
