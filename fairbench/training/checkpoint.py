"""States of trainings on disk: whole or absent, checksummed, and read without executing anything in them."""

from __future__ import annotations

import io
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from fairbench.storage import atomic

BEFORE: Final[Mapping[str, Any]] = {"image reading version": 1, "prompt format": None}
"""The values of fields that an identity did not have at first, in the trainings from before."""


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


def differences(stored: dict[str, Any], identity: dict[str, Any]) -> str:
    """Return what differs between a stored identity and this one, in words; empty where nothing does.

    Compared are the fields that are stored, and BEFORE: a later version may add fields to an identity, and earlier
    states stay usable.
    """
    stored = {name: value for name, value in BEFORE.items() if name in identity} | stored
    return "; ".join(f"{k} {v} there, {identity.get(k)} here" for k, v in stored.items() if v != identity.get(k))
