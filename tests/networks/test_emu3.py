"""The Emu3 adapter on a tiny random checkpoint: independence from the batch, faults, loading, precision."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from pydantic import ValidationError
from safetensors.torch import load_file, save_file

from fairbench import registry
from fairbench.adapters.emu3 import Emu3Adapter
from fairbench.cards import catalog
from fairbench.errors import FairbenchError, WeightsError
from fairbench.networks import lora
from fairbench.networks.emu3 import Emu3Model, grid_of, load, visual_head
from fairbench.networks.sampling import TEXT_MULTIPLE
from fairbench.protocols import EmbeddingModel, TokenModel, Trainable, TrainableAnswers, UnderstandingModel
from fairbench.types import ImageRequest
from tests.builders.emu3 import emu3_adapter, save_tiny_emu3

LONG = "A very long description of a scene with many words in it, " * 3
TEXTS = ["A nurse", "A photo of the face of a computer programmer, a person", LONG, "A chef"]
GRID = (4, 6)


def requests(count: int) -> list[ImageRequest]:
    ids = b"\0" * 16
    return [ImageRequest(ids, ids, ids, TEXTS[i % len(TEXTS)], i, 2**61 + 1000 * i) for i in range(count)]


@pytest.fixture(scope="module")
def folder(emu3_card: Path) -> Path:
    return emu3_card.parent / "emu3"


@pytest.fixture(scope="module")
def tiny(folder: Path) -> Emu3Adapter:
    return emu3_adapter(folder)


def test_it_offers_what_the_checkpoint_can(tiny: Emu3Adapter) -> None:
    assert isinstance(tiny, TokenModel)
    assert isinstance(tiny, Trainable)
    # Understanding is another checkpoint, and no vision encoder stands beside the image tokenizer.
    assert not isinstance(tiny, UnderstandingModel | EmbeddingModel | TrainableAnswers)


def test_in_float32_an_image_depends_on_nothing_else(tiny: Emu3Adapter) -> None:
    asked = requests(6)
    lengths = [len(tiny.model.prompt_ids(text)) for text in TEXTS]
    assert max(lengths) > TEXT_MULTIPLE > min(lengths)
    together = [result.pixels for result in tiny.generate(asked)]
    alone = [tiny.generate([request])[0].pixels for request in asked]
    backwards = [result.pixels for result in tiny.generate(asked[::-1])][::-1]
    for images in (alone, backwards):
        for expected, found in zip(together, images, strict=True):
            np.testing.assert_array_equal(found, expected)
    flat = {image.tobytes() for image in together if image is not None}
    assert len(flat) == 6, "texts 0 and 4 are equal, and their seeds are not"


def test_prompts_that_are_read_once_draw_what_they_draw_alone(tiny: Emu3Adapter) -> None:
    model: Emu3Model = tiny.model
    prompts, seeds = [model.prompt_ids(TEXTS[i]) for i in (0, 1, 0, 0)], [1, 2, 3, 4]
    rows: list[int] = []
    hook = model.net.model.text_model.register_forward_pre_hook(
        lambda _m, _a, named: rows.append(len(named["inputs_embeds"])), with_kwargs=True
    )
    try:
        each, once = (model.sample(prompts, seeds, read_once=how) for how in (False, True))
    finally:
        hook.remove()
    np.testing.assert_array_equal(once, each)
    steps = 24 + 3  # one for the prompts, one per token but the last, one per line but the last
    assert rows == [8] * steps + [2 + 1] + [8] * (steps - 1)


def test_the_negative_prompt_does_not_depend_on_the_batch(folder: Path) -> None:
    """It may be longer than a prompt, and longer than the padding of all of them."""
    adapter = emu3_adapter(folder, {"negative_prompt": LONG})
    together = adapter.tokens(requests(4))
    np.testing.assert_array_equal(together, np.concatenate([adapter.tokens([r]) for r in requests(4)]))


def test_what_has_no_positions_is_refused(tiny: Emu3Adapter, folder: Path) -> None:
    with pytest.raises(FairbenchError, match=r"an image of 4 x 6 need \d+ positions; the model has 1024"):
        tiny.model.prompt_ids(LONG * 30)
    with pytest.raises(FairbenchError, match=r"an image of 90 x 90 need .*: make image_area smaller"):
        load(folder, "cpu", "float32", (90, 90))


def test_codes_in_one_piece_of_the_vocabulary_are_no_special_case(tmp_path: Path) -> None:
    adapter = emu3_adapter(save_tiny_emu3(tmp_path, scattered=False))
    model: Emu3Model = adapter.model
    assert model.visual.tolist() == list(range(model.visual[0], model.visual[0] + 40))
    hidden = torch.randn(2, 64, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        expected = model.net.lm_head(hidden)[:, model.visual]
        torch.testing.assert_close(visual_head(model.net, model.visual)(hidden), expected, rtol=1e-5, atol=1e-5)


def test_in_bfloat16_the_image_tokenizer_stays_exact(folder: Path, tiny: Emu3Adapter) -> None:
    adapter = emu3_adapter(folder, dtype="bfloat16", block_size=3)
    net = adapter.model.net
    assert {p.dtype for p in net.model.text_model.parameters()} == {torch.bfloat16}
    exact = dict(tiny.model.net.model.vqmodel.state_dict())
    assert all(torch.equal(value, exact[name]) for name, value in net.model.vqmodel.state_dict().items())
    results = adapter.generate(requests(2))
    assert [r.status for r in results] == ["ok", "ok"]
    image = results[0].pixels
    assert image is not None
    np.testing.assert_array_equal(adapter.encode([image]), tiny.encode([image]))


def test_an_image_without_finite_logits_fails_alone(folder: Path) -> None:
    adapter = emu3_adapter(folder)
    embeddings = adapter.model.net.get_input_embeddings().weight
    only_in_chef = set(adapter.model.prompt_ids(TEXTS[3])) - {t for x in TEXTS[:3] for t in adapter.model.prompt_ids(x)}
    with torch.no_grad():
        embeddings[only_in_chef.pop()] = float("nan")
    results = adapter.generate(requests(4))
    assert [r.status for r in results] == ["ok", "ok", "ok", "failed"]
    assert results[3].error == "the model's logits are not finite numbers"


@pytest.mark.parametrize(("ratio", "area", "grid"), [("1:1", 518400, (90, 90)), ("16:9", 518400, (68, 120))])
def test_sizes_are_the_processors(ratio: str, area: int, grid: tuple[int, int]) -> None:
    from transformers import Emu3Processor

    assert grid_of(ratio, area) == grid
    assert Emu3Processor.calculate_generate_size(None, ratio, area, 8) == grid


@pytest.mark.parametrize(
    "bad", [{"guidance": 0.5}, {"top_k": 0}, {"ratio": "1x1"}, {"image_area": 63}, {"ratio": "1:999", "image_area": 64}]
)
def test_bad_settings_are_refused(bad: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        Emu3Adapter.Params(**bad)


def test_the_published_cards_differ_in_their_words_alone() -> None:
    bare, authors = (
        registry.parse_params(Emu3Adapter, catalog.load_model(name).card.sampling).model_dump()
        for name in ("emu3", "emu3-authors")
    )
    assert bare == Emu3Adapter.Params().model_dump()
    assert {name for name in bare if bare[name] != authors[name]} == {"suffix", "negative_prompt"}
    assert authors["suffix"] == " masterpiece, film grained, best quality."
    words = authors["negative_prompt"]
    assert words.startswith("lowres, bad anatomy, bad hands, text,")
    assert words.endswith(
        "worst quality, low quality, normal quality, jpeg artifacts, signature, watermark, username, blurry."
    )


def test_settings_are_told_without_weights(folder: Path) -> None:
    told = emu3_adapter(folder).effective_settings()
    assert (told["tokens_per_image"], told["image_size"]) == (24, [48, 32])
    assert (told["guidance"], told["top_k"], told["negative_prompt"]) == (3.0, 2048, "")
    assert "model.safetensors" in told["weights"]


class TestLoading:
    @pytest.fixture
    def copy(self, folder: Path, tmp_path: Path) -> Path:
        return Path(shutil.copytree(folder, tmp_path / "copy"))

    def test_the_authors_own_format_is_named(self, copy: Path) -> None:
        (copy / "config.json").write_text(json.dumps({"model_type": "Emu3"}))
        with pytest.raises(WeightsError, match=r"authors' own format.*such as BAAI/Emu3-Gen-hf instead of"):
            emu3_adapter(copy)

    def test_another_model_is_refused(self, tiny_janus: Path) -> None:
        with pytest.raises(WeightsError, match="model_type 'janus', not 'emu3'"):
            emu3_adapter(tiny_janus)

    def test_a_missing_weight_is_named(self, copy: Path) -> None:
        state = load_file(copy / "model.safetensors")
        assert "text_model.lm_head.weight" in state, "weights are called as in the published files"
        del state["text_model.lm_head.weight"]
        save_file(state, copy / "model.safetensors", metadata={"format": "pt"})
        with pytest.raises(WeightsError, match=r"lacks 1 weights, such as lm_head\.weight"):
            load(copy, "cpu", "float32", GRID)

    def test_a_code_without_a_token_is_refused(self, copy: Path) -> None:
        config = json.loads((copy / "config.json").read_text())
        del config["vocabulary_map"]["<|visual token 000007|>"]
        (copy / "config.json").write_text(json.dumps(config))
        with pytest.raises(WeightsError, match="does not name the end-of-line token and all 40 image tokens"):
            load(copy, "cpu", "float32", GRID)

    def test_a_tokenizer_without_its_tokens_is_refused(self, copy: Path) -> None:
        path = copy / "tokenizer_config.json"
        fields = json.loads(path.read_text())
        del fields["bos_token"]
        path.write_text(json.dumps(fields))
        with pytest.raises(WeightsError, match="lacks its bos_token"):
            load(copy, "cpu", "float32", GRID)

    def test_an_adapter_of_the_head_is_refused(self, folder: Path) -> None:
        model = load(folder, "cpu", "float32", GRID)
        lora.new(model.net, "lm_head", 2, 2.0, 0.0, 0)
        with pytest.raises(WeightsError, match="changes lm_head"):
            model.sample([model.prompt_ids("A nurse")], [1])


def test_a_folder_of_emu3_is_recognised(folder: Path) -> None:
    assert catalog.load_model(str(folder)).card.adapter == "emu3"
