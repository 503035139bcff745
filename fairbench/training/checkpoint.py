"""States of trainings on disk: whole or absent, checksummed, and read without running anything that they hold."""

from __future__ import annotations

import io
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from fairbench.storage import atomic

BEFORE: Final[Mapping[str, Any]] = {"image reading version": 1, "prompt format": None}
"""What was so in every training before an identity had these fields."""


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


def differences(there: dict[str, Any], here: dict[str, Any]) -> str:
    """Say what differs between a state's identity and the asked one; empty where nothing does.

    Of what the state names, and of BEFORE: any other field that a later version adds makes no earlier state useless.
    """
    there = {name: value for name, value in BEFORE.items() if name in here} | there
    return "; ".join(f"{k} {v} there, {here.get(k)} here" for k, v in there.items() if v != here.get(k))
