"""Ctrl-C while workers work: the first lets the blocks in flight finish and keeps them, the second stops at once."""

from __future__ import annotations

import logging
import signal
import threading
from types import FrameType
from typing import Any

log = logging.getLogger(__name__)


class Draining:
    """Takes over Ctrl-C for a block of code. wanted: whether it was pressed."""

    def __init__(self) -> None:
        self.wanted = self._told = False
        self._before: Any = None

    def __enter__(self) -> Draining:
        if threading.current_thread() is threading.main_thread():  # no other thread is told of signals
            self._before = signal.signal(signal.SIGINT, self._pressed)
        return self

    def __exit__(self, *_: object) -> None:
        if self._before is not None:
            signal.signal(signal.SIGINT, self._before)

    def tell(self) -> None:
        """Say once what Ctrl-C does; not in the handler, which may cut into a line that is being written."""
        if self.wanted and not self._told:
            self._told = True
            log.warning("Blocks in flight are finished and kept; press Ctrl-C again to stop at once.")

    def stop_if_wanted(self) -> None:
        """Do now what Ctrl-C does otherwise, if it was pressed."""
        if self.wanted:
            self._interrupt(signal.SIGINT, None)

    def _pressed(self, number: int, frame: FrameType | None) -> None:
        if self.wanted:
            self._interrupt(number, frame)
        self.wanted = True

    def _interrupt(self, number: int, frame: FrameType | None) -> None:
        if callable(self._before):
            self._before(number, frame)
        raise KeyboardInterrupt
