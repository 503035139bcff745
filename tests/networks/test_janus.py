"""The Janus adapter on a tiny random checkpoint: independence from the batch, faults, loading."""

from __future__ import annotations

import json
import re
import shutil
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from pydantic import ValidationError
from safetensors.torch import load_file, save_file

from fairbench import registry
from fairbench.adapters.janus import JanusAdapter
from fairbench.cards.cards import ModelCard
from fairbench.display.progress import watching
from fairbench.errors import CardError, OutOfMemory, WeightsError
from fairbench.networks.janus import load
from fairbench.networks.sampling import TEXT_MULTIPLE, gumbel, padded_length
from fairbench.types import BuildContext, ImageRequest
from tests.builders.folders import ROOT
from tests.builders.janus import janus_adapter
from tests.builders.progress import Recorder

LONG = "A very long description of a scene with many words in it, " * 3
TEXTS = ["A nurse", "A photo of the face of a computer programmer, a person", LONG, "A chef"]


def requests(count: int) -> list[ImageRequest]:
    ids = b"\0" * 16
    return [ImageRequest(ids, ids, ids, TEXTS[i % len(TEXTS)], i, 2**61 + 1000 * i) for i in range(count)]


@pytest.fixture(scope="module")
def tiny(tiny_janus: Path) -> JanusAdapter:
    return janus_adapter(tiny_janus)


class TestProgress:
    def test_image_tokens_move_it_within_a_block(self, tiny: JanusAdapter) -> None:
        recorder = Recorder()
        with recorder.stage("images", 4) as stage, watching(tiny, stage, 4):
            watched = tiny.tokens(requests(4))
        moves = [done for _, done, _ in recorder.events[1:]]
        # Batches are drawn one after the other: every token of a batch moves the block by the batch's share of it.
        lengths = Counter(padded_length(len(tiny.model.prompt_ids(text))) for text in TEXTS)
        sizes = [count for _, count in sorted(lengths.items())]
        steps = np.concatenate([np.full(tiny.model.tokens_per_image, size) for size in sizes])
        assert len(sizes) > 1
        assert moves == pytest.approx(np.cumsum(steps / tiny.model.tokens_per_image))
        assert np.array_equal(watched, tiny.tokens(requests(4)))

    def test_answers_move_it(self, tiny: JanusAdapter) -> None:
        recorder, asked = Recorder(), (["Who is it?", "What is it?"], [None, None], [1, 2])
        with recorder.stage("answers", 2) as stage, watching(tiny, stage, 2):
            answers = tiny.answer(*asked, limit=8)
        moves = [done for _, done, _ in recorder.events[1:]]
        assert moves and moves == [2 * step / 8 for step in range(1, len(moves) + 1)]
        assert answers == tiny.answer(*asked, limit=8)


class TestNoise:
    def test_a_row_depends_on_its_seed_alone(self) -> None:
        many = np.concatenate(list(gumbel([1, 2, 3], 20, 50, chunk=7)))
        one = np.concatenate(list(gumbel([2], 20, 50)))
        np.testing.assert_array_equal(many[:, 1], one[:, 0])

    def test_all_bits_of_a_seed_count(self) -> None:
        low, high = next(gumbel([5, 5 + 2**32], 1, 50))[0]
        assert not np.array_equal(low, high)

    def test_it_is_standard_gumbel(self) -> None:
        noise = np.concatenate(list(gumbel([0], 100, 1000))).ravel()
        assert noise.mean() == pytest.approx(np.euler_gamma, abs=0.02)
        assert noise.var() == pytest.approx(np.pi**2 / 6, abs=0.05)

    def test_the_stream_never_changes(self) -> None:
        """Another stream would be other images under the same key: raise the adapter's version with these numbers."""
        np.testing.assert_allclose(next(gumbel([42], 1, 4))[0, 0], GOLDEN_NOISE, rtol=1e-6)


GOLDEN_NOISE = [-0.87722081, -0.84852129, -0.86909896, 1.27370071]


