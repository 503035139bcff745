"""Adapter `diffusers`: any text-to-image pipeline of the diffusers library, from the hub or from a local folder."""

from __future__ import annotations

import functools
import gc
import inspect
import json
import time
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, ClassVar, Final, Literal

import numpy as np
from pydantic import Field, model_validator

from fairbench.adapters.diffusers_loading import (
    Option,
    check_seeded,
    declared,
    download_patterns,
    load,
    pipeline_folder,
    scheduler,
)
from fairbench.adapters.diffusers_prompting import rewriting_arguments, set_system_prompt, system_arguments
from fairbench.adapters.diffusers_steps import reported_steps
from fairbench.adapters.diffusers_texts import Listener, listen
from fairbench.cards.cards import ModelCard
from fairbench.errors import CardError, FairbenchError, OutOfMemory
from fairbench.networks import weights
from fairbench.notices import notice
from fairbench.protocols import LATER, Params
from fairbench.types import BuildContext, ImageRequest, ImageResult

_ONE_IMAGE: Final = ("GlmImagePipeline", "Cosmos3OmniPipeline")
"""Pipelines that see one image at a time in any precision: GLM-Image draws the tokens of a whole block from the first
row's seed, and Cosmos 3 takes one prompt."""
_EXACT_SIZE: Final = ("GlmImagePipeline",)
"""Pipelines without a size of their own."""


