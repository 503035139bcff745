"""The functions of `import fairbench` for labels by people: draw a sample, collect the answers, estimate."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import TYPE_CHECKING

from fairbench.api.shared import PathLike, folders_of, name_of, start
from fairbench.storage import paths

if TYPE_CHECKING:
    from fairbench.annotation.files import Format
    from fairbench.annotation.result import Annotated, CollectedLabels
    from fairbench.calibration.result import PeopleEstimates
    from fairbench.runs.result import Run


def annotate(
    *runs: Run | PathLike,
    out: PathLike,
    per_prompt: int = 10,
    annotators: int = 3,
    attributes: str | Sequence[str] = (),
    stratify: str | None = None,
    describe: str = "",
    form: Format = "html",
    one_annotator: bool = False,
    seed: int = 0,
    store: PathLike | None = None,
    progress: bool = True,
) -> Annotated:
    """Draw images of finished runs, and write what annotators get: pages that tell neither prompt nor model.

    Args:
        *runs: One or more runs or run folders.
        out: The folder that is written.
        per_prompt: Images of each prompt of each run, 2 or more.
        annotators: People who annotate, each all images.
        attributes: Names, or a text with commas; () for those that the labeller crosses.
        stratify: Draw by strata of what the labeller read of this attribute.
        describe: Who the annotators are, in words.
        form: html, label-studio or csv.
        one_annotator: Accept the answers of one person alone.
        seed: Of the sample and of the order of pictures.
        store: Where the images are; None looks where each run was made.
        progress: Show how far it is, on stderr or in the notebook.

    Returns:
        The sample, and the files for annotators.

    Raises:
        FairbenchError: For whatever the caller can fix, in one sentence.
    """
    from fairbench.annotation import annotate as annotation

    names = attributes.split(",") if isinstance(attributes, str) else attributes
    settings = annotation.Settings(
        per_prompt=per_prompt,
        annotators=annotators,
        attributes=tuple(name.strip() for name in names if name.strip()),
        stratify=stratify,
        described=describe,
        seed=seed,
        format=form,
        one_annotator=one_annotator,
    )
    shown, folder = start(progress), paths.expand(os.fspath(out))
    return annotation.annotate(folders_of(runs), folder, settings, name_of(store), shown)


def collect(folder: PathLike, *returned: PathLike, describe: str = "", one_annotator: bool = False) -> CollectedLabels:
    """Check what annotators returned, and write a label per sampled image and how far the annotators agree.

    Args:
        folder: What `annotate` has written.
        *returned: CSV or JSON files; none for all in FOLDER/returned.
        describe: Who the annotators are, in words.
        one_annotator: Accept the answers of one person alone.

    Returns:
        The labels and the agreement.

    Raises:
        FairbenchError: For whatever the caller can fix, in one sentence; then nothing is written.
    """
    from fairbench.annotation import annotate as annotation

    files = [paths.expand(os.fspath(each)) for each in returned]
    where = paths.expand(os.fspath(folder))
    return annotation.collect(where, files, described=describe, one_annotator=one_annotator)


def calibrate_from(folder: PathLike, *, progress: bool = True) -> PeopleEstimates:
    """Compute what labels by people say of the runs that were annotated, and write it into their folders.

    Args:
        folder: What `annotate` has written and `collect` has filled.
        progress: Show how far it is, on stderr or in the notebook.

    Returns:
        The estimates of each run.

    Raises:
        FairbenchError: For whatever the caller can fix, in one sentence.
    """
    from fairbench.calibration import people
    from fairbench.calibration.result import PeopleEstimates

    return PeopleEstimates(people.estimate(paths.expand(os.fspath(folder)), start(progress)))
