"""The device that a run computes on."""

from __future__ import annotations

import importlib
import sys
from pathlib import Path

from fairbench.errors import FairbenchError


def pick_device(name: str) -> str:
    """Return the device: the one named, or the best there is. Raises FairbenchError where it is not there."""
    if name == "cpu" or (name == "auto" and not _may_have_accelerator()):
        return "cpu"
    torch = importlib.import_module("torch")
    cuda, mps = torch.cuda.is_available(), torch.backends.mps.is_available()
    if name == "auto":
        return "cuda" if cuda else "mps" if mps else "cpu"
    kind = name.split(":")[0]
    if kind not in {"cuda", "mps"}:
        raise FairbenchError(f"--device {name}: name auto, cpu, cuda, cuda:N or mps.")
    if not {"cuda": cuda, "mps": mps}[kind]:
        raise FairbenchError(f"--device {name}: torch finds no such device here; use --device cpu.")
    return name


def _may_have_accelerator() -> bool:
    # torch takes seconds to import; a Linux machine without the driver's device file has no CUDA device.
    return not sys.platform.startswith("linux") or Path("/dev/nvidiactl").exists() or Path("/dev/dxg").exists()
