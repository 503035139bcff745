"""Parts of a run that other processes do, for `pipeline.run`: what they made, and how fast each of them was."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, TypeAlias

if TYPE_CHECKING:
    from fairbench.display.progress import Progress
    from fairbench.runs.spec import RunSpec
    from fairbench.storage.store import Store


@dataclass(slots=True)
class WorkerReport:
    """What one worker did. seconds: stage -> how long it worked on it. deaths: how often it was started again."""

    host: str = ""
    images: int = 0
    labels: int = 0
    scores: int = 0
    seconds: dict[str, float] = field(default_factory=dict)
    deaths: int = 0

    @property
    def images_per_second(self) -> float | None:
        """Images that it made in a second of work on images; None where it made none."""
        return self.images / self.seconds["images"] if self.images and self.seconds.get("images") else None


@dataclass(slots=True)
class Distributed:
    """What other processes made: images, and images that were labelled; `failed` as of `LabelStage`."""

    images: int = 0
    labels: int = 0
    failed: dict[bytes, str] = field(default_factory=dict)
    workers: list[WorkerReport] = field(default_factory=list)


Distribute: TypeAlias = "Callable[[RunSpec, Store, Progress], Distributed]"
"""Makes and stores what is left of a run in other processes."""
