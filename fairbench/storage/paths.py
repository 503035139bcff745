"""Paths that people write: ~ and relative ones, Windows' separators, and names that the system cannot take.

And the folder where fairbench keeps what it can make again.
"""

from __future__ import annotations

import os
from pathlib import Path

from fairbench.errors import CardError

is_file, is_folder = os.path.isfile, os.path.isdir
"""Whether a regular file, or a folder, stands there; False for names that the system cannot take (too long, not text).

Other than pathlib's, which raise for some of them.
"""


def expand(name: str) -> Path:
    """Return the path that a name means, ~ filled in. Raises CardError for an unknown ~user."""
    try:
        return Path(name).expanduser()
    except RuntimeError as err:
        raise CardError(f"{name}: there is no home folder of that user; write the path without ~.") from err


def cache_dir() -> Path:
    """Return the folder of what can be fetched or made again: FAIRBENCH_CACHE, else the user's cache folder."""
    base = os.environ.get("FAIRBENCH_CACHE")
    if base:
        return Path(base)
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "fairbench"


def file_of_row(folder: Path, name: str, where: str) -> Path:
    """Return the file that a row of a manifest in `folder` names. Raises CardError, with `where`, where there is none.

    A name with backslashes was written on Windows: they are separators where the file exists so.
    """
    try:
        path, with_slashes = folder / expand(name), folder / expand(name.replace("\\", "/"))
    except CardError as err:
        raise CardError(f"{where}: {err}") from err
    if is_file(path):
        return path
    if "\\" in name:
        if is_file(with_slashes):
            return with_slashes
        raise CardError(f"{where}: there is no file {path} (nor with / for \\); fix the path, relative to {folder}.")
    shown = str(path) if len(str(path)) <= 300 else f"{str(path)[:300]}..."
    raise CardError(f"{where}: there is no file {shown}; fix the name or remove the line.")
