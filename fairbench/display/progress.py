"""Progress: what long work reports, and how it is shown: bars on a terminal and in a notebook, plain lines elsewhere.

Work opens a stage with its total, advances it, and may move it within a block (image tokens, denoising steps), so that
a slow model is seen to move. Stages nest. All output goes to the console that the command names, which is stderr.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any, Final, Protocol, TypeVar

from fairbench.display.bars import bar, has_blocks
from fairbench.display.meter import Meter
from fairbench.display.plain import fitted, line, say
from fairbench.protocols import ReportsProgress

if TYPE_CHECKING:
    from rich.console import Console

Items = TypeVar("Items")
"""A sequence or an array."""
FIRST_INTERVAL: Final = 10.0
LAST_INTERVAL: Final = 60.0
"""Seconds between two plain lines, at first and in stages that take long."""
_NAME_WIDTH: Final = 17
_MAX_NAME_WIDTH: Final = 28
_MIN_NAME_WIDTH: Final = 6
_BAR_AND_GAPS: Final = 8
"""Columns that a long name leaves to the bar."""
_MAX_BAR_WIDTH: Final = 40


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

    def stage(
        self, name: str, total: int, unit: str = "images", price: float | None = None
    ) -> AbstractContextManager[Stage]:
        """Open a stage of `total` units that are still to do; it closes with the block, also when that fails.

        Units that a resumed command has already are none of them, so they are in no rate. price: US dollars per unit;
        None: the units cost nothing, or nobody knows what.
        """
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
    def stage(self, name: str, total: int, unit: str = "images", price: float | None = None) -> Iterator[Silent]:
        """Open a stage that shows nothing."""
        yield self

    def advance(self, count: int = 1) -> None:
        """Ignore the advance."""

    def within(self, units: float) -> None:
        """Ignore the movement."""


SILENT: Final = Silent()


class Lines:
    """A plain line per stage at its end, and before it one every ten seconds, later every minute."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._names: list[str] = []
        self._printed = 0.0

    @contextmanager
    def stage(self, name: str, total: int, unit: str = "images", price: float | None = None) -> Iterator[Stage]:
        """Open a stage; within another one its lines name both."""
        self._names.append(name)
        meter = Meter(name, total, unit, price, self._moved)
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
            parts = [f"{done}/{meter.total} {meter.unit}", meter.rate, f"{_left(meter.seconds_left)} left", meter.cost]
            self._print(", ".join(filter(None, parts)))

    def _print(self, text: str) -> None:
        self._printed = time.perf_counter()
        say(self._console, line(f"{' > '.join(self._names)}: {text}"), wrap=False)


class Bars:
    """A live bar per open stage, nested ones below; at its end a stage becomes one line."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._live: Any = None
        self._depth = 0

    @contextmanager
    def stage(self, name: str, total: int, unit: str = "images", price: float | None = None) -> Iterator[Stage]:
        """Show a bar for the stage, unless there is nothing to do."""
        meter = Meter(name, total, unit, price)
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
            say(self._console, f"{fitted(indent + name, _NAME_WIDTH)} {line(meter.summary)}")


def _live(console: Console) -> Any:
    """Return rich's progress, whose columns read the meters when they are drawn: moving one costs next to nothing."""
    from rich.progress import Progress, ProgressColumn
    from rich.table import Column
    from rich.text import Text

    blocks = has_blocks(console)

    class Name(ProgressColumn):
        def render(self, task: Any) -> Text:
            longest = max(len(words(each.fields["meter"])) for each in shown.tasks)
            room = max(console.width - longest - _BAR_AND_GAPS, _MIN_NAME_WIDTH)  # the numbers come first
            return Text(fitted(task.description, min(_NAME_WIDTH, room), min(_MAX_NAME_WIDTH, room)))

    class MeterBar(ProgressColumn):
        max_refresh = None

        def render(self, task: Any) -> Any:
            return _Bar(task.fields["meter"], blocks)

    class MeterText(ProgressColumn):
        max_refresh = None

        def render(self, task: Any) -> Text:
            return Text(words(task.fields["meter"]))

    def words(meter: Meter) -> str:
        """Return the meter's numbers; on a narrow terminal the last of them give way, and none is cut."""
        left = "-:--:--" if meter.seconds_left is None else _clock(meter.seconds_left)
        parts = list(filter(None, [f"{meter.done}/{meter.total} {line(meter.unit)}", meter.rate, left, meter.cost]))
        while len(parts) > 1 and len("  ".join(parts)) > console.width - _MIN_NAME_WIDTH - 2:
            parts.pop()
        return "  ".join(parts)

    shown = Progress(
        Name(table_column=Column(no_wrap=True)),
        MeterBar(table_column=Column(max_width=_MAX_BAR_WIDTH)),  # takes the room that is left
        MeterText(table_column=Column(no_wrap=True)),
        console=console,
        refresh_per_second=2,
        transient=True,
    )
    return shown


class _Bar:
    """A bar as wide as its column becomes, between two strokes that show where it ends."""

    def __init__(self, meter: Meter, blocks: bool) -> None:
        self._meter, self._blocks = meter, blocks

    def __rich_console__(self, _: Console, options: Any) -> Iterator[Any]:
        from rich.text import Text

        share = self._meter.reached / max(self._meter.total, 1)
        width = max(min(options.max_width, _MAX_BAR_WIDTH) - 2, 0)
        yield Text(f"|{bar(share, width, blocks=self._blocks)}|" if width else "", no_wrap=True)

    def __rich_measure__(self, _: Console, options: Any) -> Any:
        from rich.measure import Measurement

        return Measurement(min(4, options.max_width), options.max_width)


def _clock(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes // 60}:{minutes % 60:02}:{rest:02}"


def _left(seconds: float | None) -> str:
    """Return a time in words, for a line: in seconds below two minutes, else as a clock shows it."""
    if seconds is None:
        return "unknown time"
    return f"{seconds:.0f} s" if seconds < 120 else _clock(seconds)


def reporter(console: Console, quiet: bool) -> Progress:
    """Return what shows progress on a console: nothing when quiet, bars where they can move, lines elsewhere."""
    if quiet:
        return Silent()
    # rich draws bars in a notebook with a widget of ipywidgets, and not at all without.
    in_notebook = console.is_jupyter and find_spec("ipywidgets") is not None
    return Bars(console) if console.is_terminal or in_notebook else Lines(console)
