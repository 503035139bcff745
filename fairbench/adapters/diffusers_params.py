"""What a model card may set for the diffusers adapter, and how it becomes arguments of a pipeline's call."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final, Literal

from pydantic import Field, model_validator

from fairbench.cards.cards import HubModel
from fairbench.protocols import LATER, TRANSPORT, Params

Option = bool | int | float | str
"""A scheduler's option, or an argument of a pipeline's call."""
GUIDER: Final = "guider"
"""Guidance that is not an argument of the call: HunyuanImage has a component for it."""
OWN_FIELDS: Final[Mapping[str, str]] = {
    "num_inference_steps": "steps",
    "width": "width",
    "height": "height",
    "negative_prompt": "negative_prompt",
    "max_sequence_length": "max_sequence_length",
    "system_prompt": "system_prompt",
    "complex_human_instruction": "system_prompt",
    "use_system_prompt": "system_prompt",
    "enable_safety_check": "safety_checker",
    "enable_prompt_rewrite": "rewrite_prompts",
    "use_pe": "rewrite_prompts",
    "caption_upsample_temperature": "rewrite_prompts",
    "prompt_upsampling": "rewrite_prompts",
}
"""Arguments of calls that a field of the card stands for."""
_NOT_FOR_CARDS: Final = ("prompt", "generator", "num_images_per_prompt", "num_frames", "output_type", "return_dict")


class DiffusersParams(Params):
    """What a card may set under `sampling`.

    The defaults are Stable Diffusion's, for a folder without a card; they are ours to keep, since a pipeline's own
    change between releases of diffusers. Other models need other settings: write a card.
    """

    steps: int = Field(50, ge=1, description="denoising steps")
    guidance: float = Field(7.5, ge=0)
    guidance_argument: Literal["guidance_scale", "true_cfg_scale", "distilled_guidance_scale", "guider"] = Field(
        "guidance_scale", description="what the pipeline calls its guidance; guider: a component of its own"
    )
    negative_prompt: str | None = None
    width: int | None = Field(None, ge=8, multiple_of=8, description="pixels; null: the model's own size")
    height: int | None = Field(None, ge=8, multiple_of=8, description="pixels; null: the model's own size")
    max_sequence_length: int | None = Field(None, ge=1, description="tokens of the prompt, where the pipeline asks")
    scheduler: str | None = Field(None, pattern=r"^\w+Scheduler$", description="class name; null: the model's own")
    scheduler_options: dict[str, Option] = Field(default_factory=dict)
    safety_checker: bool = Field(True, description="false: images are not withheld")
    variant: str | None = Field(None, pattern=r"^\w+$", description="which weight files, such as fp16; null: the plain")
    rewrite_prompts: bool = Field(
        False, description="let the pipeline rewrite prompts, if it can", json_schema_extra={**LATER}
    )
    system_prompt: str | None = Field(
        None, description="text before each prompt; null: the pipeline's own", json_schema_extra={**LATER}
    )
    arguments: dict[str, Option] = Field(
        default_factory=dict, description="further arguments of the pipeline's call", json_schema_extra={**LATER}
    )
    components: dict[str, HubModel] = Field(
        default_factory=dict,
        description="parts that the pipeline's repository lacks: name, and where each is",
        json_schema_extra={**LATER},
    )
    config: HubModel | None = Field(
        None,
        description="for weights in a single file: the local folder of the pipeline's configuration",
        json_schema_extra={**LATER},
    )
    quantization: Literal["nf4", "int8"] | None = Field(
        None, description="load denoiser and text encoders in 4 or 8 bits (bitsandbytes)", json_schema_extra={**LATER}
    )
    offload: Literal["model", "sequential"] | None = Field(
        None,
        description="keep what does not compute in the host's memory; nothing without a GPU",
        json_schema_extra={**TRANSPORT},
    )

    @model_validator(mode="after")
    def _no_silent_setting(self) -> DiffusersParams:
        if self.scheduler_options and self.scheduler is None:
            raise ValueError("scheduler_options needs `scheduler`, the class that takes them")
        if self.guidance_argument == "true_cfg_scale" and self.guidance > 1 and self.negative_prompt is None:
            raise ValueError("true_cfg_scale has no effect without a negative_prompt; give one (' ' will do)")
        for name in self.arguments:
            field = "guidance" if name == self.guidance_argument else OWN_FIELDS.get(name)
            if field is not None:
                raise ValueError(f"arguments: {name} has a field of its own; set `{field}` instead")
            if name in _NOT_FOR_CARDS:
                raise ValueError(f"arguments: {name} is set for each image; remove it")
        if self.config is not None and self.config.path is None:
            raise ValueError("config: give the `path` of a local folder")
        return self


def call_arguments(params: DiffusersParams, rows: int) -> dict[str, Any]:
    """Return the pipeline's arguments for `rows` images, apart from prompts and generators."""
    arguments = {
        "num_inference_steps": params.steps,
        # A list, since some pipelines encode a single string once and then fail to match it to the batch.
        "negative_prompt": None if params.negative_prompt is None else [params.negative_prompt] * rows,
        "width": params.width,
        "height": params.height,
        "max_sequence_length": params.max_sequence_length,
        **params.arguments,
    }
    if params.guidance_argument != GUIDER:
        arguments[params.guidance_argument] = params.guidance
    return {"output_type": "np"} | {name: value for name, value in arguments.items() if value is not None}
