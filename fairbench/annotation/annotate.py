"""`annotate` and `collect`: from runs to what annotators get, and from what they return to a label per image."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from fairbench.annotation import collect as collecting
from fairbench.annotation import files, images, questions, record, sampling, words
from fairbench.annotation.files import Format
from fairbench.annotation.record import AnnotatedRun, Annotators, Design
from fairbench.annotation.result import Annotated, CollectedLabels
from fairbench.display.progress import Progress, Silent
from fairbench.errors import FairbenchError
from fairbench.runs.result import Run
from fairbench.storage.files import StoreName

MIN_PER_PROMPT = 2
MAX_ANNOTATORS = 100


@dataclass(frozen=True, slots=True)
class Settings:
    """What the command was asked for. attributes: () for those that the labeller crosses. described: see Annotators."""

    per_prompt: int = 10
    annotators: int = 3
    attributes: tuple[str, ...] = ()
    stratify: str | None = None
    described: str = ""
    seed: int = 0
    format: Format = "html"
    one_annotator: bool = False

    def check(self) -> None:
        """Raise FairbenchError for what no sample can be drawn by."""
        if self.per_prompt < MIN_PER_PROMPT:
            raise FairbenchError(f"--per-prompt {self.per_prompt}: two images or more, for an interval needs pairs.")
        if not 1 <= self.annotators <= MAX_ANNOTATORS:
            raise FairbenchError(f"--annotators {self.annotators}: from 1 to {MAX_ANNOTATORS}.")
        if self.annotators == 1 and not self.one_annotator:
            raise FairbenchError(
                f"--annotators 1: one person's errors stay in every label ({words.ERRORS_SHORT}); ask two people or "
                "more, three if you can, or say --one-annotator."
            )
        if self.format not in files.FORMATS:
            raise FairbenchError(f"--format {self.format}: name html, label-studio or csv.")


def annotate(
    folders: Sequence[Path],
    out: Path,
    settings: Settings,
    store: StoreName | None = None,
    progress: Progress | None = None,
) -> Annotated:
    """Draw images of finished runs, and write what annotators get. store: where the images are; None looks for them.

    Raises FairbenchError for whatever the caller can fix, in one sentence.
    """
    settings.check()
    runs = [Run(folder, store) for folder in folders]
    _check_runs(runs)
    files.check(out)
    attributes = questions.choose(runs, settings.attributes)
    if settings.stratify is not None:
        questions.choose(runs, [settings.stratify], "--stratify")
    sample = sampling.sample(runs, settings.per_prompt, settings.seed, settings.stratify)
    annotation = record.make(
        tuple(AnnotatedRun(id=run.id, folder=os.path.relpath(run.folder.resolve(), out.resolve())) for run in runs),
        settings.seed,
        Design(per_prompt=settings.per_prompt, stratify=settings.stratify),
        attributes,
        Annotators(number=settings.annotators, described=settings.described.strip()),
        sample["item"].to_pylist(),
        questions.asked(runs, list(attributes)),
    )
    shown = images.read(runs, sample, progress or Silent(), marked=settings.format != "html")
    in_order = {item: shown[item] for item in sample["item"].to_pylist()}
    sent = files.write(out, annotation, sample, in_order, settings.format)
    return Annotated(out, annotation, sample, sent)


def collect(
    folder: Path, returned: Sequence[Path], *, described: str = "", one_annotator: bool = False
) -> CollectedLabels:
    """Check what annotators returned and write a label per sampled image, and their agreement.

    returned: CSV or JSON files; () for all in FOLDER/returned. Raises FairbenchError; then nothing is written.
    """
    collected = collecting.collect(folder, returned, one_annotator=one_annotator)
    if described.strip():
        collected = collected.described(files.describe(folder, collected.annotation, described.strip()))
    return CollectedLabels(folder, collected, files.write_collected(folder, collected))


def _check_runs(runs: Sequence[Run]) -> None:
    if not runs:
        raise FairbenchError("Name the folder of a finished run, or --collect DIR.")
    ids = [run.id for run in runs]
    twice = next((run for i, run in enumerate(runs) if run.id in ids[:i]), None)
    if twice is not None:
        raise FairbenchError(f"{twice.folder} is a run that is named already: name each once.")
