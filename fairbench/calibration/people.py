"""`calibrate --from DIR`: labels by people -> estimates in the folder of each run, and a calibration of its own images.

DIR is what `annotate --collect` has written. Nothing is written before all runs have been computed.
"""

from __future__ import annotations

import hashlib
import itertools
import json
import os
import shlex
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import pyarrow as pa
import pyarrow.parquet as pq

import fairbench
from fairbench.annotation import record, words
from fairbench.annotation.record import AnnotatedRun, Annotation
from fairbench.calibration import labelled_run, people_estimates
from fairbench.calibration.labelled_run import LabelledRun
from fairbench.display.progress import Progress
from fairbench.errors import FairbenchError
from fairbench.labelling import domain
from fairbench.labelling.confusion import NO_FACE, NO_PERSON, Calibration
from fairbench.measure.counts import cross_name
from fairbench.runs import people
from fairbench.runs.people import People
from fairbench.runs.record import FILE as FILE_OF_RUN
from fairbench.runs.result import Run
from fairbench.storage import folders, kinds

LABELS: Final = "labels.parquet"
_COLUMNS: Final = ("run_id", "image_id", "prompt_id", "stratum", "stratum_images")


@dataclass(frozen=True, slots=True)
class RunPeople:
    """What labels say of one run. calibration: the file of its own confusion table; None where there is none, for the
    reason `no_calibration`.
    """

    folder: Path
    name: str
    people: People
    calibration: Path | None
    no_calibration: str | None


def estimate(folder: Path, progress: Progress) -> list[RunPeople]:
    """Compute and write the estimates of every run of an annotation.

    Raises FairbenchError, in one sentence, where labels are missing
    or belong to another run, other images or other attributes; then nothing is written.
    """
    folders.check(folder, kinds.ANNOTATION, option="--from")
    annotation, rows, sha256 = _read(folder)
    described = annotation.annotators.described
    done: list[tuple[LabelledRun, People]] = []
    with progress.stage("estimates", len(annotation.runs), "runs") as bar:
        for annotated in annotation.runs:
            run = _run(annotated, folder)
            own = [row for row in rows if row["run_id"] == annotated.id]
            labelled = labelled_run.read(run, annotation, own)
            parts = {cross_name(n): people_estimates.of_attribute(labelled, n) for n in labelled.attributes}
            content = People(
                note=words.NOTE,
                target=words.TARGET,
                errors=words.ERRORS,
                fairbench=fairbench.__version__,
                run_id=run.id,
                annotation=annotation.id,
                labels_sha256=sha256,
                annotators=annotation.annotators.number,
                who=described,
                images=len(own),
                stratify=annotation.design.stratify,
                attributes={name: labels for name, (labels, _) in parts.items()},
                rows=[row for _, rows in parts.values() for row in rows],
            )
            done.append((labelled, content))
            bar.advance(1)
    return [_write(folder, annotation, labelled, content) for labelled, content in done]


def _read(folder: Path) -> tuple[Annotation, list[dict[str, Any]], str]:
    """Return the annotation, the rows of its labels, and the hash of their file."""
    annotation, path = record.read(folder), folder / LABELS
    if not path.is_file():
        raise FairbenchError(
            f"{path} is not there: collect the annotators' answers first, fairbench annotate --collect {folder}."
        )
    try:
        data = path.read_bytes()
        table = pq.read_table(pa.BufferReader(data), page_checksum_verification=True)
    except (OSError, pa.ArrowException) as err:
        raise FairbenchError(f"{path} cannot be read ({str(err).splitlines()[0]}): collect again.") from err
    missing = next((name for name in (*_COLUMNS, *annotation.attributes) if name not in table.column_names), None)
    if missing is not None:
        raise FairbenchError(f"{path} has no column {missing!r}: it is of another annotation; collect again.")
    return annotation, table.to_pylist(), hashlib.sha256(data).hexdigest()


def _run(annotated: AnnotatedRun, annotation: Path) -> Run:
    """Return an annotated run from where it was, or from where folders of runs are moved to. Raises FairbenchError."""
    recorded = Path(os.path.normpath(annotation.resolve() / annotated.folder))  # absolute in older files
    for folder in (recorded, *_runs_near(annotation, recorded)):
        if (folder / FILE_OF_RUN).is_file() and Run(folder).id == annotated.id:
            return Run(folder)
    holds = f"run {Run(recorded).id[:8]}" if (recorded / FILE_OF_RUN).is_file() else "no run any more"
    raise FairbenchError(
        f"{recorded} holds {holds}, and {annotation / record.FILE} says that run {annotated.id[:8]} was annotated "
        f"there; it is not beside {annotation} either: put that run back, or correct its `folder`."
    )


def _runs_near(annotation: Path, recorded: Path) -> Iterator[Path]:
    """Yield folders of finished runs beside an annotation, in a folder `runs` there, and beside where the run was."""
    parent = annotation.resolve().parent
    for folder in dict.fromkeys((parent, parent / "runs", recorded.parent)):
        yield from sorted(file.parent for file in folder.glob(f"*/{FILE_OF_RUN}"))


def _write(folder: Path, annotation: Annotation, labelled: LabelledRun, content: People) -> RunPeople:
    """Write what was computed of one run."""
    run = labelled.run
    people.write(content, run.folder)
    several = len(annotation.runs) > 1
    file = folder / (f"calibration-{run.id[:8]}.json" if several else "calibration.json")
    calibration, reason = _calibration(folder, annotation, labelled, content)
    if calibration is not None:
        calibration.write(file)
    method = run.record.method
    name = run.record.model.name + ("" if method == "none" else f" + {method}")
    return RunPeople(run.folder, name, content, None if calibration is None else file, reason)


def _calibration(
    folder: Path, annotation: Annotation, labelled: LabelledRun, content: People
) -> tuple[Calibration | None, str | None]:
    """Return the confusion table of the run's own labelled images, or why there is none."""
    if annotation.design.stratify is not None:
        return None, (
            "images were drawn by what the labeller reads, so that a plain count of its errors is biased; the "
            "estimates by people weigh by the strata and are right. For a calibration, annotate without --stratify"
        )
    names, record_ = tuple(annotation.attributes), labelled.run.record
    if len({labelled.space.card.attributes[n].source or n for n in names}) < len(names):
        return None, "two of the annotated attributes come from one source"
    counts, nobody = labelled_run.joint_table(labelled, names)
    cells = tuple(itertools.product(*(annotation.attributes[name] for name in names)))
    return Calibration(
        labeller=record_.labeller.name,
        labeller_id=record_.labeller_id,
        domain=domain.of_run(record_.model, record_.declared.images).words,
        attributes=names,
        rows=(*cells, NO_PERSON) if nobody else cells,
        columns=(*cells, NO_FACE),
        counts=counts,
        command=shlex.join(["fairbench", "calibrate", "--from", str(folder)]),
        seed=annotation.seed,
        run_images=record_.declared.images,
        notes=f"Labels by people, sha256 {content.labels_sha256}. {words.TARGET}",
    ), None


def summary(results: Sequence[RunPeople]) -> list[dict[str, Any]]:
    """Return the results as plain data."""
    return [
        {
            "run": str(each.folder),
            "name": each.name,
            "calibration": None if each.calibration is None else str(each.calibration),
            "no_calibration": each.no_calibration,
            **json.loads(each.people.model_dump_json()),
        }
        for each in results
    ]
