"""How networks are fed: on a CPU always with the same number of rows, so that a row does not depend on its neighbours.

A matrix product rounds differently for another number of rows: an image scored alone differed from the same image among
32 by 2e-6, so that a run that was killed and resumed had other last digits than one done at once. With a constant
number of rows (empty ones added at the end) every row is computed in the same way, wherever it stands.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any, Final, TypeVar

T = TypeVar("T")
CPU_ROWS: Final = 8
"""Rows of a batch on a CPU: within 5 % of the speed of 32, and at most 7 rows are computed for nothing."""
MAX_REMEMBERED: Final = 4096
"""Texts whose embeddings are kept: images of a prompt follow one another."""


def batches(
    items: Sequence[T], device: str, batch_size: int, limit: int | None = None
) -> Iterator[tuple[Sequence[T], int]]:
    """Cut items into batches; yield each with the number of rows that the network must see (>= its length).

    batch_size: items of a batch on an accelerator; a CPU gets CPU_ROWS. limit: the most that either can take.
    """
    constant = device == "cpu"
    step = max(1, min(CPU_ROWS if constant else batch_size, limit or CPU_ROWS + batch_size))
    for start in range(0, len(items), step):
        batch = items[start : start + step]
        yield batch, step if constant else len(batch)


def repeatable() -> Any:
    """Return a context in which CUDA convolves in full float32, by the same algorithm every time.

    TF32 would round convolutions to 10 bits, in a way that depends on the accelerator and on the batch.
    """
    import torch

    return torch.backends.cudnn.flags(enabled=True, benchmark=False, deterministic=True, allow_tf32=False)


def remembered(known: dict[str, T], text: str, embed: Callable[[str], T]) -> T:
    """Return a text's embedding from `known`, where it is put if need be; the oldest of MAX_REMEMBERED makes room."""
    if text not in known:
        if len(known) >= MAX_REMEMBERED:
            del known[next(iter(known))]
        known[text] = embed(text)
    return known[text]
