"""Progress: what long work reports, and how it is shown: bars on a terminal and in a notebook, plain lines elsewhere.

Work opens a stage with its total, advances it, and may move it within a block (image tokens, denoising steps), so that
a slow model is seen to move. Stages nest. All output goes to the console that the command names, which is stderr.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any, Final, Protocol, TypeVar

from fairbench.display.plain import say
from fairbench.protocols import ReportsProgress

if TYPE_CHECKING:
    from rich.console import Console

Items = TypeVar("Items")
"""A sequence or an array."""
FIRST_INTERVAL: Final = 10.0
LAST_INTERVAL: Final = 60.0
"""Seconds between two plain lines, at first and in stages that take long."""


class Stage(Protocol):
    """A piece of work with a total."""

    def advance(self, count: int = 1) -> None:
        """Report `count` more units done."""
        ...

    def within(self, units: float) -> None:
        """Report how much of the work in flight is done, in units: 2.5 is two and a half images of a block of four.

        It replaces what was reported before; the next `advance` sets it to 0.
        """
        ...


class Progress(Protocol):
    """What a command hands to everything that takes long."""

    def stage(self, name: str, total: int, unit: str = "images") -> AbstractContextManager[Stage]:
        """Open a stage of `total` units that are still to do; it closes with the block, also when that fails."""
        ...


@contextmanager
def watching(model: object, stage: Stage, units: int) -> Iterator[None]:
    """Let a model move the stage while it works on `units` units, if it is one that reports its progress."""
    if not isinstance(model, ReportsProgress):
        yield
        return
    before, model.on_progress = model.on_progress, lambda share: stage.within(share * units)
    try:
        yield
    finally:
        model.on_progress = before


def blocks(items: Items, size: int, stage: Stage) -> Iterator[Items]:
    """Yield `size` items at a time, and report each block as done when the next one is asked for."""
    sliceable: Any = items
    for start in range(0, len(sliceable), size):
        block = sliceable[start : start + size]
        yield block
        stage.advance(len(block))


class Silent:
    """Shows nothing; progress and stage in one."""

    @contextmanager
    def stage(self, name: str, total: int, unit: str = "images") -> Iterator[Silent]:
        """Open a stage that shows nothing."""
        yield self

    def advance(self, count: int = 1) -> None:
        """Ignore the advance."""

    def within(self, units: float) -> None:
        """Ignore the movement."""


SILENT: Final = Silent()


class Meter:
    """Counts what is done of a stage. moved: called with the meter after every movement."""

    def __init__(self, name: str, total: int, unit: str, moved: Callable[[Meter], None] | None = None) -> None:
        self.name, self.total, self.unit = name, total, unit
        self.done, self.in_flight = 0, 0.0
        self.started = time.perf_counter()
        self._moved = moved

    def advance(self, count: int = 1) -> None:
        """Count units as done."""
        self.done, self.in_flight = self.done + count, 0.0
        if self._moved:
            self._moved(self)

    def within(self, units: float) -> None:
        """Note how much of the work in flight is done."""
        self.in_flight = max(units, 0.0)
        if self._moved:
            self._moved(self)

    @property
    def reached(self) -> float:
        """Units done, parts of units included."""
        return min(self.done + self.in_flight, self.total)

    @property
    def seconds(self) -> float:
        """Seconds since the start."""
        return time.perf_counter() - self.started

    @property
    def rate(self) -> str:
        """Units per second; seconds per unit where these are many."""
        if not self.reached:
            return "-/s"
        per_second = self.reached / max(self.seconds, 1e-9)
        return f"{per_second:.1f}/s" if per_second >= 0.1 else f"{1 / per_second:.0f} s each"

    @property
    def seconds_left(self) -> float | None:
        """Seconds that the rest takes at the same rate; None where nothing is done yet."""
        return self.seconds * (self.total - self.reached) / self.reached if self.reached else None

    @property
    def summary(self) -> str:
        """What was done, at the end of the stage."""
        return f"{self.done} {self.unit}, {self.rate}" if self.total else "all in the store"


class Lines:
    """A plain line per stage at its end, and before it one every ten seconds, later every minute."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._names: list[str] = []
        self._printed = 0.0

    @contextmanager
    def stage(self, name: str, total: int, unit: str = "images") -> Iterator[Stage]:
        """Open a stage; within another one its lines name both."""
        self._names.append(name)
        meter = Meter(name, total, unit, self._moved)
        self._printed = meter.started
        try:
            yield meter
        finally:
            self._print(meter.summary)
            self._names.pop()

    def _moved(self, meter: Meter) -> None:
        now = time.perf_counter()
        if now - self._printed < FIRST_INTERVAL:  # comes first: this is called at every token
            return
        interval = min(max((now - meter.started) / 10, FIRST_INTERVAL), LAST_INTERVAL)
        if now - self._printed >= interval and 0 < meter.reached < meter.total:
            done = f"{meter.reached:.1f}" if meter.in_flight else f"{meter.done}"
            self._print(f"{done}/{meter.total} {meter.unit}, {meter.rate}, {meter.seconds_left:.0f} s left")

    def _print(self, text: str) -> None:
        self._printed = time.perf_counter()
        say(self._console, f"{' > '.join(self._names)}: {text}", wrap=False)


