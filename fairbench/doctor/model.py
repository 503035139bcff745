"""Whether a model's files can be read, and whether they fit on the disk and into memory."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from fairbench import registry
from fairbench.cards import catalog, yamlfile
from fairbench.cards.cards import HubModel, ModelCard
from fairbench.doctor.findings import Finding
from fairbench.errors import FairbenchError
from fairbench.networks import hub, weights
from fairbench.protocols import Reachable, SaysWhatIsMissing
from fairbench.types import BuildContext
from fairbench.workers import places
from fairbench.workers.params import WorkerParams
from fairbench.workers.places import Places

_GIB = 2**30
_Checked = tuple[str, bool, str]
"""What was checked, whether it is fine, and a sentence."""


def findings(target: str, *, reach: bool = False) -> Iterator[Finding]:
    """Yield what there is to know of one model. reach: ask the server of a served model. Raises FairbenchError."""
    loaded = catalog.load_model(target)
    section = f"model {loaded.card.name}: {loaded.card.title}"
    checked = False
    for name, fine, text in _findings(loaded, reach):
        checked = True
        yield Finding(section, name, text, fine)
    if not checked:
        yield Finding(section, "files", "none needed: the card names no weights")


def files_needed(card: ModelCard) -> tuple[str, ...]:
    """Return the patterns of the files of a repository that the model needs."""
    if card.adapter != "diffusers":
        return weights.MODEL_FILES
    from fairbench.adapters.diffusers_loading import download_patterns

    return download_patterns(card.sampling.get("variant"))


def _findings(loaded: catalog.Loaded[ModelCard], reach: bool) -> Iterator[_Checked]:
    card, base_dir = loaded.card, loaded.base_dir
    try:
        params = registry.parse_params(registry.resolve("adapters", card.adapter), card.sampling)
    except ValidationError as err:
        yield "settings", False, str(yamlfile.params_error(loaded.path, f"model {card.name}", err, ("sampling",)))
    else:
        yield from of_adapter(loaded, params, reach=reach)
    size, served = 0, issubclass(registry.resolve("adapters", card.adapter), Reachable)
    for name, model, files in models(loaded):
        findings, bytes_of_model = _access(name, model, base_dir, files)
        size += bytes_of_model
        yield from findings
    if served:
        return  # disk and memory are the server's
    if not size and card.disk_gb is not None:
        yield _disk(int(card.disk_gb * _GIB))
    need, free = card.memory_gb or size / _GIB, _free_memory()
    if need and free:
        yield _memory(card, need, *free)


def models(loaded: catalog.Loaded[ModelCard]) -> Iterator[tuple[str, HubModel, tuple[str, ...]]]:
    """Yield name, source and patterns of the files of each set of weights that a card names."""
    card = loaded.card
    for name, model, files in (
        ("weights", card.weights, files_needed(card)),
        ("text model", card.text_model, weights.MODEL_FILES),
    ):
        if model is not None:
            yield name, model, files
    if card.adapter == "worker":
        params = registry.parse_params(registry.resolve("adapters", card.adapter), card.sampling)
        for name, ref in getattr(params, "weights", {}).items():
            yield f"weights {name}", ref, places.files(ref)


def of_adapter(loaded: catalog.Loaded[ModelCard], params: Any, *, reach: bool = False) -> Iterator[_Checked]:
    """Yield what the adapter itself says is missing, and what is known of a worker's environment and code.

    reach: ask the server of a served model whether it is there.
    """
    card = loaded.card
    if isinstance(params, WorkerParams):
        yield from _worker(Places(card, params, loaded.base_dir))
        return
    built = registry.resolve("adapters", card.adapter)(card, params, BuildContext(base_dir=loaded.base_dir))
    sentences = built.missing() if isinstance(built, SaysWhatIsMissing) else []
    for sentence in sentences:
        name, _, text = sentence.partition(": ")
        yield name, False, text
    if isinstance(built, Reachable) and not sentences:
        yield ("server", *_reached(built)) if reach else ("server", True, "not asked; --reach does")


def _reached(adapter: Reachable) -> tuple[bool, str]:
    try:
        return True, adapter.reach()
    except FairbenchError as err:
        return False, str(err)


def _worker(places_of: Places) -> Iterator[_Checked]:
    sentences = dict(sentence.split(": ", 1) for sentence in places_of.missing())
    if "environment" in sentences:
        yield "environment", False, sentences["environment"]
    else:
        yield "environment", *_interpreter(places_of)
    if "repository" in sentences:
        yield "repository", False, sentences["repository"]
    elif places_of.repository is not None:
        try:
            state = places_of.checkout()
        except FairbenchError as err:
            yield "repository", False, str(err)
        else:
            at = "" if state is None else f" at {state['commit']}"
            yield "repository", True, f"{places_of.repository}{at}"


def _interpreter(places_of: Places) -> tuple[bool, str]:
    """Return whether a worker's interpreter runs and is of the card's version, and a sentence."""
    python, wanted = places_of.python, places_of.params.python_version
    try:
        command = [str(python), "-c", "import sys; print('%d.%d' % sys.version_info[:2])"]
        done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=60)
    except (OSError, subprocess.SubprocessError) as err:
        return False, f"{python} does not run ({err}): fix `python` in the card, or make the environment again"
    version = done.stdout.strip()
    if wanted not in (None, version):
        return False, f"{python} is Python {version}, the card declares {wanted}: fix one of them"
    return True, f"Python {version}: {python}"


def _access(name: str, model: HubModel, base_dir: Path | None, files: tuple[str, ...]) -> tuple[list[_Checked], int]:
    """Return the findings on a model's files, and their size in bytes (0: unknown)."""
    folder = weights.local_folder(model, base_dir, files)
    if folder is not None and (model.path or hub.offline() or hub.complete_here(str(model.repo), model.revision)):
        size = sum(p.stat().st_size for p in folder.rglob("*") if p.is_file())
        return [(name, True, f"on this machine ({_gib(size)}): {folder}")], size
    try:
        if model.path or hub.offline():
            weights.model_folder(model, base_dir, files)  # raises the reason
        size = hub.download_size(str(model.repo), model.revision, files)
    except FairbenchError as err:
        return [(name, False, str(err))], 0
    return [(name, True, f"{model.repo} can be read: {_gib(size)} to download"), _disk(size)], size


