"""Returned answers -> a label per sampled image, bound to the runs, and the agreement of those who gave them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pyarrow as pa

from fairbench.annotation import agreement, questions, record, returned, sampling, words
from fairbench.annotation.agreement import Agreement
from fairbench.annotation.record import Annotation
from fairbench.annotation.returned import Answered, Key
from fairbench.errors import FairbenchError
from fairbench.stats.krippendorff import MISSING

_OF_SAMPLE = (
    *("run_id", "image_id", "prompt_id", "sample_index", "stratum", "stratum_images", "stratum_sampled"),
    *("inclusion_probability", "face_id", "item"),
)
_OF_IMAGE = ("item", "run_id", "image_id", "prompt_id", "sample_index")


@dataclass(frozen=True, slots=True)
class Progress:
    """What one annotator did: images with at least one answer, those skipped, answers that are `cannot tell`."""

    annotator: str
    answered: int
    skipped: int
    cannot_tell: int


@dataclass(frozen=True, slots=True)
class Collected:
    """labels: a row per sampled image, attributes last. annotations: a row per image and annotator who saw it."""

    annotation: Annotation
    images: int
    labels: pa.Table
    annotations: list[dict[str, object]]
    annotators: list[Progress]
    agreements: list[Agreement]

    def described(self, annotation: Annotation) -> Collected:
        """Return the same with another record."""
        return replace(self, annotation=annotation)


def collect(folder: Path, files: Sequence[Path], *, one_annotator: bool) -> Collected:
    """Read and check what annotators returned. Nothing is written.

    Raises FairbenchError, in one sentence, for whatever does not hold (see `returned.read`), and where fewer than two
    people answered, unless `one_annotator` says that this is meant.
    """
    annotation, sample = record.read(folder), sampling.read(folder)
    items = sample["item"].to_pylist()
    votes = returned.read(returned.files(folder, files), annotation, items)
    who = sorted({annotator for annotator, _ in votes}, key=_natural)
    if not who:
        raise FairbenchError("The files hold no answer: collect again when annotators have returned theirs.")
    if len(who) == 1 and not one_annotator:
        raise FairbenchError(
            f"Only {who[0]!r} has answered, and one person's errors stay in every label ({words.ERRORS_SHORT}): "
            "collect the files of two people or more, or say --one-annotator."
        )
    least = 1 if one_annotator else 2
    groups = _groups(sample)
    labels, agreements = sample.select(list(_OF_SAMPLE)), list[Agreement]()
    for attribute in annotation.attributes:
        answers = [_answers(votes, who, item, attribute) for item in items]
        majority = [agreement.majority([a for a in of_image if a], least) for of_image in answers]
        labels = labels.append_column(attribute, pa.array(majority, pa.string()))
        names = questions.codes(annotation.attributes, attribute)
        codes = np.array([[names.get(a, MISSING) for a in of_image] for of_image in answers], dtype=np.int64)
        agreements.append(agreement.agree(attribute, codes, majority, names, who, groups))
    rows = _annotations(sample, annotation, votes, who)
    progress = [_progress(votes, annotator) for annotator in who]
    return Collected(annotation, len(items), labels, rows, progress, agreements)


def _answers(votes: Mapping[Key, Answered], who: Sequence[str], item: str, attribute: str) -> list[str]:
    """Return each annotator's answer, "" where there is none or the image was skipped."""
    given = [votes[name, item].answers.get(attribute, "") if (name, item) in votes else "" for name in who]
    return ["" if answer == words.SKIPPED else answer for answer in given]


def _annotations(
    sample: pa.Table, annotation: Annotation, votes: Mapping[Key, Answered], who: Sequence[str]
) -> list[dict[str, object]]:
    images = sample.select(list(_OF_IMAGE)).to_pylist()
    return [
        {"annotator": name, **image, **{a: votes[name, image["item"]].answers.get(a) for a in annotation.attributes}}
        for name in who
        for image in images
        if (name, image["item"]) in votes
    ]


def _progress(votes: Mapping[Key, Answered], annotator: str) -> Progress:
    own = [list(v.answers.values()) for (name, _), v in votes.items() if name == annotator]
    skipped = sum(all(answer == words.SKIPPED for answer in answers) for answers in own)
    return Progress(annotator, len(own) - skipped, skipped, sum(answers.count(words.CANNOT_TELL) for answers in own))


def _groups(sample: pa.Table) -> np.ndarray:
    """Return the number (U,) of each image's prompt; the same prompt of two runs is two groups."""
    pairs = list(zip(sample["run_id"].to_pylist(), sample["prompt_id"].to_pylist(), strict=True))
    number = {pair: i for i, pair in enumerate(dict.fromkeys(pairs))}
    return np.array([number[pair] for pair in pairs], dtype=np.int64)


def _natural(name: str) -> tuple[bool, int, str]:
    """Sort annotators called 1, 2, ... 10 by number."""
    return (not name.isdecimal(), int(name) if name.isdecimal() else 0, name)
