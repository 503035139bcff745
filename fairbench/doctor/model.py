"""Whether a model's files can be read, and whether they fit on the disk and into memory."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from pathlib import Path

from pydantic import ValidationError

from fairbench import registry
from fairbench.cards import catalog, yamlfile
from fairbench.cards.cards import HubModel, ModelCard
from fairbench.doctor.findings import Finding
from fairbench.errors import FairbenchError
from fairbench.networks import hub, weights

_GIB = 2**30
_Checked = tuple[str, bool, str]
"""What was checked, whether it is fine, and a sentence."""


def findings(target: str) -> Iterator[Finding]:
    """Yield what there is to know of one model. Raises FairbenchError for a broken card."""
    loaded = catalog.load_model(target)
    section = f"model {loaded.card.name}: {loaded.card.title}"
    for name, fine, text in _findings(loaded):
        yield Finding(section, name, text, fine)


def files_needed(card: ModelCard) -> tuple[str, ...]:
    """Return the patterns of the files of a repository that the model needs."""
    if card.adapter != "diffusers":
        return weights.MODEL_FILES
    from fairbench.adapters.diffusers_loading import download_patterns

    return download_patterns(card.sampling.get("variant"))


def _findings(loaded: catalog.Loaded[ModelCard]) -> Iterator[_Checked]:
    card, base_dir = loaded.card, loaded.base_dir
    try:
        registry.parse_params(registry.resolve("adapters", card.adapter), card.sampling)
    except ValidationError as err:
        yield "settings", False, str(yamlfile.params_error(loaded.path, f"model {card.name}", err, ("sampling",)))
    size = 0
    models = (("weights", card.weights, files_needed(card)), ("text model", card.text_model, weights.MODEL_FILES))
    for name, model, files in models:
        if model is not None:
            findings, bytes_of_model = _access(name, model, base_dir, files)
            size += bytes_of_model
            yield from findings
    need, free = card.memory_gb or size / _GIB, _free_memory()
    if need and free:
        yield _memory(card, need, *free)


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
