"""A balanced set made by a model: each prompt names its group, and an image is kept only if a labeller confirms it.

Images and labels go through the ordinary stages into the run store, under seeds of their own: the noise of an
evaluation, which its neutral prompt and sample index give, is never drawn here. Images are made in rounds until every
prompt has enough of every group. Which ones are made depends on the settings alone, so that a stopped run goes on.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import chain
from pathlib import Path, PurePath
from typing import Any

import fairbench
from fairbench import keys, registry
from fairbench.cards import catalog
from fairbench.display.progress import Progress
from fairbench.errors import FairbenchError, StoreError
from fairbench.methods.common import with_group
from fairbench.protocols import PromptSource
from fairbench.runs import images, spec
from fairbench.runs.arguments import RunSettings
from fairbench.runs.drawing import drawn_and_labelled
from fairbench.runs.pipeline import with_smaller_blocks
from fairbench.runs.spec import RunSpec
from fairbench.storage import provenance
from fairbench.storage.reading import ImageRow
from fairbench.storage.store import Store
from fairbench.synthesis import export
from fairbench.synthesis.balanced import Group, Row, groups_of
from fairbench.synthesis.confirm import Rate, Verdict, attributes_of, rate, verdicts
from fairbench.synthesis.wordings import neutral, read_templates
from fairbench.types import ImageRequest, Prompt

VERSION = 1
"""Raised whenever the same settings give another set."""
METHOD = "synthesize"
SEEDS = "a stream of their own: sample_seed(digest('synthesis', attribute-specified prompt's id), sample, seed)"


@dataclass(frozen=True, slots=True)
class SetSettings:
    """Settings of a set. templates: a file of wordings, None for the task's own. max_tries: times per_group."""

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

    def extend(self, per_group: int, limit: int, image_key: str, seed: int) -> list[ImageRequest]:
        """Add and return the requests of the next round: as many as the share confirmed so far makes likely to do."""
        tried, hits = len(self.requests), self.verdicts.count("confirmed")
        count = per_group if not tried else math.ceil((per_group - hits) * tried / max(hits, 1))
        count = min(count, max(tried, per_group), limit - tried) if hits < per_group else 0
        prompt_id, neutral_id = keys.prompt_id(self.text), self.prompt.neutral_id
        stream = keys.digest("synthesis", [prompt_id])
        for index in range(tried, tried + count):
            image_seed = keys.sample_seed(stream, index, seed)
            image_id = keys.image_id(image_key, prompt_id, neutral_id, image_seed)
            self.requests.append(ImageRequest(image_id, prompt_id, neutral_id, self.text, index, image_seed))
        return self.requests[tried:]

    def confirmed(self, per_group: int) -> list[ImageRow]:
        """Return the first confirmed images."""
        return [row for row, v in zip(self.rows, self.verdicts, strict=True) if v == "confirmed"][:per_group]


@dataclass(frozen=True)
class Synthesis:
    """A set, worked out before anything is made, and filled by `fill`."""

    settings: SetSettings
    plan: RunSpec
    attributes: dict[str, tuple[str, ...]]
    templates: tuple[str, ...] | None
    cells: list[Cell]
    first_set_id: str | None = None
    """The id of the set before its blocks were made smaller to fit into memory."""

    @property
    def set_id(self) -> str:
        """Id (32 hex digits) of the set that the settings declare: all that decides which images are in it.

        Smaller blocks, made because of memory, do not change it: the same command has to find its set again.
        """
        if self.first_set_id is not None:
            return self.first_set_id
        declared = {
            "version": VERSION,
            "image_key": self.plan.image_key,
            "labels_key": self.plan.labels_key,
            "face_policy": self.plan.labeller.card.face_policy.model_dump(),
            "attributes": self.attributes,
            "cells": [[c.prompt.text, c.prompt.subject, c.group, c.text] for c in self.cells],
            "per_group": self.settings.per_group,
            "seed": self.settings.run.seed,
        }
        return keys.digest("synthesis-set", declared).hex()

    def rates(self) -> list[Rate]:
        """Return how often each group was confirmed, over all prompts."""
        per_group, rates = self.settings.per_group, []
        for group in groups_of(self.attributes):
            cells = [cell.verdicts for cell in self.cells if cell.group == group]
            first = [verdict for verdicts in cells for verdict in verdicts[:per_group]]
            rates.append(rate(group, list(chain.from_iterable(cells)), first))
        return rates


def make(settings: SetSettings) -> Synthesis:
    """Resolve all settings. Raises FairbenchError for whatever the user got wrong."""
    if issubclass(registry.resolve("adapters", catalog.load_model(settings.run.model).card.adapter), PromptSource):
        raise FairbenchError(
            f"--model {settings.run.model} makes no images: name a model, or give your own images with --images."
        )
    run = spec.make(dataclasses.replace(settings.run, scorers=(), images_per_prompt=1))
    attributes = attributes_of(settings.groups, run.labeller)
    templates = None if settings.templates is None else read_templates(settings.templates)
    cells = [
        Cell(number, prompt, group, with_group(prompt, group))
        for number, prompt in enumerate(neutral(run.prompts, templates))
        for group in groups_of(attributes)
    ]
    return Synthesis(settings, run, attributes, templates, cells)


