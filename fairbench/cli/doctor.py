"""`fairbench doctor`: what is installed, and what could run here."""

from __future__ import annotations

import importlib
import os
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import Annotated

import typer

from fairbench import threads
from fairbench.display.plain import echo

# Import name -> what a user does about it when it does not import.
_APT = "on Debian or Ubuntu: apt-get install libgl1 libglib2.0-0"
_PACKAGES = {
    "torch": "pip install torch",
    "torchvision": "pip install torchvision (of the release that fits torch)",
    "transformers": "pip install transformers",
    "diffusers": "pip install diffusers",
    "onnxruntime": "pip install onnxruntime",
    "cv2": f"opencv needs libGL and libglib; {_APT}",
    "insightface": f"it needs opencv; {_APT}",
    "open_clip": "pip install open_clip_torch",
}
_EXTRAS = {"dlib": "dlib", "face_recognition_models": "dlib", "peft": "train", "matplotlib": "report"}


Named = Annotated[
    str | None, typer.Option("--model", "-m", help="Check only this model: access, disk and memory. Downloads nothing.")
]


def doctor(model: Named = None) -> None:
    """Check what is installed and what could run here.

    Packages, devices and caches; which models and labellers could run, and why not. With --model, whether that model's
    files may be read, and whether disk and memory are large enough.
    """
    if model is not None:
        from fairbench.cli.doctor_model import check

        if not check(model):
            raise typer.Exit(1)
        return
    broken = _packages()
    _devices()
    _caches()
    _labellers()
    _models()
    if broken:
        echo(f"\n{len(broken)} packages do not work: {', '.join(broken)}")
        raise typer.Exit(1)


def _packages() -> list[str]:
    echo("packages")
    broken = []
    for name, fix in _PACKAGES.items():
        try:
            module = importlib.import_module(name)
        except (ImportError, OSError) as err:
            broken.append(name)
            echo(f"  {name:<24} does not import ({err}): {fix}")
        else:
            echo(f"  {name:<24} {getattr(module, '__version__', 'installed')}")
    for name, extra in _EXTRAS.items():
        state = "installed" if find_spec(name) else f"not installed: pip install 'fairbench-umm[{extra}]'"
        echo(f"  {name:<24} {state}")
    return broken


def _devices() -> None:
    echo("devices")
    echo(f"  cpu                      {threads.count()} cores")
    try:
        import torch
    except ImportError:
        return
    for i in range(torch.cuda.device_count()):
        free, total = torch.cuda.mem_get_info(i)
        echo(f"  cuda:{i:<19} {torch.cuda.get_device_name(i)}, {free / 2**30:.1f} of {total / 2**30:.1f} GiB free")
    if torch.backends.mps.is_available():
        echo("  mps                      available")


def _caches() -> None:
    from huggingface_hub import constants

    from fairbench.networks import weights

    echo("caches")
    places = {"weights": weights.cache_dir(), "Hugging Face hub": Path(constants.HF_HUB_CACHE)}
    named = os.environ.get("FAIRBENCH_WEIGHTS_DIR")
    if named:
        places["FAIRBENCH_WEIGHTS_DIR"] = Path(named)
    for name, path in places.items():
        echo(f"  {name:<24} {path}{'' if path.is_dir() else ' (not there yet)'}")
    if weights.offline():
        echo("  downloads are off (FAIRBENCH_OFFLINE or HF_HUB_OFFLINE)")


def _labellers() -> None:
    from fairbench.cards import catalog
    from fairbench.errors import FairbenchError
    from fairbench.labelling.labeller import Labeller

    echo("labellers (weights that are not here are not downloaded by this check)")
    with _offline():
        for name in catalog.find("labellers"):
            try:
                Labeller(catalog.load_labeller(name)).load()
            except FairbenchError as err:
                # Downloads are off for this look only; a run would fetch the file.
                absent = str(err).partition(" and downloads are off")
                echo(f"  {name:<24} {absent[0]}{': downloaded on first use' if absent[1] else ''}")
            else:
                echo(f"  {name:<24} ready")


def _models() -> None:
    from fairbench.cards import catalog
    from fairbench.cli.doctor_model import patterns
    from fairbench.errors import FairbenchError
    from fairbench.networks import weights

    echo("models")
    with _offline():
        for name in catalog.find("models"):
            try:
                loaded = catalog.load_model(name)
            except FairbenchError as err:
                echo(f"  {name:<24} broken card: {err}")
                continue
            try:
                if loaded.card.weights is not None:
                    weights.model_folder(loaded.card.weights, loaded.base_dir, patterns(loaded.card))
            except FairbenchError:
                need = loaded.card.memory_gb
                size = f"; needs about {need:g} GiB of device memory" if need else ""
                echo(f"  {name:<24} weights not here: they are downloaded on first use{size}")
            else:
                echo(f"  {name:<24} ready")


@contextmanager
def _offline() -> Iterator[None]:
    """Look at caches only."""
    before = os.environ.get("FAIRBENCH_OFFLINE")
    os.environ["FAIRBENCH_OFFLINE"] = "1"
    try:
        yield
    finally:
        if before is None:
            del os.environ["FAIRBENCH_OFFLINE"]
        else:
            os.environ["FAIRBENCH_OFFLINE"] = before
