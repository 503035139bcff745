"""Responses of a served model that belong to no shard yet: a file each, on the disk before anything else is done.

A shard holds a block of images. What a server has sent, and perhaps billed, must not wait for the rest of its block: a
kill would lose it. `STORE/spool/<image key>/<image id>` keeps it until its shard is written.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from fairbench.errors import StoreError
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
        """Bring a response to the disk; it is there when this returns. Raises StoreError."""
        data = response.data or b""
        head = {
            "status": response.status,
            "error": response.error,
            "seconds": response.seconds,
            "notes": dict(response.notes),
            "sha256": hashlib.sha256(data).hexdigest(),
        }
        atomic.write_chunks(self._folder / image_id.hex(), (json.dumps(head).encode(), b"\n", data))

    def get(self, image_id: bytes) -> Response | None:
        """Return the response that is kept of an image; None where there is none, or a damaged one (a notice)."""
        path = self._folder / image_id.hex()
        try:
            head, _, data = path.read_bytes().partition(b"\n")
        except FileNotFoundError:
            return None
        except OSError as err:
            raise StoreError(f"{path} cannot be read ({err.strerror}): fix the disk or its permissions.") from err
        try:
            fields = json.loads(head)
            if fields.pop("sha256") != hashlib.sha256(data).hexdigest():
                raise ValueError
            return Response(data=data if fields["status"] == "ok" else None, **fields)
        except (ValueError, KeyError, TypeError):
            notice("damaged-shard", f"{path} is damaged (truncated or altered): the server is asked for it again")
            return None

    def forget(self, image_ids: Iterable[bytes]) -> None:
        """Remove the responses whose images are in a shard by now."""
        for image_id in image_ids:
            with contextlib.suppress(FileNotFoundError):
                (self._folder / image_id.hex()).unlink()
        with contextlib.suppress(OSError):  # others are in it, or it was never made
            self._folder.rmdir()

    def sweep(self) -> None:
        """Remove what killed writers left: temporary files that are an hour old and that nobody holds."""
        atomic.remove_orphans(self._folder, _NAME)
