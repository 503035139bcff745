"""Asking again until a server answers: waits that double, waits that it asks for, and an end."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any, Final

from fairbench.errors import FairbenchError
from fairbench.serving.answers import Again
from fairbench.serving.pace import Pace
from fairbench.serving.secret import Key

FIRST_WAIT: Final = 1.0
"""Seconds before the second attempt; each further wait is twice as long, LONGEST_WAIT at most."""
LONGEST_WAIT: Final = 60.0
LONGEST_ASKED: Final = 900.0
"""Seconds that a server may ask us to wait; a run that would have to wait longer stops instead."""


class Stopped(FairbenchError):
    """Another request has stopped the run."""


class Patience:
    """Threads may share it. lacking: how the sentence begins where there is no answer, as "... gave no image"."""

    def __init__(self, lacking: str, attempts: int, pace: Pace, key: Key) -> None:
        self._lacking, self._attempts, self._pace, self._key = lacking, attempts, pace, key

    def ask(self, once: Callable[[], Any], stop: threading.Event) -> Any:
        """Ask until `once` returns something else than Again, and return that.

        Raises FairbenchError after the number of attempts, Stopped after `stop`.
        """
        wait, asked, reason = FIRST_WAIT, 0.0, ""
        for attempt in range(1, self._attempts + 1):
            self._pace.wait(stop)
            if stop.is_set():
                raise Stopped("Another request stopped the run.")
            meant = once()
            if not isinstance(meant, Again):
                return meant
            asked, reason = meant.wait or 0.0, self._key.hide(meant.reason)
            if asked > LONGEST_ASKED:
                break
            if attempt < self._attempts:
                stop.wait(max(asked, wait))
                wait = min(2 * wait, LONGEST_WAIT)
        later = f", and asks to wait {asked:.0f} s" if asked > LONGEST_ASKED else ""
        raise FairbenchError(
            f"{self._lacking} after {attempt} attempts: {reason}{later}. Nothing of this is stored as a "
            "result; what was made is kept, and the same command goes on."
        )
