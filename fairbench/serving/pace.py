"""How fast and how expensively a server may be asked."""

from __future__ import annotations

import threading
import time

from fairbench.errors import FairbenchError


class Pace:
    """Keeps the starts of requests apart, over all threads. per_minute: None for as fast as answers come."""

    def __init__(self, per_minute: float | None) -> None:
        self._gap = 60 / per_minute if per_minute else 0.0
        self._lock = threading.Lock()
        self._next = 0.0

    def wait(self, stop: threading.Event) -> None:
        """Wait for this request's turn, or for `stop`."""
        if not self._gap:
            return
        with self._lock:
            mine = max(self._next, time.monotonic())
            self._next = mine + self._gap
        stop.wait(max(0.0, mine - time.monotonic()))


class Budget:
    """What may be spent, in US dollars. Each request is charged before it is sent, and paid back if nothing was drawn.

    limit: None for any amount. setting: what sets the limit, as sentences name it.
    """

    def __init__(self, price: float | None, limit: float | None, setting: str = "--max-cost") -> None:
        self._price, self._limit, self._setting = price or 0.0, limit, setting
        self._lock = threading.Lock()
        self.spent = 0.0

    def charge(self) -> None:
        """Count one request. Raises FairbenchError where it would cost more than the limit."""
        with self._lock:
            if self._limit is not None and self.spent + self._price > self._limit * (1 + 1e-9):
                raise FairbenchError(
                    f"{self._setting} {self._limit:g} is reached: about ${self.spent:.2f} were spent in this process, "
                    "and repeated requests cost extra. What was made is kept; the same command goes on, with a new "
                    "limit."
                )
            self.spent += self._price

    def pay_back(self) -> None:
        """Take one request back that the server did not work on."""
        with self._lock:
            self.spent -= self._price
