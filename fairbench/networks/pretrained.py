"""What every checkpoint in transformers format is checked for: its kind, its file format, and that it is whole."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Collection, Iterator, Mapping
from pathlib import Path
from typing import Any, Final

from fairbench.cards.cards import HubModel
from fairbench.errors import WeightsError
from fairbench.networks import weights
from fairbench.networks.hub import first_line
from fairbench.types import BuildContext

_SPECIAL_TOKENS: Final = ("bos_token_id", "eos_token_id", "pad_token_id")


def config_of(folder: Path) -> dict[str, Any]:
    """Return what config.json says; empty where there is none."""
    path = folder / "config.json"
    return dict(json.loads(path.read_text(encoding="utf-8"))) if path.is_file() else {}


def check_format(folder: Path, family: str, kind: str, foreign: Mapping[str, str]) -> None:
    """Raise WeightsError where a folder holds no checkpoint of this `model_type`. Reads config.json alone.

    foreign: the `model_type` of the authors' own format -> what to use instead.
    """
    try:
        found = json.loads((folder / "config.json").read_text(encoding="utf-8")).get("model_type")
    except (OSError, ValueError, AttributeError) as err:
        raise WeightsError(
            f"{folder} has no readable config.json: name a {family} folder in transformers format."
        ) from err
    if found in foreign:
        raise WeightsError(
            f"{folder} is a {family} checkpoint in its authors' own format, which needs remote code: use the model in "
            f"transformers format, such as {foreign[found]}."
        )
    if found != kind:
        raise WeightsError(
            f"{folder}/config.json has model_type {found!r}, not {kind!r}: name a {family} checkpoint in transformers "
            "format."
        )
    if not any(folder.glob("*.safetensors")):
        raise WeightsError(
            f"{folder} holds no *.safetensors file, the only format that is loaded: convert the weights."
        )


@contextlib.contextmanager
def loading(folder: Path, family: str) -> Iterator[None]:
    """Turn what a damaged checkpoint makes transformers raise into one sentence (WeightsError)."""
    from safetensors import SafetensorError
    from transformers.utils import logging

    logging.disable_progress_bar()  # its bar would tear the run's own
    try:
        yield
    except (OSError, ValueError, KeyError, AttributeError, RuntimeError, SafetensorError) as err:
        reason = first_line(err)
        raise WeightsError(f"{folder} cannot be loaded as a {family} checkpoint ({reason}): fetch it again.") from err


def check_whole(folder: Path, missing: Collection[str]) -> None:
    """Refuse what would run and give noise: transformers fills absent weights with random numbers and only warns."""
    if missing:
        raise WeightsError(
            f"{folder} lacks {len(missing)} weights, such as {min(missing)}: fetch the checkpoint again."
        )


def writer(
    model: HubModel, ctx: BuildContext, dtype: str, classes: tuple[str, str], kind: str, field: str = ""
) -> tuple[Any, Any]:
    """Return a network that writes text, in evaluation mode on its device, and what makes its inputs.

    classes: of transformers, for the network and for its tokenizer or processor. kind: what the checkpoint should be,
    in words. field: of the card, which an error names. Of the checkpoint's generation settings only the special tokens
    stay: `generate` takes them all from there by default, and published checkpoints penalise repetition, suppress
    words or demand a least length, while an answer is to come from the model's own distribution. Raises WeightsError.
    """
    import torch
    import transformers
    from safetensors import SafetensorError

    folder = weights.model_folder(model, ctx.base_dir)
    transformers.utils.logging.disable_progress_bar()  # its bar would tear the run's own
    of_network, of_inputs = (getattr(transformers, name) for name in classes)
    local = {"local_files_only": True, "trust_remote_code": False}
    try:
        inputs = of_inputs.from_pretrained(folder, **local)
        net = of_network.from_pretrained(folder, dtype=getattr(torch, dtype), use_safetensors=True, **local)
    except (OSError, ValueError, KeyError, RuntimeError, ImportError, SafetensorError) as err:
        raise WeightsError(
            f"{field and f'{field}: '}{folder} cannot be loaded as a {kind} of transformers with safetensors and "
            f"without remote code ({first_line(err)}): name another model."
        ) from err
    own = {name: getattr(net.generation_config, name) for name in _SPECIAL_TOKENS}
    net.generation_config = transformers.GenerationConfig(**own)
    return net.eval().requires_grad_(False).to(ctx.device), inputs
