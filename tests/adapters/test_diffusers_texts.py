"""What a diffusers pipeline reads of a prompt is said: cuts, texts of its own, rewriting."""

from __future__ import annotations

import hashlib
import inspect
import json
import logging
import re
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import diffusers
import numpy as np
import pytest
import torch

from fairbench.adapters.diffusers import DiffusersAdapter
from fairbench.adapters.diffusers_prompting import set_system_prompt
from fairbench.cards.cards import HubModel, ModelCard
from fairbench.errors import CardError
from fairbench.notices import collecting
from fairbench.types import BuildContext, ImageRequest, ImageResult
from tests.builders.flux import save_tiny_flux
from tests.builders.pipelines import TEMPLATE, Cleaning, LowerCase, Qwen, Sana, StandIn

CLIP_WORDS = 75
"""CLIP's 77 tokens without the marks of start and end; a letter between blanks is one token of the tiny tokenizers."""

BLOCK = BuildContext(dtype="bfloat16", block_size=2)


def build(folder: Path | str, ctx: BuildContext | None = None, **sampling: Any) -> DiffusersAdapter:
    card = ModelCard(name="tiny", title="Tiny", adapter="diffusers", weights=HubModel(path=str(folder)))
    params = DiffusersAdapter.Params.model_validate({"steps": 1, "guidance": 2.0} | sampling)
    return DiffusersAdapter(card, params, ctx or BuildContext())


def generate(adapter: DiffusersAdapter, *prompts: str) -> list[ImageResult]:
    return adapter.generate([ImageRequest(b"i", b"p", b"n", text, 0, 7) for text in prompts])


def words(count: int, last: str) -> str:
    return " ".join(["a"] * (count - 1) + [last])


