"""Progress that a test can look at, or that stops what reports to it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

Hook = Callable[[str, int, int], None]
"""Called at the start and at every advance of a stage with its name, the units done in it, and its total."""


class Recorder:
    """Progress that records `(stage, done, total)` at every start, advance and movement within, and calls a hook."""

    def __init__(self, hook: Hook = lambda name, done, total: None) -> None:
        self.hook = hook
        self.events: list[tuple[str, float, int]] = []

    @contextmanager
    def stage(self, name: str, total: int, unit: str = "images", price: float | None = None) -> Iterator[RecordedStage]:
        self.events.append((name, 0, total))
        self.hook(name, 0, total)
        yield RecordedStage(self, name, total)


class RecordedStage:
    def __init__(self, recorder: Recorder, name: str, total: int) -> None:
        self.recorder, self.name, self.total, self.done = recorder, name, total, 0

    def advance(self, count: int = 1) -> None:
        self.done += count
        self.recorder.events.append((self.name, self.done, self.total))
        self.recorder.hook(self.name, self.done, self.total)

    def within(self, units: float) -> None:
        self.recorder.events.append((self.name, self.done + units, self.total))
