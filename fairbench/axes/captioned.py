"""Captions of a finished run's pictures, measured: the command's result and its files."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np

import fairbench
from fairbench.axes import caption_file, respondent, run_images
from fairbench.axes.captions import CaptionMeasures, measures
from fairbench.axes.run_images import RunImages
from fairbench.display.dictionary import TABLES
from fairbench.display.json_values import plain
from fairbench.display.note import label_note
from fairbench.display.progress import Progress
from fairbench.errors import FairbenchError
from fairbench.runs import evidence
from fairbench.runs.result import Run
from fairbench.stats.intervals import Interval
from fairbench.storage import atomic, folders, kinds
from fairbench.storage.files import StoreName

NOTE: Final = label_note("questions")
DESCRIBE: Final = "Describe this image."
LIMIT: Final = 64
"""Tokens of a caption, at most."""
HALLUCINATION: Final = "hallucination"
MISSED: Final = "missed"
SUBJECT_UNNAMED: Final = "subject-unnamed"
DISTRIBUTION_BIAS: Final = "distribution-bias"
COLUMNS: Final = tuple(TABLES["measures.csv"][1])


@dataclass(frozen=True, slots=True)
class Captioned:
    """What captions say of a run. captioned_by: what wrote them; self_judged: whether that is the model that made the
    pictures. without_caption, without_pixels: images left out.
    """

    run: str
    run_id: str
    task: str
    captioned_by: str
    self_judged: bool
    measures: CaptionMeasures
    without_caption: int
    without_pixels: int


def measure(
    folder: Path,
    out: Path,
    captions: Path | None,
    labeller: str | None,
    question: str,
    *,
    per_prompt: int | None,
    store: StoreName | None,
    device: str,
    progress: Progress,
) -> Captioned:
    """Measure captions of a run's pictures and write the result into the folder `out`. Options are the command's.

    captions: a table of them; None: the model that the labeller asks is asked. Raises FairbenchError.
    """
    if (captions is None) == (labeller is None):
        raise FairbenchError("Name a table of --captions, or --with a labeller whose model is asked for them.")
    folders.check(out, kinds.CAPTIONS)
    run = evidence.read(folder)
    images = run_images.of_run(run)
    asked = run_images.asked_for(run)
    self_judged = False
    if captions is not None:
        by, texts = captions.name, caption_file.read(captions, images)
    else:
        who = respondent.of_run(str(labeller), run.record, device)
        chosen = run_images.first_of_each(images, per_prompt)
        by, self_judged = who.card.name, who.self_judged
        texts = respondent.texts(who, question, LIMIT, Run(folder, store), chosen, progress)
    if not texts:
        raise FairbenchError(f"{folder} has no pictures: there is nothing to say of them.")
    prompt = np.array([images.prompt_of[image] for image in texts], dtype=np.int64)
    result = Captioned(
        run=run.name,
        run_id=run.run_id,
        task=run.record.task.name,
        captioned_by=by,
        self_judged=self_judged,
        measures=measures(asked, prompt, list(texts.values())),
        without_caption=len(images.prompt_of) - len(texts),
        without_pixels=images.without,
    )
    _write(result, images, texts, out)
    return result


def summary(result: Captioned) -> dict[str, Any]:
    """Return the result as plain data: what captions.json holds."""
    rest = {name: getattr(result, name) for name in ("run", "run_id", "task", "captioned_by", "self_judged")}
    counts = {"without_caption": result.without_caption, "without_pixels": result.without_pixels}
    rows = [dict(zip(COLUMNS, row, strict=True)) for row in _rows(result.measures)]
    things = {thing.name: thing.images for thing in result.measures.things}
    empty = result.measures.empty
    content = {**rest, **counts, "empty": empty, "measures": rows, "things": things}
    return {"note": NOTE, "fairbench": fairbench.__version__, **dict(plain(content))}


def _rows(found: CaptionMeasures) -> Iterator[tuple[Any, ...]]:
    """Yield the rows of measures.csv, with COLUMNS."""
    intervals: dict[str, Mapping[Any, Interval]] = {HALLUCINATION: found.hallucination, MISSED: found.missed}
    if found.unnamed_subject is not None:
        intervals[SUBJECT_UNNAMED] = found.unnamed_subject
    counts = (found.images, found.prompts)
    for name, by_scope in intervals.items():
        for scope, interval in by_scope.items():
            yield name, scope, interval.estimate, interval.low, interval.high, None, *counts
    yield DISTRIBUTION_BIAS, "this list", found.distribution_bias, None, None, found.if_even, *counts


def _write(result: Captioned, images: RunImages, texts: Mapping[bytes, str], out: Path) -> None:
    rows = ([None if v != v else v for v in row] for row in _rows(result.measures))
    things = [("thing", "images"), *((thing.name, thing.images) for thing in result.measures.things)]
    with folders.replacing(out, kinds.CAPTIONS) as new:
        caption_file.write(new / "captions.csv", images, texts)
        atomic.write_text(new / "measures.csv", atomic.csv_text([COLUMNS, *rows]))
        atomic.write_text(new / "things.csv", atomic.csv_text(things))
        atomic.write_text(new / "captions.json", json.dumps(summary(result), indent=2, allow_nan=False) + "\n")
