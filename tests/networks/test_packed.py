"""Drawing with packed weights and attention of our own: the same tokens, and rows that depend on nothing else."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch.nn import functional

from fairbench.adapters.emu3 import Emu3Adapter
from fairbench.adapters.janus import JanusAdapter
from fairbench.networks import packed
from tests.builders.emu3 import emu3_adapter
from tests.builders.janus import janus_adapter

pytestmark = pytest.mark.skipif(not torch.backends.mkldnn.is_available(), reason="this torch comes without oneDNN")
PROMPTS = ("A nurse", "A photo of the face of a computer programmer, a person", "A chef " * 30)


@pytest.fixture
def small_weights_too(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(packed, "WORTH", 1)


@pytest.fixture
def janus(tiny_janus: Path) -> JanusAdapter:
    return janus_adapter(tiny_janus)


@pytest.fixture
def emu3(emu3_card: Path) -> Emu3Adapter:
    return emu3_adapter(emu3_card.parent / "emu3")


def parts(adapter: Any) -> tuple[Any, Any]:
    """The decoder, and a layer to stand for its head."""
    return adapter.language_model(), torch.nn.Linear(2, 3)


@pytest.mark.usefixtures("small_weights_too")
@pytest.mark.parametrize("family", ["janus", "emu3"])
def test_the_tokens_of_64_images_are_those_of_transformers_own_layers(
    family: str, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch
) -> None:
    adapter = request.getfixturevalue(family)
    model = adapter.model
    prompts, seeds = [model.prompt_ids(PROMPTS[i % 3]) for i in range(64)], [2**61 + i for i in range(64)]
    drawn = model.sample(prompts, seeds, read_once=True)
    assert model.attention() == "sdpa; fairbench's own behind the prompt"
    assert len(np.unique(drawn, axis=0)) == 64
    np.testing.assert_array_equal(drawn[5:6], model.sample(prompts[5:6], seeds[5:6]))
    monkeypatch.setattr(packed, "WORTH", 2**40)
    assert model.attention() == "sdpa"
    np.testing.assert_array_equal(drawn, model.sample(prompts, seeds, read_once=True))


@pytest.mark.parametrize(("outputs", "inputs"), [(768, 512), (512, 2048)])
def test_a_products_rows_depend_on_nothing_else(outputs: int, inputs: int) -> None:
    """On one thread or two, and however many rows there are: bit for bit."""
    rng = torch.Generator().manual_seed(0)
    layer = torch.nn.Linear(inputs, outputs)
    hidden = torch.randn(64, inputs, generator=rng)
    with torch.inference_mode():
        product = packed._product(torch.ops.mkldnn._reorder_linear_weight(layer.weight, 16), layer.bias)
        together = product(hidden)
        for rows in (2, 3, 7, 16, 33):
            assert torch.equal(product(hidden[:rows].clone()), together[:rows])
    exact = hidden.double() @ layer.weight.double().T + layer.bias.double()
    torch.testing.assert_close(together.double(), exact, rtol=0, atol=1e-5)


@pytest.mark.parametrize("kept", [4, 2, 1])
def test_attention_is_that_of_its_formula(kept: int) -> None:
    """Against float64, on a part of the cache's buffer, behind padding, and with heads that share what they attend."""
    rng = torch.Generator().manual_seed(kept)
    rows, heads, size, positions, length = 3, 4, 8, 11, 16
    query = torch.randn(rows, 1, heads, size, generator=rng).transpose(1, 2)
    keys, values = (torch.randn(rows, kept, length, size, generator=rng)[:, :, :positions] for _ in "kv")
    mask = torch.zeros(rows, 1, 1, positions)
    mask[0, ..., :4], mask[1, ..., 9:] = -torch.inf, -torch.inf
    with torch.inference_mode():
        ours, _ = packed._attend(None, query, keys, values, mask, scaling=0.3)
    assert ours.shape == (rows, 1, heads, size)
    for row in range(rows):
        for head in range(heads):
            key, value = (part[row, head * kept // heads].double() for part in (keys, values))
            weights = functional.softmax(0.3 * key @ query[row, head, 0].double() + mask[row, 0, 0].double(), dim=-1)
            torch.testing.assert_close(ours[row, 0, head].double(), weights @ value, rtol=1e-5, atol=1e-6)


class TestWhatIsPacked:
    def test_large_weights(self, janus: JanusAdapter) -> None:
        decoder, _ = parts(janus)
        head = torch.nn.Sequential(torch.nn.Linear(512, 512), torch.nn.Linear(512, 511))
        assert packed.layers(decoder, head) == [head[0]]

    @pytest.mark.usefixtures("small_weights_too")
    def test_not_in_reduced_precision(self, tiny_janus: Path) -> None:
        assert not packed.layers(*parts(janus_adapter(tiny_janus, dtype="bfloat16")))

    @pytest.mark.usefixtures("small_weights_too")
    def test_not_beyond_the_free_memory(self, janus: JanusAdapter, monkeypatch: pytest.MonkeyPatch) -> None:
        decoder, head = parts(janus)
        needed = 2 * sum(layer.weight.nbytes for layer in packed.layers(decoder, head))
        monkeypatch.setattr(packed, "_free_bytes", lambda: needed - 1)
        assert not packed.layers(decoder, head)
        monkeypatch.setattr(packed, "_free_bytes", lambda: needed)
        assert packed.layers(decoder, head)

    def test_the_free_memory_is_read(self, tmp_path: Path) -> None:
        (tmp_path / "meminfo").write_text("MemTotal:  16 kB\nMemAvailable:    12 kB\n")
        assert packed._free_bytes(tmp_path / "meminfo") == 12 * 1024
        assert packed._free_bytes(tmp_path / "none") == math.inf

    @pytest.mark.usefixtures("small_weights_too")
    def test_not_where_another_library_computes(self, janus: JanusAdapter) -> None:
        decoder, head = parts(janus)
        layer = packed.layers(decoder, head)[0]
        layer.forward = lambda hidden: hidden
        assert not packed.layers(decoder, head)


@pytest.fixture
def broken_step(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*given: Any, **named: Any) -> None:
        raise RuntimeError("no step")

    monkeypatch.setattr("fairbench.networks.janus.draw", fail)


@pytest.mark.usefixtures("small_weights_too", "broken_step")
def test_nothing_stays_behind(janus: JanusAdapter) -> None:
    decoder, _ = parts(janus)
    with pytest.raises(RuntimeError, match="no step"):
        janus.model.sample([janus.model.prompt_ids("A nurse")], [1])
    assert decoder.config._attn_implementation == "sdpa"
    assert not [layer for layer in janus.model.net.modules() if "forward" in vars(layer)]
