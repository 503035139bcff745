"""Keeps what a plug-in prints off stdout, which holds a command's result, and says once that it printed."""

from __future__ import annotations

import io
import logging
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stderr
from typing import Any, Final

from fairbench.notices import notice

log = logging.getLogger(__name__)
_SHOWN: Final = 60
"""Characters of a plug-in's output that its notice shows."""


class _Counter(io.RawIOBase):
    """Counts the bytes that are written, and keeps the first of them."""

    def __init__(self) -> None:
        super().__init__()
        self.bytes, self.beginning = 0, b""

    def writable(self) -> bool:
        """Whether it can be written."""
        return True

    def write(self, data: Any) -> int:
        """Count bytes and return how many they are."""
        size = len(data)
        if len(self.beginning) < 4 * _SHOWN:
            self.beginning += bytes(data[: 4 * _SHOWN])
        self.bytes += size
        return size


class _Redirection:
    """sys.stdout while a plug-in works. Threads may work at the same time: the last one that ends puts it back."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._depth = 0
        self._saved: Any = None
        self._counter = _Counter()
        self.said: set[str] = set()

    def enter(self) -> io.TextIOWrapper:
        with self._lock:
            if self._depth == 0:
                self._saved, self._counter = sys.stdout, _Counter()
                # Pickles and progress bars ask for `buffer` and `encoding`: only a real text file has all of that.
                sys.stdout = io.TextIOWrapper(self._counter, "utf-8", errors="replace", write_through=True)
            self._depth += 1
            stream: Any = sys.stdout
            return stream  # type: ignore[no-any-return]

    def leave(self) -> _Counter:
        with self._lock:
            self._depth -= 1
            if self._depth == 0:
                sys.stdout = self._saved
            return self._counter


_redirection: Final = _Redirection()


@contextmanager
def quiet(title: str, *, stderr: bool = False) -> Iterator[None]:
    """Swallow what is printed to stdout inside; a notice, once per `title` and process, says how much that was.

    title: the beginning of the notice, as in "The metric 'acme/parity'". stderr: swallow that too; else a plug-in's
    own progress stays visible there.
    """
    stream = _redirection.enter()
    try:
        if stderr:
            with redirect_stderr(stream):
                yield
        else:
            yield
    finally:
        counter = _redirection.leave()
        if counter.bytes and title not in _redirection.said:
            _redirection.said.add(title)
            beginning = " ".join(counter.beginning.decode("utf-8", errors="replace").split())[:_SHOWN]
            notice("plugin-output", f"{title} printed {counter.bytes} bytes, which are not shown: {beginning!r}")
