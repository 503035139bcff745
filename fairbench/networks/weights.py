"""Weights: (url or hub file, sha256) -> a verified local file; a hub repository at a commit -> a local folder."""

from __future__ import annotations

import functools
import hashlib
import logging
import os
import urllib.request
from collections.abc import Iterable, Iterator
from pathlib import Path

from fairbench.cards.cards import FileWeights, HubModel
from fairbench.errors import FairbenchError, WeightsError, storage_errors
from fairbench.networks import hub
from fairbench.networks.hub import offline as offline
from fairbench.storage import atomic
from fairbench.storage.paths import cache_dir as cache_dir

_ENV = "FAIRBENCH_WEIGHTS_DIR"
_CHUNK = 2**20
_LARGE = 50 * _CHUNK
_READ_SECONDS = 30.0
"""Seconds that a download may stand still."""
log = logging.getLogger(__name__)
MODEL_FILES = ("*.safetensors", "*.json", "*.txt", "*.model", "*.jinja")


@functools.cache
def _sha256(path: str, size: int, mtime_ns: int) -> str:
    with Path(path).open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def sha256(path: Path) -> str:
    """Return a file's sha256 (hex), computed once per process."""
    stat = path.stat()
    return _sha256(str(path), stat.st_size, stat.st_mtime_ns)


def _local(ref: FileWeights, base_dir: Path | None) -> Path | None:
    candidates = []
    if ref.path:
        candidates.append(_resolved(ref.path, base_dir))
    if os.environ.get(_ENV):
        candidates.append(Path(os.environ[_ENV]) / ref.filename)
    if ref.sha256:
        candidates.append(cache_dir() / "weights" / ref.sha256[:16] / ref.filename)
    return next((path for path in candidates if path.is_file()), None)


def _resolved(path: str, base_dir: Path | None) -> Path:
    """Return a card's path; a relative one is relative to `base_dir`, or the working folder."""
    return (base_dir or Path.cwd()) / Path(path).expanduser()


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
            f"Weights {ref.filename} are not on this machine and {hub.OFF}: "
            f"fetch {ref.url or f'{ref.file} of {ref.repo}'} elsewhere and name its folder in {_ENV}."
        )
    target = cache_dir() / "weights" / str(ref.sha256)[:16] / ref.filename
    atomic.write_chunks(target, _verified(_from_hub(ref) if ref.repo else _from_url(ref), ref))
    return target


def _from_hub(ref: FileWeights) -> Iterator[bytes]:
    """Yield the bytes of a file on the hub, a megabyte at a time. Raises WeightsError."""
    with _hub_file(ref).open("rb") as file:
        yield from iter(lambda: file.read(_CHUNK), b"")


