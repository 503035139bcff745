"""Progress: bars on a terminal, plain lines elsewhere. Always on stderr, so that stdout stays the result."""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Callable, Mapping
from typing import Any

from rich.console import Console
from rich.logging import RichHandler

from fairbench.display.plain import PlainFormatter, say


class Bars:
    """A live bar a stage: done, images a second, time left."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._bar: Any = None
        self._task: Any = None
        self._started, self._total, self._done, self._unit, self._stage = 0.0, 0, 0, "", ""

    def start(self, stage: str, total: int, unit: str) -> None:
        """Show a bar for the stage, unless there is nothing to do."""
        from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

        self._started, self._total, self._done, self._unit, self._stage = time.perf_counter(), total, 0, unit, stage
        if not total:
            return
        self._bar = Progress(
            TextColumn("{task.description:<17}", markup=False), BarColumn(), MofNCompleteColumn(),
            TextColumn("{task.fields[rate]}", markup=False), TimeRemainingColumn(), console=self._console,
            transient=True,
        )  # fmt: skip
        self._task = self._bar.add_task(stage, total=total, rate="")
        self._bar.start()

    def advance(self, count: int) -> None:
        """Move the bar."""
        self._done += count
        if self._bar is not None:
            self._bar.update(self._task, advance=count, rate=f"{self._rate():.1f} {self._unit}/s")

    def finish(self) -> None:
        """Replace the bar by one line."""
        if self._bar is not None:
            self._bar.stop()
            self._bar = None
        what = f"{self._done} {self._unit}, {self._rate():.1f}/s" if self._total else "all in the store"
        say(self._console, f"{self._stage:<17} {what}")

    def _rate(self) -> float:
        return self._done / max(time.perf_counter() - self._started, 1e-9)


class Lines:
    """A plain line at the start, every ten seconds, and at the end of a stage."""

    EVERY = 10.0

    def __init__(self, console: Console) -> None:
        self._console = console
        self._stage, self._unit, self._total, self._done = "", "", 0, 0
        self._started = self._last = 0.0

    def start(self, stage: str, total: int, unit: str) -> None:
        """Say what is to do."""
        self._stage, self._unit, self._total, self._done = stage, unit, total, 0
        self._started = self._last = time.perf_counter()

    def advance(self, count: int) -> None:
        """Say how far it is, now and then."""
        self._done += count
        now = time.perf_counter()
        if now - self._last >= self.EVERY and self._done < self._total:
            self._last = now
            rate = self._done / (now - self._started)
            left = (self._total - self._done) / max(rate, 1e-9)
            self._print(f"{self._done}/{self._total} {self._unit}, {rate:.1f}/s, {left:.0f} s left")

    def finish(self) -> None:
        """Say what was done."""
        rate = self._done / max(time.perf_counter() - self._started, 1e-9)
        self._print(f"{self._done} {self._unit}, {rate:.1f}/s" if self._total else "all in the store")

    def _print(self, text: str) -> None:
        say(self._console, f"{self._stage}: {text}", wrap=False)


class Stages:
    """Turns reports of (stage, done, total) into one bar per stage, whatever the order and size of the steps.

    units: what is counted in which stage; steps elsewhere. What is done in batches reports 0 first: the first report
    of a stage says where a resumed one goes on.
    """

    def __init__(self, progress: Any, units: Mapping[str, str] | None = None) -> None:
        self._progress, self._units, self._stage, self._done = progress, units or {}, "", 0

    def __enter__(self) -> Callable[[str, int, int], None]:
        return self._report

    def __exit__(self, *_: object) -> None:
        self._close()

    def _close(self) -> None:
        if self._stage:
            self._progress.finish()
        self._stage = ""

    def _report(self, stage: str, done: int, total: int) -> None:
        if stage != self._stage or done < self._done:  # a second phase under the same name starts again from 1
            self._close()
            # What a resumed stage had done already is not done now: it would make its rate a lie.
            self._stage, self._done = stage, max(done - 1, 0)
            self._progress.start(stage, total - self._done, self._units.get(stage, "steps"))
        self._progress.advance(done - self._done)
        self._done = done


def reporter(console: Console, quiet: bool) -> Any:
    """Return what shows progress: nothing when quiet, bars on a terminal, lines elsewhere."""
    from fairbench.progress import Silent

    return Silent() if quiet else Bars(console) if console.is_terminal else Lines(console)


def set_up_logging(console: Console, verbose: bool = False, *, silent: bool = False) -> None:
    """Show our notices (with -v: everything) on stderr, whatever -q says; other packages' warnings only with -v.

    silent: for what says the same by itself, as a command whose one error names the damage, or one of many processes.
    """
    level = logging.DEBUG if verbose else logging.ERROR if silent else logging.WARNING
    handler = RichHandler(console=console, show_time=verbose, show_path=verbose, markup=False)
    handler.setFormatter(PlainFormatter("%(message)s"))
    ours = logging.getLogger("fairbench")
    ours.handlers, ours.propagate = [handler], False
    ours.setLevel(level)
    logging.getLogger().setLevel(logging.INFO if verbose else logging.ERROR)
    if not verbose:  # they print every retry and every withheld image; what that comes to is ours to say
        for name in ("HF_HUB_VERBOSITY", "TRANSFORMERS_VERBOSITY", "DIFFUSERS_VERBOSITY"):
            os.environ.setdefault(name, "error")
