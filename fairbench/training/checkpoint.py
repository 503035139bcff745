"""States of trainings on disk: whole or absent, checksummed, and read without executing anything in them."""

from __future__ import annotations

import io
import json
import zipfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Final

from fairbench.errors import FairbenchError
from fairbench.storage import atomic

BEFORE: Final[Mapping[str, Any]] = {
    "image reading version": 1,
    "prompt format": None,
    "exact": False,
    "target": None,
    "retain": None,
    "hard": False,
}
"""The values of fields that an identity did not have at first, in the trainings from before."""
_GONE: Final[Mapping[str, Any]] = {"stated": 0.0}
"""The values of fields that identities no longer have, in trainings that are the same without."""


def save(path: Path, state: dict[str, Any]) -> None:
    """Write tensors and plain data. Raises StoreError."""
    import torch

    file = io.BytesIO()
    torch.save(state, file)
    atomic.write_bytes(path, file.getvalue())


def load(path: Path) -> dict[str, Any]:
    """Read what `save` wrote. A damaged file raises almost anything: zip, pickle and torch have their own errors."""
    import torch

    with zipfile.ZipFile(path) as file:
        if damaged := file.testzip():  # torch.load itself compares no checksum
            raise ValueError(f"{damaged} does not have its checksum")
    return dict(torch.load(path, map_location="cpu", weights_only=True))


def resume(path: Path, name: str, identity: dict[str, Any], restore: Callable[[dict[str, Any]], str]) -> dict[str, Any]:
    """Return the state of a stopped training, after `restore` has put it in place; empty where there is none.

    name: that of the identity in the state. restore: returns why a state does not fit, "" where it does. Raises
    FairbenchError for a state that is damaged or belongs to another training.
    """
    if not path.exists():
        return {}
    try:
        state = load(path)
        state["step"] = int(state["step"])
        misfit = differences(state[name], identity) or restore(state)
    except Exception as err:  # a damaged file makes zip, pickle and torch raise almost anything
        raise FairbenchError(f"{path} cannot be resumed ({type(err).__name__}): remove it to start again.") from err
    if misfit:
        raise FairbenchError(f"{path} belongs to another training ({misfit}): name another folder.")
    return state


def same_training(path: Path, identity: dict[str, Any]) -> None:
    """Raise FairbenchError where a training that was stopped before its first state was another one."""
    if not path.exists():
        return
    try:
        misfit = differences(dict(json.loads(path.read_text(encoding="utf-8"))), json.loads(json.dumps(identity)))
    except (OSError, ValueError, TypeError) as err:
        raise FairbenchError(f"{path} cannot be read ({type(err).__name__}): remove it to start again.") from err
    if misfit:
        raise FairbenchError(f"{path.parent} belongs to another training ({misfit}): name another folder.")


def rows_before(path: Path, step: int, fix: str) -> list[dict[str, Any]]:
    """Return the logged rows of earlier steps. Raises FairbenchError, with the fix, for a file that cannot be read."""
    try:
        rows = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
        return [row for row in rows if row["step"] < step]
    except (OSError, ValueError, KeyError, TypeError) as err:
        raise FairbenchError(f"{path} cannot be read ({type(err).__name__}): {fix}.") from err


def differences(stored: dict[str, Any], identity: dict[str, Any]) -> str:
    """Return what differs between a stored identity and this one, in words; empty where nothing does.

    Compared are the fields that are stored, and BEFORE: a later version may add fields to an identity, and earlier
    states stay usable.
    """
    stored = {name: value for name, value in BEFORE.items() if name in identity} | stored
    gone = [name for name, value in _GONE.items() if stored.get(name) == value]
    pairs = {name: (value, identity.get(name)) for name, value in stored.items() if name not in gone}
    return "; ".join(f"{name} {there} there, {here} here" for name, (there, here) in pairs.items() if there != here)
