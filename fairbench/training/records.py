"""What a training logs: a line of JSON per logged step, and TensorBoard where it is installed."""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from fairbench.errors import FairbenchError, storage_errors
from fairbench.storage import atomic

METRICS, BOARD = "metrics.jsonl", "tensorboard"
log = logging.getLogger(__name__)


class Records:
    """Appends figures of steps. What a stopped training logged after its last state is removed first."""

    def __init__(self, folder: Path, start: int) -> None:
        self._path = folder / METRICS
        atomic.write_text(self._path, "".join(line + "\n" for line in self._before(start)))
        self._board = _board(folder / BOARD, start)

    def _before(self, start: int) -> list[str]:
        if not self._path.exists() or start == 0:
            return []
        try:
            lines = self._path.read_text(encoding="utf-8").splitlines()
            return [line for line in lines if json.loads(line)["step"] < start]
        except (OSError, ValueError, KeyError, TypeError) as err:
            raise FairbenchError(f"{self._path} cannot be read ({type(err).__name__}): remove it to go on.") from err

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