class TestGenerate:
    def test_images_are_rgb_in_request_order(self, tiny: JanusAdapter) -> None:
        wanted = requests(5)
        results = tiny.generate(wanted)
        assert [r.status for r in results] == ["ok"] * 5
        tokens = tiny.tokens(wanted)
        for result, pixels in zip(results, tiny.decode(tokens), strict=True):
            assert result.pixels is not None
            assert result.pixels.shape == (16, 16, 3)
            assert result.pixels.dtype == np.uint8
            assert result.seconds > 0
            np.testing.assert_array_equal(result.pixels, pixels)
        assert len({r.pixels.tobytes() for r in results if r.pixels is not None}) == 5

    def test_no_requests_load_nothing(self, tmp_path: Path) -> None:
        assert janus_adapter(tmp_path / "absent").generate([]) == []

    @pytest.mark.parametrize("guidance", [5.0, 1.0])
    def test_float32_images_do_not_depend_on_the_batch(self, tiny_janus: Path, guidance: float) -> None:
        model = janus_adapter(tiny_janus, {"guidance": guidance})
        wanted = requests(8)
        lengths = {len(model.model.prompt_ids(r.text)) for r in wanted}
        assert len(lengths) == len(TEXTS)
        assert max(lengths) > TEXT_MULTIPLE > min(lengths)
        eight = model.tokens(wanted)
        three = np.concatenate([model.tokens(wanted[i : i + 3]) for i in (0, 3, 6)])
        one = np.concatenate([model.tokens([r]) for r in wanted])
        reverse = model.tokens(wanted[::-1])[::-1]
        np.testing.assert_array_equal(eight, three)
        np.testing.assert_array_equal(eight, one)
        np.testing.assert_array_equal(eight, reverse)

    def test_reduced_precision_images_do_not_depend_on_the_rest_of_the_block(self, tiny_janus: Path) -> None:
        model = janus_adapter(tiny_janus, dtype="bfloat16", block_size=4)
        assert model.model.net.dtype == torch.bfloat16
        seen: list[int] = []
        hook = model.model.net.model.generation_head.register_forward_hook(lambda _m, _i, out: seen.append(len(out)))
        wanted = requests(6)
        whole = model.generate(wanted)
        hook.remove()
        assert set(seen) == {8}, "always block_size rows, doubled for guidance"
        for request, expected in zip(wanted, whole, strict=True):
            alone = model.generate([request])[0]
            assert alone.pixels is not None
            np.testing.assert_array_equal(alone.pixels, expected.pixels)

    def test_temperature_and_guidance_matter(self, tiny_janus: Path, tiny: JanusAdapter) -> None:
        wanted = requests(2)
        cold = janus_adapter(tiny_janus, {"temperature": 0.01}).tokens(wanted)
        other = janus_adapter(tiny_janus, {"guidance": 2.0}).tokens(wanted)
        assert not np.array_equal(cold, tiny.tokens(wanted))
        assert not np.array_equal(other, tiny.tokens(wanted))

    def test_low_temperature_takes_the_likeliest_token_whatever_the_seed(self, tiny_janus: Path) -> None:
        model = janus_adapter(tiny_janus, {"temperature": 1e-6})
        prompt = model.model.prompt_ids(TEXTS[0])
        first, second = model.model.sample([prompt, prompt], [1, 2], temperature=1e-6)
        np.testing.assert_array_equal(first, second)


class TestFaults:
    def test_a_fault_of_one_image_is_its_own(self, tiny_janus: Path, tiny: JanusAdapter) -> None:
        broken = janus_adapter(tiny_janus)
        head = broken.model.net.model.generation_head
        hook = head.register_forward_hook(_nan_in_second_row)
        results = broken.generate(requests(2))
        hook.remove()
        assert [r.status for r in results] == ["ok", "failed"]
        assert "logits" in str(results[1].error)
        np.testing.assert_array_equal(results[0].pixels, tiny.generate(requests(2))[0].pixels)

    def test_pixels_that_are_not_finite_fail_the_image(self, tiny_janus: Path) -> None:
        broken = janus_adapter(tiny_janus)
        broken.model.net.model.vqmodel.decoder.register_forward_hook(lambda _m, _i, out: out * torch.nan)
        (result,) = broken.generate(requests(1))
        assert result.status == "failed"
        assert "decoder" in str(result.error)

    def test_out_of_memory_is_handed_to_the_stage(self, tiny_janus: Path) -> None:
        full = janus_adapter(tiny_janus)
        full.model.net.model.generation_head.register_forward_hook(_out_of_memory)
        with pytest.raises(OutOfMemory, match="CUDA out of memory") as caught:
            full.generate(requests(1))
        assert caught.value.__cause__ is None
        assert caught.value.__context__ is None, "a kept traceback would keep the block's tensors alive"


def _nan_in_second_row(_module: object, _inputs: object, out: torch.Tensor) -> torch.Tensor:
    out = out.clone()
    out[1, 0] = torch.nan
    return out


def _out_of_memory(*_: object) -> None:
    raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20 GiB.\nDetails")


