"""A meter of long work: what is done of a stage, how fast, how long the rest takes, and what it costs."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable
from typing import Final

WINDOW: Final = 60.0
"""Seconds that the rate is taken over, so that it follows a model that becomes slower or faster."""


class Meter:
    """Counts what is done of a stage. moved: called with the meter after every movement."""

    def __init__(
        self,
        name: str,
        total: int,
        unit: str,
        price: float | None = None,
        moved: Callable[[Meter], None] | None = None,
    ) -> None:
        self.name, self.total, self.unit, self.price = name, total, unit, price
        self.done, self.in_flight = 0, 0.0
        self.started = time.perf_counter()
        self._last = (self.started, 0.0)
        self._window = deque([self._last])
        """Moments and the units reached at them, a second apart; the first is what the rate is taken from."""
        self._moved = moved

    def advance(self, count: int = 1) -> None:
        """Count units as done."""
        self.done, self.in_flight = self.done + count, 0.0
        self._note_movement()

    def within(self, units: float) -> None:
        """Note how much of the work in flight is done."""
        self.in_flight = max(units, 0.0)
        self._note_movement()

    def _note_movement(self) -> None:
        now = time.perf_counter()
        self._last = (now, self.reached)
        if now - self._window[-1][0] >= 1:  # a model may move at every token
            self._window.append(self._last)
        # The first moment is the latest that is a window old: of blocks longer than that, the end of the one before.
        while len(self._window) > 2 and self._window[1][0] <= now - WINDOW:
            self._window.popleft()
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
    def per_second(self) -> float:
        """Units per second over the last minute, up to the last movement; 0 where nothing moved.

        Where the pause since the last movement is longer than the time that the rate is of, it counts too.
        """
        (first, units_then), (last, units) = self._window[0], self._last
        pause = time.perf_counter() - last
        seconds = last - first + (pause if pause > last - first else 0)
        return max(units - units_then, 0.0) / max(seconds, 1e-9)

    @property
    def rate(self) -> str:
        """Units per second over the last minute, in words."""
        return _per_second(self.per_second)

    @property
    def seconds_left(self) -> float | None:
        """Seconds that the rest takes at the same rate; None where nothing moves."""
        if not self.per_second:
            return None
        pause = time.perf_counter() - self._last[0]
        return max((self.total - self.reached) / self.per_second - pause, 0.0)

    @property
    def cost(self) -> str:
        """What the units done cost, and what all of them will; empty where no price is known."""
        if self.price is None:
            return ""
        return f"{_dollars(self.done * self.price)} of {_dollars(self.total * self.price)}"

    @property
    def summary(self) -> str:
        """What was done, at the end of the stage, with the mean rate."""
        if not self.total:
            return "all in the store"
        mean = _per_second(self.reached / max(self.seconds, 1e-9))
        cost = "" if self.price is None else f", about {_dollars(self.done * self.price)}"
        return f"{self.done} {self.unit}, {mean}{cost}"


def _per_second(rate: float) -> str:
    """Return a rate as units per second; as seconds per unit where these are many."""
    if not rate:
        return "-/s"
    return f"{rate:.1f}/s" if rate >= 0.1 else f"{1 / rate:.0f} s each"


def _dollars(amount: float) -> str:
    return f"${amount:,.2f}"
