"""What a training logs: a line of JSON per logged step, and the same figures in the trackers that were asked for."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, Final

from fairbench.errors import storage_errors
from fairbench.storage import atomic
from fairbench.training import checkpoint, trackers

METRICS: Final = "metrics.jsonl"
FOLLOWING: Final = "following.json"


class Records:
    """Appends figures of steps. What a stopped training logged after its last state is removed first."""

    def __init__(
        self, folder: Path, state: Path, start: int, names: Iterable[str] = (), config: Mapping[str, Any] | None = None
    ) -> None:
        """Begin, or go on from step `start`. state: the state's folder. names: of trackers; config: shown there."""
        self._path = folder / METRICS
        logged = rows(folder) if start > 0 or (state / trackers.FILE).exists() else []
        last = {name: row["step"] for row in logged for name in row if name != "step"}
        self._trackers = trackers.Trackers(names, folder, state, start, last, config or {})
        kept = [row for row in logged if row["step"] < start]
        atomic.write_text(self._path, "".join(json.dumps(row) + "\n" for row in kept))

    def add(self, step: int, figures: Mapping[str, float | None]) -> None:
        """Write one row. Raises StoreError."""
        with storage_errors(self._path), self._path.open("a", encoding="utf-8") as file:
            file.write(json.dumps({"step": step, **figures}) + "\n")
        self._trackers.add(step, figures)

    def close(self) -> None:
        """Send what trackers hold back."""
        self._trackers.close()


def following(folder: Path) -> dict[str, Any] | None:
    """Return how often the teacher of a distillation showed the group that its prompt states; None for other kinds."""
    path = folder / FOLLOWING
    return dict(json.loads(path.read_text(encoding="utf-8"))) if path.exists() else None


def rows(folder: Path) -> list[dict[str, Any]]:
    """Return the rows that a training has logged, in order; none without the file. Raises FairbenchError."""
    path = folder / METRICS
    return checkpoint.rows_before(path, sys.maxsize, "remove it to go on") if path.exists() else []
