"""Adapter `diffusers`: any text-to-image pipeline of the diffusers library, from the hub or from a local folder."""

from __future__ import annotations

import functools
import gc
import inspect
import json
import time
import warnings
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Any, ClassVar, Literal

import numpy as np

from fairbench.adapters import diffusers_lora, diffusers_pipelines, diffusers_prompting
from fairbench.adapters.diffusers_loading import (
    check_seeded,
    declared,
    download_patterns,
    load,
    missing,
    on_device,
    pipeline_folder,
    scheduler,
)
from fairbench.adapters.diffusers_noise import cpu_generator, global_streams
from fairbench.adapters.diffusers_params import GUIDER, DiffusersParams, call_arguments
from fairbench.adapters.diffusers_pipelines import NoImage
from fairbench.adapters.diffusers_prompting import set_system_prompt, system_arguments, under_system_prompt
from fairbench.adapters.diffusers_steps import reported_steps
from fairbench.adapters.diffusers_texts import Listener, listen
from fairbench.adapters.diffusers_trainable import TrainablePipeline
from fairbench.cards.cards import ModelCard
from fairbench.errors import CardError, FairbenchError, OutOfMemory
from fairbench.methods.lora import files as lora_files
from fairbench.networks import batching, weights
from fairbench.notices import notice
from fairbench.types import BuildContext, ImageRequest, ImageResult


