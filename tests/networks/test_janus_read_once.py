"""Equal prompts that are read once draw the tokens that they draw when each is read for itself."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from fairbench.networks.janus import JanusModel
from fairbench.networks.sampling import StepDecoder
from fairbench.types import ImageRequest
from tests.builders.janus import janus_adapter

LONG = "A very long description of a scene with many words in it, " * 3
NURSE, CHEF = "A photo of the face of a nurse, a person", "A chef"


@pytest.fixture(scope="module")
def model(tiny_janus: Path) -> JanusModel:
    return janus_adapter(tiny_janus).model


def rows_read(model: JanusModel, texts: list[str], guidance: float, **how: bool) -> tuple[np.ndarray, list[int]]:
    """The tokens, and how many rows the language model saw: of the prompts first, then of each token."""
    seen: list[int] = []
    hook = model.net.model.language_model.register_forward_pre_hook(
        lambda _m, _a, named: seen.append(len(named["inputs_embeds"])), with_kwargs=True
    )
    try:
        seeds = [2**40 + i for i in range(len(texts))]
        tokens = model.sample([model.prompt_ids(text) for text in texts], seeds, guidance, **how)
    finally:
        hook.remove()
    return tokens, seen


@pytest.mark.parametrize("guidance", [1.0, 5.0])
@pytest.mark.parametrize(
    "texts",
    [[NURSE], [NURSE] * 5, [NURSE, CHEF, LONG], [NURSE, CHEF, NURSE, LONG, CHEF, NURSE]],
    ids=["one", "repeated", "distinct", "mixed"],
)
def test_tokens_are_the_same(model: JanusModel, texts: list[str], guidance: float) -> None:
    each, rows_of_each = rows_read(model, texts, guidance)
    once, rows_of_once = rows_read(model, texts, guidance, read_once=True)
    np.testing.assert_array_equal(once, each)
    assert len(np.unique(each, axis=0)) == len(texts), "images of one prompt differ by their seeds"
    halves = 1 if guidance == 1 else 2
    assert rows_of_each == [halves * len(texts)] * model.tokens_per_image
    assert rows_of_once == [halves * len(set(texts)), *rows_of_each[1:]]


@pytest.mark.parametrize(("dtype", "once"), [("float32", True), ("bfloat16", False), ("float16", False)])
def test_only_full_precision_reads_once(
    tiny_janus: Path, monkeypatch: pytest.MonkeyPatch, dtype: str, once: bool
) -> None:
    """In reduced precision the number of rows may change how a sum is rounded, so it must never vary."""
    asked: list[bool] = []

    def sample(self: JanusModel, prompts: list[list[int]], *_: object, read_once: bool, **__: object) -> np.ndarray:
        asked.append(read_once)
        return np.zeros((len(prompts), self.tokens_per_image), dtype=np.int64)

    monkeypatch.setattr(JanusModel, "sample", sample)
    ids = b"\0" * 16
    requests = [ImageRequest(ids, ids, ids, NURSE, i, i) for i in range(6)]
    janus_adapter(tiny_janus, dtype=dtype, block_size=4).tokens(requests)
    assert asked == [once] * (1 if once else 2)


class TestSelect:
    @torch.no_grad()
    def test_the_rest_goes_on_from_the_selected_rows(self, model: JanusModel) -> None:
        """Rows of unequal length, some taken twice, in another order, against rows that were so from the start."""
        net = model.net.model.language_model
        generator = torch.Generator().manual_seed(0)
        text = torch.randn(3, 20, net.config.hidden_size, generator=generator)
        keep = torch.arange(20)[None] >= torch.tensor([0, 5, 13])[:, None]
        rows = torch.tensor([2, 0, 0, 2, 1])
        selected, plain = StepDecoder(net, keep, 8), StepDecoder(net, keep[rows], 8)
        first = selected(text)[rows]
        selected.select(rows)
        torch.testing.assert_close(first, plain(text[rows]), rtol=1e-5, atol=1e-5)
        for _ in range(8):
            step = torch.randn(5, 1, net.config.hidden_size, generator=generator)
            torch.testing.assert_close(selected(step), plain(step), rtol=1e-5, atol=1e-5)

    @torch.no_grad()
    def test_copies_of_a_row_have_a_past_of_their_own(self, model: JanusModel) -> None:
        net = model.net.model.language_model
        generator = torch.Generator().manual_seed(1)
        decoder = StepDecoder(net, torch.ones(1, 6, dtype=torch.bool), 4)
        decoder(torch.randn(1, 6, net.config.hidden_size, generator=generator))
        decoder.select(torch.tensor([0, 0]))
        decoder(torch.randn(2, 1, net.config.hidden_size, generator=generator))
        same = torch.randn(1, 1, net.config.hidden_size, generator=generator).repeat(2, 1, 1)
        one, other = decoder(same)
        assert not torch.allclose(one, other, atol=1e-3)
