"""Whose labels a run counts: those of its labeller, or those of a table that was made elsewhere, image by image."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path, PurePosixPath
from typing import Any, NoReturn, Protocol, runtime_checkable

from fairbench import registry
from fairbench.cards import catalog
from fairbench.cards.cards import LabellerCard, ModelCard, TaskCard
from fairbench.cards.catalog import Loaded
from fairbench.errors import CardError, FairbenchError
from fairbench.labelling import label_table
from fairbench.labelling.judges import SELF, JudgeParams, OwnModel
from fairbench.labelling.label_table import LabelRow, LabelTable
from fairbench.labelling.labeller import Labeller
from fairbench.labelling.table_labeller import TableLabeller
from fairbench.notices import notice
from fairbench.runs.prompts import names_of
from fairbench.storage import paths
from fairbench.types import ImageRequest, Prompt


@runtime_checkable
class TableSource(Protocol):
    """An adapter whose images are not here: all that is known of them are the rows of a table."""

    rows: Mapping[bytes, Sequence[LabelRow]]
    """Id of an image -> its rows, once the requests were asked for."""

    def take_table(self, table: LabelTable) -> None:
        """Take in the table, before prompts and requests are asked for. Raises CardError."""
        ...


def labeller_of(
    labels: str | None, target: str | None, card: ModelCard, device: str, model: str
) -> tuple[Labeller, Loaded[LabellerCard]]:
    """Return a run's labeller and its card. labels: a table; `target` then declares its attributes, if it is given.
    model: how the run's model was named, for a labeller that asks the very model.

    Raises CardError.
    """
    if labels is None:
        loaded = _of_itself(catalog.load_labeller(target or card.labeller), model)
        return Labeller(loaded, device), loaded
    declared = None if target is None else catalog.load_labeller(target).card
    table = TableLabeller(label_table.read(paths.expand(labels), declared), declared)
    return table, Loaded(table.card, None)


def _of_itself(loaded: Loaded[LabellerCard], model: str) -> Loaded[LabellerCard]:
    """Return a labeller's card with the run's model in place of `self`, where that is whom it asks."""
    refs = [
        ref.model_copy(update={"judge": {**ref.params["judge"], "model": model}})
        if isinstance(ref.params.get("judge"), dict) and ref.params["judge"].get("model") == SELF
        else ref
        for ref in loaded.card.classifiers
    ]
    return replace(loaded, card=loaded.card.model_copy(update={"classifiers": refs}))


def refuse_sending(labeller: Labeller, card: ModelCard, adapter: Any) -> None:
    """Refuse that files of the user are sent to others, unless their manifest says that all were generated.

    Raises FairbenchError.
    """
    if not getattr(adapter, "all_generated", False):
        origin = ", or, where a model drew all of them, write `generated` into a column `origin` of their manifest"
        labeller.refuse_sending(f"the images of {card.name}", origin)
    elif labeller.sends_to is not None:
        text = f"The manifest of {card.name} says that a model drew all images, which are shown to {labeller.sends_to}."
        notice("declared-generated", text)


def notices_of_judges(labeller: Labeller, card: ModelCard, model: str) -> None:
    """Give notice where the labels are a model's answers, and where that model made the pictures."""
    if not labeller.judges:
        return
    notice("asked-labels", f"Labeller {labeller.card.name} asks a model about each picture.")
    if judges_itself(labeller, card, model):
        notice("self-judged", f"{card.name} was asked about pictures that it made itself.")


def judges_itself(labeller: Labeller, card: ModelCard, model: str) -> bool:
    """Whether a labeller asks the very model of a run. model: how the run's model was named."""
    return any(_is_same(judge, card, model) for judge in labeller.judges)


def _is_same(judge: JudgeParams, card: ModelCard, model: str) -> bool:
    """Whether a judge is the run's model: by name, by weights, or by what its server calls it."""
    names = {card.name, model, str(card.sampling.get("model"))}
    names |= {str(card.weights.repo or card.weights.path)} if card.weights is not None else set()
    folders = [judge.transformers, judge.model.weights if isinstance(judge.model, OwnModel) else None]
    asked = {judge.model_name, None if judge.endpoint is None else judge.endpoint.model}
    asked |= {folder.repo or folder.path for folder in folders if folder is not None}
    return not names.isdisjoint(asked)


def with_faces(labeller: Labeller, task: TaskCard | None, loaded: Loaded[LabellerCard], device: str) -> Labeller:
    """Return the labeller under the task's face policy, where the task has one; tables keep theirs."""
    if task is None or task.faces is None or isinstance(labeller, TableLabeller):
        return labeller
    policy = loaded.card.face_policy.model_copy(update={"select": task.faces})
    return Labeller(replace(loaded, card=loaded.card.model_copy(update={"face_policy": policy})), device)


