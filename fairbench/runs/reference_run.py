"""A run of reference pictures: what the scorers of another run make of groups whose pictures are known to be alike."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from fairbench import keys
from fairbench.errors import FairbenchError
from fairbench.runs import evidence, quality
from fairbench.runs.evidence import FinishedRun
from fairbench.runs.quality import GroupQuality
from fairbench.runs.spec import RunSpec
from fairbench.storage.files import StoreName
from fairbench.storage.opening import folder_of
from fairbench.storage.store import Store


@dataclass
class Reference:
    """A finished run whose pictures were scored by the same scorers. store: of the run that is compared with it."""

    run: FinishedRun
    store: Store

    @cached_property
    def gaps(self) -> list[GroupQuality]:
        """How the scorers tell its groups apart, within its prompts."""
        return quality.of_run(self.run)

    @property
    def source(self) -> dict[str, Any]:
        """What the gaps are of: the run's id is a hash of its settings, images and labels included."""
        record = self.run.record
        names = {"model": record.model.name, "task": record.task.name, "labeller": record.labeller.name}
        return {"run_id": self.run.run_id, **names, "images": len(self.run.rows)}

    def embeddings_of(self, scorer: str) -> tuple[Store, str]:
        """Return the store that holds this run's embeddings, and their key. Raises FairbenchError where none does."""
        key = str(self.run.record.scorers[scorer].key)
        for store in self._stores():
            if store.ids("scores", key):
                return store, key
        raise FairbenchError(
            f"--scorer-reference: no store holds the {scorer} embeddings of {self.run.folder}: do that run again, or "
            "name its store in FAIRBENCH_STORE."
        )

    def _stores(self) -> Iterator[Store]:
        yield self.store
        named = os.environ.get("FAIRBENCH_STORE")
        names: list[StoreName] = [self.run.folder.parent / "store", *([named] if named else []), "runs/store"]
        for name in names:
            folder = folder_of(name)
            if folder is None or folder.is_dir():
                yield Store(name, look_only=True)


def read(folder: Path, spec: RunSpec, store: Store) -> Reference:
    """Read a run of reference pictures. Raises FairbenchError where it is none or was scored otherwise."""
    run, scorers = evidence.read(folder), spec.scorers
    if not scorers:
        raise FairbenchError("--scorer-reference: this run has no scorers; name some with --scorers, or leave it out.")
    if {r.request.image_id for r in run.rows} & {request.image_id for request in spec.requests}:
        raise FairbenchError(
            f"--scorer-reference {folder} holds pictures of this run itself, which say nothing of the scorer: name a "
            "run of other pictures."
        )
    for scorer in scorers:
        recorded = run.record.scorers.get(scorer.name)
        if scorer.key is None:  # left out of this run, and reported
            continue
        same = {keys.stage_key("scores", parts, run.record.keys.images) for parts in scorer.parts_without_task()}
        if recorded is None or recorded.key not in same:
            done = "by other weights or settings" if recorded else "not at all"
            raise FairbenchError(
                f"--scorer-reference {folder} was scored {done} by {scorer.name}: do that run again with --scorers as "
                "here, or score this run by what the reference has."
            )
    reference = Reference(run, store)
    for scorer in scorers:
        if scorer.key is not None and scorer.plugin.spec.embeds:
            reference.embeddings_of(scorer.name)  # what is absent is said before any work
    return reference
