"""From the name that a user gives to a store, to its files."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Final

from fairbench.errors import StoreError
from fairbench.storage import paths
from fairbench.storage.files import Files, StoreName
from fairbench.storage.local import LocalFiles

_URL: Final = re.compile(r"[A-Za-z][A-Za-z0-9+.-]+://")
_URL_AS_PATH: Final = re.compile(r"(s3|gs|gcs|abfss?):/[^/]")
"""What pathlib makes of a URL: it takes away one of the two slashes."""


def store_name(name: StoreName) -> StoreName:
    """Return the name of a store: a URL as it was given, a path with ~ filled in. Raises CardError."""
    text = os.fspath(name)
    return text if _URL.match(text) else paths.expand(text)


def files_of(name: StoreName) -> Files:
    """Return the files of the store that a user named. Raises StoreError where it cannot be reached."""
    text = os.fspath(name)
    if _URL.match(text):
        from fairbench.storage.objects import ObjectFiles  # pyarrow.fs loads the clients of three clouds

        return ObjectFiles.of_url(text)
    if _URL_AS_PATH.match(text):
        raise StoreError(f"The store {text} is a URL that became a path: give it as text, with two slashes.")
    return LocalFiles(Path(text))


def folder_of(name: StoreName | None) -> Path | None:
    """Return the folder of a store; None for an object store, and where no store is named."""
    return None if name is None or _URL.match(os.fspath(name)) else Path(name)
