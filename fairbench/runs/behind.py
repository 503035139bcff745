"""Work that is done behind the caller's back: one job at a time, in order, while the caller goes on."""

from __future__ import annotations

import logging
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from contextvars import copy_context
from types import TracebackType

from fairbench.errors import one_line

log = logging.getLogger(__name__)


class Behind:
    """Does jobs in a thread of its own; a new one waits until the one before is done, so memory stays bounded.

    An error of a job is raised where the next one is given, or at the end. Where the caller fails first, the last job
    is still done, and the caller's error is the one that is raised.
    """

    def __init__(self, wanted: bool) -> None:
        """wanted: whether there is such a thread; without it each job is done at once."""
        self._pool = ThreadPoolExecutor(1) if wanted else None
        self._last: tuple[Future[object], Callable[[], None]] | None = None

    def do(self, job: Callable[[], object], then: Callable[[], None]) -> None:
        """Do a job, and `then`, in the caller's own thread, once it is done."""
        if self._pool is None:
            job()
            then()
            return
        self._finish()
        # A context of its own: notices of the job reach the caller's.
        self._last = self._pool.submit(copy_context().run, job), then

    def _finish(self) -> None:
        last, self._last = self._last, None
        if last is not None:
            future, then = last
            future.result()
            then()

    def __enter__(self) -> Behind:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, err: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._pool is None:
            return
        with self._pool:
            if kind is None:
                self._finish()
            elif self._last is not None and (lost := self._last[0].exception()) is not None:
                log.warning("the block before was not stored either: %s", one_line(lost))
