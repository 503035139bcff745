"""Token models on a GPU: the processor's tokens in float32, blocks that do not matter in bfloat16, compiled steps."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from fairbench.types import ImageRequest
from tests.builders.emu3 import emu3_adapter
from tests.builders.janus import janus_adapter

TEXTS = ("A nurse", "A photo of the face of a computer programmer, a person")
EQUAL = 0.98
"""Share of 64 images whose tokens have to be all equal in float32. Sums are rounded otherwise on a GPU, and a token
whose runner-up is as likely, up to that rounding, may be another one; so is all that follows it."""


def requests(count: int) -> list[ImageRequest]:
    ids = b"\0" * 16
    return [ImageRequest(ids, ids, ids, TEXTS[i % 2], i, 2**61 + 1000 * i) for i in range(count)]


@pytest.fixture(params=["janus", "emu3"])
def make(request: pytest.FixtureRequest, tiny_janus: Path, emu3_card: Path) -> Any:
    """An adapter of a tiny checkpoint, in a given context."""
    adapter, folder = {"janus": (janus_adapter, tiny_janus), "emu3": (emu3_adapter, emu3_card.parent / "emu3")}[
        request.param
    ]
    return lambda **context: adapter(folder, **context)


def equal(some: np.ndarray, others: np.ndarray) -> float:
    return float((some == others).all(axis=1).mean())


@pytest.mark.parametrize("compiled", [False, True])
def test_float32_draws_the_processors_tokens(make: Any, compiled: bool) -> None:
    drawn = make(device="cuda", block_size=64, compile=compiled).tokens(requests(64))
    assert equal(drawn, make(device="cpu").tokens(requests(64))) >= EQUAL


def test_pixels_are_the_processors_up_to_rounding(make: Any) -> None:
    """One grey level at most, as a value that lies on a border may be truncated to either side."""
    on_gpu, on_cpu = make(device="cuda"), make(device="cpu")
    tokens = on_cpu.tokens(requests(8))
    for ours, theirs in zip(on_gpu.decode(tokens), on_cpu.decode(tokens), strict=True):
        assert np.abs(ours.astype(int) - theirs.astype(int)).max() <= 1


@pytest.mark.parametrize("compiled", [False, True])
@pytest.mark.parametrize("dtype", ["bfloat16", "float16", "float32"])
def test_an_image_does_not_depend_on_its_block(make: Any, dtype: str, compiled: bool) -> None:
    adapter, asked = make(device="cuda", dtype=dtype, block_size=8, compile=compiled), requests(20)
    whole = adapter.tokens(asked)
    np.testing.assert_array_equal(adapter.tokens(asked[::-1])[::-1], whole)
    alone = np.concatenate([adapter.tokens([request]) for request in asked[:4]])
    np.testing.assert_array_equal(alone, whole[:4])


def test_a_second_process_draws_the_same(make: Any) -> None:
    """Another adapter stands for another process: nothing of the first, such as a captured graph, is left to it."""
    context = {"device": "cuda", "dtype": "bfloat16", "block_size": 8, "compile": True}
    np.testing.assert_array_equal(make(**context).tokens(requests(8)), make(**context).tokens(requests(8)))


def test_memory_does_not_grow_from_block_to_block(make: Any) -> None:
    adapter = make(device="cuda", dtype="bfloat16", block_size=8)
    adapter.generate(requests(8))
    torch.cuda.synchronize()
    torch.cuda.reset_peak_memory_stats()
    adapter.generate(requests(8))
    first = torch.cuda.max_memory_allocated()
    for _ in range(4):
        adapter.generate(requests(8))
    assert torch.cuda.max_memory_allocated() <= 1.01 * first
