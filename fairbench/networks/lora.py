"""Low-rank adapters through peft: put on a network, read, and turned into files. safetensors only.

Files are in one of two forms: peft's own, or that of diffusers, which names the pipeline's part before each layer.
"""

from __future__ import annotations

import contextlib
import json
import re
import warnings
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import torch

from fairbench.errors import MissingExtra, WeightsError
from fairbench.networks.hub import first_line

CONFIG, WEIGHTS = "adapter_config.json", "adapter_model.safetensors"
"""peft's own names."""
DIFFUSERS_WEIGHTS = "pytorch_lora_weights.safetensors"
_IN_PEFT = "base_model.model."
"""What peft puts before a layer's name."""
_UNCONDITIONAL = "fairbench.unconditional"
Tensors = dict[str, torch.Tensor]


def new(net: Any, targets: str, rank: int, alpha: float, dropout: float, seed: int) -> Any:
    """Put an adapter that changes nothing yet on `net` and return peft's model around it.

    Everything else is frozen. targets: regular expression over module names. Raises WeightsError where none matches.
    """
    peft = _peft()
    torch.manual_seed(seed)
    config = peft.LoraConfig(r=rank, lora_alpha=alpha, lora_dropout=dropout, target_modules=targets, bias="none")
    try:
        return _attached(net, config)
    except ValueError as err:
        raise WeightsError(f"lora_targets {targets!r} matches no module of the model that can be adapted.") from err


def load(net: Any, folder: Path, dropout: float = 0.0) -> Any:
    """Put an adapter folder's adapter on `net`; return peft's model around it, whose adapter can be trained further.

    Raises WeightsError for a folder that is no LoRA adapter in safetensors, or does not fit the network.
    """
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    peft = _peft()
    try:
        config = peft.PeftConfig.from_pretrained(str(folder))
        if not isinstance(config, peft.LoraConfig):
            raise ValueError(f"its type is {config.peft_type}, not LORA")
        config.lora_dropout, config.inference_mode = dropout, False
        config.base_model_name_or_path = None  # else peft warns that the checkpoint lies elsewhere here
        model = _attached(net, config)
        tensors = load_file(folder / WEIGHTS)
    except (OSError, ValueError, KeyError, TypeError, SafetensorError) as err:
        raise WeightsError(f"{folder} cannot be loaded as a LoRA adapter in safetensors ({first_line(err)}).") from err
    if misfit := put(model, tensors):
        raise WeightsError(f"The adapter {folder} does not fit this model ({misfit}): use the model it was made for.")
    return model


def load_diffusers(net: Any, file: Path, prefix: str, dropout: float = 0.0) -> Any:
    """Put an adapter in the form of diffusers on `net`; return peft's model around it.

    prefix: of the layers in the file, `unet` or `transformer`. Raises WeightsError for a file that does not fit, or
    that adapts other parts of a pipeline too.
    """
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(file, "pt") as stored:
            tensors = {name: stored.get_tensor(name) for name in stored.keys()}  # noqa: SIM118 - it is no dict
            notes = json.loads((stored.metadata() or {}).get("lora_adapter_metadata", "{}"))
        layers, ranks = set(), set()
        for name, tensor in tensors.items():
            layer, found, half = name.removeprefix(f"{prefix}.").rpartition(".lora_")
            if not (found and name.startswith(f"{prefix}.") and half in {"A.weight", "B.weight"}):
                raise ValueError(f"{name} is no layer of its {prefix} in the form of diffusers")
            layers.add(layer)
            ranks.add(tensor.shape[0] if half == "A.weight" else tensor.shape[1])
        if len(ranks) != 1:
            raise ValueError(f"it has layers of ranks {sorted(ranks)}")
        rank = ranks.pop()
        config = _peft().LoraConfig(
            r=rank,
            lora_alpha=notes.get(f"{prefix}.lora_alpha", rank),
            lora_dropout=dropout,
            target_modules="|".join(map(re.escape, sorted(layers))),
            bias="none",
        )
        model = _attached(net, config)
    except (OSError, ValueError, TypeError, SafetensorError) as err:
        raise WeightsError(f"{file} cannot be loaded as a LoRA of this model ({first_line(err)}).") from err
    if misfit := put(model, {_IN_PEFT + name.removeprefix(f"{prefix}."): t for name, t in tensors.items()}):
        raise WeightsError(f"The adapter {file} does not fit this model ({misfit}): use the model it was made for.")
    return model


def worn(net: Any, folder: Path, *, merge: bool) -> Any:
    """Return a frozen network that computes with an adapter from now on. Raises as `load` does.

    merge: add it to the weights, which is as fast as no adapter. In reduced precision rounding would swallow a small
    one: there it stays beside them.
    """
    adapter = load(net, folder)
    return (merged(adapter) if merge else net).eval().requires_grad_(False)


def is_guided(folder: Path) -> bool:
    """Return whether an adapter has learned guided distributions: it is then off in unconditional rows.

    Written into the weights' file, so that it cannot get lost without the file's sha256 changing.
    """
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(folder / WEIGHTS, framework="pt") as file:
            return (file.metadata() or {}).get(_UNCONDITIONAL) == "off"
    except (OSError, SafetensorError):  # `load` says what is wrong with it
        return False


