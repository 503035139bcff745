"""What is installed on this machine, and which models and labellers could run here."""

from __future__ import annotations

import importlib
import os
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Final

from fairbench import threads
from fairbench.cards import catalog
from fairbench.doctor.findings import Finding
from fairbench.doctor.model import files_needed
from fairbench.errors import FairbenchError
from fairbench.labelling import judges
from fairbench.labelling.judges import SELF
from fairbench.labelling.labeller import Labeller
from fairbench.networks import hub, weights
from fairbench.runs.missing import of_labeller

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


def findings() -> Iterator[Finding]:
    """Yield what there is to know of packages, devices, caches, labellers and models."""
    yield from _packages()
    yield from _devices()
    yield from _caches()
    yield from _labellers()
    yield from _models()


def _packages() -> Iterator[Finding]:
    for name, fix in _FIX_OF_PACKAGE.items():
        try:
            module = importlib.import_module(name)
        except (ImportError, OSError) as err:
            yield Finding("packages", name, f"does not import ({err}): {fix}", fine=False)
        else:
            yield Finding("packages", name, str(getattr(module, "__version__", "installed")))
    for name, extra in _EXTRA_OF_PACKAGE.items():
        state = "installed" if find_spec(name) else f"not installed: pip install 'fairbench-umm[{extra}]'"
        yield Finding("packages", name, state)


def _devices() -> Iterator[Finding]:
    yield Finding("devices", "cpu", f"{threads.count()} cores")
    try:
        import torch
    except ImportError:
        return
    for i in range(torch.cuda.device_count()):
        free, total = torch.cuda.mem_get_info(i)
        memory = f"{free / 2**30:.1f} of {total / 2**30:.1f} GiB free"
        yield Finding("devices", f"cuda:{i}", f"{torch.cuda.get_device_name(i)}, {memory}")
    if torch.backends.mps.is_available():
        yield Finding("devices", "mps", "available")


def _caches() -> Iterator[Finding]:
    from huggingface_hub import constants

    folders = {"weights": weights.cache_dir(), "Hugging Face hub": Path(constants.HF_HUB_CACHE)}
    user_folder = os.environ.get("FAIRBENCH_WEIGHTS_DIR")
    if user_folder:
        folders["FAIRBENCH_WEIGHTS_DIR"] = Path(user_folder)
    for name, path in folders.items():
        yield Finding("caches", name, f"{path}{'' if path.is_dir() else ' (not there yet)'}")
    if weights.offline():
        yield Finding("caches", "downloads", "off (FAIRBENCH_OFFLINE or HF_HUB_OFFLINE)")


def _labellers() -> Iterator[Finding]:
    section = "labellers (weights that are not here are not downloaded by this check)"
    for name in catalog.find("labellers"):
        yield Finding(section, name, _labeller(name))


def _labeller(name: str) -> str:
    """Return whether a labeller could be used now, and whom it asks where it asks a model."""
    try:
        labeller = Labeller(catalog.load_labeller(name))
        if any(judge.model == SELF for judge in labeller.judges):
            return "ready: it asks the model of the run, where that answers questions"
        lacks = of_labeller(labeller)
        who = "; ".join(map(judges.described, labeller.judges))
    except FairbenchError as err:
        return str(err)
    problem, downloadable = lacks or (f"ready{f': {who}' if who else ''}", False)
    return f"{problem}: {hub.unless_offline('downloaded on first use')}" if downloadable else problem


def _models() -> Iterator[Finding]:
    how = hub.unless_offline("they are downloaded on first use")
    with hub.without_downloads():
        for name in catalog.find("models"):
            try:
                loaded = catalog.load_model(name)
            except FairbenchError as err:
                yield Finding("models", name, f"broken card: {err}")
                continue
            try:
                if loaded.card.weights is not None:
                    weights.model_folder(loaded.card.weights, loaded.base_dir, files_needed(loaded.card))
            except FairbenchError:
                need = loaded.card.memory_gb
                size = f"; needs about {need:g} GiB of device memory" if need else ""
                yield Finding("models", name, f"weights not here: {how}{size}")
            else:
                yield Finding("models", name, "ready")
