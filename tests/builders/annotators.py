"""Samples of runs without pages, and simulated annotators whose errors are declared."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from fairbench.annotation import files, record, sampling, words
from fairbench.annotation.record import AnnotatedRun, Annotation, Annotators, Design
from fairbench.runs.result import Run
from fairbench.storage import atomic
from tests.builders.fake_runs import FakeRun

Truth = Mapping[str, Mapping[str, str]]
"""Image id (hex) -> attribute -> what it shows: a label, `no person` or `cannot tell`."""


def sampled(
    out: Path,
    runs: Sequence[Path],
    *,
    per_prompt: int = 10,
    seed: int = 0,
    stratify: str | None = None,
    attributes: Sequence[str] = ("gender", "race4"),
    annotators: int = 3,
) -> Annotation:
    """Sample runs whose images need not exist, as `fairbench annotate` does; no pages are made."""
    loaded = [Run(folder) for folder in runs]
    sample = sampling.sample(loaded, per_prompt, seed, stratify)
    annotation = record.make(
        tuple(AnnotatedRun(id=run.id, folder=os.path.relpath(run.folder, out)) for run in loaded),
        seed,
        Design(per_prompt=per_prompt, stratify=stratify),
        {name: tuple(loaded[0].record.labeller.attributes[name].labels) for name in attributes},
        Annotators(number=annotators, described="simulated"),
        sample["item"].to_pylist(),
    )
    files.write(out, annotation, sample, {}, "csv")
    return annotation


def truth_of(made: FakeRun, folder: Path) -> dict[str, dict[str, str]]:
    """Return what every image of a made-up run shows."""
    attributes = Run(folder).record.labeller.attributes
    genders, races = attributes["gender"].labels, attributes["race4"].labels
    images = Run(folder).images()[["image_id", "prompt", "sample_index"]].to_dict("records")
    prompts = list(dict.fromkeys(row["prompt"] for row in images))
    cells = {row["image_id"]: int(made.shown[prompts.index(row["prompt"]), row["sample_index"]]) for row in images}
    return {
        image: {"gender": genders[cell // 4], "race4": races[cell % 4]}
        if cell >= 0
        else dict.fromkeys(("gender", "race4"), words.NO_PERSON)
        for image, cell in cells.items()
    }


def answer(
    folder: Path,
    truth: Truth,
    errors: Sequence[float],
    *,
    skips: float = 0.0,
    cannot_tell: float = 0.0,
    seed: int = 0,
    into: Path | None = None,
) -> list[Path]:
    """Write what annotators return: a CSV each, called annotator 1, 2, ...

    errors: of each annotator, the share of labels that are wrong (another label, any alike). skips, cannot_tell: the
    shares of images that are skipped, and of answers that say so. The files lie in FOLDER/returned.
    """
    annotation, sample = record.read(folder), sampling.read(folder)
    images = sample.select(["item", "image_id"]).to_pylist()
    rng, paths = np.random.default_rng(seed), []
    for number, error in enumerate(errors, 1):
        rows: list[list[object]] = [["annotator", "item", *annotation.attributes]]
        for image in images:
            skipped = rng.random() < skips
            shown = truth[image["image_id"]]
            answers = [
                words.SKIPPED if skipped else _answer(rng, shown[name], labels, error, cannot_tell)
                for name, labels in annotation.attributes.items()
            ]
            rows.append([number, image["item"], *answers])
        paths.append((into or folder / "returned") / f"annotations-{number}.csv")
        atomic.write_text(paths[-1], atomic.csv_text(rows))
    return paths


def _answer(rng: np.random.Generator, shown: str, labels: Sequence[str], error: float, cannot_tell: float) -> str:
    others = [label for label in labels if label != shown]
    answer = str(rng.choice(others)) if shown in labels and rng.random() < error else shown
    return words.CANNOT_TELL if rng.random() < cannot_tell else answer
