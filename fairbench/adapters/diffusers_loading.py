"""Loads a diffusers pipeline from the hub or a local folder, and gives it the scheduler that a card names."""

from __future__ import annotations

import importlib.util
import inspect
import json
import re
from pathlib import Path
from typing import Any

from fairbench import registry
from fairbench.adapters.diffusers_params import DiffusersParams, Option
from fairbench.cards.cards import HubModel
from fairbench.errors import CardError, MissingExtra, WeightsError
from fairbench.networks import hub, weights
from fairbench.networks.hub import first_line
from fairbench.types import BuildContext

_PICKLED = (".bin", ".ckpt", ".pt", ".pth", ".pkl")
_UNSEEDED = ("DPMSolverSDEScheduler",)
"""Schedulers that draw noise but take no generators."""


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


def pipeline_folder(model: HubModel, params: DiffusersParams, base_dir: Path | None) -> Path:
    """Return the local folder of a pipeline, downloaded if need be, or its single file. Raises WeightsError."""
    file = weights.single_file(model, base_dir)
    if file is not None:
        return file
    folder = weights.model_folder(model, base_dir, download_patterns(params.variant))
    if not (folder / "model_index.json").is_file():
        raise WeightsError(
            f"{model.repo or folder} is not a diffusers pipeline (it has no model_index.json): "
            "name a repository or folder in the diffusers format."
        )
    return folder


def load(path: Path, params: DiffusersParams, ctx: BuildContext, card: str) -> Any:
    """Return the pipeline of a folder or a single file, on the CPU. Raises WeightsError, CardError and MissingExtra."""
    import diffusers
    import torch
    import transformers

    # Their bars would tear the run's own.
    diffusers.utils.logging.disable_progress_bar()
    transformers.utils.logging.disable_progress_bar()
    config = _config_folder(path, params, ctx, card)
    cls = _pipeline_class(config)
    parts = (_own_parts(config) if path.is_file() else {}) | params.components
    options: dict[str, Any] = {name: _component(name, model, ctx, card) for name, model in parts.items()}
    options |= _switches(cls, params)
    if params.quantization is not None:
        options["quantization_config"] = _quantization(config, params.quantization, ctx)
    options |= {"dtype": getattr(torch, ctx.dtype), "local_files_only": True}
    try:
        if path.is_file():
            return cls.from_single_file(str(path), config=str(config), **options)
        return diffusers.DiffusionPipeline.from_pretrained(
            path, variant=params.variant, use_safetensors=True, **options
        )
    # The libraries raise many kinds of error on files that are absent, damaged or of another model.
    except Exception as err:
        if "cosmos_guardrail" in str(err):
            raise WeightsError(
                f"Model {card}: its guardrail needs the package cosmos_guardrail, and pixelates every face that it "
                "finds; if the model's licence lets you, set `safety_checker: false` under `sampling`."
            ) from err
        raise WeightsError(
            f"Model {card}: {path} cannot be loaded as a diffusers pipeline ({first_line(err)})."
        ) from err


def _config_folder(path: Path, params: DiffusersParams, ctx: BuildContext, card: str) -> Path:
    """Return the folder with a pipeline's model_index.json: its own, or the one that a single file needs."""
    if path.is_dir():
        if params.config is not None:
            raise CardError(f"Model card {card}: `config` is for weights in a single file; remove it from `sampling`.")
        return path
    fix = "name a local folder in the diffusers format under `sampling`, as in `config: {path: FOLDER}`"
    if path.suffix != ".safetensors":
        raise CardError(
            f"Model card {card}: {path} is no .safetensors file; convert it to a folder with diffusers, since other "
            "formats can run code when they are read."
        )
    if params.config is None:
        raise CardError(f"Model card {card}: {path.name} holds weights alone, without a configuration: {fix}.")
    if params.variant is not None or params.quantization is not None:
        field = "variant" if params.variant is not None else "quantization"
        raise CardError(f"Model card {card}: `{field}` does not work with weights in a single file; remove it.")
    folder = weights.model_folder(params.config, ctx.base_dir)
    if not (folder / "model_index.json").is_file():
        raise CardError(f"Model card {card}, sampling.config: {folder} has no model_index.json: {fix}.")
    pickled = next((f for f in sorted(folder.rglob("*")) if f.suffix in _PICKLED), None)
    if pickled is not None:
        raise CardError(f"Model card {card}, sampling.config: {pickled} can run code when it is read: remove it.")
    return folder


def _own_parts(config: Path) -> dict[str, HubModel]:
    """Return the parts whose weights lie beside a single file's configuration: the file then gives the others."""
    folders = [file.parent for file in sorted(config.glob("*/config.json"))]
    return {folder.name: HubModel(path=str(folder)) for folder in folders if any(folder.glob("*.safetensors"))}


def _pipeline_class(folder: Path) -> Any:
    """Return the class that model_index.json names; DiffusionPipeline where the installed library lacks it."""
    import diffusers

    return getattr(diffusers, declared(folder)[0] or "", diffusers.DiffusionPipeline)


def _switches(cls: Any, params: DiffusersParams) -> dict[str, Any]:
    """Return what a pipeline has to be told when it is built: Cosmos 3 otherwise asks for its guardrail's package."""
    accepted = inspect.signature(cls.__init__).parameters
    return {"enable_safety_checker": params.safety_checker} if "enable_safety_checker" in accepted else {}


