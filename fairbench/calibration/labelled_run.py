"""A run's images with what people said of a sample of them: the arrays that its estimates rest on."""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa

from fairbench.annotation import sampling, words
from fairbench.annotation.record import Annotation
from fairbench.errors import FairbenchError
from fairbench.labelling.labeller import NOT_LABELLED, LabelSpace
from fairbench.measure import gather
from fairbench.measure.counts import attributes as declared_attributes
from fairbench.runs import evidence
from fairbench.runs.folder import RunFolder
from fairbench.runs.result import Run
from fairbench.stats.prediction import LabelledSample
from fairbench.storage import schemas
from fairbench.storage.ids import IntArray
from fairbench.storage.store import Store

Labels = Sequence[Mapping[str, Any]]
"""Rows of labels.parquet."""


@dataclass(frozen=True, slots=True, eq=False)
class LabelledRun:
    """N images of a run, of which M have a row in labels.parquet.

    prompt, stratum: (N,) indices, the latter within the prompt. shape: the numbers of prompts and of strata. codes:
    declared attribute -> what the labeller reads (N,), NOT_LABELLED without a face. image: (M,), each row's image.
    labels: annotated attribute -> (M,) a label, `unclear`, `cannot tell`, `no person`, or None.
    """

    run: RunFolder
    space: LabelSpace
    prompt: IntArray
    stratum: IntArray
    shape: tuple[int, int]
    codes: dict[str, IntArray]
    image: IntArray
    labels: dict[str, list[str | None]]

    @property
    def attributes(self) -> list[tuple[str, ...]]:
        """Every attribute and cross of the labeller that the labels say something of."""
        return [names for names in declared_attributes(self.space) if all(self._source(name) for name in names)]

    def outcomes(self, names: Sequence[str]) -> list[str | None]:
        """Return what people say of each row (M,): a class, `no person`, another answer, or None."""
        of_each = [self._labels_of(name) for name in names]
        return [_together(answers) for answers in zip(*of_each, strict=True)]

    def sample(self, names: Sequence[str]) -> LabelledSample:
        """Return the sample of an attribute or cross; rows without a label count as not labelled."""
        classes = self.space.classes(names)
        k = len(classes)
        read = self.space.classes_of(names, self.codes)
        read = np.where(read == NOT_LABELLED, k, read)
        said = {name: i for i, name in enumerate(classes)} | {words.NO_PERSON: k + 1}
        codes = np.array(
            [-1 if label is None else said.get(label, k) for label in self.outcomes(names)], dtype=np.int64
        )
        labelled = np.zeros((*self.shape, k + 2, k + 1), dtype=np.int64)
        images = np.zeros((*self.shape, k + 1), dtype=np.int64)
        np.add.at(images, (self.prompt, self.stratum, read), 1)
        rows, image = codes >= 0, self.image[codes >= 0]
        np.add.at(labelled, (self.prompt[image], self.stratum[image], codes[rows], read[image]), 1)
        return LabelledSample(labelled, images)

    def _source(self, name: str) -> str | None:
        """Return the annotated attribute that gives `name`: itself, or the one that it is derived from."""
        source = self.space.card.attributes[name].source
        return next((each for each in (name, source) if each in self.labels), None)

    def _labels_of(self, name: str) -> list[str | None]:
        source, mapping = self._source(name), self.space.card.attributes[name].map
        if source is None:
            raise KeyError(name)
        labels = self.labels[source]
        return labels if source == name else [None if x is None else mapping.get(x, x) for x in labels]


def _together(answers: Sequence[str | None]) -> str | None:
    """Return the class of a cross, `no person` where all say so, and what is not decided where any is not."""
    if None in answers:
        return None
    if set(answers) == {words.NO_PERSON}:
        return words.NO_PERSON
    undecided = next((a for a in answers if a in (words.CANNOT_TELL, words.UNCLEAR, words.NO_PERSON)), None)
    if undecided is not None:
        return words.UNCLEAR if undecided == words.NO_PERSON else undecided
    return " ".join(str(answer) for answer in answers)


def read(run: Run, annotation: Annotation, labels: Labels) -> LabelledRun:
    """Return a run's images with these labels. Raises FairbenchError where they are not this run's, or other labels."""
    space = LabelSpace(run.record.labeller)
    for name, declared in annotation.attributes.items():
        own = space.declared.labels.get(name)
        if own is None or tuple(own) != declared:
            raise FairbenchError(
                f"{run.folder}: its labeller {space.card.name} "
                + (f"has no attribute {name!r}" if own is None else f"reads {name} as {', '.join(own)}")
                + f", the labels are {', '.join(declared)}: annotate this run with its own attributes."
            )
    frame = sampling.frame(run, annotation.design.stratify)
    index = {image_id.hex(): i for i, image_id in enumerate(frame.image_ids)}
    missing = [row["image_id"] for row in labels if row["image_id"] not in index]
    if missing:
        raise FairbenchError(
            f"{run.folder} does not hold {len(missing)} of the {len(labels)} images that were labelled (the first: "
            f"{missing[0]}): name the folder with all images of run {run.id[:8]}."
        )
    order = {p.neutral_id: i for i, p in enumerate(evidence.read_prompts(run.folder))}
    prompt = np.array([order[n] for n in frame.neutral_ids], dtype=np.int64)
    stratum, strata = _strata(prompt, frame.stratum)
    image = np.array([index[row["image_id"]] for row in labels], dtype=np.int64)
    sizes = Counter(zip(prompt.tolist(), stratum.tolist(), strict=True))
    for row, i in zip(labels, image.tolist(), strict=True):
        if row["stratum_images"] != sizes[int(prompt[i]), int(stratum[i])]:
            raise FairbenchError(
                f"{run.folder} holds {sizes[int(prompt[i]), int(stratum[i])]} images where image {row['image_id']} was "
                f"drawn from {row['stratum_images']}: its images changed since; annotate again."
            )
    store, keys = Store(run.folder / evidence.FOLDER, look_only=True), run.record.keys
    ids = pa.array(frame.image_ids, schemas.ID)
    policy = space.card.face_policy.one_per_image()
    reading, _ = gather.read(store, space, keys.faces, keys.labels, ids, policy)
    codes = {name: reading.by_image(c, len(ids)) for name, c in reading.codes.items()}
    answers = {name: [row[name] for row in labels] for name in annotation.attributes}
    return LabelledRun(run, space, prompt, stratum, (len(order), strata), codes, image, answers)


def _strata(prompt: IntArray, names: Sequence[str]) -> tuple[IntArray, int]:
    """Return each image's stratum within its prompt, by name, and the largest number of strata of a prompt."""
    pairs = list(zip(prompt.tolist(), names, strict=True))
    index = dict[tuple[int, str], int]()
    for number, of_prompt in itertools.groupby(sorted(set(pairs)), key=lambda pair: pair[0]):
        index |= {(number, name): i for i, (_, name) in enumerate(of_prompt)}
    stratum = np.array([index[pair] for pair in pairs], dtype=np.int64)
    return stratum, int(stratum.max(initial=0)) + 1


def joint_table(labelled: LabelledRun, names: Sequence[str]) -> tuple[IntArray, bool]:
    """Return labelled images by what is said of all base attributes together and what is read, and whether any shows
    nobody: (K or K + 1, K + 1). What people cannot decide on is left out.
    """
    sample = labelled.sample(names)
    k = sample.classes
    counts = sample.labelled.sum(axis=(0, 1))
    nobody = bool(counts[k + 1].any())
    return np.asarray(np.vstack([counts[:k], counts[k + 1 :]]) if nobody else counts[:k]), nobody