def fill(synthesis: Synthesis, store: Store, progress: Progress) -> Synthesis:
    """Make and confirm images, or what is missing of them, until every cell is full.

    Returns the synthesis that was done: the one given, or one with smaller blocks where they did not fit into memory.
    Raises FairbenchError, naming prompt and group, where max_tries is not enough.
    """
    while True:
        try:
            settings, key = synthesis.settings, synthesis.plan.image_key
            limits = (settings.per_group, settings.per_group * settings.max_tries)
            while requests := [(c, r) for c in synthesis.cells for r in c.extend(*limits, key, settings.run.seed)]:
                _do_round(synthesis, requests, store, progress)
            break
        except images.BlockTooLarge:
            smaller = make(dataclasses.replace(synthesis.settings, run=with_smaller_blocks(synthesis.plan)))
            synthesis = dataclasses.replace(smaller, first_set_id=synthesis.set_id)
    _refuse_unfilled(synthesis)
    return synthesis


def _do_round(
    synthesis: Synthesis, cell_requests: Sequence[tuple[Cell, ImageRequest]], store: Store, progress: Progress
) -> None:
    """Make, label and judge the images of a round."""
    run, requests = synthesis.plan, [request for _, request in cell_requests]
    rows = drawn_and_labelled(run, requests, METHOD, store, progress)
    row_groups = [(row, cell.group) for row, (cell, _) in zip(rows, cell_requests, strict=True)]
    new_verdicts = verdicts(store, run.labeller, run.faces_key, run.labels_key, tuple(synthesis.attributes), row_groups)
    for (cell, _), row, verdict in zip(cell_requests, rows, new_verdicts, strict=True):
        cell.rows.append(row)
        cell.verdicts.append(verdict)


def _refuse_unfilled(synthesis: Synthesis) -> None:
    per_group = synthesis.settings.per_group
    short = [cell for cell in synthesis.cells if cell.verdicts.count("confirmed") < per_group]
    if not short:
        return
    cell, others = short[0], f" (and {len(short) - 1} more pairs of prompt and group fall short)" if short[1:] else ""
    raise FairbenchError(
        f"The prompt {cell.prompt.text!r} has {cell.verdicts.count('confirmed')} of {per_group} confirmed images of "
        f"the group {' '.join(cell.group)} after {len(cell.verdicts)} tries{others}: raise --max-tries (what was made "
        "is kept), or lower --per-group."
    )


def write(synthesis: Synthesis, store: Store, out: Path) -> Path:
    """Export the confirmed images, bytes as stored, with rows and manifest; return the manifest's path."""
    rows: list[Row] = []
    files: list[tuple[Path, ImageRow]] = []
    for cell in synthesis.cells:
        for image in cell.confirmed(synthesis.settings.per_group):
            name = export.image_name(cell.number, cell.prompt.subject, cell.group, image.request.sample_index)
            files.append((name, image))
            rows.append(Row(name, str(image.sha256), cell.prompt.text, cell.prompt.subject, cell.group, cell.text))
    return export.write(out, synthesis.attributes, rows, _stored(store, files), _record(synthesis))


def _stored(store: Store, files: Sequence[tuple[Path, ImageRow]]) -> Iterator[tuple[Path, bytes]]:
    """Yield each image's name and its bytes, shard by shard."""
    by_shard: dict[PurePath, dict[bytes, Path]] = {}
    for name, row in files:
        by_shard.setdefault(row.shard, {})[row.request.image_id] = name
    for shard, names in by_shard.items():
        table = store.read("images", shard, ["image_id", "image"])
        if table is None:
            raise StoreError(f"{shard} was damaged while it was in use: run the same command again to fix it.")
        for image_id, image in zip(table["image_id"].to_pylist(), table["image"], strict=True):
            if image_id in names:
                yield names[image_id], image["bytes"].as_py()


def _record(synthesis: Synthesis) -> Mapping[str, Any]:
    """Return the provenance: where the images come from and how often they were confirmed."""
    run, settings = synthesis.plan, synthesis.settings
    return {
        "set": synthesis.set_id,
        "made_by": "fairbench synthesize",
        "fairbench": fairbench.__version__,
        "model": {
            "name": run.card.name,
            "adapter": run.card.adapter,
            "weights": None if run.card.weights is None else run.card.weights.model_dump(),
            "dtype": run.ctx.dtype,
            "block_size": run.ctx.block_size if run.fixed_block else None,
        },
        "labeller": {"name": run.labeller.card.name, "id": run.labeller.id},
        "keys": {"images": run.image_key, "faces": run.faces_key, "labels": run.labels_key},
        "task": {"name": run.task, "version": run.task_version},
        "templates": synthesis.templates,
        "per_group": settings.per_group,
        "seed": settings.run.seed,
        "seeds": SEEDS,
        "confirmation": [r.record() for r in synthesis.rates()],
        "environment": provenance.environment(run.ctx.device),
    }
