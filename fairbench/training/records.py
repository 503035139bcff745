"""What a training logs: a line of JSON per logged step, and TensorBoard where it is installed."""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from fairbench.errors import storage_errors
from fairbench.storage import atomic
from fairbench.training import checkpoint

METRICS, BOARD = "metrics.jsonl", "tensorboard"
log = logging.getLogger(__name__)


class Records:
    """Appends figures of steps. What a stopped training logged after its last state is removed first."""

    def __init__(self, folder: Path, start: int) -> None:
        self._path = folder / METRICS
        resumed = start > 0 and self._path.exists()
        rows = checkpoint.rows_before(self._path, start, "remove it to go on") if resumed else []
        atomic.write_text(self._path, "".join(json.dumps(row) + "\n" for row in rows))
        self._board = _board(folder / BOARD, start)

    def add(self, step: int, figures: Mapping[str, float | None]) -> None:
        """Write one row. Raises StoreError."""
        with storage_errors(self._path), self._path.open("a", encoding="utf-8") as file:
            file.write(json.dumps({"step": step, **figures}) + "\n")
        if self._board is not None:
            for name, value in figures.items():
                if value is not None:
                    self._board.add_scalar(name, value, step)

    def close(self) -> None:
        """Flush what TensorBoard holds back."""
        if self._board is not None:
            self._board.close()


def _board(folder: Path, start: int) -> Any:
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError:
        log.warning("TensorBoard is not installed (extra `train`): figures go to %s alone.", METRICS)
        return None
    return SummaryWriter(str(folder), purge_step=start)
