"""A balanced set made by a model: each image is asked for by its group's words and kept only if a labeller confirms it.

Images and labels go through the ordinary stages into the run store, under seeds of their own: the noise of an
evaluation, which its neutral prompt and sample index give, is never drawn here. Images are made in rounds until every
prompt has enough of every group. Which ones are made depends on the settings alone, so that a stopped run goes on.
"""

from __future__ import annotations

import dataclasses
import logging
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import fairbench
from fairbench import keys, registry
from fairbench.cards import catalog
from fairbench.errors import FairbenchError, StoreError
from fairbench.progress import Progress
from fairbench.protocols import PromptSource
from fairbench.runs import images
from fairbench.runs import spec as planning
from fairbench.runs.labels import LabelStage
from fairbench.runs.pipeline import with_smaller_blocks
from fairbench.runs.spec import Plan, RunSettings
from fairbench.storage import provenance, reading
from fairbench.storage.reading import ImageRow
from fairbench.storage.store import Store
from fairbench.synthesis import export
from fairbench.synthesis.balanced import Group, Row
from fairbench.synthesis.confirm import Rate, Verdict, attributes_of, groups_of, rate, verdicts
from fairbench.synthesis.wordings import neutral, read_templates, specified
from fairbench.types import ImageRequest, Prompt

log = logging.getLogger(__name__)
VERSION = 1
"""Raised whenever the same settings give another set."""
METHOD = "synthesize"
SEEDS = "a stream of their own: sample_seed(digest('synthesis', attribute-specified prompt's id), sample, seed)"


@dataclass(frozen=True, slots=True)
class Wanted:
    """What the user asked for. templates: a file of wordings, None for the task's own. max_tries: times per_group."""

    run: RunSettings
    groups: str
    per_group: int
    max_tries: int
    templates: Path | None = None


@dataclass
class Cell:
    """One prompt and one group, with the images made so far. `rows` and `verdicts` follow `requests`."""

    number: int
    prompt: Prompt
    group: Group
    text: str
    requests: list[ImageRequest] = field(default_factory=list)
    rows: list[ImageRow] = field(default_factory=list)
    verdicts: list[Verdict] = field(default_factory=list)

    def extend(self, per_group: int, most: int, image_key: str, seed: int) -> list[ImageRequest]:
        """Add and return the requests of the next round: as many as the share confirmed so far makes likely to do."""
        tried, hits = len(self.requests), self.verdicts.count("confirmed")
        count = per_group if not tried else math.ceil((per_group - hits) * tried / max(hits, 1))
        count = min(count, max(tried, per_group), most - tried) if hits < per_group else 0
        asked = keys.prompt_id(self.text)
        stream = keys.digest("synthesis", [asked])
        for index in range(tried, tried + count):
            own = keys.sample_seed(stream, index, seed)
            image_id = keys.image_id(image_key, asked, self.prompt.neutral_id, own)
            self.requests.append(ImageRequest(image_id, asked, self.prompt.neutral_id, self.text, index, own))
        return self.requests[tried:]

    def kept(self, per_group: int) -> list[ImageRow]:
        """Return the first confirmed images."""
        rows = (row for row, v in zip(self.rows, self.verdicts, strict=True) if v == "confirmed")
        return [row for row, _ in zip(rows, range(per_group), strict=False)]


@dataclass(frozen=True)
class Synthesis:
    """A set, worked out before anything is made, and filled by `fill`."""

    wanted: Wanted
    plan: Plan
    attributes: dict[str, tuple[str, ...]]
    templates: tuple[str, ...] | None
    cells: list[Cell]
    asked: str | None = None
    """The id of the set before its blocks were made smaller to fit into memory."""

    @property
    def groups(self) -> list[Group]:
        """The declared groups, in order."""
        return groups_of(self.attributes)

    @property
    def set_id(self) -> str:
        """Id (32 hex digits) of the set that was asked for: all that decides which images are in it.

        Not what memory allowed: the same command, given again, has to find its set.
        """
        if self.asked is not None:
            return self.asked
        declared = {
            "version": VERSION, "image_key": self.plan.image_key, "labels_key": self.plan.labels_key,
            "face_policy": self.plan.labeller.card.face_policy.model_dump(), "attributes": self.attributes,
            "cells": [[c.prompt.text, c.prompt.subject, c.group, c.text] for c in self.cells],
            "per_group": self.wanted.per_group, "seed": self.wanted.run.seed,
        }  # fmt: skip
        return keys.digest("synthesis-set", declared).hex()

    def rates(self) -> list[Rate]:
        """Return how often each group was confirmed, over all prompts."""
        first = self.wanted.per_group

        def of(group: Group) -> Rate:
            cells = [c.verdicts for c in self.cells if c.group == group]
            return rate(group, [v for c in cells for v in c], [v for c in cells for v in c[:first]])

        return [of(group) for group in self.groups]


def plan(wanted: Wanted) -> Synthesis:
    """Resolve all settings. Raises FairbenchError for whatever the user got wrong."""
    if issubclass(registry.resolve("adapters", catalog.load_model(wanted.run.model).card.adapter), PromptSource):
        raise FairbenchError(
            f"--model {wanted.run.model} makes no images: name a model, or give your own images with --images."
        )
    current = planning.make(dataclasses.replace(wanted.run, scorers=(), images_per_prompt=1))
    attributes = attributes_of(wanted.groups, current.labeller)
    templates = None if wanted.templates is None else read_templates(wanted.templates)
    cells = [
        Cell(number, prompt, group, specified(prompt, group))
        for number, prompt in enumerate(neutral(current.prompts, templates))
        for group in groups_of(attributes)
    ]
    return Synthesis(wanted, current, attributes, templates, cells)


