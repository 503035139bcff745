"""Hidden states of a decoder while it draws tokens: shifted, or recorded. Both hook layers, and take the hooks away."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from typing import Any

import numpy as np

from fairbench.types import FloatArray


@contextmanager
def shifting(layers: Sequence[Any], shifts: Mapping[int, FloatArray]) -> Iterator[None]:
    """Add to the output of decoder layers what the next token is drawn from: the state at the last position of a call.

    shifts: index of a layer -> (rows, calls, hidden), for the first rows of a batch. Rows below them (unconditional
    ones, which guidance leads away from) stay as they are. Later layers and positions see what was shifted.
    """
    import torch

    def add(of_calls: Iterator[Any], output: Any) -> None:
        shift = next(of_calls)
        output[: len(shift), -1] += shift.to(output)

    with _hooked(layers, {i: partial(add, iter(torch.from_numpy(s).unbind(1))) for i, s in shifts.items()}):
        yield


@contextmanager
def recording(layers: Sequence[Any], of: Sequence[int], rows: int) -> Iterator[Callable[[], FloatArray]]:
    """Yield a function that returns the states so far, (rows, layers, calls, hidden), in float32.

    of: indices of layers, whose output at the last position of every call is kept, of the first `rows` rows of a batch.
    """
    import torch

    states: dict[int, list[Any]] = {index: [] for index in of}

    def keep(index: int, output: Any) -> None:
        states[index].append(output[:rows, -1].float().clone())  # a copy: the whole output is not kept for a view

    with _hooked(layers, {index: partial(keep, index) for index in states}):
        yield lambda: np.stack([torch.stack(s, dim=1).cpu().numpy() for s in states.values()], axis=1)


@contextmanager
def _hooked(layers: Sequence[Any], actions: Mapping[int, Callable[[Any], None]]) -> Iterator[None]:
    """Call a function with the output (rows, positions, hidden) of each of these layers whenever it has computed."""

    def hook(action: Callable[[Any], None], module: Any, inputs: Any, output: Any) -> None:
        action(output)

    handles = []
    try:
        for index, action in actions.items():
            handles.append(layers[index].register_forward_hook(partial(hook, action)))
        yield
    finally:
        for handle in handles:
            handle.remove()