def _from_url(ref: FileWeights) -> Iterator[bytes]:
    """Yield the bytes of a file at a url, a megabyte at a time. Raises WeightsError where they are not all there."""
    url, count = str(ref.url), 0
    try:
        # The card's pattern admits https only.
        with hub.answer(lambda: urllib.request.urlopen(url, timeout=_READ_SECONDS), url) as answer:  # noqa: S310
            size = int(answer.headers.get("Content-Length") or 0)
            if size >= _LARGE:
                log.warning("Downloading %s (%d MB) from %s ...", ref.filename, size // _CHUNK, url)
            for chunk in iter(lambda: answer.read(_CHUNK), b""):
                count += len(chunk)
                yield chunk
        if count < size:
            raise ConnectionError(f"the connection broke after {count} of {size} bytes; run the same command again")
    except Exception as err:
        raise WeightsError(
            f"Weights {ref.filename} could not be downloaded from {url} ({hub.url_problem(err)}): fetch the file by "
            f"other means and name its folder in {_ENV}."
        ) from err


def _hub_file(ref: FileWeights) -> Path:
    from huggingface_hub import hf_hub_download

    repo, file = str(ref.repo), str(ref.file)
    try:
        return Path(hf_hub_download(repo, file, revision=ref.revision, local_files_only=True))
    except (OSError, ValueError):  # how the library says that it is not in the cache
        hub.commit(repo, ref.revision)
    try:
        return Path(hf_hub_download(repo, file, revision=ref.revision))
    except Exception as err:
        raise hub.problem(err, repo, ref.revision, file) from err


def _verified(chunks: Iterable[bytes], ref: FileWeights) -> Iterator[bytes]:
    """Pass chunks on; raise WeightsError after the last where they are not what the card declares."""
    digest = hashlib.sha256()
    for chunk in chunks:
        digest.update(chunk)
        yield chunk
    if digest.hexdigest() != ref.sha256:
        raise WeightsError(
            f"{ref.filename}, as downloaded, has sha256 {digest.hexdigest()}, the card declares {ref.sha256}: not used."
        )


def model_folder(model: HubModel, base_dir: Path | None = None, patterns: tuple[str, ...] | None = None) -> Path:
    """Return the local folder of a model, downloading the hub's snapshot if need be. Raises WeightsError."""
    if model.path:
        path = _resolved(model.path, base_dir)
        if not path.is_dir():
            raise WeightsError(f"The model folder {path} does not exist: fix the path.")
        return path
    repo, copy = str(model.repo), local_folder(model, base_dir, patterns)
    if copy is not None and (offline() or hub.complete_here(repo, model.revision)):
        return copy
    if offline():
        raise WeightsError(
            f"The model {repo} is not on this machine and {hub.OFF}: unset the variable, or give a local folder."
        )
    try:
        hub.commit(repo, model.revision)
    except hub.NoAnswer as err:
        if copy is None:
            raise
        log.warning("%s The copy on this machine is used.", err)
        return copy
    try:
        with storage_errors(cache_dir()):
            return _snapshot(model, patterns, cached_only=False)
    except FairbenchError:
        raise
    except Exception as err:
        raise hub.problem(err, repo, model.revision) from err


def model_name(model: HubModel, base_dir: Path | None = None) -> str:
    """Return what to show of a checkpoint beside a value: the hub's repository and commit, or the folder's name."""
    if model.path:
        return _resolved(model.path, base_dir).name
    return f"{model.repo}@{(model.revision or 'unpinned')[:12]}"


def single_file(model: HubModel, base_dir: Path | None = None) -> Path | None:
    """Return the file that a model's `path` names instead of a folder, None where it names a folder or nothing."""
    path = None if model.path is None else _resolved(model.path, base_dir)
    return path if path is not None and path.is_file() else None


def local_folder(model: HubModel, base_dir: Path | None = None, patterns: tuple[str, ...] | None = None) -> Path | None:
    """Return the folder or single file of a model on this machine, None where there is none. Downloads nothing."""
    if model.path:
        path = _resolved(model.path, base_dir)
        return path if path.exists() else None
    try:
        return _snapshot(model, patterns, cached_only=True)
    except (OSError, ValueError):  # how the library says that nothing is in the cache
        return None


def _snapshot(model: HubModel, patterns: tuple[str, ...] | None, *, cached_only: bool) -> Path:
    from huggingface_hub import snapshot_download

    files = list(patterns or MODEL_FILES)
    repo = str(model.repo)
    return Path(snapshot_download(repo, revision=model.revision, allow_patterns=files, local_files_only=cached_only))


def model_identity(model: HubModel, base_dir: Path | None = None) -> dict[str, str]:
    """Return what stands for a model's weights in a key: repository and commit, or a local folder's or file's content.

    An unpinned repository stands for the commit it is at now, in the local cache or on the hub; "unresolved" where
    neither can tell.
    """
    file = single_file(model, base_dir)
    if file is not None:
        return {file.name: sha256(file)}
    if model.path:
        return folder_content(model_folder(model, base_dir))
    return {"repo": str(model.repo), "revision": model.revision or _commit_now(str(model.repo)) or "unresolved"}


def folder_content(folder: Path) -> dict[str, str]:
    """Return file -> sha256 of a folder's files; hidden ones and bytecode are left out."""
    names = {p.relative_to(folder): p for p in sorted(folder.rglob("*")) if p.is_file()}
    hidden = (".", "__pycache__")
    return {n.as_posix(): sha256(p) for n, p in names.items() if not any(x.startswith(hidden) for x in n.parts)}


def _commit_now(repo: str) -> str | None:
    from huggingface_hub import constants

    if not offline():
        try:
            return hub.commit(repo, None)
        except WeightsError as err:  # the cache may still know
            log.info("%s", err)
    ref = Path(constants.HF_HUB_CACHE) / f"models--{repo.replace('/', '--')}" / "refs" / "main"
    return ref.read_text().strip() if ref.is_file() else None
