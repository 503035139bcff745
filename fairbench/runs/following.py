"""Following by stated group and readings that a context makes customary, as tidy rows, beside the labeller's recall."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final

import numpy as np
from scipy.special import ndtr

from fairbench.display.labels import spaced
from fairbench.labelling import confusion
from fairbench.measure import following
from fairbench.measure.correction import Correction
from fairbench.measure.counts import cross_name
from fairbench.measure.quantities import OTHER_PROMPTS, THIS_LIST
from fairbench.measure.series import FACES
from fairbench.runs import evidence
from fairbench.runs.terminal_tables import Measured, Row
from fairbench.stats.bounds import share_interval
from fairbench.stats.multiplicity import holm

LEVEL: Final = 0.05
_CORRECTED: Final = ("corrected", "corrected-lowest", "corrected-highest")


@dataclass(frozen=True, slots=True)
class Group:
    """One row: a stated group, along or against a stereotype, or what makes a reading customary.

    read, other: the rows of the metrics table, for this list and for other subjects. adjusted: those with the
    labeller's errors undone, a value or the two ends of a range; empty: there are none. recall: right and all faces of
    the calibration; None: not calibrated. gap: as read, gap_adjusted: with errors undone; p: of no gap, adjusted.
    """

    attribute: str
    name: str
    read: Row
    other: Row | None
    adjusted: tuple[Row, ...]
    recall: tuple[int, int] | None = None
    gap: Row | None = None
    gap_adjusted: tuple[Row, ...] = ()
    p: float = math.nan
    no_face: Row | None = None
    refused: Row | None = None


def groups(measured: Measured) -> list[Group]:
    """Return following by stated group, attribute by attribute, and along and against a stereotype where there is one.

    p of a stated group: of following it as much as the others, adjusted (Holm) over the groups of single attributes, or
    over those of attributes together.
    """
    found = [_group(measured, row) for row in _rows(measured, following.FOLLOWING)]
    single = [g for g in found if g.attribute in measured.space.declared.labels]
    joint = [g for g in found if g.attribute != FACES and g not in single]
    p_of = {id(g): p for family in (single, joint) for g, p in zip(family, holm([g.p for g in family]), strict=True)}
    return [replace(g, p=float(p_of.get(id(g), g.p))) for g in found]


def customary(measured: Measured) -> list[Group]:
    """Return the share showing the customary reading by what makes it customary; empty for tasks without any."""
    return [_group(measured, row) for row in _rows(measured, following.CUSTOMARY)]


def stereotype(measured: Measured) -> Group | None:
    """Return following along minus against the stereotype, with p of no gap; None for tasks without it."""
    row = measured.find(following.STEREOTYPE, "raw", FACES)
    if row is None:
        return None
    adjusted = _adjusted(measured, following.STEREOTYPE, FACES)
    other = measured.find(following.STEREOTYPE, "raw", FACES, OTHER_PROMPTS)
    return Group(FACES, "gap", row, other, adjusted, p=_p(row, adjusted))


def _rows(measured: Measured, metric: str) -> list[Row]:
    begin = f"{metric}["
    rows = [r for r in measured.rows if r["metric"].startswith(begin) and r["scope"] == THIS_LIST]
    return [r for r in rows if r["estimate"] == "raw"]


def _group(measured: Measured, row: Row) -> Group:
    metric, attribute = row["metric"], row["attribute"]
    name = metric[metric.index("[") + 1 : -1]

    def find(of: str) -> Row | None:
        return measured.find(f"{of}[{name}]", "raw", attribute)

    gap, adjusted = _gap(measured, attribute, name)
    return Group(
        attribute,
        name,
        row,
        measured.find(metric, "raw", attribute, OTHER_PROMPTS),
        _adjusted(measured, metric, attribute),
        _recall(measured, attribute, name),
        gap,
        adjusted,
        _p(gap, adjusted),
        find(following.NO_FACE),
        find(following.REFUSED),
    )


def _gap(measured: Measured, attribute: str, name: str) -> tuple[Row | None, tuple[Row, ...]]:
    """Return how far a group is from the others. The second of two has the gap of the first, whose test is its own."""
    metric = f"{following.GAP}[{name}]"
    return measured.find(metric, "raw", attribute), _adjusted(measured, metric, attribute)


def _adjusted(measured: Measured, metric: str, attribute: str) -> tuple[Row, ...]:
    rows = (measured.find(metric, estimate, attribute) for estimate in _CORRECTED)
    return tuple(row for row in rows if row is not None and row["value"] is not None)


def _p(read: Row | None, adjusted: Sequence[Row]) -> float:
    """Return p of no gap with errors undone, where they are known; else as read.

    Where errors leave a range, the larger p of its ends; 1 where these have two signs.
    """
    either: Sequence[Row | None] = adjusted or (read,)
    rows = [r for r in either if r is not None and r["value"] is not None and r["error"]]
    if not rows:
        return math.nan
    if min(r["value"] for r in rows) < 0 < max(r["value"] for r in rows):
        return 1.0
    return max(float(2 * ndtr(-abs(r["value"]) / r["error"])) for r in rows)


def _recall(measured: Measured, attribute: str, name: str) -> tuple[int, int] | None:
    """Return how many of the calibration's faces of a group were read as it, and how many there are."""
    path = measured.run.folder / evidence.FOLDER / evidence.CALIBRATION
    names = next(_named(measured, attribute), None)
    if names is None or not path.is_file():
        return None
    classes = measured.space.classes(names)
    counts = following.recalled(Correction(confusion.read(path), measured.space), names)
    if counts is None or name not in classes:
        return None
    row = classes.index(name)
    return int(counts[row, row]), int(counts[row].sum())


