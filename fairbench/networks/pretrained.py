"""What every checkpoint in transformers format is checked for: its kind, its file format, and that it is whole."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Collection, Iterator, Mapping
from pathlib import Path
from typing import Any

from fairbench.errors import WeightsError
from fairbench.networks.hub import first_line


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