def _disk(size: int) -> _Checked:
    from huggingface_hub import constants

    folder = Path(constants.HF_HUB_CACHE)
    while not folder.exists():
        folder = folder.parent
    free = shutil.disk_usage(folder).free
    fix = "" if free > size else "; free some, or name another disk in HF_HOME"
    return "disk", free > size, f"{_gib(free)} free at {constants.HF_HUB_CACHE}, {_gib(size)} needed{fix}"


def _free_memory() -> tuple[str, float] | None:
    """Return the device that a run would choose and its free memory in GiB; None where the system does not say."""
    from fairbench.runs.device import pick_device

    device = pick_device("auto")
    if device == "cuda":
        import torch

        return device, torch.cuda.mem_get_info()[0] / _GIB
    pages = next((n for n in ("SC_AVPHYS_PAGES", "SC_PHYS_PAGES") if n in getattr(os, "sysconf_names", {})), None)
    return None if pages is None else (device, os.sysconf(pages) * os.sysconf("SC_PAGE_SIZE") / _GIB)


def _memory(card: ModelCard, need: float, device: str, free: float) -> _Checked:
    """Compare what a model needs with what is free, both in GiB."""
    source = "by its card" if card.memory_gb else "by the size of its files"
    if device != "cuda" and getattr(card.dtype, device) == "float32" and card.dtype.cuda != "float32":
        need, source = 2 * need, f"{source}, twice what {card.dtype.cuda} takes"
    fix = "" if free > need else "; choose a smaller model or a larger device"
    return "memory", free > need, f"{free:.1f} GiB free on {device}, about {need:.1f} GiB needed ({source}){fix}"


def _gib(size: int) -> str:
    return f"{size / _GIB:.1f} GiB" if size >= _GIB / 10 else f"{size / 2**20:.1f} MiB"