class Bars:
    """A live bar per open stage, nested ones below; at its end a stage becomes one line."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._live: Any = None
        self._depth = 0

    @contextmanager
    def stage(self, name: str, total: int, unit: str = "images") -> Iterator[Stage]:
        """Show a bar for the stage, unless there is nothing to do."""
        meter = Meter(name, total, unit)
        live = self._live = self._live or _live(self._console)
        if self._depth == 0:
            live.start()
        indent = "  " * self._depth
        self._depth += 1
        task = live.add_task(indent + name, total=total, meter=meter, visible=total > 0)
        try:
            yield meter
        finally:
            live.remove_task(task)
            self._depth -= 1
            if self._depth == 0:
                live.stop()
            say(self._console, f"{indent + name:<17} {meter.summary}")


def _live(console: Console) -> Any:
    """Return rich's progress, whose columns read the meters when they are drawn: moving one costs next to nothing."""
    from rich.progress import BarColumn, Progress, ProgressColumn, TextColumn
    from rich.progress_bar import ProgressBar
    from rich.table import Column
    from rich.text import Text

    class MeterBar(BarColumn):
        def render(self, task: Any) -> ProgressBar:
            meter = task.fields["meter"]
            return ProgressBar(total=max(meter.total, 1), completed=meter.reached, width=None)

    class MeterText(ProgressColumn):
        max_refresh = None

        def render(self, task: Any) -> Text:
            meter = task.fields["meter"]
            left = "-:--:--" if meter.seconds_left is None else _clock(meter.seconds_left)
            return Text(f"{meter.done}/{meter.total} {meter.unit}  {meter.rate}  {left}")

    return Progress(
        TextColumn("{task.description:<17.28}", markup=False, table_column=Column(no_wrap=True)),
        MeterBar(table_column=Column(max_width=40)),  # takes the room that is left
        MeterText(table_column=Column(no_wrap=True)),
        console=console,
        refresh_per_second=2,
        transient=True,
    )


def _clock(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes // 60}:{minutes % 60:02}:{rest:02}"


def reporter(console: Console, quiet: bool) -> Progress:
    """Return what shows progress on a console: nothing when quiet, bars where they can move, lines elsewhere."""
    if quiet:
        return Silent()
    # rich draws bars in a notebook with a widget of ipywidgets, and not at all without.
    in_notebook = console.is_jupyter and find_spec("ipywidgets") is not None
    return Bars(console) if console.is_terminal or in_notebook else Lines(console)