class OffInBlankRows:
    """Turns an adapter off in the unconditional rows of what a network computes next: called with which these are."""

    def __init__(self, net: Any) -> None:
        self._on: Any = None
        layers = [m for name, m in net.named_modules() if ".lora_B." in name]
        self._hooks = [layer.register_forward_hook(self._masked) for layer in layers]

    def __call__(self, blank: Sequence[bool] | None) -> None:
        """Set which rows are unconditional, (rows,); None: what is computed next has no rows of images."""
        self._on = None if blank is None else torch.tensor([not row for row in blank])

    def _masked(self, _: Any, __: Any, out: torch.Tensor) -> torch.Tensor | None:
        return None if self._on is None else out * self._on.to(out)[:, None, None]

    def remove(self) -> None:
        """Let the adapter compute in all rows again."""
        for hook in self._hooks:
            hook.remove()


@contextlib.contextmanager
def off_in_blank_rows(net: Any, model: Any) -> Iterator[None]:
    """Let peft's model be off in the unconditional rows that `model` (protocol Distillable) draws meanwhile."""
    rows = OffInBlankRows(net)
    model.on_rows(rows)
    try:
        yield
    finally:
        model.on_rows(lambda blank: None)
        rows.remove()


@contextlib.contextmanager
def evaluated(model: Any) -> Iterator[None]:
    """Turn training mode off in peft's model for as long as this lasts."""
    trained = [module for module in model.modules() if module.training]
    model.eval()
    try:
        yield
    finally:
        for module in trained:
            module.training = True  # of this module alone, not of those in it


def put(model: Any, tensors: Tensors) -> str:
    """Set the adapter's weights; return what does not fit (then nothing is set), or the empty string."""
    expected = tensors_of(model)
    if unmatched := min(expected.keys() ^ tensors.keys(), default=None):
        return f"{unmatched} is missing on one side"
    for name, tensor in expected.items():
        if tensor.shape != tensors[name].shape:
            return f"{name} is {list(tensors[name].shape)}, not {list(tensor.shape)}"
    with torch.no_grad():
        _peft().set_peft_model_state_dict(model, tensors)
    return ""


def tensors_of(model: Any) -> Tensors:
    """Return the adapter's weights under the names of peft's files. They share memory with the model."""
    return dict(_peft().get_peft_model_state_dict(model, save_embedding_layers=False))


@contextlib.contextmanager
def without(model: Any) -> Iterator[None]:
    """Let peft's model compute as if it had no adapter, for as long as this lasts."""
    with model.disable_adapter():
        yield


def files(model: Any, tensors: Tensors, base: str, revision: str | None, *, guided: bool = False) -> dict[str, bytes]:
    """Return the files of an adapter folder. base: repository or card name of the model that it belongs to.

    guided: see `is_guided`.

    Not through `save_pretrained`, which asks the hub about the base model and writes this machine's paths.
    """
    from safetensors.torch import save

    config = model.peft_config["default"].to_dict()
    config |= {"base_model_name_or_path": base, "revision": revision, "inference_mode": True}
    plain = {k: sorted(v) if isinstance(v, set) else v for k, v in config.items()}
    stored = {name: value.detach().cpu().contiguous() for name, value in tensors.items()}
    return {
        CONFIG: (json.dumps(plain, indent=2, sort_keys=True, default=str) + "\n").encode(),
        WEIGHTS: _same_bytes(save(stored, metadata={"format": "pt"} | ({_UNCONDITIONAL: "off"} if guided else {}))),
    }


def diffusers_files(model: Any, tensors: Tensors, prefix: str) -> dict[str, bytes]:
    """Return the file of an adapter in the form of diffusers, by its name. prefix: see `load_diffusers`."""
    from safetensors.torch import save

    config = model.peft_config["default"]
    stored = {f"{prefix}.{n.removeprefix(_IN_PEFT)}": t.detach().cpu().contiguous() for n, t in tensors.items()}
    layers = sorted({name.removeprefix(f"{prefix}.").rpartition(".lora_")[0] for name in stored})
    notes = {"r": config.r, "lora_alpha": config.lora_alpha, "target_modules": layers}
    text = json.dumps({f"{prefix}.{name}": value for name, value in notes.items()}, sort_keys=True)
    # One entry: safetensors writes several in any order, and the file's bytes identify the adapter.
    return {DIFFUSERS_WEIGHTS: save(stored, metadata={"lora_adapter_metadata": text})}


def _same_bytes(file: bytes) -> bytes:
    """Return a safetensors file with its metadata in one order; the library's changes from call to call."""
    end = 8 + int.from_bytes(file[:8], "little")
    header = json.loads(file[8:end])
    header["__metadata__"] = dict(sorted(header["__metadata__"].items()))
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    return len(text).to_bytes(8, "little") + text + file[end:]


def merged(model: Any) -> Any:
    """Add the adapter to the weights and return the plain network: as fast as without one."""
    return model.merge_and_unload()


def _attached(net: Any, config: Any) -> Any:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)  # peft asks transformers by a name that is going out
        model = _peft().get_peft_model(net, config)
    for name, parameter in model.named_parameters():
        parameter.requires_grad_("lora_" in name)
    return model


def _peft() -> Any:
    try:
        import peft
    except ImportError as err:
        raise MissingExtra("A LoRA adapter", "train") from err
    return peft
