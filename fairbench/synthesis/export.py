"""A balanced set as a folder: images as they are, rows and manifest. The folder appears whole, or not at all."""

from __future__ import annotations

import dataclasses
import json
import os
import re
import secrets
import shutil
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from fairbench.errors import FairbenchError, storage_errors
from fairbench.storage import atomic
from fairbench.synthesis import balanced
from fairbench.synthesis.balanced import Attributes, Group, Row


def image_name(number: int, subject: str, group: Group, index: int, suffix: str = ".png") -> Path:
    """Return an image's path in the set, such as images/0003-nurse/female-Asian-0007.png."""
    return Path("images", f"{number:04d}-{_plain(subject.lower())}", f"{_plain('-'.join(group))}-{index:04d}{suffix}")


def _plain(text: str) -> str:
    return re.sub(r"[^A-Za-z0-9]+", "-", text).strip("-")[:60]


def held(out: Path, set_id: str) -> dict[str, Any] | None:
    """Return the provenance of set `set_id` if `out` holds it, whole and unchanged; None where `out` is free.

    Raises FairbenchError where something else is there, and CardError where the set was altered since.
    """
    with storage_errors(out):
        if not out.exists():
            above = next(p for p in out.resolve().parents if p.exists())
            if not above.is_dir():
                raise FairbenchError(f"{out} cannot be a folder, for {above} is a file: name another --out.")
            return None
        if out.is_dir() and not any(out.iterdir()):
            return None
    try:
        provenance = json.loads((out / balanced.MANIFEST).read_text(encoding="utf-8"))["provenance"]
        same = provenance["set"] == set_id
    except (OSError, ValueError, KeyError, TypeError):
        same = False
    if not same:
        raise FairbenchError(f"{out} holds something else already: name another --out, or remove it.")
    balanced.read(out)
    return dict(provenance)


def write(
    out: Path,
    attributes: Attributes,
    rows: Sequence[Row],
    contents: Iterable[tuple[Path, bytes]],
    provenance: Mapping[str, Any],
) -> Path:
    """Write a set to `out`, which does not exist or is empty, and return the manifest's path.

    rows: their `image` is relative to `out`, as are the paths of `contents`, which hold each image's bytes. All of it
    is written beside `out`, read again against each sha256, and moved to `out` when it is complete.
    """
    target = out.resolve()
    temporary = target.with_name(f".{target.name}.{secrets.token_hex(4)}.partial")
    with storage_errors(out):
        _remove_abandoned(target)
        temporary.mkdir(parents=True)
        handle = os.open(temporary, os.O_RDONLY)
        atomic.lock(handle, wait=False)
        try:
            for name, content in contents:
                (temporary / name).parent.mkdir(parents=True, exist_ok=True)
                (temporary / name).write_bytes(content)
            written = [dataclasses.replace(row, image=temporary / row.image) for row in rows]
            balanced.write(temporary, attributes, balanced.groups_of(attributes), written, provenance)
            temporary.replace(target)
        except BaseException:
            shutil.rmtree(temporary, ignore_errors=True)
            raise
        finally:
            os.close(handle)
    return out / balanced.MANIFEST


def _remove_abandoned(target: Path) -> None:
    """Remove what killed processes left of sets for this folder: an hour old, and held by nobody."""
    name = re.compile(rf"\.{re.escape(target.name)}\.[0-9a-f]{{8}}\.partial")
    for path in target.parent.glob(".*.partial"):
        if name.fullmatch(path.name) and path.is_dir() and not path.is_symlink() and atomic.abandoned(path):
            shutil.rmtree(path, ignore_errors=True)
