"""Adapter `diffusers`: any text-to-image pipeline of the diffusers library, from the hub or from a local folder."""

from __future__ import annotations

import functools
import gc
import inspect
import time
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any, ClassVar, Literal

import numpy as np
from pydantic import Field, model_validator

from fairbench import registry, weights
from fairbench.config import HubModel, ModelCard
from fairbench.errors import CardError, FairbenchError, OutOfMemory, WeightsError
from fairbench.protocols import Params
from fairbench.types import BuildContext, ImageRequest, ImageResult

Option = bool | int | float | str
_UNSEEDED = ("DPMSolverSDEScheduler",)
"""Schedulers that draw noise but take no generators."""


class DiffusersParams(Params):
    """What a card may set under `sampling`.

    The defaults are Stable Diffusion's, for a folder without a card; they are ours to keep, since a pipeline's own
    change between releases of diffusers. Other models need other settings: write a card.
    """

    steps: int = Field(50, ge=1, description="denoising steps")
    guidance: float = Field(7.5, ge=0)
    guidance_argument: Literal["guidance_scale", "true_cfg_scale"] = Field(
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

    @model_validator(mode="after")
    def _no_silent_setting(self) -> DiffusersParams:
        if self.scheduler_options and self.scheduler is None:
            raise ValueError("scheduler_options needs `scheduler`, the class that takes them")
        if self.guidance_argument == "true_cfg_scale" and self.guidance > 1 and self.negative_prompt is None:
            raise ValueError("true_cfg_scale has no effect without a negative_prompt; give one (' ' will do)")
        return self


def call_arguments(params: DiffusersParams, rows: int) -> dict[str, Any]:
    """Return the pipeline's arguments for `rows` images, apart from prompts and generators."""
    given = {
        "num_inference_steps": params.steps,
        params.guidance_argument: params.guidance,
        # A list, since some pipelines encode a single string once and then fail to match it to the batch.
        "negative_prompt": None if params.negative_prompt is None else [params.negative_prompt] * rows,
        "width": params.width,
        "height": params.height,
        "max_sequence_length": params.max_sequence_length,
    }
    return {"output_type": "np"} | {name: value for name, value in given.items() if value is not None}


def download_patterns(variant: str | None) -> tuple[str, ...]:
    """Return the hub files that a pipeline needs: one variant's safetensors in subfolders, configs and tokenizers.

    Single-file checkpoints (at the top of a repository), pickles, ONNX files and other variants stay behind.
    """
    dot = f".{variant}" if variant else ""
    return (
        "model_index.json",
        *(f"*/*.{ending}" for ending in ("json", "txt", "model", "jinja")),
        *(f"*/{stem}{dot}.safetensors" for stem in ("model", "diffusion_pytorch_model")),
        *(f"*/{stem}{dot}-*-of-?????.safetensors" for stem in ("model", "diffusion_pytorch_model")),
    )


class DiffusersAdapter:
    """Images from a diffusers pipeline. All noise of an image comes from a CPU generator with that image's own seed.

    In float32 images are made one at a time, which is what makes an image the same, bit for bit, in any batch (in a
    batch of four about one pixel value in ten thousand was a grey level off). In reduced precision the pipeline
    always sees `ctx.block_size` rows; missing ones are copies of the last request, and their images are dropped.
    """

    version: ClassVar[int] = 1
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
        self._rows = ctx.block_size if ctx.reduced_precision else 1

    def generate(self, requests: Sequence[ImageRequest]) -> list[ImageResult]:
        """Return one result a request, in order.

        status: `ok`; `blank` where the pipeline's safety checker withheld the image; `failed` where the pixels are not
        finite. Raises OutOfMemory (the cache is freed first), WeightsError and CardError.
        """
        pipe = self._pipe
        results: list[ImageResult] = []
        for start in range(0, len(requests), self._rows):
            block = requests[start : start + self._rows]
            began = time.perf_counter()
            output = self._call(pipe, [*block, *[block[-1]] * (self._rows - len(block))])
            seconds = (time.perf_counter() - began) / len(block)
            withheld = getattr(output, "nsfw_content_detected", None) or [False] * self._rows
            results += [_result(output.images[i], withheld[i], seconds) for i in range(len(block))]
        return results

    def _call(self, pipe: Any, block: Sequence[ImageRequest]) -> Any:
        import torch

        arguments = call_arguments(self._params, len(block))
        if "clean_caption" in inspect.signature(pipe.__call__).parameters:
            # Cleaning happens only where two optional packages are installed, and deletes whole alphabets.
            arguments["clean_caption"] = False
        # One generator a row, copies included: rows that shared one would draw from each other's stream.
        generators = [torch.Generator("cpu").manual_seed(request.seed) for request in block]
        try:
            with _repeatable(), warnings.catch_warnings():
                # Sana turns running out of memory in its decoder into this warning, and then stumbles over the result.
                warnings.filterwarnings("error", message="(?s).*out of memory")
                return pipe([request.text for request in block], generator=generators, **arguments)
        except ValueError as err:  # how pipelines and schedulers refuse a size, a length or a combination of settings
            raise CardError(f"Model card {self._card.name}: the pipeline refuses its `sampling`: {err}") from err
        except (RuntimeError, UserWarning) as err:
            if not _out_of_memory(err):
                raise
            reason = str(err)
        # Only here, outside `except`, are the frames that hold the tensors gone.
        _free_cache()
        raise OutOfMemory(reason)

    @functools.cached_property
    def _pipe(self) -> Any:
        """The loaded pipeline, on its device."""
        folder = _pipeline_folder(self._weights, self._params.variant, self._ctx.base_dir)
        pipe = _load(folder, self._params.variant, self._ctx.dtype, self._card.name)
        self._check_arguments(pipe)
        if self._params.scheduler:
            pipe.scheduler = _scheduler(pipe, self._params.scheduler, self._params.scheduler_options, self._card.name)
        _check_seeded(pipe, self._card.name)
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
        accepted = inspect.signature(pipe.__call__).parameters
        needed = ("prompt", "generator", *call_arguments(self._params, 1))
        unknown = [name for name in needed if name not in accepted]
        if unknown:
            raise CardError(
                f"Model card {self._card.name}: {type(pipe).__name__} takes no `{unknown[0]}`; "
                "mend `sampling`, or name a text-to-image pipeline."
            )


def _result(pixels: Any, withheld: bool, seconds: float) -> ImageResult:
    """Turn one image, (height, width, 3) of float 0..1, into a result."""
    if withheld:
        return ImageResult("blank", error="the model's safety checker withheld the image", seconds=seconds)
    if not np.isfinite(pixels).all():
        reason = "the model returned pixels that are not finite: use dtype bfloat16 or float32"
        return ImageResult("failed", error=reason, seconds=seconds)
    return ImageResult("ok", pixels=(pixels * 255).round().astype(np.uint8), seconds=seconds)


def _pipeline_folder(model: HubModel, variant: str | None, base_dir: Path | None) -> Path:
    folder = weights.model_folder(model, base_dir, download_patterns(variant))
    if not (folder / "model_index.json").is_file():
        raise WeightsError(
            f"{model.repo or folder} is no diffusers pipeline (it has no model_index.json): "
            "name a repository or folder in the diffusers format."
        )
    return folder


def _load(folder: Path, variant: str | None, dtype: str, name: str) -> Any:
    import diffusers
    import torch
    import transformers

    # Their bars would tear the run's own.
    diffusers.utils.logging.disable_progress_bar()
    transformers.utils.logging.disable_progress_bar()
    try:
        return diffusers.DiffusionPipeline.from_pretrained(
            folder, dtype=getattr(torch, dtype), variant=variant, use_safetensors=True, local_files_only=True
        )
    # The libraries raise many kinds of error on files that are absent, damaged or of another model.
    except Exception as err:
        reason = (str(err).strip().splitlines() or [type(err).__name__])[0][:300]
        raise WeightsError(f"Model {name}: {folder} cannot be loaded as a diffusers pipeline ({reason}).") from err


def _scheduler(pipe: Any, name: str, options: dict[str, Option], card: str) -> Any:
    """Return the scheduler `name` with the checkpoint's noise schedule, overridden by `options`."""
    compatible = {cls.__name__: cls for cls in pipe.scheduler.compatibles if cls.__name__ not in _UNSEEDED}
    if name not in compatible:
        raise CardError(
            f"Model card {card}, sampling.scheduler: {name} does not fit {type(pipe).__name__}"
            f"{registry.suggest(name, sorted(compatible))}."
        )
    known = inspect.signature(compatible[name].__init__).parameters
    wrong = [option for option in options if option not in known]
    if wrong:
        hint = registry.suggest(wrong[0], [option for option in known if option != "self"])
        raise CardError(f"Model card {card}, sampling.scheduler_options: {name} takes no {wrong[0]!r}{hint}.")
    try:
        return compatible[name].from_config(pipe.scheduler.config, **options)
    except (ValueError, TypeError, NotImplementedError) as err:
        raise CardError(f"Model card {card}, sampling.scheduler: {name} refuses its options: {err}.") from err


def _check_seeded(pipe: Any, card: str) -> None:
    """Refuse a scheduler whose noise would not come from the images' own generators. Raises CardError."""
    scheduler = type(pipe.scheduler).__name__
    # Flow-matching pipelines do not hand their generators on to the scheduler; the others do so in this method.
    stochastic = pipe.scheduler.config.get("stochastic_sampling") and not hasattr(pipe, "prepare_extra_step_kwargs")
    if scheduler in _UNSEEDED or stochastic:
        raise CardError(
            f"Model card {card}: {scheduler} would draw noise that does not follow each image's own seed: "
            "choose another scheduler, or one without stochastic_sampling."
        )


def _repeatable() -> Any:
    """Full float32 convolutions and the same algorithm every time, on CUDA; no effect elsewhere."""
    import torch

    return torch.backends.cudnn.flags(enabled=True, benchmark=False, deterministic=True, allow_tf32=False)


def _out_of_memory(err: BaseException) -> bool:
    """Whether a device ran out of memory; CPU and MPS raise a plain RuntimeError."""
    import torch

    known = ("out of memory", "can't allocate memory")
    return isinstance(err, torch.OutOfMemoryError) or any(text in str(err) for text in known)


def _free_cache() -> None:
    import torch

    gc.collect()
    if torch.accelerator.is_available():
        torch.accelerator.empty_cache()
