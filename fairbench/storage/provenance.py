"""Where a number came from: code version, package versions, device. Recorded beside a run, never inside its id."""

from __future__ import annotations

import platform
import subprocess
from collections.abc import Sequence
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import fairbench
from fairbench.keys import digest

PACKAGES = (
    *("torch", "torchvision", "transformers", "diffusers", "onnxruntime", "insightface", "dlib-bin", "open_clip_torch"),
    *("numpy", "scipy", "pandas", "pyarrow", "pillow", "opencv-python", "peft", "accelerate"),
)


def package_versions(packages: Sequence[str] = PACKAGES) -> dict[str, str]:
    """Return the installed versions of the packages that can change a number."""
    return {name: found for name in packages if (found := _version(name)) is not None}


@cache  # what a process has loaded stays what it was
def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None


@cache
def git_state() -> dict[str, Any] | None:
    """Commit of the checkout that fairbench runs from and whether it has uncommitted changes; None for a wheel.

    Asked once: a process goes on with the code that it has loaded.
    """
    root = Path(fairbench.__file__).resolve().parent.parent
    if not (root / ".git").exists():
        return None
    try:
        sha = _git(root, "rev-parse", "HEAD")
        dirty = bool(_git(root, "status", "--porcelain", "--untracked-files=no"))
    except (OSError, subprocess.SubprocessError):
        return None
    return {"sha": sha, "dirty": dirty}


def _git(root: Path, *args: str) -> str:
    done = subprocess.run(["git", "-C", str(root), *args], capture_output=True, text=True, check=True, timeout=20)
    return done.stdout.strip()


def environment(device: str) -> dict[str, Any]:
    """Describe the environment, with a hash over what can change a number in its last bits."""
    facts: dict[str, Any] = {
        "fairbench": fairbench.__version__,
        "python": platform.python_version(),
        "platform": platform.platform(),
        "machine": platform.machine(),
        "device": _device_name(device),
        "packages": package_versions(),
    }
    return {**facts, "environment_hash": digest("environment", facts).hex(), "git": git_state()}


def _device_name(device: str) -> str:
    if device.startswith("cuda"):
        import torch

        return f"{device}: {torch.cuda.get_device_name(device)}"
    return device
