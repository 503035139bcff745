"""Puts a LoRA in the form of diffusers on a pipeline. safetensors only."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from fairbench.errors import CardError, MissingExtra, WeightsError
from fairbench.methods.lora import diffusers_file
from fairbench.networks.hub import first_line

_NAME = "fairbench"
_PAIR = re.compile(r"(lora_B|lora_up|lora\.up)\.weight$")
"""Names of the second of the two matrices of each adapted layer, in the forms that diffusers reads."""


def put(pipe: Any, path: Path, card: str, *, fuse: bool) -> None:
    """Put a LoRA on a pipeline on the CPU. fuse: add it to the weights, so that images take no longer than without it.

    path: the file, or the folder that holds it. Raises CardError for a pipeline that takes none, WeightsError for a
    file that does not fit it, and MissingExtra.
    """
    from safetensors import SafetensorError, safe_open

    file = diffusers_file(path)
    if not hasattr(pipe, "load_lora_weights"):
        raise CardError(f"Model card {card}: {type(pipe).__name__} takes no LoRA; use the model without it.")
    try:
        import peft  # noqa: F401 - diffusers imports it by name
    except ImportError as err:
        raise MissingExtra("A LoRA adapter", "train") from err
    misfit = f"The LoRA {file} does not fit the model {card}"
    try:
        with safe_open(file, "pt") as tensors:
            names = list(tensors.keys())
        pipe.load_lora_weights(
            str(file.parent), weight_name=file.name, adapter_name=_NAME, use_safetensors=True, local_files_only=True
        )
    except SafetensorError as err:
        raise WeightsError(f"{file} cannot be read as safetensors ({first_line(err)}): fetch it again.") from err
    # peft and diffusers raise many kinds of error on shapes and names that are not the model's.
    except Exception as err:
        raise WeightsError(f"{misfit} ({first_line(err)}): use the model it was made for.") from err
    expected, loaded = sum(bool(_PAIR.search(name)) for name in names), _adapted_layers(pipe)
    # Files of other programs are regrouped when they are read; only those of diffusers must match layer by layer.
    own_form = all("lora_A." in name or "lora_B." in name for name in names)
    if not loaded or (own_form and loaded != expected):
        raise WeightsError(
            f"{misfit}: {loaded} of its {expected} layers were found in it; use the model it was made for."
        )
    if fuse:
        pipe.fuse_lora()
        pipe.unload_lora_weights()


def _adapted_layers(pipe: Any) -> int:
    import torch

    networks = [part for part in pipe.components.values() if isinstance(part, torch.nn.Module)]
    modules: list[Any] = [module for network in networks for module in network.modules()]
    return sum(_NAME in module.lora_B for module in modules if hasattr(module, "lora_B"))