@pytest.fixture(scope="module")
def flux(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_tiny_flux(tmp_path_factory.mktemp("flux"))


@pytest.mark.parametrize("count", [1, CLIP_WORDS - 1, CLIP_WORDS, CLIP_WORDS + 1, 400])
def test_a_prompt_is_called_cut_exactly_where_its_last_word_changes_nothing(tiny_sd: Path, count: int) -> None:
    """CLIP reads 77 tokens; what stands behind them was dropped without a word."""
    adapter = build(tiny_sd)
    one = generate(adapter, words(count, "b"))[0]
    read = [adapter._pipe.encode_prompt(words(count, last), "cpu", 1, False)[0] for last in "bc"]
    cut = torch.equal(*read)
    assert cut == (count > CLIP_WORDS)
    assert ("prompt-cut" in one.notes) == cut
    if cut:
        note = one.notes["prompt-cut"]
        assert note.startswith(f'CLIP (tokenizer): 77 of {count + 2} tokens are read, not "')
        assert '"b"' in note if count == CLIP_WORDS + 1 else note.endswith(' ..."')
        assert len(note) < 300


def test_only_the_cut_prompt_of_a_block_is_noted(tiny_sd: Path) -> None:
    short, long = words(3, "b"), words(90, "b")
    results = generate(build(tiny_sd, BuildContext(dtype="bfloat16", block_size=4)), long, short, long)
    assert [sorted(r.notes) for r in results] == [["prompt-cut"], [], ["prompt-cut"]]
    # `short` is a part of this one: the cut is not its own.
    longer = f"{words(80, 'a')} {short}"
    results = generate(build(tiny_sd, BLOCK), short, longer)
    assert [sorted(r.notes) for r in results] == [[], ["prompt-cut"]]


def test_a_cut_negative_prompt_is_noted_as_such(tiny_sd: Path) -> None:
    notes = generate(build(tiny_sd, negative_prompt=words(80, "z")), "a nurse")[0].notes
    assert notes == {"prompt-cut": notes["prompt-cut"]}
    assert notes["prompt-cut"].startswith("of the negative prompt, CLIP (tokenizer): 77 of 82 tokens are read")


@pytest.mark.parametrize("count", [CLIP_WORDS, CLIP_WORDS + 1, 100, 101, 200])
def test_the_encoder_that_cuts_is_named(flux: Path, count: int) -> None:
    """FLUX reads with CLIP (77 tokens) and with T5 (here 101 with its end mark)."""
    adapter = build(flux, max_sequence_length=101)
    one, other = generate(adapter, words(count, "b"), words(count, "c"))
    assert one.pixels is not None and other.pixels is not None
    assert np.array_equal(one.pixels, other.pixels) == (count > 100)
    note = one.notes.get("prompt-cut")
    if count <= CLIP_WORDS:
        assert note is None
    elif count <= 100:
        assert note is not None and note.endswith("; T5 (tokenizer_2): all is read")
        assert note.startswith(f"CLIP (tokenizer): 77 of {count + 2} tokens are read")
    else:
        assert note is not None
        assert re.findall(r"(CLIP|T5) \(\w+\): (\d+) of (\d+)", note) == [
            ("CLIP", "77", str(count + 2)),
            ("T5", "101", str(count + 1)),
        ]


def test_listening_changes_nothing_and_leaves_nothing_behind(tiny_sd: Path) -> None:
    adapter = build(tiny_sd)
    pipe = adapter._pipe
    logger = logging.getLogger("diffusers")
    before = (type(pipe.tokenizer), logger.level, logger.handlers, logger.propagate)
    generate(adapter, words(90, "b"))
    assert (type(pipe.tokenizer), logger.level, logger.handlers, logger.propagate) == before


def test_other_warnings_of_a_pipeline_are_notices_each_once(tiny_sd: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    adapter = build(tiny_sd)
    call = type(adapter._pipe).__call__

    def warn(self: Any, *args: Any, **kwargs: Any) -> Any:
        diffusers.utils.logging.get_logger("diffusers.pipelines.x").warning("Guidance is ignored.")
        return call(self, *args, **kwargs)

    warn.__signature__ = inspect.signature(call)  # type: ignore[attr-defined]
    monkeypatch.setattr(type(adapter._pipe), "__call__", warn)
    with collecting() as found:
        generate(adapter, "a nurse", "a chef")
    assert [(n.code, n.text) for n in found] == [
        ("pipeline-warning", "tiny, StableDiffusionPipeline: Guidance is ignored.")
    ]


def stand_in(
    monkeypatch: pytest.MonkeyPatch,
    cls: type[StandIn],
    name: str = "",
    ctx: BuildContext | None = None,
    **sampling: Any,
) -> DiffusersAdapter:
    pipe = type(name or cls.__name__, (cls,), {})()
    monkeypatch.setattr("fairbench.adapters.diffusers.pipeline_folder", lambda *_: Path())
    monkeypatch.setattr("fairbench.adapters.diffusers.load", lambda *_: pipe)
    return build("absent", ctx, **sampling)


def test_sanas_instruction_is_noted_and_can_be_turned_off(monkeypatch: pytest.MonkeyPatch) -> None:
    assert generate(stand_in(monkeypatch, Sana), "a nurse")[0].notes == {
        "system-prompt": "Be bold.\nUser Prompt: {prompt}"
    }
    adapter = stand_in(monkeypatch, Sana, system_prompt="")
    assert generate(adapter, "a nurse")[0].notes == {}
    assert adapter._pipe.seen == {"clean_caption": False}


def test_a_chat_template_is_noted_and_its_system_message_can_be_set(monkeypatch: pytest.MonkeyPatch) -> None:
    sampling = {"guidance_argument": "true_cfg_scale", "negative_prompt": " "}
    assert generate(stand_in(monkeypatch, Qwen, **sampling), "a nurse")[0].notes == {
        "system-prompt": TEMPLATE.replace("{}", "{prompt}")
    }
    adapter = stand_in(monkeypatch, Qwen, system_prompt="Be {fair} and open:", **sampling)
    note = generate(adapter, "a nurse")[0].notes["system-prompt"]
    assert note == TEMPLATE.replace("Describe it:", "Be {fair} and open:").replace("{}", "{prompt}")
    pipe = adapter._pipe
    prefix = note.partition("{prompt}")[0]
    assert pipe.prompt_template_encode_start_idx == len(pipe.tokenizer(prefix, add_special_tokens=False)["input_ids"])


def test_a_system_prompt_is_not_set_where_it_would_be_cut_wrongly(monkeypatch: pytest.MonkeyPatch) -> None:
    """Pipelines drop their template by its number of tokens: with another number the prompt itself is dropped."""
    pipe = Qwen()
    pipe.prompt_template_encode_start_idx += 1
    with pytest.raises(CardError, match=r"counts .* tokens before the prompt"):
        set_system_prompt(pipe, "Be fair.", "card")
    with pytest.raises(CardError, match="Cleaning has no system prompt that can be set; remove the field"):
        generate(stand_in(monkeypatch, Cleaning, system_prompt="x"), "a nurse")


def test_a_template_of_marks_alone_is_no_text(monkeypatch: pytest.MonkeyPatch) -> None:
    sampling = {"guidance_argument": "true_cfg_scale", "negative_prompt": " "}
    adapter = stand_in(monkeypatch, Qwen, **sampling)
    adapter._pipe.prompt_template_encode = "<|im_start|>user\n{}<|im_end|>\n<|im_start|>assistant\n"
    assert generate(adapter, "a nurse")[0].notes == {}


@pytest.mark.parametrize(("count", "cut"), [(511, False), (512, False), (513, True), (900, True)])
def test_a_pipeline_that_cuts_behind_its_tokenizer(monkeypatch: pytest.MonkeyPatch, count: int, cut: bool) -> None:
    """Qwen-Image's tokenizer lets 1024 tokens through, and the pipeline then keeps max_sequence_length of them."""
    sampling = {"guidance_argument": "true_cfg_scale", "negative_prompt": " "}
    adapter = stand_in(monkeypatch, Qwen, "QwenImagePipeline", **sampling)
    note = generate(adapter, words(count, "b"))[0].notes.get("prompt-cut")
    assert (note is not None) == cut
    assert not cut or str(note).startswith(f"CLIP (tokenizer): 512 of {count} tokens are read")


@pytest.mark.parametrize("count", [900, 1023, 1030])
def test_a_cut_template_is_no_cut_prompt(monkeypatch: pytest.MonkeyPatch, count: int) -> None:
    """What stands behind the prompt is cut first: the prompt is cut only where more than that is missing."""
    adapter = stand_in(monkeypatch, Qwen, guidance_argument="true_cfg_scale", negative_prompt=" ")
    note = generate(adapter, words(count, "b"))[0].notes.get("prompt-cut")
    assert (note is not None) == (count > 1022), "2 of the 1024 are the tiny tokenizer's marks of start and end"


def test_a_pipeline_that_does_not_rewrite_is_not_asked_to(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(CardError, match="Cleaning does not rewrite prompts"):
        generate(stand_in(monkeypatch, Cleaning, rewrite_prompts=True), "a nurse")


def test_a_prompt_that_no_encoder_was_given_is_noted_as_rewritten(monkeypatch: pytest.MonkeyPatch) -> None:
    adapter = stand_in(monkeypatch, Cleaning)
    assert [r.notes for r in generate(adapter, "a nurse", "a chef")] == [{"prompt-rewritten": "a person"}, {}]


def test_glm_image_needs_a_size(monkeypatch: pytest.MonkeyPatch) -> None:
    class Glm(StandIn):
        def __call__(
            self,
            prompt: Any = None,
            height: Any = None,
            width: Any = None,
            num_inference_steps: int = 1,
            guidance_scale: float = 1.0,
            generator: Any = None,
            output_type: str = "pil",
        ) -> Any:
            return self.paint(prompt, rows=len(prompt))

    adapter = stand_in(monkeypatch, Glm, "GlmImagePipeline", BLOCK, width=8, height=8)
    generate(adapter, "a nurse", "a chef")
    assert adapter._pipe.seen["rows"] == 1, "it draws the tokens of a block of rows from the first row's seed"
    with pytest.raises(CardError, match="give `width` and `height`"):
        generate(stand_in(monkeypatch, Glm, "GlmImagePipeline", BLOCK), "a nurse")


def test_cosmos_3_makes_one_frame_and_other_video_pipelines_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    class Cosmos(StandIn):
        def __call__(
            self,
            prompt: Any = None,
            num_frames: int = 189,
            num_inference_steps: int = 1,
            guidance_scale: float = 1.0,
            generator: Any = None,
            output_type: str = "pil",
            use_system_prompt: bool | None = None,
            enable_safety_check: bool = True,
        ) -> Any:
            head = "" if use_system_prompt is False else "You are a painter. "
            self.paint([head + p for p in prompt], generator=generator, safe=enable_safety_check)
            return SimpleNamespace(video=np.full((num_frames, 8, 8, 3), 0.5))

    adapter = stand_in(monkeypatch, Cosmos, "Cosmos3OmniPipeline", BLOCK, safety_checker=False)
    results = generate(adapter, "a nurse", "a chef")
    assert [r.notes["system-prompt"] for r in results] == ["You are a painter. {prompt}"] * 2
    assert isinstance(adapter._pipe.seen["generator"], torch.Generator) and not adapter._pipe.seen["safe"]
    adapter = stand_in(monkeypatch, Cosmos, "Cosmos3OmniPipeline", system_prompt="")
    assert generate(adapter, "a nurse")[0].notes == {}
    with pytest.raises(CardError, match="has no system prompt that can be set"):
        generate(stand_in(monkeypatch, Cosmos, "Cosmos3OmniPipeline", system_prompt="Be fair."), "a nurse")
    with pytest.raises(CardError, match="makes videos"):
        generate(stand_in(monkeypatch, Cosmos, "WanPipeline"), "a nurse")


def test_lower_case_and_blanks_are_no_rewriting(monkeypatch: pytest.MonkeyPatch) -> None:
    notes = generate(stand_in(monkeypatch, LowerCase), "A  Photo of a Nurse", f"A {words(90, 'B')}")
    assert [sorted(r.notes) for r in notes] == [[], ["prompt-cut"]]


def test_effective_settings_hold_defaults_and_the_weights(tiny_sd: Path) -> None:
    """A model folder without a card left no steps, guidance, scheduler or hashes in run.json."""
    card = ModelCard(name="sd", title="SD", adapter="diffusers", weights=HubModel(path=str(tiny_sd)))
    adapter = DiffusersAdapter(card, DiffusersAdapter.Params(), BuildContext())
    unloaded = adapter.effective_settings()
    assert "_pipe" not in adapter.__dict__, "the model was loaded to be described"
    assert (unloaded["pipeline"], unloaded["scheduler"]) == ("StableDiffusionPipeline", "PNDMScheduler")
    assert (unloaded["steps"], unloaded["guidance_scale"], unloaded["dtype"]) == (50, 7.5, "float32")
    file = tiny_sd / "unet" / "diffusion_pytorch_model.safetensors"
    assert (
        unloaded["weights"]["unet/diffusion_pytorch_model.safetensors"] == hashlib.sha256(file.read_bytes()).hexdigest()
    )
    assert unloaded["width"] is None and unloaded["rows_per_call"] is None
    adapter = build(tiny_sd, scheduler="DDPMScheduler")
    assert adapter.effective_settings()["scheduler"] == "DDPMScheduler"
    generate(adapter, "a nurse")
    loaded = adapter.effective_settings()
    assert (loaded["width"], loaded["height"], loaded["rows_per_call"]) == (32, 32, 1)
    assert loaded["scheduler"] == "DDPMScheduler" and loaded["scheduler_config"]["beta_end"] == 0.012
    assert loaded["safety_checker"] is False, "this checkpoint has none, whatever the card says"
    assert loaded["rewrite_prompts"] is False and loaded["system_prompt"] is None
    json.dumps(loaded, allow_nan=False)


def test_effective_settings_name_the_system_prompt_and_downloads_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    adapter = stand_in(monkeypatch, Sana)
    generate(adapter, "a nurse")
    monkeypatch.setattr("fairbench.networks.weights.model_identity", lambda *_: {})
    assert adapter.effective_settings()["system_prompt"] == ["Be bold.\nUser Prompt: {prompt}"]
    card = ModelCard(name="x", title="X", adapter="diffusers", weights=HubModel(repo="nobody/nothing"))
    settings = DiffusersAdapter(card, DiffusersAdapter.Params(), BuildContext()).effective_settings()
    assert settings["pipeline"] is None and settings["scheduler"] is None


def test_effective_length_is_the_pipelines_own_default(flux: Path) -> None:
    adapter = build(flux)
    generate(adapter, "a nurse")
    assert adapter.effective_settings()["max_sequence_length"] == 512
