"""The pipelines of the installed diffusers: no switch, cut or template of theirs goes unknown."""

from __future__ import annotations

import inspect
import re
from typing import Any

import diffusers
import pytest

from fairbench.adapters import diffusers_texts
from fairbench.adapters.diffusers import DiffusersAdapter
from fairbench.adapters.diffusers_params import call_arguments
from fairbench.adapters.diffusers_prompting import REWRITERS, set_system_prompt
from tests.builders.diffusion import clip_tokenizer


def _pipelines() -> dict[str, Any]:
    """Return every pipeline of the installed diffusers that takes a prompt and generators."""
    classes = {name: getattr(diffusers, name, None) for name in diffusers._import_structure["pipelines"]}
    found = {}
    for name, cls in classes.items():
        if isinstance(cls, type) and issubclass(cls, diffusers.DiffusionPipeline):
            accepted = inspect.signature(cls.__call__).parameters
            if {"prompt", "generator"} <= set(accepted) and "num_frames" not in accepted:
                found[name] = cls
    return found


@pytest.fixture(scope="module")
def pipelines() -> dict[str, Any]:
    return _pipelines()


def test_every_switch_of_rewriting_in_diffusers_is_known(pipelines: dict[str, Any]) -> None:
    """A new pipeline with a switch of its own must not rewrite in silence."""
    pattern = re.compile(r"rewrit|upsampl|enhanc|\bpe\b|_pe$|expan|refine_prompt|magic")
    switches = {
        (name, argument)
        for name, cls in pipelines.items()
        for argument, parameter in inspect.signature(cls.__call__).parameters.items()
        if pattern.search(argument) and not isinstance(parameter.default, float)
    }
    assert {argument for _, argument in switches} == set(REWRITERS)
    for name, argument in switches:
        assert callable(getattr(pipelines[name], REWRITERS[argument].method)), name


def test_every_text_to_image_pipeline_that_cuts_behind_its_tokenizer_is_known(pipelines: dict[str, Any]) -> None:
    cutting = re.compile(
        r"prompt_embeds\[:, :max_sequence_length\]|all_tokens\[: self\.tokenizer|text\[: -len\(removed"
    )
    image_first = re.compile("Img2Img|Inpaint|ControlNet|Edit|Layered|I2I")
    found = {n for n, cls in pipelines.items() if cutting.search(inspect.getsource(inspect.getmodule(cls)))}
    assert {n for n in found if not image_first.search(n)} == set(diffusers_texts.KEPT_BY_ITSELF)


@pytest.mark.parametrize(
    ("name", "sampling"),
    [
        ("QwenImage21Pipeline", {"steps": 40, "guidance": 1.0, "guidance_argument": "true_cfg_scale"}),
        (
            "QwenImagePipeline",
            {
                "guidance": 4.0,
                "guidance_argument": "true_cfg_scale",
                "negative_prompt": " ",
                "max_sequence_length": 512,
            },
        ),
        ("HunyuanImagePipeline", {"guidance": 3.25, "guidance_argument": "distilled_guidance_scale"}),
        ("LongCatImagePipeline", {"guidance": 4.5}),
        ("ErnieImagePipeline", {"guidance": 4.0}),
        ("GlmImagePipeline", {"guidance": 1.5, "width": 1024, "height": 1024}),
        ("Lumina2Pipeline", {"guidance": 4.0, "max_sequence_length": 256}),
        ("Flux2Pipeline", {"guidance": 4.0}),
        ("Ideogram4Pipeline", {"guidance": 7.0}),
        ("ZImagePipeline", {"guidance": 5.0}),
    ],
)
def test_real_pipelines_take_what_a_card_gives_them(
    pipelines: dict[str, Any], name: str, sampling: dict[str, Any]
) -> None:
    params = DiffusersAdapter.Params.model_validate(sampling)
    accepted = inspect.signature(pipelines[name].__call__).parameters
    assert set(call_arguments(params, 2)) <= set(accepted)


@pytest.mark.parametrize(
    "name",
    ["QwenImagePipeline", "HunyuanImagePipeline", "Kandinsky5T2IPipeline", "Krea2Pipeline", "LongCatImagePipeline"],
)
def test_the_system_message_of_real_pipelines_can_be_set(pipelines: dict[str, Any], name: str) -> None:
    """Their own templates, with a tokenizer that counts other numbers of tokens than theirs."""
    cls = pipelines[name]
    names = [n for n in inspect.signature(cls.__init__).parameters if n not in ("self", "kwargs")]
    empty = {n: None for n in names if inspect.signature(cls.__init__).parameters[n].default is inspect.Parameter.empty}
    pipe = cls(**{**empty, "tokenizer": clip_tokenizer(), "scheduler": diffusers.FlowMatchEulerDiscreteScheduler()})
    attribute = next(n for n, v in vars(pipe).items() if isinstance(v, str) and "<|im_start|>system" in v)

    def prefix_tokens() -> int:
        return len(pipe.tokenizer(getattr(pipe, attribute).partition("{}")[0], add_special_tokens=False)["input_ids"])

    before, counted = getattr(pipe, attribute), hasattr(pipe, "prompt_template_encode_start_idx")
    if counted:
        pipe.prompt_template_encode_start_idx = prefix_tokens()
    set_system_prompt(pipe, "Be fair.", "card")
    after = getattr(pipe, attribute)
    assert after.startswith("<|im_start|>system\nBe fair.<|im_end|>\n")
    assert after.partition("<|im_end|>")[2] == before.partition("<|im_end|>")[2]
    assert not counted or pipe.prompt_template_encode_start_idx == prefix_tokens()
