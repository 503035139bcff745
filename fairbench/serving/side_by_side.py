"""Several requests in flight, the results in order."""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

A = TypeVar("A")
B = TypeVar("B")


def side_by_side(
    work: Callable[[A, threading.Event], B], items: Sequence[A], count: int, moved: Callable[[float], None]
) -> list[B]:
    """Return `work(item, stop)` of every item, at most `count` at once. moved: told the share that is done.

    Where one raises, no further item is begun, `stop` is set, those in flight are finished, and the error that came
    first is raised. An interrupt of the caller waits for none: the threads are daemons, whereas those of a
    ThreadPoolExecutor would keep the process until the slowest server answers.
    """
    stop = threading.Event()
    waiting: queue.SimpleQueue[int] = queue.SimpleQueue()
    finished: queue.SimpleQueue[tuple[int, Any, BaseException | None] | None] = queue.SimpleQueue()
    for i in range(len(items)):
        waiting.put(i)

    def run() -> None:
        while not stop.is_set():
            try:
                i = waiting.get_nowait()
            except queue.Empty:
                break
            try:
                finished.put((i, work(items[i], stop), None))
            except BaseException as err:  # noqa: BLE001 - raised again by the caller
                stop.set()
                finished.put((i, None, err))
        finished.put(None)

    running = min(count, len(items))
    for _ in range(running):
        threading.Thread(target=run, daemon=True, name="fairbench-endpoint").start()
    results: dict[int, B] = {}
    errors: list[BaseException] = []
    try:
        while running:
            done = finished.get()
            if done is None:
                running -= 1
            elif done[2] is not None:
                errors.append(done[2])
            else:
                results[done[0]] = done[1]
                moved(len(results) / len(items))
    finally:
        stop.set()
    if errors:
        raise errors[0]
    return [results[i] for i in range(len(items))]