def _component(name: str, model: HubModel, ctx: BuildContext, card: str) -> Any:
    """Load a part of a pipeline that lies in a place of its own: a tokenizer, or a model of either library."""
    import diffusers
    import torch
    import transformers

    folder = weights.model_folder(model, ctx.base_dir)
    try:
        if "tokenizer" in name:
            return transformers.AutoTokenizer.from_pretrained(folder, local_files_only=True)
        config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
        theirs = "_class_name" in config
        cls = getattr(diffusers, config["_class_name"]) if theirs else getattr(transformers, config["architectures"][0])
        dtype = getattr(torch, ctx.dtype)
        return cls.from_pretrained(folder, torch_dtype=dtype, use_safetensors=True, local_files_only=True)
    except Exception as err:
        raise WeightsError(f"Model {card}: {folder} cannot be loaded as its {name} ({first_line(err)}).") from err


def missing(params: DiffusersParams, ctx: BuildContext) -> list[str]:
    """Return what a card's settings need and this machine lacks, a sentence each; nothing is loaded or downloaded."""
    sentences = []
    for name, model in params.components.items():
        if weights.local_folder(model, ctx.base_dir) is None:
            how = f"not on this machine; {hub.unless_offline('the first run downloads it')}"
            sentences.append(f"{name}: {model.path or model.repo}: {'there is no such folder' if model.path else how}")
    if params.config is not None and weights.local_folder(params.config, ctx.base_dir) is None:
        sentences.append(f"config: there is no folder {params.config.path}")
    if params.quantization is not None and importlib.util.find_spec("bitsandbytes") is None:
        sentences.append(f"quantization: {MissingExtra('loading in 4 or 8 bits', 'quant')}".rstrip("."))
    return sentences


def _quantization(folder: Path, how: str, ctx: BuildContext) -> Any:
    """Return the library's settings for 4 or 8 bits of a pipeline's denoiser and text encoders. Raises MissingExtra."""
    import diffusers
    import torch

    if importlib.util.find_spec("bitsandbytes") is None:
        raise MissingExtra("Loading in 4 or 8 bits", "quant")
    index = json.loads((folder / "model_index.json").read_text(encoding="utf-8"))
    heavy = [n for n in index if re.fullmatch(r"transformer\w*|unet|text_encoder\w*|vision_language_encoder", n)]
    options = {
        "nf4": {
            "load_in_4bit": True,
            "bnb_4bit_quant_type": "nf4",
            "bnb_4bit_compute_dtype": getattr(torch, ctx.dtype),
        },
        "int8": {"load_in_8bit": True},
    }
    return diffusers.PipelineQuantizationConfig(
        quant_backend="bitsandbytes_4bit" if how == "nf4" else "bitsandbytes_8bit",
        quant_kwargs=options[how],
        components_to_quantize=heavy,
    )


def on_device(pipe: Any, device: str, offload: str | None) -> Any:
    """Return the pipeline where it computes: on its device, or moved there part by part."""
    if offload is None or device == "cpu":
        return pipe.to(device)
    move = pipe.enable_model_cpu_offload if offload == "model" else pipe.enable_sequential_cpu_offload
    move(device=device)
    return pipe


def scheduler(pipe: Any, name: str, options: dict[str, Option], card: str) -> Any:
    """Return the scheduler `name` with the checkpoint's noise schedule, overridden by `options`."""
    compatible = {cls.__name__: cls for cls in pipe.scheduler.compatibles if cls.__name__ not in _UNSEEDED}
    if name not in compatible:
        raise CardError(
            f"Model card {card}, sampling.scheduler: {name} does not fit {type(pipe).__name__}"
            f"{registry.suggest(name, sorted(compatible))}."
        )
    accepted = inspect.signature(compatible[name].__init__).parameters
    unknown = next((option for option in options if option not in accepted), None)
    if unknown is not None:
        hint = registry.suggest(unknown, [option for option in accepted if option != "self"])
        raise CardError(f"Model card {card}, sampling.scheduler_options: {name} takes no {unknown!r}{hint}.")
    try:
        return compatible[name].from_config(pipe.scheduler.config, **options)
    except (ValueError, TypeError, NotImplementedError) as err:
        raise CardError(f"Model card {card}, sampling.scheduler: {name} refuses its options: {err}.") from err


def declared(folder: Path) -> tuple[str | None, dict[str, Any]]:
    """Return a pipeline's class and its scheduler's configuration as its files name them, without loading it."""
    try:
        index = json.loads((folder / "model_index.json").read_text(encoding="utf-8"))
        config = json.loads((folder / "scheduler" / "scheduler_config.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None, {}
    return index.get("_class_name"), config


def check_seeded(pipe: Any, card: str) -> None:
    """Refuse a scheduler whose noise would not come from the images' own generators. Raises CardError."""
    scheduler = type(pipe.scheduler).__name__
    # Flow-matching pipelines do not hand their generators on to the scheduler; the others do so in this method.
    stochastic = pipe.scheduler.config.get("stochastic_sampling") and not hasattr(pipe, "prepare_extra_step_kwargs")
    if scheduler in _UNSEEDED or stochastic:
        raise CardError(
            f"Model card {card}: {scheduler} would draw noise that does not follow each image's own seed: "
            "choose another scheduler, or one without stochastic_sampling."
        )
