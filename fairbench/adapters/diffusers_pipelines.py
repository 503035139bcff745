"""What single diffusers pipelines need besides the common call, and settings that they would pass over in silence."""

from __future__ import annotations

import inspect
from collections.abc import Sequence
from typing import Any, Final, Literal

from fairbench import registry
from fairbench.adapters.diffusers_params import GUIDER, DiffusersParams, call_arguments
from fairbench.adapters.diffusers_prompting import rewriting_arguments, system_arguments
from fairbench.errors import CardError
from fairbench.networks.hub import first_line

_ONE_IMAGE: Final = ("GlmImagePipeline", "Cosmos3OmniPipeline")
"""Pipelines that see one image at a time in any precision: GLM-Image draws the tokens of a whole block from the first
row's seed, and Cosmos 3 takes one prompt."""
_EXACT_SIZE: Final = ("GlmImagePipeline",)
"""Pipelines without a size of their own."""
_ONE_NEGATIVE: Final = ("LongCatImagePipeline",)
"""Pipelines that encode an absent negative prompt once, as an empty text, and then fail to match it to a block."""
_ONE_GENERATOR: Final = ("Cosmos3OmniPipeline",)
"""Pipelines that take a generator, not a list."""


class NoImage(Exception):
    """A pipeline made no image of this request: its status and the reason."""

    def __init__(self, status: Literal["blank", "failed"], reason: str) -> None:
        super().__init__(reason)
        self.status: Literal["blank", "failed"] = status


def one_image(pipe: Any, params: DiffusersParams) -> bool:
    """Whether the pipeline draws from streams that the rows of a block share."""
    return params.rewrite_prompts or type(pipe).__name__ in _ONE_IMAGE


def check(pipe: Any, params: DiffusersParams, card: str) -> None:
    """Refuse a pipeline that makes no images from text, and settings that it would not use. Raises CardError."""
    accepted, name = inspect.signature(pipe.__call__).parameters, type(pipe).__name__
    needed = ("prompt", "generator", *call_arguments(params, 1))
    unknown = next((argument for argument in needed if argument not in accepted), None)
    sigmas = pipe.config.get("sample_sigmas") if hasattr(pipe, "config") else None
    problem = None
    if unknown is not None and unknown in params.arguments:
        problem = f"{name} takes no `{unknown}`{registry.suggest(unknown, list(accepted))}; fix `sampling.arguments`"
    elif unknown is not None:
        problem = f"{name} takes no `{unknown}`; fix `sampling`, or name a text-to-image pipeline"
    elif "num_frames" in accepted and name not in _ONE_IMAGE:
        problem = f"{name} makes videos; name a text-to-image pipeline"
    elif params.rewrite_prompts and not rewriting_arguments(accepted, True):
        problem = f"{name} does not rewrite prompts; remove `rewrite_prompts` from `sampling`"
    elif name in _EXACT_SIZE and not (params.width and params.height):
        problem = f"{name} has no size of its own; give `width` and `height` under `sampling`"
    elif sigmas and len(sigmas) != params.steps:
        problem = f"{name} takes {len(sigmas)} steps, by its own schedule (sample_sigmas); set `steps: {len(sigmas)}`"
    else:
        problem = _guidance_problem(pipe, params)
    if problem:
        raise CardError(f"Model card {card}: {problem}.")


def _guidance_problem(pipe: Any, params: DiffusersParams) -> str | None:
    name, how = type(pipe).__name__, params.guidance_argument
    if how == GUIDER and getattr(pipe, "guider", None) is None:
        return f"{name} has no guider; fix `sampling.guidance_argument`"
    embeds = getattr(getattr(pipe, "transformer", None), "config", {}).get("guidance_embeds", True)
    if how == "distilled_guidance_scale" and not embeds:
        return (
            f"this checkpoint of {name} is not distilled and would ignore the guidance; set `guidance_argument: guider`"
        )
    return None


def prepare(pipe: Any, params: DiffusersParams) -> None:
    """Give a pipeline's guider the card's guidance (the rest is the checkpoint's), and drop what is not used.

    ERNIE-Image brings a language model of 3B that only rewrites prompts; diffusers loads it in any case.
    """
    if params.guidance_argument == GUIDER:
        pipe.guider = pipe.guider.new(guidance_scale=params.guidance)
    if not params.rewrite_prompts:
        for name in {"pe", "pe_tokenizer"} & set(pipe.components):
            setattr(pipe, name, None)


def own_arguments(pipe: Any, params: DiffusersParams, rows: int) -> dict[str, Any]:
    """Return all arguments of a call but prompts and generators."""
    accepted = inspect.signature(pipe.__call__).parameters
    arguments = call_arguments(params, rows) | rewriting_arguments(accepted, params.rewrite_prompts)
    if params.system_prompt is not None:
        arguments |= system_arguments(accepted, params.system_prompt)
    if "clean_caption" in accepted:
        # Cleaning happens only where two optional packages are installed, and deletes whole alphabets.
        arguments["clean_caption"] = False
    if "num_frames" in accepted:
        arguments["num_frames"] = 1
    if "enable_safety_check" in accepted:
        arguments["enable_safety_check"] = params.safety_checker
    if type(pipe).__name__ in _ONE_NEGATIVE and params.negative_prompt is None:
        arguments["negative_prompt"] = [""] * rows
    return arguments


def call(pipe: Any, prompts: Sequence[str], generators: Sequence[Any], arguments: dict[str, Any]) -> Any:
    """Call a pipeline. Raises NoImage where it withholds or cannot finish an image, and whatever else it raises."""
    name = type(pipe).__name__
    generator = generators[0] if name in _ONE_GENERATOR else list(generators)
    if name == "GlmImagePipeline" and hasattr(pipe, "generate_prior_tokens"):
        arguments = arguments | {"prior_token_ids": _glm_tokens(pipe, prompts, arguments)}
    try:
        # A list of its own: Z-Image puts its chat template into the list that it is given.
        return pipe(list(prompts), generator=generator, **arguments)
    except ValueError as err:
        if "Cosmos Guardrail" in str(err):
            raise NoImage("blank", f"the model's guardrail withheld the image: {first_line(err)}") from err
        raise


def _glm_tokens(pipe: Any, prompts: Sequence[str], arguments: dict[str, Any]) -> Any:
    """Let GLM-Image's language model draw its tokens from torch's global streams, which start at the image's seed.

    Its call would set them from the low 32 bits of the seed. The end of the sequence is not ruled out, and a sequence
    that ends early fits no image.
    """
    try:
        return pipe.generate_prior_tokens(list(prompts), arguments["height"], arguments["width"])[0]
    except RuntimeError as err:
        if "is invalid for input of size" not in str(err):
            raise
        raise NoImage("failed", "the model's language model ended before it had drawn all image tokens") from err