class DiffusersParams(Params):
    """What a card may set under `sampling`.

    The defaults are Stable Diffusion's, for a folder without a card; they are ours to keep, since a pipeline's own
    change between releases of diffusers. Other models need other settings: write a card.
    """

    steps: int = Field(50, ge=1, description="denoising steps")
    guidance: float = Field(7.5, ge=0)
    guidance_argument: Literal["guidance_scale", "true_cfg_scale", "distilled_guidance_scale"] = Field(
        "guidance_scale", description="what the pipeline calls its guidance"
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

    @model_validator(mode="after")
    def _no_silent_setting(self) -> DiffusersParams:
        if self.scheduler_options and self.scheduler is None:
            raise ValueError("scheduler_options needs `scheduler`, the class that takes them")
        if self.guidance_argument == "true_cfg_scale" and self.guidance > 1 and self.negative_prompt is None:
            raise ValueError("true_cfg_scale has no effect without a negative_prompt; give one (' ' will do)")
        return self


def call_arguments(params: DiffusersParams, rows: int) -> dict[str, Any]:
    """Return the pipeline's arguments for `rows` images, apart from prompts and generators."""
    arguments = {
        "num_inference_steps": params.steps,
        params.guidance_argument: params.guidance,
        # A list, since some pipelines encode a single string once and then fail to match it to the batch.
        "negative_prompt": None if params.negative_prompt is None else [params.negative_prompt] * rows,
        "width": params.width,
        "height": params.height,
        "max_sequence_length": params.max_sequence_length,
    }
    return {"output_type": "np"} | {name: value for name, value in arguments.items() if value is not None}


def cpu_generator(seed: int) -> Any:
    """Return a torch generator on the CPU whose whole state comes from a seed of up to 64 bits.

    `manual_seed` alone keeps the low 32 bits, so that among some 100,000 images a few would share their noise. The
    624 words of the Mersenne twister are those of NumPy's, which a SeedSequence fills from the whole seed.
    """
    import torch

    generator = torch.Generator("cpu").manual_seed(seed)
    state = generator.get_state()
    # 24 bytes of seed, position and flags, then 624 words of 32 bits in 64 each; the position says "draw new words".
    words = state.numpy()[24 : 24 + 624 * 8].view(np.uint64)
    words[:] = np.random.MT19937(np.random.SeedSequence(seed)).state["state"]["key"]
    generator.set_state(state)
    return generator


class DiffusersAdapter:
    """Images from a diffusers pipeline. All noise of an image comes from a CPU generator with that image's own seed.

    In float32 images are made one at a time, which is what makes an image the same, bit for bit, in any batch (in a
    batch of four about one pixel value in ten thousand was a grey level off). In reduced precision the pipeline
    always sees `ctx.block_size` rows; missing ones are copies of the last request, and their images are dropped.
    Pipelines that rewrite prompts or share a seed between rows see one row in any precision.
    """

    version: ClassVar[int] = 2
    Params: ClassVar[type[DiffusersParams]] = DiffusersParams

    def __init__(self, card: ModelCard, params: DiffusersParams, ctx: BuildContext) -> None:
        """Load nothing yet. Raises CardError where the card cannot be served."""
        if card.weights is None:
            raise CardError(f"Model card {card.name}: `weights` is missing; name a hub repository or a local folder.")
        if card.trust_remote_code:
            raise CardError(
                f"Model card {card.name} sets trust_remote_code, but the diffusers adapter never runs code from a "
                "model's repository: remove the field, or use a model whose pipeline is part of diffusers."
            )
        self._card, self._params, self._ctx, self._weights = card, params, ctx, card.weights
        self._warned: set[str] = set()
        self._system_prompts: dict[str, None] = {}
        self._size: tuple[int, int] | None = None
        self.on_progress: Callable[[float], None] = lambda share: None

    def generate(self, requests: Sequence[ImageRequest]) -> list[ImageResult]:
        """Return one result per request, in order.

        status: `ok`; `blank` where the pipeline's safety checker withheld the image; `failed` where the pixels are not
        finite. notes: `prompt-cut`, `prompt-rewritten`, `system-prompt`, as the pipeline's tokenizers were given them.
        Raises OutOfMemory (the cache is freed first), WeightsError and CardError.
        """
        rows = self._rows
        results: list[ImageResult] = []
        for start in range(0, len(requests), rows):
            block = requests[start : start + rows]
            began = time.perf_counter()
            with reported_steps(self._pipe, functools.partial(self._moved, start, len(block), len(requests))):
                output, notes = self._call(self._pipe, [*block, *[block[-1]] * (rows - len(block))])
            seconds = (time.perf_counter() - began) / len(block)
            images = output.images if hasattr(output, "images") else output.video
            withheld = getattr(output, "nsfw_content_detected", None) or [False] * rows
            self._size = (images[0].shape[1], images[0].shape[0])
            results += [_result(images[i], withheld[i], seconds, notes[i]) for i in range(len(block))]
        return results

    def _moved(self, before: int, block: int, total: int, share: float) -> None:
        self.on_progress((before + share * block) / total)

    def effective_settings(self) -> dict[str, Any]:
        """Return what images are made with, defaults included, as plain data for run.json.

        What only the loaded pipeline knows is read from its files, or None, where nothing was generated.
        """
        params, pipe = self._params, self.__dict__.get("_pipe")
        name, config = (None, {}) if pipe is not None else self._declared()
        if pipe is not None:
            name, config = type(pipe).__name__, {"_class_name": type(pipe.scheduler).__name__, **pipe.scheduler.config}
        elif params.scheduler:
            config = {**config, **params.scheduler_options, "_class_name": params.scheduler}
        width, height = self._size or (params.width, params.height)
        length = params.max_sequence_length
        settings = {
            "pipeline": name,
            "steps": params.steps,
            params.guidance_argument: params.guidance,
            "negative_prompt": params.negative_prompt,
            "width": width,
            "height": height,
            "max_sequence_length": length if pipe is None else self._max_sequence_length(pipe) or None,
            "scheduler": config.pop("_class_name", None),
            "scheduler_config": {k: v for k, v in config.items() if not k.startswith("_")},
            "safety_checker": params.safety_checker if pipe is None else bool(getattr(pipe, "safety_checker", None)),
            "system_prompt": list(self._system_prompts) or params.system_prompt,
            "rewrite_prompts": params.rewrite_prompts,
            "variant": params.variant,
            "dtype": self._ctx.dtype,
            "rows_per_call": None if pipe is None else self._rows,
            "weights": weights.model_identity(self._weights, self._ctx.base_dir),
        }
        return dict(json.loads(json.dumps(settings, default=str)))

    def _declared(self) -> tuple[str | None, dict[str, Any]]:
        patterns = download_patterns(self._params.variant)
        folder = weights.local_folder(self._weights, self._ctx.base_dir, patterns)
        return (None, {}) if folder is None else declared(folder)

    @property
    def _alone(self) -> bool:
        """Whether the pipeline draws from streams that the rows of a block share."""
        return self._params.rewrite_prompts or type(self._pipe).__name__ in _ONE_IMAGE

    @property
    def _rows(self) -> int:
        return self._ctx.block_size if self._ctx.reduced_precision and not self._alone else 1

    def _call(self, pipe: Any, block: Sequence[ImageRequest]) -> tuple[Any, list[dict[str, str]]]:
        """Return the pipeline's output for a block, and the notes of each of its rows."""
        arguments = self._arguments(pipe, len(block))
        # One generator per row, copies included: rows that shared one would draw from each other's stream.
        generators = [cpu_generator(request.seed) for request in block]
        prompts = [request.text for request in block]
        try:
            with (
                _repeatable(),
                _global_streams(generators[0] if self._alone else None),
                warnings.catch_warnings(),
                listen(pipe, self._max_sequence_length(pipe)) as heard,
            ):
                # Sana turns running out of memory in its decoder into this warning, and then stumbles over the result.
                warnings.filterwarnings("error", message="(?s).*out of memory")
                single = type(pipe).__name__ == "Cosmos3OmniPipeline"
                output = pipe(prompts, generator=generators[0] if single else generators, **arguments)
            return output, self._notes(heard, prompts)
        except ValueError as err:  # how pipelines and schedulers refuse a size, a length or a combination of settings
            raise CardError(f"Model card {self._card.name}: the pipeline refuses its `sampling`: {err}") from err
        except (RuntimeError, UserWarning) as err:
            if not _out_of_memory(err):
                raise
            reason = str(err)
        # Only here, outside `except`, are the frames that hold the tensors gone.
        _free_cache()
        raise OutOfMemory(reason)

    def _arguments(self, pipe: Any, rows: int) -> dict[str, Any]:
        """Return all arguments of a call but prompts and generators."""
        accepted = inspect.signature(pipe.__call__).parameters
        arguments = call_arguments(self._params, rows) | rewriting_arguments(accepted, self._params.rewrite_prompts)
        if self._params.system_prompt is not None:
            arguments |= system_arguments(accepted, self._params.system_prompt)
        if "clean_caption" in accepted:
            # Cleaning happens only where two optional packages are installed, and deletes whole alphabets.
            arguments["clean_caption"] = False
        if "num_frames" in accepted:
            arguments["num_frames"] = 1
        if "enable_safety_check" in accepted:
            arguments["enable_safety_check"] = self._params.safety_checker
        return arguments

    def _max_sequence_length(self, pipe: Any) -> int:
        """Return the limit in effect: the card's, else the pipeline's; 0 where it takes none."""
        default = inspect.signature(pipe.__call__).parameters.get("max_sequence_length")
        return int(self._params.max_sequence_length or (default and default.default) or 0)

    def _notes(self, heard: Listener, prompts: Sequence[str]) -> list[dict[str, str]]:
        """Return the notes of a call's rows; the pipeline's other warnings become notices, each once."""
        notes = heard.notes(prompts, self._params.negative_prompt)
        self._system_prompts |= dict.fromkeys(n["system-prompt"] for n in notes if "system-prompt" in n)
        for message in heard.warnings:
            if "truncat" in message:
                # The tokenizers say it image by image; where they do not, the warning is all that is known.
                if not any("prompt-cut" in n for n in notes):
                    notes = [n | {"prompt-cut": f"the pipeline says: {message}"} for n in notes]
            elif "NSFW" not in message and message not in self._warned:  # withheld images are counted as blank
                self._warned.add(message)
                notice("pipeline-warning", f"{self._card.name}, {type(self._pipe).__name__}: {message}")
        return notes

    @functools.cached_property
    def _pipe(self) -> Any:
        """The loaded pipeline, on its device."""
        folder = pipeline_folder(self._weights, self._params.variant, self._ctx.base_dir)
        pipe = load(folder, self._params.variant, self._ctx.dtype, self._card.name)
        self._check_arguments(pipe)
        if self._params.scheduler:
            pipe.scheduler = scheduler(pipe, self._params.scheduler, self._params.scheduler_options, self._card.name)
        check_seeded(pipe, self._card.name)
        text = self._params.system_prompt
        if text is not None and not system_arguments(inspect.signature(pipe.__call__).parameters, text):
            set_system_prompt(pipe, text, self._card.name)
        if not self._params.safety_checker and getattr(pipe, "safety_checker", None) is not None:
            pipe.safety_checker = None
        if getattr(pipe, "watermark", None) is not None:
            pipe.watermark = None  # SDXL marks its pixels only where an optional package is installed
        pipe.set_progress_bar_config(disable=True)
        try:
            return pipe.to(self._ctx.device)
        except RuntimeError as err:
            if not _out_of_memory(err):
                raise
            size = f" (the card says {self._card.memory_gb:g} GiB)" if self._card.memory_gb else ""
            raise FairbenchError(
                f"The model {self._card.name} does not fit into the memory of {self._ctx.device}{size}: "
                "choose a smaller model or a larger device."
            ) from err

    def _check_arguments(self, pipe: Any) -> None:
        """Refuse a pipeline that makes no images from text, and settings that it does not take. Raises CardError."""
        accepted, name = inspect.signature(pipe.__call__).parameters, type(pipe).__name__
        needed = ("prompt", "generator", *call_arguments(self._params, 1))
        unknown = [argument for argument in needed if argument not in accepted]
        problem = None
        if unknown:
            problem = f"{name} takes no `{unknown[0]}`; fix `sampling`, or name a text-to-image pipeline"
        elif "num_frames" in accepted and name not in _ONE_IMAGE:
            problem = f"{name} makes videos; name a text-to-image pipeline"
        elif self._params.rewrite_prompts and not rewriting_arguments(accepted, True):
            problem = f"{name} does not rewrite prompts; remove `rewrite_prompts` from `sampling`"
        elif name in _EXACT_SIZE and not (self._params.width and self._params.height):
            problem = f"{name} has no size of its own; give `width` and `height` under `sampling`"
        if problem:
            raise CardError(f"Model card {self._card.name}: {problem}.")


def _result(pixels: Any, withheld: bool, seconds: float, notes: dict[str, str]) -> ImageResult:
    """Turn one image, (height, width, 3) of float 0..1, into a result."""
    if withheld:
        reason = "the model's safety checker withheld the image"
        return ImageResult("blank", error=reason, seconds=seconds, notes=notes)
    if not np.isfinite(pixels).all():
        reason = "the model returned pixels that are not finite: use dtype bfloat16 or float32"
        return ImageResult("failed", error=reason, seconds=seconds, notes=notes)
    return ImageResult("ok", pixels=(pixels * 255).round().astype(np.uint8), seconds=seconds, notes=notes)


def _repeatable() -> Any:
    """Return a context in which CUDA convolves in full float32, by the same algorithm every time."""
    import torch

    return torch.backends.cudnn.flags(enabled=True, benchmark=False, deterministic=True, allow_tf32=False)


@contextmanager
def _global_streams(generator: Any) -> Iterator[None]:
    """Start torch's global streams at an image's own seed, and put them back afterwards; nothing without a generator.

    Language models inside pipelines draw from them: those that rewrite prompts, and GLM-Image's.
    """
    import torch

    if generator is None:
        yield
        return
    devices = list(range(torch.cuda.device_count()))
    with torch.random.fork_rng(devices=devices):
        torch.cuda.manual_seed_all(generator.initial_seed())
        torch.set_rng_state(generator.get_state())
        yield


def _out_of_memory(err: BaseException) -> bool:
    """Whether a device ran out of memory; CPU and MPS raise a plain RuntimeError."""
    import torch

    messages = ("out of memory", "can't allocate memory")
    return isinstance(err, torch.OutOfMemoryError) or any(message in str(err) for message in messages)


def _free_cache() -> None:
    import torch

    gc.collect()
    if torch.accelerator.is_available():
        torch.accelerator.empty_cache()