def _named(measured: Measured, attribute: str) -> Iterator[tuple[str, ...]]:
    """Yield the attributes that the name of an attribute or cross stands for."""
    labels = measured.space.declared.labels
    every = itertools.chain.from_iterable(itertools.combinations(labels, n) for n in range(1, len(labels) + 1))
    yield from (names for names in every if cross_name(names) == attribute)


def table(found: Sequence[Group], gap: Group | None = None) -> list[dict[str, Any]]:
    """Return rows of plain numbers, NaN where there is none. gap: of a stereotype, a last row of its own."""
    return [_plain(g) for g in found] + ([] if gap is None else [_plain(gap)])


def _plain(g: Group) -> dict[str, Any]:
    right, of = g.recall or (0, 0)
    mixed = _number(g.read, "ceiling")  # of several groups the mean, which has no interval
    low, high = (float(limit[0]) for limit in share_interval(np.array([right, of - right])))
    return {
        "attribute": spaced(g.attribute),
        "group": g.name,
        "value": _number(g.read, "value"),
        **_interval(g.read, ""),
        **_interval(g.other, "population_"),
        "recall": right / of if of else mixed,
        "recall_ci_low": low,
        "recall_ci_high": high,
        **_ends(g.adjusted, "adjusted"),
        **_ends(g.gap_adjusted or ((g.gap,) if g.gap else ()), "gap"),
        "p": g.p,
        "no_face": _number(g.no_face, "value"),
        **_interval(g.no_face, "no_face_"),
        "refused": _number(g.refused, "value"),
        **_interval(g.refused, "refused_"),
        "n_prompts": g.read["n_prompts"],
        "n_faces": g.read["n_faces"],
        "reason": g.read["reason"],
    }


def _number(row: Row | None, name: str) -> float:
    return math.nan if row is None or row[name] is None else float(row[name])


def _interval(row: Row | None, prefix: str) -> dict[str, float]:
    return {f"{prefix}ci_low": _number(row, "ci_low"), f"{prefix}ci_high": _number(row, "ci_high")}


def _ends(rows: Sequence[Row], name: str) -> dict[str, float]:
    """Return the lowest and the highest value, which are one where nothing is a range, and the limits around both."""
    ends = {
        "lowest": min([_number(row, "value") for row in rows], default=math.nan),
        "highest": max([_number(row, "value") for row in rows], default=math.nan),
        "ci_low": min([_number(row, "ci_low") for row in rows], default=math.nan),
        "ci_high": max([_number(row, "ci_high") for row in rows], default=math.nan),
    }
    return {f"{name}_{end}": value for end, value in ends.items()}
