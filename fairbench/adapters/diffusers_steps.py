"""How far a diffusers pipeline is: what its own progress bar would draw is reported instead.

Nearly every pipeline has that bar, while every fourth lacks the callback at the end of a step, which besides takes
tensors out of the loop and hands them back in.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any


@contextmanager
def reported_steps(pipe: Any, report: Callable[[float], None]) -> Iterator[None]:
    """Report the share of the denoising steps that is done, from 0 to 1, while a pipeline is called."""

    def progress_bar(iterable: Sequence[Any] | None = None, total: int = 0) -> _StepBar:
        steps = () if iterable is None else iterable  # which may be a tensor, without a truth value
        return _StepBar(steps, total or len(steps), report)

    pipe.__dict__["progress_bar"] = progress_bar
    try:
        yield
    finally:
        del pipe.__dict__["progress_bar"]


class _StepBar:
    """Stands for tqdm's bar: it can be entered, iterated over and updated; other calls do nothing."""

    def __init__(self, steps: Sequence[Any], total: int, report: Callable[[float], None]) -> None:
        self._steps, self._total, self._report = steps, total, report
        self._done = 0

    def __enter__(self) -> _StepBar:
        return self

    def __exit__(self, *_: object) -> None: ...

    def __iter__(self) -> Iterator[Any]:
        for step in self._steps:
            yield step
            self.update()

    def update(self, count: int = 1) -> None:
        self._done += count
        self._report(min(self._done / max(self._total, 1), 1.0))

    def __getattr__(self, name: str) -> Callable[..., None]:
        return lambda *_, **__: None
