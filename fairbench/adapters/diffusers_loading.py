"""Loads a diffusers pipeline from the hub or a local folder, and gives it the scheduler that a card names."""

from __future__ import annotations

import inspect
import json
from pathlib import Path
from typing import Any

from fairbench import registry
from fairbench.cards.cards import HubModel
from fairbench.errors import CardError, WeightsError
from fairbench.networks import weights
from fairbench.networks.hub import first_line

Option = bool | int | float | str
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


def pipeline_folder(model: HubModel, variant: str | None, base_dir: Path | None) -> Path:
    """Return the local folder of a pipeline, downloaded if need be. Raises WeightsError."""
    folder = weights.model_folder(model, base_dir, download_patterns(variant))
    if not (folder / "model_index.json").is_file():
        raise WeightsError(
            f"{model.repo or folder} is not a diffusers pipeline (it has no model_index.json): "
            "name a repository or folder in the diffusers format."
        )
    return folder


def load(folder: Path, variant: str | None, dtype: str, name: str) -> Any:
    """Return the pipeline in a folder, on the CPU. name: the model card's, for errors. Raises WeightsError."""
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
        raise WeightsError(
            f"Model {name}: {folder} cannot be loaded as a diffusers pipeline ({first_line(err)})."
        ) from err


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