class TestLoading:
    @pytest.fixture
    def copy(self, tiny_janus: Path, tmp_path: Path) -> Path:
        return Path(shutil.copytree(tiny_janus, tmp_path / "janus"))

    def test_a_card_without_weights(self) -> None:
        card = ModelCard(name="bare", title="Bare", adapter="janus")
        with pytest.raises(CardError, match="'bare' lacks `weights`"):
            JanusAdapter(card, JanusAdapter.Params(), BuildContext())

    def test_deepseeks_own_format_names_the_repository_to_use(self, copy: Path) -> None:
        (copy / "config.json").write_text(json.dumps({"model_type": "multi_modality"}))
        with pytest.raises(WeightsError, match="deepseek-community/Janus-Pro-1B"):
            load(copy, "cpu", "float32")

    def test_another_kind_of_model(self, copy: Path) -> None:
        (copy / "config.json").write_text(json.dumps({"model_type": "llama"}))
        with pytest.raises(WeightsError, match="model_type 'llama'"):
            load(copy, "cpu", "float32")

    def test_no_config(self, tmp_path: Path) -> None:
        with pytest.raises(WeightsError, match=r"no readable config\.json"):
            load(tmp_path, "cpu", "float32")

    def test_no_safetensors(self, copy: Path) -> None:
        (copy / "model.safetensors").rename(copy / "pytorch_model.bin")
        with pytest.raises(WeightsError, match="safetensors"):
            load(copy, "cpu", "float32")

    def test_truncated_weights(self, copy: Path) -> None:
        path = copy / "model.safetensors"
        path.write_bytes(path.read_bytes()[:1000])
        with pytest.raises(WeightsError, match="cannot be loaded"):
            load(copy, "cpu", "float32")

    def test_absent_weights_are_never_made_up(self, copy: Path) -> None:
        tensors = load_file(copy / "model.safetensors")
        del tensors["model.generation_head.vision_head.weight"]
        save_file(tensors, copy / "model.safetensors", metadata={"format": "pt"})
        with pytest.raises(WeightsError, match=r"lacks 1 weights, such as model\.generation_head\.vision_head\.weight"):
            load(copy, "cpu", "float32")

    def test_a_wrong_number_of_image_tokens(self, copy: Path) -> None:
        config = json.loads((copy / "config.json").read_text())
        config["vision_config"]["num_image_tokens"] = 576
        (copy / "config.json").write_text(json.dumps(config))
        with pytest.raises(WeightsError, match="num_image_tokens is 576"):
            load(copy, "cpu", "float32")

    def test_spaces_survive_the_llama_tokenizer_class(self, tiny_janus: Path, tiny: JanusAdapter) -> None:
        assert json.loads((tiny_janus / "tokenizer_config.json").read_text())["tokenizer_class"] == "LlamaTokenizerFast"
        text = "the face of a nurse"
        assert text in tiny.model.processor.tokenizer.decode(tiny.model.prompt_ids(text))


class TestCards:
    @pytest.mark.parametrize("name", ["janus", "janus-pro-1b", "janus-pro-7b"])
    def test_cards_are_valid(self, name: str) -> None:
        card = ModelCard.model_validate(yaml.safe_load((ROOT / "models" / f"{name}.yaml").read_text()))
        assert card.name == name
        assert registry.resolve("adapters", card.adapter) is JanusAdapter
        expected = "User: {text}\n\nAssistant:" if name == "janus" else None
        assert registry.parse_params(JanusAdapter, card.sampling).model_dump() == {
            "guidance": 5.0,
            "temperature": 1.0,
            "prompt_format": expected,
        }
        assert not card.trust_remote_code

    def test_lora_targets_hit_the_language_model_alone(self, tiny: JanusAdapter) -> None:
        card = yaml.safe_load((ROOT / "models" / "janus-pro-1b.yaml").read_text())
        names = [n for n, _ in tiny.model.net.named_modules() if re.fullmatch(card["lora_targets"], n)]
        layers = tiny.model.net.config.text_config.num_hidden_layers
        assert len(names) == 7 * layers
        assert all(n.startswith("model.language_model.layers.") for n in names)

    @pytest.mark.parametrize(
        "bad", [{"guidance": 0.5}, {"temperature": 0}, {"top_p": 0.9}, {"prompt_format": "User: {prompt}"}]
    )
    def test_wrong_sampling_is_refused(self, bad: dict[str, float]) -> None:
        with pytest.raises(ValidationError):
            registry.parse_params(JanusAdapter, bad)
