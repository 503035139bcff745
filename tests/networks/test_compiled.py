"""Compiled steps: captured whole and once for each shape, and the same tokens as without."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from fairbench.errors import FairbenchError
from fairbench.networks import compiled
from fairbench.runs import spec
from fairbench.runs.arguments import RunSettings
from fairbench.types import ImageRequest
from tests.builders.emu3 import emu3_adapter
from tests.builders.janus import janus_adapter

TEXTS = ("A nurse", "A photo of the face of a computer programmer, a person", "A chef " * 30)


def requests(count: int) -> list[ImageRequest]:
    ids = b"\0" * 16
    return [ImageRequest(ids, ids, ids, TEXTS[i % 3], i, 2**61 + 1000 * i) for i in range(count)]


@pytest.fixture
def captured(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """The graphs that torch captured of steps; they are run as they are, so that no compiler is needed."""
    graphs: list[Any] = []
    compile_ = torch.compile

    def keep(graph: Any, examples: Any) -> Any:
        graphs.append(graph)
        return graph

    torch._dynamo.reset()
    monkeypatch.setattr(torch, "compile", lambda step, mode, **how: compile_(step, backend=keep, **how))
    return graphs


@pytest.mark.parametrize("family", ["janus", "emu3"])
def test_steps_are_captured_whole_and_once_for_each_shape(
    family: str, captured: list[Any], tiny_janus: Path, emu3_card: Path
) -> None:
    """A graph of 64 rows serves all steps of 64 images in two blocks of one length; their tokens stay the same."""
    make: Any = janus_adapter if family == "janus" else emu3_adapter
    folder = tiny_janus if family == "janus" else emu3_card.parent / "emu3"
    plain, fast = make(folder), make(folder, block_size=40, compile=True)
    short = [request for request in requests(96) if request.text != TEXTS[2]]
    assert len(short) == 64
    np.testing.assert_array_equal(fast.tokens(short), plain.tokens(short))
    assert len(captured) == 1, "two blocks of 40 rows, the second filled up"
    np.testing.assert_array_equal(fast.tokens(requests(3)), plain.tokens(requests(3)))
    assert len(captured) == 2, "a longer text is another shape"
    np.testing.assert_array_equal(fast.tokens(requests(6)), plain.tokens(requests(6)))
    assert len(captured) == 2, "both shapes were known"
    assert fast.effective_settings()["attention"] == "sdpa, compiled behind the prompt"
    assert fast.effective_settings()["rows_per_call"] == 40


@pytest.mark.usefixtures("captured")
@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_a_compiled_image_depends_on_nothing_else(tiny_janus: Path, dtype: str) -> None:
    adapter = janus_adapter(tiny_janus, block_size=4, dtype=dtype, compile=True)
    asked = requests(6)
    alone = np.concatenate([adapter.tokens([request]) for request in asked])
    np.testing.assert_array_equal(adapter.tokens(asked[::-1])[::-1], alone)


@pytest.mark.long
@pytest.mark.skipif(shutil.which("g++") is None, reason="torch compiles for a processor with g++, which is not here")
def test_compiled_tokens_of_64_images_are_equal(tiny_janus: Path) -> None:
    torch._dynamo.reset()
    plain, fast = janus_adapter(tiny_janus), janus_adapter(tiny_janus, block_size=64, compile=True)
    short = [request for request in requests(96) if request.text != TEXTS[2]]
    np.testing.assert_array_equal(fast.tokens(short), plain.tokens(short))


def test_what_torch_cannot_compile_is_one_sentence(tiny_janus: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(graph: Any, examples: Any) -> Any:
        raise OSError("no compiler was found\nin any of the folders")

    compile_ = torch.compile
    torch._dynamo.reset()
    monkeypatch.setattr(torch, "compile", lambda step, mode, **how: compile_(step, backend=fail, **how))
    with pytest.raises(FairbenchError, match=r"torch cannot compile this model \(.*\): leave out --compile\.") as told:
        janus_adapter(tiny_janus, block_size=2, compile=True).tokens(requests(1))
    assert "\n" not in str(told.value)


def test_keys_and_values_are_put_in_their_place() -> None:
    """In buffers that stay where they are: a CUDA graph knows addresses only."""
    given = {n: (torch.full((3, 2, 8, 4), 1.0 + n), torch.full((3, 2, 8, 4), 5.0 + n)) for n in range(2)}
    past = compiled._Past(given, torch.zeros(3, 1, 1, 8))
    past.take(given, torch.full((3, 1, 1, 8), -torch.inf))
    assert [float(key[0, 0, 0, 0]) for key in past.keys] == [1.0, 2.0]
    assert [float(value[2, 1, 7, 3]) for value in past.values] == [5.0, 6.0]
    past.move(6)
    assert past.mask[0, 0, 0].tolist() == [-torch.inf] * 6 + [0.0, -torch.inf]
    keys, values = past.update(torch.full((3, 2, 1, 4), 9.0), torch.full((3, 2, 1, 4), 8.0), 1)
    assert keys is past.keys[1] and values is past.values[1]
    assert keys[0, 0, :, 0].tolist() == [2.0] * 6 + [9.0, 2.0] and values[1, 1, 6].tolist() == [8.0] * 4


class TestRuns:
    def key(self, **given: Any) -> str:
        return spec.make(RunSettings("phantom", device="cpu", **given)).image_key

    def test_in_float32_on_a_processor_it_is_not_in_the_key(self) -> None:
        assert self.key() == self.key(compile=True)

    def test_in_reduced_precision_it_is(self) -> None:
        assert self.key(dtype="bfloat16") != self.key(dtype="bfloat16", compile=True)

    def test_on_an_accelerator_it_is(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(spec, "pick_device", lambda name: "cuda")
        plain, fast = (spec.make(RunSettings("phantom", compile=c)).image_key for c in (False, True))
        assert plain != fast

    def test_models_that_draw_no_tokens_refuse_it(self) -> None:
        with pytest.raises(FairbenchError, match="--compile: phantom-exact draws no tokens in this process"):
            spec.make(RunSettings("phantom-exact", compile=True))

    def test_methods_that_hook_the_model_refuse_it(self) -> None:
        with pytest.raises(FairbenchError, match=r"--compile: the method \w+ hooks into the model's layers"):
            spec.make(RunSettings("phantom", method="steering", compile=True))
