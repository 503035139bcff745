"""Whether pictures of one perceived group score otherwise than those of the others: contrasts within prompts."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

import numpy as np
import pyarrow as pa

from fairbench.errors import FairbenchError
from fairbench.labelling.labeller import NOT_LABELLED, Reading
from fairbench.measure import gather
from fairbench.measure.counts import telling
from fairbench.runs import evidence
from fairbench.runs.evidence import FinishedRun
from fairbench.stats.estimands import IntArray
from fairbench.stats.kid import KernelDistance
from fairbench.stats.multiplicity import holm
from fairbench.stats.within_prompts import Contrast, beyond, contrast
from fairbench.storage import jsonfile, schemas
from fairbench.storage.store import Store

FILE: Final = "quality.json"
"""In a run's evidence: what its embeddings say of groups, and what the scorers make of a reference."""


@dataclass(frozen=True, slots=True)
class GroupQuality:
    """How far the images of one class score from the others of their prompt, by one scorer.

    p: two-sided, of no difference, adjusted over all classes of all attributes by this scorer and measure (Holm); NaN
    without one. measure: "score", or of embeddings "distance" and "vendi" (stats/variety.py). value, others: of the
    class and of the other classes, where the measure has them. size: images per class and prompt of a Vendi score.
    reference: the same contrast of a reference's pictures. net: this one beyond it; net_p: adjusted.
    """

    scorer: str
    attribute: str
    label: str
    contrast: Contrast
    p: float
    measure: str = "score"
    value: float = math.nan
    others: float = math.nan
    size: int | None = None
    reference: Contrast | None = None
    net: Contrast | None = None
    net_p: float = math.nan

    @property
    def key(self) -> tuple[str, str, str, str]:
        """What tells it from the others of a run."""
        return self.scorer, self.measure, self.attribute, self.label


def of_run(run: FinishedRun) -> list[GroupQuality]:
    """Return the contrasts of every scorer, measure, attribute and class, in this order; of two classes, of the first.

    An image belongs to a class where all of its counted faces do. One with faces of the class and others, or with a
    face without a label, is left out, and so is one without a face.
    """
    stored = read(run.folder)
    found = [
        GroupQuality(scorer, attribute, label, each, math.nan)
        for scorer, table in run.scores.items()
        for attribute, label, each in _of_scorer(run, table)
    ]
    shown = {
        (attribute, label)
        for attribute, labels in run.counts.labeller.declared.labels.items()
        for label in telling(labels)
    }
    found += [row for row in map(_row, stored["variety"]) if (row.attribute, row.label) in shown]
    gap_of = {gap.key: gap.contrast for gap in map(_row, stored["gaps"])}
    found = [
        each
        if each.key not in gap_of
        else replace(each, reference=(gap := gap_of[each.key]), net=beyond(each.contrast, gap))
        for each in found
    ]
    return [each for group in _families(found) for each in _adjusted(group)]


def _families(found: Sequence[GroupQuality]) -> Iterable[list[GroupQuality]]:
    """Return the contrasts of each scorer and measure, of whatever attribute, together."""
    families: dict[tuple[str, str], list[GroupQuality]] = {}
    for each in found:
        families.setdefault((each.scorer, each.measure), []).append(each)
    return families.values()


def _adjusted(family: Sequence[GroupQuality]) -> Iterator[GroupQuality]:
    p = holm([each.contrast.p for each in family])
    net = holm([math.nan if each.net is None else each.net.p for each in family])
    for each, own, beyond_reference in zip(family, p, net, strict=True):
        yield replace(each, p=float(own), net_p=float(beyond_reference))


def read(folder: Path) -> dict[str, Any]:
    """Return what a run's evidence holds of its embeddings and its reference; empty lists where there is none.

    Raises FairbenchError where the file is damaged.
    """
    path = folder / evidence.FOLDER / FILE
    empty: dict[str, Any] = {"variety": [], "kid": [], "gaps": [], "reference": None}
    if not path.is_file():
        return empty
    content = jsonfile.read(path, unreadable="do the run again", broken="do the run again")
    if not isinstance(content, dict) or not all(
        isinstance(content.get(name), list) for name in ("variety", "kid", "gaps")
    ):
        raise FairbenchError(f"{path} is not as a run writes it: do the run again.")
    return {**empty, **content}


