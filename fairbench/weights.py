"""Weights: (url or hub file, sha256) -> a verified local file; a hub repository at a commit -> a local folder."""

from __future__ import annotations

import functools
import hashlib
import logging
import os
import textwrap
import urllib.request
from pathlib import Path

from fairbench import atomic
from fairbench.config import FileWeights, HubModel
from fairbench.errors import WeightsError, storage_errors

_ENV = "FAIRBENCH_WEIGHTS_DIR"
log = logging.getLogger(__name__)
MODEL_FILES = ("*.safetensors", "*.json", "*.txt", "*.model", "*.jinja")


def cache_dir() -> Path:
    """Return the folder of downloaded files: FAIRBENCH_CACHE, else the user's cache folder."""
    base = os.environ.get("FAIRBENCH_CACHE")
    if base:
        return Path(base)
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "fairbench"


def offline() -> bool:
    """Whether the user forbade downloads (FAIRBENCH_OFFLINE or HF_HUB_OFFLINE)."""
    return any(
        os.environ.get(v, "").lower() in {"1", "true", "yes", "on"} for v in ("FAIRBENCH_OFFLINE", "HF_HUB_OFFLINE")
    )


@functools.cache
def _sha256(path: str, size: int, mtime_ns: int) -> str:
    with Path(path).open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def sha256(path: Path) -> str:
    """Return a file's sha256 (hex), computed once a process."""
    stat = path.stat()
    return _sha256(str(path), stat.st_size, stat.st_mtime_ns)


def _local(ref: FileWeights, base_dir: Path | None) -> Path | None:
    places = []
    if ref.path:
        own = Path(ref.path).expanduser()
        places.append(own if own.is_absolute() else (base_dir or Path.cwd()) / own)
    if os.environ.get(_ENV):
        places.append(Path(os.environ[_ENV]) / ref.filename)
    if ref.sha256:
        places.append(cache_dir() / "weights" / ref.sha256[:16] / ref.filename)
    return next((p for p in places if p.is_file()), None)


def locate(ref: FileWeights, base_dir: Path | None = None) -> Path:
    """Return the verified local file of `ref`, fetching it if need be.

    Raises WeightsError: absent and nowhere to fetch it from, offline, or a sha256 that differs.
    """
    path = _local(ref, base_dir) or _fetch(ref)
    if ref.sha256 and sha256(path) != ref.sha256:
        raise WeightsError(
            f"{path} has sha256 {sha256(path)}, the card declares {ref.sha256}: fetch the declared file again."
        )
    return path


def identity(ref: FileWeights, base_dir: Path | None = None) -> str:
    """Return the sha256 that stands for the weights in a key: the declared one, else the local file's."""
    return ref.sha256 or sha256(locate(ref, base_dir))


def _fetch(ref: FileWeights) -> Path:
    if not (ref.url or ref.repo):
        raise WeightsError(
            f"Weights {ref.filename} were not found{f' at {ref.path}' if ref.path else ''}: put the file there, "
            f"or name its folder in {_ENV}."
        )
    if offline():
        raise WeightsError(
            f"Weights {ref.filename} are not on this machine and downloads are off (FAIRBENCH_OFFLINE or "
            f"HF_HUB_OFFLINE): fetch {ref.url or f'{ref.file} of {ref.repo}'} elsewhere and name its folder in {_ENV}."
        )
    data = _download(ref)
    got = hashlib.sha256(data).hexdigest()
    if got != ref.sha256:
        raise WeightsError(
            f"{ref.filename}, as downloaded, has sha256 {got}, the card declares {ref.sha256}: not used."
        )
    target = cache_dir() / "weights" / str(ref.sha256)[:16] / ref.filename
    atomic.write_bytes(target, data)
    return target


def _download(ref: FileWeights) -> bytes:
    try:
        if ref.url:
            with urllib.request.urlopen(ref.url, timeout=60) as answer:  # noqa: S310 - the card's pattern admits https only
                return bytes(answer.read())
        from huggingface_hub import hf_hub_download

        return Path(hf_hub_download(str(ref.repo), str(ref.file), revision=ref.revision)).read_bytes()
    except Exception as err:
        raise WeightsError(
            f"Weights {ref.filename} could not be downloaded from {ref.url or ref.repo} ({_first_line(err)}): "
            f"fetch the file by other means and name its folder in {_ENV}."
        ) from err


def model_folder(model: HubModel, base_dir: Path | None = None, patterns: tuple[str, ...] | None = None) -> Path:
    """Return the local folder of a model, downloading the hub's snapshot if need be. Raises WeightsError."""
    if model.path:
        path = Path(model.path).expanduser()
        path = path if path.is_absolute() else (base_dir or Path.cwd()) / path
        if not path.is_dir():
            raise WeightsError(f"The model folder {path} does not exist: mend the path.")
        return path
    from huggingface_hub import snapshot_download

    try:
        with storage_errors(cache_dir()):
            return Path(
                snapshot_download(
                    str(model.repo), revision=model.revision, allow_patterns=list(patterns or MODEL_FILES),
                    local_files_only=offline(),
                )
            )  # fmt: skip
    except Exception as err:
        if isinstance(err, WeightsError):
            raise
        raise WeightsError(
            f"The model {model.repo} is not on this machine and could not be downloaded ({_first_line(err)}): "
            "connect to the Hugging Face hub (and accept the model's licence there), or give a local folder."
        ) from err


def local_folder(model: HubModel, base_dir: Path | None = None, patterns: tuple[str, ...] | None = None) -> Path | None:
    """Return the folder of a model that is on this machine, None where it is not. Downloads nothing."""
    from huggingface_hub import snapshot_download

    if model.path:
        path = (base_dir or Path.cwd()) / Path(model.path).expanduser()
        return path if path.is_dir() else None
    try:
        return Path(
            snapshot_download(
                str(model.repo), revision=model.revision, allow_patterns=list(patterns or MODEL_FILES),
                local_files_only=True,
            )
        )  # fmt: skip
    except (OSError, ValueError):  # how the library says that nothing is in the cache
        return None


def model_identity(model: HubModel, base_dir: Path | None = None) -> dict[str, str]:
    """Return what stands for a model's weights in a key: repository and commit, or a local folder's content.

    An unpinned repository stands for the commit it is at now, in the local cache or on the hub; "unresolved" where
    neither can tell.
    """
    if model.path:
        folder = model_folder(model, base_dir)
        names = {p.relative_to(folder): p for p in sorted(folder.rglob("*")) if p.is_file()}
        hidden = (".", "__pycache__")
        return {n.as_posix(): sha256(p) for n, p in names.items() if not any(x.startswith(hidden) for x in n.parts)}
    return {"repo": str(model.repo), "revision": model.revision or _commit_now(str(model.repo)) or "unresolved"}


@functools.cache
def _commit_now(repo: str) -> str | None:
    from huggingface_hub import HfApi, constants

    if not offline():
        try:
            return HfApi().model_info(repo, timeout=10).sha
        except Exception:  # noqa: BLE001 - no network, no such repository, no access: the cache may still know
            log.info("the hub did not tell the commit of %s", repo)
    ref = Path(constants.HF_HUB_CACHE) / f"models--{repo.replace('/', '--')}" / "refs" / "main"
    return ref.read_text().strip() if ref.is_file() else None


def _first_line(err: BaseException) -> str:
    first = (str(err).strip().splitlines() or [type(err).__name__])[0]
    return textwrap.shorten(first, 200, placeholder=" ...")