def fill(current: Synthesis, store: Store, progress: Progress) -> Synthesis:
    """Make and confirm images, or what is left of them, until every cell is full.

    Returns the synthesis that was done: `current`, or one with smaller blocks where they did not fit into memory.
    Raises FairbenchError, naming prompt and group, where max_tries is not enough.
    """
    while True:
        try:
            while asked := _next_round(current):
                _answer(current, asked, store, progress)
            break
        except images.BlockTooLarge:
            smaller = plan(dataclasses.replace(current.wanted, run=with_smaller_blocks(current.plan)))
            current = dataclasses.replace(smaller, asked=current.set_id)
    _refuse_unfilled(current)
    return current


def _next_round(current: Synthesis) -> list[tuple[Cell, ImageRequest]]:
    wanted = current.wanted
    most = wanted.per_group * wanted.max_tries
    key, seed = current.plan.image_key, wanted.run.seed
    return [(c, r) for c in current.cells for r in c.extend(wanted.per_group, most, key, seed)]


def _answer(current: Synthesis, asked: Sequence[tuple[Cell, ImageRequest]], store: Store, progress: Progress) -> None:
    """Make, label and judge the images of a round."""
    run, requests = current.plan, [request for _, request in asked]
    images.generate(
        store, run.image_key, requests, run.adapter, method=METHOD,
        adapter=run.card.adapter, block_size=run.ctx.block_size,
        fixed_block=run.fixed_block, progress=progress, before=run.labeller.load,
    )  # fmt: skip
    rows = reading.index(store, run.image_key, requests)
    if len(rows) < len(requests):
        raise StoreError(f"{len(requests) - len(rows)} images disappeared from the store: run the same command again.")
    LabelStage(store, run.labeller, run.faces_key, run.labels_key).run(rows, progress)
    pairs = [(row, cell.group) for row, (cell, _) in zip(rows, asked, strict=True)]
    found = verdicts(store, run.labeller, run.faces_key, run.labels_key, tuple(current.attributes), pairs)
    for (cell, _), row, verdict in zip(asked, rows, found, strict=True):
        cell.rows.append(row)
        cell.verdicts.append(verdict)


def _refuse_unfilled(current: Synthesis) -> None:
    wanted = current.wanted.per_group
    short = [c for c in current.cells if c.verdicts.count("confirmed") < wanted]
    if not short:
        return
    cell, others = short[0], f" (and {len(short) - 1} more pairs of prompt and group fall short)" if short[1:] else ""
    raise FairbenchError(
        f"The prompt {cell.prompt.text!r} has {cell.verdicts.count('confirmed')} of {wanted} confirmed images of the "
        f"group {' '.join(cell.group)} after {len(cell.verdicts)} tries{others}: raise --max-tries (what was made is "
        "kept), or lower --per-group."
    )


def write(current: Synthesis, store: Store, out: Path) -> Path:
    """Export the confirmed images, bytes as stored, with rows and manifest; return the manifest's path."""
    rows: list[Row] = []
    places: list[tuple[Path, ImageRow]] = []
    for cell in current.cells:
        for kept in cell.kept(current.wanted.per_group):
            name = export.image_name(cell.number, cell.prompt.subject, cell.group, kept.request.sample_index)
            places.append((name, kept))
            rows.append(Row(name, str(kept.sha256), cell.prompt.text, cell.prompt.subject, cell.group, cell.text))
    return export.write(out, current.attributes, current.groups, rows, _stored(store, places), _record(current))


def _stored(store: Store, places: Sequence[tuple[Path, ImageRow]]) -> Iterator[tuple[Path, bytes]]:
    """Yield each image's name and its bytes, shard by shard."""
    by_shard: dict[Path, dict[bytes, Path]] = {}
    for name, row in places:
        by_shard.setdefault(row.shard, {})[row.request.image_id] = name
    for shard, names in by_shard.items():
        table = store.read("images", shard, ["image_id", "image"])
        if table is None:
            raise StoreError(f"{shard} was damaged while it was in use: run the same command again to mend it.")
        for image_id, image in zip(table["image_id"].to_pylist(), table["image"], strict=True):
            if image_id in names:
                yield names[image_id], image["bytes"].as_py()


def _record(current: Synthesis) -> Mapping[str, Any]:
    """Return the provenance: where the images come from and how often they were what was asked for."""
    run, wanted = current.plan, current.wanted
    return {
        "set": current.set_id,
        "made_by": "fairbench synthesize",
        "fairbench": fairbench.__version__,
        "model": {"name": run.card.name, "adapter": run.card.adapter,
                  "weights": None if run.card.weights is None else run.card.weights.model_dump(),
                  "dtype": run.ctx.dtype, "block_size": run.ctx.block_size if run.fixed_block else None},
        "labeller": {"name": run.labeller.card.name, "id": run.labeller.id},
        "keys": {"images": run.image_key, "faces": run.faces_key, "labels": run.labels_key},
        "task": {"name": run.task, "version": run.task_version},
        "templates": current.templates,
        "per_group": wanted.per_group,
        "seed": wanted.run.seed,
        "seeds": SEEDS,
        "confirmation": [r.record() for r in current.rates()],
        "environment": provenance.environment(run.ctx.device),
    }  # fmt: skip
