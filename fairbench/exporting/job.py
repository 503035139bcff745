"""What every format of `fairbench export` is given, and the folder that it writes."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from fairbench import __version__
from fairbench.display.note import label_note
from fairbench.display.progress import Progress
from fairbench.reporting.content import Content
from fairbench.storage import atomic, folders, kinds

MARKER: Final = "export.json"
_BLOCK: Final = 1 << 20


@dataclass(frozen=True, slots=True)
class Job:
    """One export. target: what follows a colon in --to, as the REPO of hub:REPO; out: None for the default folder."""

    content: Content
    name: str
    target: str
    out: Path | None
    with_images: bool
    progress: Progress

    @property
    def label_note(self) -> str:
        """The sentence on what labels are, which every export carries."""
        return label_note(*self.content.run.seen_by)

    @property
    def folder(self) -> Path:
        """Where the export goes: beside the run, unless the user names another folder."""
        run = self.content.run.folder.resolve()
        return self.out or run.with_name(f"{run.name}-{self.name}")

    @contextmanager
    def writing(self, files: str) -> Iterator[Path]:
        """Yield an empty folder to write into, which takes its place when all of it is written.

        files: the relative paths of this format, as a regular expression; of these, an earlier export's are replaced.
        export.json names the run and the sha256 of every file. Raises FairbenchError for a folder that holds something
        else, StoreError; nothing is changed then.
        """
        kind = kinds.Kind(
            f"an export as {self.name}",
            {MARKER: kinds.json_with("fairbench.export", f"as {self.name}")},
            rf"export\.json|{files}",
        )
        folders.check(self.folder, kind)
        with folders.replacing(self.folder, kind) as fresh:
            yield fresh
            hashes = {name: sha256(fresh / name) for name in folders.files(fresh)}
            marker = {"fairbench.export": __version__, f"as {self.name}": self.content.record.run_id, "sha256": hashes}
            atomic.write_text(fresh / MARKER, json.dumps(marker, indent=2) + "\n")


def sha256(path: Path) -> str:
    """Return a file's sha256 (hex), a block at a time."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(_BLOCK):
            digest.update(block)
    return digest.hexdigest()