class DiffusersAdapter(TrainablePipeline):
    """Images from a diffusers pipeline. All noise of an image comes from a CPU generator with that image's own seed.

    In float32 images are made one at a time, which is what makes an image the same, bit for bit, in any batch (in a
    batch of four about one pixel value in ten thousand was a grey level off). In reduced precision the pipeline
    always sees `ctx.block_size` rows; missing ones are copies of the last request, and their images are dropped.
    Pipelines that rewrite prompts or share a seed between rows see one row in any precision.
    """

    version: ClassVar[int] = 2
    Params: ClassVar[type[DiffusersParams]] = DiffusersParams
    takes_lora: ClassVar[bool] = True
    lora_form: ClassVar[Literal["diffusers"]] = "diffusers"

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
        self.during_call: Callable[[Any, Sequence[ImageRequest]], AbstractContextManager[None]] = (
            lambda pipe, requests: nullcontext()
        )

    @staticmethod
    def with_system_prompt(sampling: Mapping[str, Any], text: str) -> dict[str, Any]:
        """Return the card's `sampling` under another system prompt; whether the pipeline takes one, loading it says."""
        return {**sampling, "system_prompt": text}

    def takes_system_prompts(self) -> bool:
        """Return whether its pipeline has one that can be set; True where its files are not here to tell."""
        name = self._declared()[0]
        return name is None or diffusers_prompting.takes_system_prompt(name)

    def generate(self, requests: Sequence[ImageRequest]) -> list[ImageResult]:
        """Return one result per request, in order.

        status: `ok`; `blank` where the pipeline's safety checker withheld the image; `failed` where the pixels are not
        finite, or GLM-Image's language model ended early. notes: `prompt-cut`, `prompt-rewritten`, `system-prompt`, as
        the pipeline's tokenizers were given them. Raises OutOfMemory (the cache is freed first), WeightsError and
        CardError.
        """
        rows = self._rows
        results: list[ImageResult] = []
        for block in diffusers_prompting.blocks(requests, rows):
            began, done = time.perf_counter(), len(results)
            try:
                with reported_steps(self._pipe, functools.partial(self._moved, done, len(block), len(requests))):
                    output, notes = self._call(self._pipe, [*block, *[block[-1]] * (rows - len(block))])
            except NoImage as none:
                seconds = (time.perf_counter() - began) / len(block)
                results += [ImageResult(none.status, error=str(none), seconds=seconds) for _ in block]
                continue
            seconds = (time.perf_counter() - began) / len(block)
            images = output.images if hasattr(output, "images") else output.video
            withheld = getattr(output, "nsfw_content_detected", None) or [False] * rows
            self._check_size(width=images[0].shape[1], height=images[0].shape[0])
            results += [_result(images[i], withheld[i], seconds, notes[i]) for i in range(len(block))]
        return results

    def _moved(self, before: int, block: int, total: int, share: float) -> None:
        self.on_progress((before + share * block) / total)

    def _check_size(self, width: int, height: int) -> None:
        asked = (self._params.width or width, self._params.height or height)
        if asked != (width, height):
            raise CardError(
                f"Model card {self._card.name}: asked for {asked[0]} x {asked[1]} pixels, the pipeline made "
                f"{width} x {height}; set `width` and `height` under `sampling` to a size that the model makes."
            )
        self._size = (width, height)

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
            "guidance_scale" if params.guidance_argument == GUIDER else params.guidance_argument: params.guidance,
            "arguments": params.arguments,
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
            "quantization": params.quantization,
            "offload": params.offload,
            "rows_per_call": None if pipe is None else self._rows,
            "weights": weights.model_identity(self._weights, self._ctx.base_dir),
            "components": {n: weights.model_identity(m, self._ctx.base_dir) for n, m in params.components.items()},
            "lora": None if self._lora is None else lora_files(self._lora),
        }
        return dict(json.loads(json.dumps(settings, default=str)))

    def pipeline(self) -> tuple[str | None, dict[str, Any]]:
        """Return the pipeline's class as its files name it, None while they are not here, and its call's arguments."""
        return self._declared()[0], call_arguments(self._params, 1)

    def missing(self) -> list[str]:
        """Return what has to be there before the pipeline can be loaded, a sentence each."""
        return missing(self._params, self._ctx)

    def _declared(self) -> tuple[str | None, dict[str, Any]]:
        patterns = download_patterns(self._params.variant)
        folder = weights.local_folder(self._weights, self._ctx.base_dir, patterns)
        return (None, {}) if folder is None else declared(folder)

    @property
    def _lora(self) -> Path | None:
        lora = self._card.lora
        return None if lora is None else (self._ctx.base_dir or Path.cwd()) / Path(lora).expanduser()

    @property
    def _alone(self) -> bool:
        return diffusers_pipelines.one_image(self._pipe, self._params)

    @property
    def _rows(self) -> int:
        return self._ctx.block_size if self._ctx.reduced_precision and not self._alone else 1

    def _call(self, pipe: Any, block: Sequence[ImageRequest]) -> tuple[Any, list[dict[str, str]]]:
        """Return the pipeline's output for a block, and the notes of each of its rows."""
        params, written = self._params, block[0].system_prompt
        if written is not None:
            params = params.model_copy(update={"system_prompt": written})
        arguments = diffusers_pipelines.own_arguments(pipe, params, len(block))
        # One generator per row, copies included: rows that shared one would draw from each other's stream.
        generators = [cpu_generator(request.seed) for request in block]
        prompts = [request.text for request in block]
        try:
            with (
                batching.repeatable(),
                self.during_call(pipe, block),
                global_streams(generators[0] if self._alone else None),
                warnings.catch_warnings(),
                under_system_prompt(pipe, written, self._card.name),
                listen(pipe, self._max_sequence_length(pipe)) as heard,
            ):
                # Sana turns running out of memory in its decoder into this warning, and then stumbles over the result.
                warnings.filterwarnings("error", message="(?s).*out of memory")
                output = diffusers_pipelines.call(pipe, prompts, generators, arguments)
            return output, self._notes(heard, prompts, written is not None)
        except ValueError as err:  # how pipelines and schedulers refuse a size, a length or a combination of settings
            raise CardError(f"Model card {self._card.name}: the pipeline refuses its `sampling`: {err}") from err
        except (RuntimeError, UserWarning) as err:
            if not _out_of_memory(err):
                raise
            reason = str(err)
        # Only here, outside `except`, are the frames that hold the tensors gone.
        _free_cache()
        raise OutOfMemory(reason)

    def _max_sequence_length(self, pipe: Any) -> int:
        """Return the limit in effect: the card's, else the pipeline's; 0 where it takes none."""
        default = inspect.signature(pipe.__call__).parameters.get("max_sequence_length")
        return int(self._params.max_sequence_length or (default and default.default) or 0)

    def _notes(self, heard: Listener, prompts: Sequence[str], written: bool) -> list[dict[str, str]]:
        """Return the notes of a call's rows; the pipeline's other warnings become notices, each once."""
        notes = heard.notes(prompts, self._params.negative_prompt)
        if not written:  # by a method: then it is the image's own, and no setting
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
        params, card = self._params, self._card.name
        pipe = load(pipeline_folder(self._weights, params, self._ctx.base_dir), params, self._ctx, card)
        diffusers_pipelines.check(pipe, params, card)
        diffusers_pipelines.prepare(pipe, params)
        if params.scheduler:
            pipe.scheduler = scheduler(pipe, params.scheduler, params.scheduler_options, card)
        check_seeded(pipe, card)
        text = params.system_prompt
        if text is not None and not system_arguments(inspect.signature(pipe.__call__).parameters, text):
            set_system_prompt(pipe, text, card)
        if not params.safety_checker and getattr(pipe, "safety_checker", None) is not None:
            pipe.safety_checker = None
        if getattr(pipe, "watermark", None) is not None:
            pipe.watermark = None  # SDXL marks its pixels only where an optional package is installed
        if self._lora is not None:
            diffusers_lora.put(pipe, self._lora, card, fuse=params.quantization is None)
        pipe.set_progress_bar_config(disable=True)
        try:
            return on_device(pipe, self._ctx.device, params.offload)
        except RuntimeError as err:
            if not _out_of_memory(err):
                raise
            size = f" (the card says {self._card.memory_gb:g} GiB)" if self._card.memory_gb else ""
            raise FairbenchError(
                f"The model {card} does not fit into the memory of {self._ctx.device}{size}: "
                "choose a smaller model or a larger device, or set `offload: model` under `sampling`."
            ) from err


def _result(pixels: Any, withheld: bool, seconds: float, notes: dict[str, str]) -> ImageResult:
    """Turn one image, (height, width, 3 or 4) of float 0..1, into a result. A fourth channel is opacity, over white."""
    if pixels.shape[-1] == 4:
        opacity = pixels[..., 3:]
        pixels = pixels[..., :3] * opacity + (1 - opacity)
    if withheld:
        reason = "the model's safety checker withheld the image"
        return ImageResult("blank", error=reason, seconds=seconds, notes=notes)
    if not np.isfinite(pixels).all():
        reason = "the model returned pixels that are not finite: use dtype bfloat16 or float32"
        return ImageResult("failed", error=reason, seconds=seconds, notes=notes)
    return ImageResult("ok", pixels=(pixels * 255).round().astype(np.uint8), seconds=seconds, notes=notes)


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
