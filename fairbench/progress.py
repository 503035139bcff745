"""What a stage tells about its progress; how that is shown is the caller's matter."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Protocol


class Progress(Protocol):
    """Told about one stage at a time."""

    def start(self, stage: str, total: int, unit: str) -> None:
        """Begin a stage of `total` units that are still to do."""
        ...

    def advance(self, count: int) -> None:
        """Report `count` more units done."""
        ...

    def finish(self) -> None:
        """End the stage, also when it failed."""
        ...


class Silent:
    """Shows nothing."""

    def start(self, stage: str, total: int, unit: str) -> None:
        """Ignore the start."""

    def advance(self, count: int) -> None:
        """Ignore the advance."""

    def finish(self) -> None:
        """Ignore the end."""


@contextmanager
def stage(progress: Progress, name: str, total: int, unit: str = "images") -> Iterator[Progress]:
    """Open and close a stage."""
    progress.start(name, total, unit)
    try:
        yield progress
    finally:
        progress.finish()