def _row(row: Mapping[str, Any]) -> GroupQuality:
    """Return a stored contrast; what is null there is NaN. Its p values are adjusted where it is shown."""
    try:
        contrast = Contrast(*_numbers(row["contrast"], Contrast.__slots__))
        scorer, attribute, label, measure = (str(row[name]) for name in ("scorer", "attribute", "label", "measure"))
        value, others = (math.nan if row[name] is None else float(row[name]) for name in ("value", "others"))
        return GroupQuality(scorer, attribute, label, contrast, math.nan, measure, value, others, row["size"])
    except (KeyError, TypeError, ValueError, AttributeError) as err:
        raise _damaged(err) from err


def _of_scorer(run: FinishedRun, table: pa.Table) -> Iterator[tuple[str, str, Contrast]]:
    """Yield attribute, class and contrast. table: see `FinishedRun.scores`."""
    ids = table["image_id"].combine_chunks().cast(schemas.ID)
    value = np.asarray(table["value"].to_numpy(), dtype=np.float64)
    prompt = np.unique(np.asarray(table["neutral_id"].to_pylist(), dtype=object), return_inverse=True)[1]
    space, keys = run.counts.labeller, run.record.keys
    store = Store(run.folder / evidence.FOLDER, look_only=True)
    reading, _ = gather.read(store, space, keys.faces, keys.labels, ids)
    for attribute, labels in space.declared.labels.items():
        for code, label in enumerate(telling(labels)):
            yield attribute, label, contrast(prompt, value, _in_class(reading, attribute, code, len(ids)))


def _in_class(reading: Reading, attribute: str, code: int, images: int) -> IntArray:
    """Return for each image (N,) 1 for the class, 0 for the others, -1 where it is neither."""
    codes = reading.codes[attribute]
    faces, own, unknown = (
        np.bincount(reading.image[chosen], minlength=images)
        for chosen in (np.ones(len(codes), dtype=bool), codes == code, codes == NOT_LABELLED)
    )
    one_kind = (faces > 0) & (unknown == 0) & ((own == 0) | (own == faces))
    return np.where(one_kind, (own > 0).astype(np.int64), -1)


def _numbers(row: Mapping[str, Any], names: Iterable[str]) -> list[Any]:
    """Return the fields of these names; what is null is NaN."""
    return [math.nan if row[name] is None else row[name] for name in names]


def _damaged(err: Exception) -> FairbenchError:
    return FairbenchError(f"{FILE} of the evidence is not as a run writes it ({err}): do the run again.")


def columns(each: GroupQuality) -> dict[str, Any]:
    """Return a contrast as a row of a table; what is not known is NaN, but for n0 and counts."""
    unknown = Contrast(math.nan, math.nan, math.nan, math.nan, 0, 0, 0)
    row: dict[str, Any] = {
        "scorer": each.scorer,
        "measure": each.measure,
        "attribute": each.attribute,
        "class": each.label,
        "value": each.value,
        "others": each.others,
        "n0": each.size,
    }
    for name, found in (("", each.contrast), ("reference_", each.reference or unknown), ("net_", each.net or unknown)):
        low, high = found.interval()
        head = "net" if name == "net_" else f"{name}difference"
        row |= {head: found.estimate, f"{name}ci_low": low, f"{name}ci_high": high}
        row |= {} if name == "reference_" else {f"{name}p": each.p if not name else each.net_p}
    counted = each.contrast
    return row | {"n_prompts": counted.prompts, "n_class": counted.of_class, "n_others": counted.of_others}


def kernel_distances(folder: Path) -> list[dict[str, Any]]:
    """Return the distances from the reference as rows of a table. Raises FairbenchError where the file is damaged."""
    rows = []
    for row in read(folder)["kid"]:
        try:
            found = KernelDistance(*_numbers(row, KernelDistance.__slots__))
            names = {name: str(row[name]) for name in ("scorer", "attribute")}
        except (KeyError, TypeError) as err:
            raise _damaged(err) from err
        low, high = found.interval()
        limits = {"kid": found.estimate, "ci_low": low, "ci_high": high}
        counts = {"kept": found.kept, "n_images": found.images, "n_reference": found.references}
        rows.append({**names, **limits, **counts})
    return rows
