"""Responses of a served model that belong to no shard yet: a file each, on the disk before anything else is done.

A shard holds a block of images. What a server has sent, and perhaps billed, must not wait for the rest of its block: a
kill would lose it. `STORE/spool/<image key>/<image id>` keeps it until its shard is written.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from fairbench.notices import notice
from fairbench.storage.files import Files
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

    def __init__(self, files: Files, key: str) -> None:
        self._files, self._folder = files, files.root / FOLDER / key

    def ids(self) -> set[bytes]:
        """Return the ids of the images that were answered and are in no shard yet."""
        names = [entry.path.name for entry in self._files.list(self._folder)]
        return {bytes.fromhex(name) for name in names if _NAME.fullmatch(name)}

    def put(self, image_id: bytes, response: Response) -> None:
        """Bring a response to the disk; it is there when this returns. Raises StoreError.

        A temporary name would cost a second fsync, of the folder; what a kill left incomplete is known by its checksum.
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
        content = b"".join((json.dumps(head).encode(), b"\n", data))
        self._files.put(self._folder / image_id.hex(), content, durable=False)

    def get(self, image_id: bytes) -> Response | None:
        """Return the response that is kept of an image.

        None where there is none; where a kill came while it was written; and where it is damaged, which is a notice.
        """
        path = self._folder / image_id.hex()
        content = self._files.read(path)
        if content is None:
            return None
        head, _, data = content.partition(b"\n")
        try:
            fields = json.loads(head)
            is_whole = len(data) == fields.pop("size")
            is_intact = fields.pop("sha256") == hashlib.sha256(data).hexdigest()
            response = Response(data=data if fields["status"] == "ok" else None, **fields)
        except (ValueError, KeyError, TypeError):
            return None
        if is_whole and not is_intact:
            notice("damaged-shard", f"{self._files.shown(path)} is damaged: the server is asked for it again")
        return response if is_intact else None

    def forget(self, image_ids: Iterable[bytes]) -> None:
        """Remove responses whose images are in a shard. The folder stays, since other processes may write into it."""
        for image_id in image_ids:
            self._files.remove(self._folder / image_id.hex())
