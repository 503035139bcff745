"""Responses of a served model that belong to no shard yet: a file each, on the disk before anything else is done.

A shard holds a block of images. What a server has sent, and perhaps billed, must not wait for the rest of its block: a
kill would lose it. `STORE/spool/<image key>/<image id>` keeps it until its shard is written.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from fairbench.errors import StoreError, storage_errors
from fairbench.notices import notice
from fairbench.storage import atomic
from fairbench.types import ImageStatus

FOLDER = "spool"
_NAME = re.compile(r"[0-9a-f]{32}")


@dataclass(frozen=True, slots=True)
class Response:
    """What a server answered to one request: an image file as it was sent, or the reason why there is none.

    status: `ok` with `data`, else `error` says why not. notes: as those of an ImageResult.
    """

    status: ImageStatus
    data: bytes | None = None
    error: str | None = None
    seconds: float = 0.0
    notes: Mapping[str, str] = field(default_factory=dict)


class Spool:
    """The folder of one image key. Threads and processes may share it."""

    def __init__(self, store: Path, key: str) -> None:
        self._folder = store / FOLDER / key

    def ids(self) -> set[bytes]:
        """Return the ids of the images that were answered and are in no shard yet."""
        return {bytes.fromhex(p.name) for p in self._folder.glob("*") if _NAME.fullmatch(p.name)}

    def put(self, image_id: bytes, response: Response) -> None:
        """Bring a response to the disk; it is there when this returns. Raises StoreError.

        Under its own name at once: a temporary file and a rename would cost a second fsync, of the folder, and a file
        that a kill has left incomplete is known by its checksum.
        """
        data = response.data or b""
        head = {
            "status": response.status,
            "error": response.error,
            "seconds": response.seconds,
            "notes": dict(response.notes),
            "size": len(data),
            "sha256": hashlib.sha256(data).hexdigest(),
        }
        path = self._folder / image_id.hex()
        with storage_errors(path):
            atomic.make_folder(self._folder)
            with path.open("wb") as file:
                file.write(json.dumps(head).encode() + b"\n")
                file.write(data)
                file.flush()
                os.fsync(file.fileno())

    def get(self, image_id: bytes) -> Response | None:
        """Return the response that is kept of an image.

        None where there is none; where a kill came while it was written; and where it is damaged, which is a notice.
        """
        path = self._folder / image_id.hex()
        try:
            head, _, data = path.read_bytes().partition(b"\n")
        except FileNotFoundError:
            return None
        except OSError as err:
            raise StoreError(f"{path} cannot be read ({err.strerror}): fix the disk or its permissions.") from err
        try:
            fields = json.loads(head)
            is_whole = len(data) == fields.pop("size")
            is_intact = fields.pop("sha256") == hashlib.sha256(data).hexdigest()
            response = Response(data=data if fields["status"] == "ok" else None, **fields)
        except (ValueError, KeyError, TypeError):
            return None
        if is_whole and not is_intact:
            notice("damaged-shard", f"{path} is damaged: the server is asked for it again")
        return response if is_intact else None

    def forget(self, image_ids: Iterable[bytes]) -> None:
        """Remove responses whose images are in a shard. The folder stays, since other processes may write into it."""
        for image_id in image_ids:
            with contextlib.suppress(FileNotFoundError):
                (self._folder / image_id.hex()).unlink()