def give_table(labeller: Labeller, adapter: Any, scorers: Sequence[str]) -> None:
    """Tell an adapter without images of the table. Raises FairbenchError where there is none, or scores are wanted."""
    if not isinstance(adapter, TableSource):
        return
    if scorers:
        raise FairbenchError("--scorers look at images, and here are labels alone: name the images' --model, or none.")
    if isinstance(labeller, TableLabeller):
        adapter.take_table(labeller.table)
        text = f"There are no images here, only {labeller.table.path}: nothing was looked at, drawn or scored."
        notice("labels-only", text)


def assign(
    labeller: Labeller,
    adapter: Any,
    model: str,
    requests: Sequence[ImageRequest],
    prompts: Sequence[Prompt],
    *,
    partly: bool,
) -> None:
    """Give each image its rows of the table, where the labeller is one. partly: the run has only some of the images.

    Raises CardError that names the first row of an image that the run does not have.
    """
    if not isinstance(labeller, TableLabeller):
        return
    if isinstance(adapter, TableSource):
        labeller.assign(adapter.rows, requests)
        return
    images = _Images(labeller.table, requests, prompts)
    rows: dict[bytes, list[LabelRow]] = {}
    unknown = []
    for row in labeller.table.of_model(model):
        request = images.find(row)
        if request is None:
            unknown.append(row)
        else:
            rows.setdefault(request.image_id, []).append(row)
    if unknown and (not partly or not rows):
        images.refuse(unknown)
    if unknown:
        text = f"{len(unknown)} rows of {labeller.table.path} are of images that this part of the run does not have."
        notice("unused-labels", text, count=len(unknown), examples=(row.name for row in unknown))
    labeller.assign(rows, requests)


class _Images:
    """The images of a run, by all that a row may call them."""

    def __init__(self, table: LabelTable, requests: Sequence[ImageRequest], prompts: Sequence[Prompt]) -> None:
        self._table, self._names = table, names_of(prompts)
        self._of_id = {r.image_id.hex(): r for r in requests}
        self._of_sample = {(r.neutral_id, r.sample_index): r for r in requests}
        self._of_path = {r.path: r for r in requests if r.path}
        self._of_file: dict[str, list[ImageRequest]] = {}
        for r in requests:
            if r.path:
                self._of_file.setdefault(Path(r.path).name, []).append(r)

    def find(self, row: LabelRow) -> ImageRequest | None:
        """Return the image of a row, None where the run has none. Raises CardError where it may be several."""
        if not row.image:
            return self._of_prompt(row)
        request = self._of_id.get(row.image) or self._of_name(row)
        if request is not None and row.prompt:
            ids = {p.neutral_id for p in self._names.get(row.prompt, [])}
            if request.neutral_id not in ids and row.prompt not in (request.text, request.prompt_id.hex()):
                raise CardError(
                    f"{self._table.where(row, 'prompt')}: {row.image} is not of {row.prompt!r} here, but of "
                    f"{request.text!r}; fix the row, or leave the column out."
                )
        return request

    def _of_name(self, row: LabelRow) -> ImageRequest | None:
        """Return the image of a file: relative to the table, absolute, or the end of one path of the run's images."""
        exact = self._of_path.get(os.path.realpath(self._table.path.parent / row.image))
        if exact is not None:
            return exact
        parts = PurePosixPath(row.image).parts
        same_name = self._of_file.get(parts[-1], []) if parts else []
        matching = [r for r in same_name if PurePosixPath(str(r.path)).parts[-len(parts) :] == parts]
        if len(matching) > 1:
            raise CardError(
                f"{self._table.where(row, 'image')}: {row.image} may be {len(matching)} images of the run; write "
                "more of the path, or the image's id."
            )
        return matching[0] if matching else None

    def _of_prompt(self, row: LabelRow) -> ImageRequest | None:
        matching = self._names.get(row.prompt, [])
        if len(matching) > 1:
            where = self._table.where(row, "prompt")
            raise CardError(f"{where}: {row.prompt!r} may be {len(matching)} prompts; name it by its text or id.")
        if row.numbered:
            raise CardError(
                f"{self._table.where(row, 'prompt')}: nothing says which image of the prompt this is; add a column "
                "image or sample."
            )
        return self._of_sample.get((matching[0].neutral_id, row.sample or 0)) if matching else None

    def refuse(self, unknown: Sequence[LabelRow]) -> NoReturn:
        """Raise CardError for rows of images that are not here, naming the first."""
        row = unknown[0]
        field = "image" if row.image else "prompt"
        known = list(self._names) if field == "prompt" else [*self._of_file, *self._of_id]
        hint = registry.suggest(row.prompt if field == "prompt" else PurePosixPath(row.image).name, known[:2000])
        more = f" (and so in {len(unknown) - 1} more rows)" if len(unknown) > 1 else ""
        raise CardError(
            f"{self._table.where(row, field)}: the run has no image {row.name}{hint}{more}; fix the name, remove "
            "the row, or name the run's --task, --seed and -n as they were."
        )
