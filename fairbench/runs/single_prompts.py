"""Statements on the single prompts of a finished run: which are the worst, and which are shown to lean at all."""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Final

import numpy as np

from fairbench import registry
from fairbench.errors import FairbenchError
from fairbench.labelling.labeller import LabelSpace
from fairbench.measure.counts import Counts, attributes, count, cross_name, primary
from fairbench.runs import evidence, prompt_names
from fairbench.runs.evidence import FinishedRun
from fairbench.stats import single_prompts as stats
from fairbench.stats.intervals import Interval
from fairbench.stats.single_prompts import SinglePrompts
from fairbench.storage.reading import ImageRow
from fairbench.storage.store import Store
from fairbench.types import FloatArray

WORST: Final = 5
"""Prompts that are called the worst."""
LEVEL: Final = 0.05
"""The expected share of false statements among the prompts that are said to lean."""


@dataclass(frozen=True, slots=True, eq=False)
class AttributeOfPrompts:
    """One attribute or cross of every prompt. rows: a dict per prompt, the worst first; see `Run.worst_prompts`.

    names: text of a prompt -> its short name.
    """

    attribute: str
    rows: list[dict[str, Any]]
    names: dict[str, str]
    values: SinglePrompts

    @property
    def leaning(self) -> int:
        """How many prompts are shown to lean, at most 5 % of them falsely on average."""
        return int((self.values.q <= LEVEL).sum())

    @property
    def tested(self) -> int:
        """How many prompts have a face, so that they could be tested."""
        return int((~np.isnan(self.values.q)).sum())

    def worst(self, number: int = WORST) -> Interval:
        """Return the mean of the worst prompts, valued on images that had no part in choosing them."""
        return self.values.worst(number)


def of_run(run: FinishedRun, attribute: str | None = None) -> list[AttributeOfPrompts]:
    """Return the statements on every prompt of a run, for one attribute or cross; None: for the primary ones.

    Raises FairbenchError for what was not measured.
    """
    space = run.counts.labeller
    parts_of = {cross_name(names): names for names in attributes(space)}
    if attribute is not None and attribute not in parts_of:
        hint = registry.suggest(attribute, list(parts_of))
        raise FairbenchError(f"Run {run.folder} has no attribute {attribute!r}{hint}.")
    halves = _halves(run)
    chosen = primary(space) if attribute is None else [parts_of[attribute]]
    return [_of_attribute(run, halves, names) for names in chosen]


def _of_attribute(run: FinishedRun, halves: tuple[Counts, Counts], names: tuple[str, ...]) -> AttributeOfPrompts:
    choosing, judging = (half.data(names) for half in halves)
    values = stats.single_prompts(run.counts.data(names), (choosing, judging), _fair(run, names))
    if run.record.quota:  # its images are no independent draws: no test and no interval holds
        unknown = np.full(values.q.shape, np.nan)
        values = replace(values, low=unknown, high=unknown, q=unknown)
    counts, classes = run.counts.of(names), run.counts.labeller.classes(names)
    attribute = cross_name(names)
    rows = [
        {
            "prompt": run.prompts[i].text,
            "subject": run.prompts[i].subject,
            "attribute": attribute,
            "n_faces": int(counts[i].sum()),
            "leads": classes[int(counts[i].argmax())] if counts[i].any() else "",
            "raw": float(values.raw[i]),
            "shrunk": float(values.shrunk[i]),
            "ci_low": float(values.low[i]),
            "ci_high": float(values.high[i]),
            "q": float(values.q[i]),
            "chosen": float(values.chosen[i]),
            "judged": float(values.judged[i]),
        }
        for i in values.order.tolist()
    ]
    names_of = dict(zip((p.text for p in run.prompts), prompt_names.of_prompts(run.prompts), strict=True))
    return AttributeOfPrompts(attribute, rows, names_of, values)


def _fair(run: FinishedRun, names: Sequence[str]) -> FloatArray | None:
    """Return the class shares as which this labeller reads a fair model; None: its errors are unknown."""
    table = run.correction.table(names)
    if table is None:
        return None
    shares = table.mean(axis=0)
    return np.asarray(shares / shares.sum())


def _halves(run: FinishedRun) -> tuple[Counts, Counts]:
    """Return the counts of one half of each prompt's images and of the other, split by the hashes of the images' ids.

    By hash, so that neither the order of the images nor whoever looks decides which of them choose.
    """
    rows_of: dict[bytes, list[ImageRow]] = defaultdict(list)
    for row in run.rows:
        rows_of[row.request.neutral_id].append(row)
    halves: tuple[list[ImageRow], list[ImageRow]] = [], []
    for rows in rows_of.values():
        ordered = sorted(rows, key=lambda row: hashlib.sha256(b"choose" + row.request.image_id).digest())
        for half, part in zip(halves, (ordered[::2], ordered[1::2]), strict=True):
            half.extend(part)
    store = Store(run.folder / evidence.FOLDER, look_only=True)
    keys, space = run.record.keys, LabelSpace(run.record.labeller)
    neutral_ids = [p.neutral_id for p in run.prompts]
    choosing, judging = (count(store, space, keys.faces, keys.labels, half, neutral_ids) for half in halves)
    return choosing, judging
