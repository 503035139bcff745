"""Who answers questions about a run's pictures: the model that a labeller of the kind `vqa` asks, as its card asks."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, TypeVar, cast

import numpy as np
from pydantic import ValidationError

from fairbench import registry
from fairbench.axes.file import Axis
from fairbench.cards import yamlfile
from fairbench.cards.cards import LabellerCard, PluginRef
from fairbench.cards.catalog import Loaded
from fairbench.display.progress import Progress
from fairbench.errors import FairbenchError
from fairbench.labelling import domain, judges
from fairbench.labelling.classifiers.vqa import VqaParams
from fairbench.labelling.questions import Interview, Question
from fairbench.labelling.table_labeller import QUESTIONS
from fairbench.runs import label_source
from fairbench.runs.device import pick_device
from fairbench.runs.record import RunRecord
from fairbench.runs.result import Run
from fairbench.stats.estimands import IntArray
from fairbench.types import BuildContext, RgbImage

_BATCH: Final = 64
"""Pictures that are decoded and asked about at a time."""
T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Respondent:
    """card: of the labeller; ref: its classifier's lines in it. params: the same, checked, with the run's model in
    place of `self`. self_judged: whether it is the very model that made the pictures.
    """

    card: LabellerCard
    ref: PluginRef
    params: VqaParams
    ctx: BuildContext
    self_judged: bool

    def interview(self, limit: int | None = None) -> Interview:
        """Return what asks, with at most `limit` tokens per answer; None: the card's. It loads weights when it asks.

        Raises FairbenchError for what has to be there before anything can be asked.
        """
        identity = judges.identity_of(self.params.judge, self.ctx.base_dir)
        judge = judges.build(self.params.judge, self.ctx)
        judges.refuse_missing(self.params.judge, judge, self.ctx)
        return Interview(judge, identity, limit=limit or self.params.limit, batch=self.params.batch_size)


def of_run(target: str, record: RunRecord, device: str) -> Respondent:
    """Return who answers for a run. target: a labeller's name or card.

    Raises FairbenchError for a labeller that asks no questions, and where pictures that may be photographs of people
    would leave this machine.
    """
    model = record.model.name if record.settings is None else record.settings.model
    labeller, loaded = label_source.labeller_of(None, target, record.model, pick_device(device), model)
    ref, params = asking_part(loaded, target)
    if domain.of_run(record.model, "").kind == "given":
        labeller.refuse_sending(f"the images of {record.model.name}")
    ctx = BuildContext(device=pick_device(device), base_dir=loaded.base_dir)
    return Respondent(loaded.card, ref, params, ctx, label_source.judges_itself(labeller, record.model, model))


def asking_part(loaded: Loaded[LabellerCard], target: str) -> tuple[PluginRef, VqaParams]:
    """Return a labeller's classifier that asks, as its card has it and checked. target: how the labeller was named.

    Raises FairbenchError for a labeller that asks no questions, CardError.
    """
    asking = [i for i, ref in enumerate(loaded.card.classifiers) if ref.type == QUESTIONS]
    if len(asking) != 1:
        raise FairbenchError(
            f"--with {target}: the labeller has {len(asking)} classifiers of the type {QUESTIONS}, and exactly one is "
            "asked; name another, or copy the card `vqa`."
        )
    ref = loaded.card.classifiers[asking[0]]
    try:
        params = cast("VqaParams", registry.parse_params(registry.resolve("classifiers", QUESTIONS), ref.params))
    except ValidationError as err:
        raise yamlfile.params_error(loaded.path, loaded.card.name, err, ("classifiers", asking[0])) from err
    return ref, params


def answers(
    who: Respondent, questions: Sequence[Question], run: Run, images: Sequence[bytes], progress: Progress
) -> tuple[IntArray, list[str]]:
    """Return the answers (images, questions), in the order of `images`: an option's index, or a negative number; and
    what was said where no option was named. What was asked once is not asked again.
    """
    interview, said = who.interview(), list[str]()

    def ask(pictures: Sequence[RgbImage]) -> list[IntArray]:
        codes, unread = interview.ask(questions, pictures, who.params.form)
        said.extend(unread)
        return list(codes)

    codes = _of_each(ask, run, images, progress)
    return np.stack([codes[image] for image in images]), said


def texts(
    who: Respondent, text: str, limit: int, run: Run, images: Sequence[bytes], progress: Progress
) -> dict[bytes, str]:
    """Return what is said of each picture to one open question, with at most `limit` tokens."""
    interview = who.interview(limit)
    return _of_each(lambda pictures: interview.answers([text] * len(pictures), pictures), run, images, progress)


def _of_each(
    ask: Callable[[Sequence[RgbImage]], Sequence[T]], run: Run, images: Sequence[bytes], progress: Progress
) -> dict[bytes, T]:
    said: dict[bytes, T] = {}
    with progress.stage("questions", len(images)) as bar:
        for ids, pictures in _batches(run, images):
            said.update(zip(ids, ask(pictures), strict=True))
            bar.advance(len(ids))
    return {image: said[image] for image in images}


def _batches(run: Run, images: Sequence[bytes]) -> Iterator[tuple[list[bytes], list[RgbImage]]]:
    ids: list[bytes] = []
    pictures: list[RgbImage] = []
    for image_id, picture in run.pictures(images):
        ids.append(image_id)
        pictures.append(np.asarray(picture, dtype=np.uint8))
        if len(ids) == _BATCH:
            yield ids, pictures
            ids, pictures = [], []
    if ids:
        yield ids, pictures


def as_card(who: Respondent, axis: Axis) -> dict[str, Any]:
    """Return a labeller's card that asks for one axis alone, in the same way: for runs that people then label."""
    asked = {**who.ref.params, "questions": {axis.name: {"text": axis.question}}}
    asked["judge"] = _absolute(asked["judge"], who.ctx.base_dir)
    return {
        "name": f"axis-{axis.name}"[:80],
        "title": f"{who.card.title}: {axis.name}",
        "routes": [
            {part: {"type": ref.type, **ref.params} for part, ref in (("detector", r.detector), ("crop", r.crop))}
            for r in who.card.routes
        ],
        "classifiers": [{"type": QUESTIONS, **asked}],
        "attributes": {axis.name: {"labels": axis.answers}},
        "licence": who.card.licence,
        "notes": "Written from a frozen file of axes. Nobody has counted the errors of these answers.",
    }


def _absolute(judge: Mapping[str, Any], base_dir: Path | None) -> dict[str, Any]:
    """Return who is asked, with the folder of a checkpoint as it is found from anywhere."""
    checkpoint = judge.get("transformers")
    if base_dir is None or not isinstance(checkpoint, Mapping) or not checkpoint.get("path"):
        return dict(judge)
    return {**judge, "transformers": {**checkpoint, "path": str((base_dir / checkpoint["path"]).resolve())}}
