"""Following by stated group, beside the labeller's recall, as tables and sentences; and readings made customary."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import Final

import numpy as np

from fairbench.display.labels import spaced
from fairbench.display.numbers import number, p_value, percent, with_interval
from fairbench.display.tables import Column, Table, numbers
from fairbench.measure.series import FACES
from fairbench.runs import following
from fairbench.runs.following import Group
from fairbench.runs.terminal_tables import Measured, Row, interval
from fairbench.stats.bounds import share_interval

NOTE: Final = (
    "as read: share of faces that show what their prompt states; recall: how often the labeller reads the group right, "
    "which a model that always follows would read; adjusted: with its errors undone{domain}, not cut at 1; p: of "
    "following the group as much as the others{of}, adjusted (Holm)."
)
CUSTOMARY_NOTE: Final = (
    "Descriptions of the pictures, never of being correct: neither direction is better. By definition: a word leaves "
    "the attribute hardly open; by custom: a place and time do. even: what a model would read that draws all groups "
    "equally often; recall: what one would that shows the customary reading alone; adjusted: with the labeller's "
    "errors undone{domain}, not cut at 1."
)
NOT_CALIBRATED: Final = "not calibrated"
_MOST: Final = 4


def table(measured: Measured, *, full: bool) -> Table | None:
    """Return following by stated group; None where nothing is stated. full: also of attributes stated together."""
    groups, gap = following.groups(measured), following.stereotype(measured)
    shown = [g for g in groups if full or g.attribute in (*measured.space.declared.labels, FACES)]
    if not shown:
        return None
    note = NOTE.format(domain=_range(shown), of=_of(shown))
    heads = numbers("as read\n[95 %]", "labeller's\nrecall", "adjusted for\nerrors [95 %]", "p")
    title = "following, by what prompts state"
    result = Table([Column("attribute"), Column("stated", wraps=True), *heads], title, note, grouped=True)
    for i, g in enumerate(shown):
        first = not i or shown[i - 1].attribute != g.attribute
        if first and i:
            result.section()
        result.add(_side(g) if first else "", g.name, _read(g), _recall(g, full), _adjusted(g.adjusted), _p(g))
    if gap is not None:
        result.add("", gap.name, _signed((gap.read,)), "", _signed(gap.adjusted), _p(gap))
    return result


def _side(g: Group) -> str:
    return "stereotype" if g.attribute == FACES else spaced(g.attribute)


def _read(g: Group) -> str:
    return with_interval(g.read["value"], g.read["ci_low"], g.read["ci_high"], 2)


def _recall(g: Group, full: bool) -> str:
    if g.attribute == FACES:
        return number(g.read["ceiling"], 2) if g.read["ceiling"] is not None else ""
    if g.recall is None:
        return NOT_CALIBRATED
    right, of = g.recall
    low, high = (float(limit[0]) for limit in share_interval(np.array([right, of - right])))
    return with_interval(right / of, low, high, 2) if full else number(right / of, 2)


def _p(g: Group) -> str:
    return p_value(g.p) if math.isfinite(g.p) else ""


def _adjusted(rows: Sequence[Row]) -> str:
    """Return the adjusted value with its interval; of a range, both ends and the limits around them."""
    return _ends(rows, sign=False)


def _signed(rows: Sequence[Row]) -> str:
    return _ends(rows, sign=True)


def _ends(rows: Sequence[Row], *, sign: bool) -> str:
    if not rows or rows[0]["value"] is None:
        return ""
    values = list(dict.fromkeys(number(r["value"], 2, sign=sign) for r in (rows[0], rows[-1])))
    known = [r for r in rows if r["ci_low"] is not None]
    if not known:
        return " to ".join(values)
    low, high = min(r["ci_low"] for r in known), max(r["ci_high"] for r in known)
    return f"{' to '.join(values)} [{number(low, 2, sign=sign)}, {number(high, 2, sign=sign)}]"


def _range(groups: Sequence[Group]) -> str:
    return " (a range: the calibration is of other images)" if any(len(g.adjusted) > 1 for g in groups) else ""


def _of(groups: Sequence[Group]) -> str:
    return ", with errors undone" if any(g.gap_adjusted for g in groups) else ", as read"


def beside(measured: Measured) -> Table | None:
    """Return which images were refused, and which show no face, by stated group; None where nothing is stated."""
    groups = [g for g in following.groups(measured) if g.no_face is not None and g.refused is not None]
    if not groups:
        return None
    columns = [Column("attribute"), Column("stated", wraps=True), *numbers("refused\n[95 %]", "without a face\n[95 %]")]
    result = Table(columns, "refused and faceless, by what prompts state", grouped=True)
    for i, g in enumerate(groups):
        first = not i or groups[i - 1].attribute != g.attribute
        if first and i:
            result.section()
        result.add(_side(g) if first else "", g.name, *(_rate(row) for row in (g.refused, g.no_face)))
    return result


def _rate(row: Row | None) -> str:
    return "" if row is None else with_interval(row["value"], row["ci_low"], row["ci_high"])


def customary(measured: Measured) -> Table | None:
    """Return the share showing the customary reading, by what makes it customary; None for tasks without any."""
    found = following.customary(measured)
    if not found:
        return None
    heads = numbers("share\n[95 %]", "other\nprompts", "even", "recall", "adjusted for\nerrors [95 %]")
    columns = [Column("of"), Column("customary", wraps=True), *heads]
    note = CUSTOMARY_NOTE.format(domain=_range(found))
    result = Table(columns, "share showing the customary reading", note, grouped=True)
    for i, g in enumerate(found):
        first = not i or found[i - 1].attribute != g.attribute
        if first and i:
            result.section()
        side = "all" if g.attribute == FACES else spaced(g.attribute)
        even, recall = (number(g.read[n], 2) if g.read[n] is not None else "" for n in ("floor", "ceiling"))
        cells = (_read(g), interval(g.other), even, recall or NOT_CALIBRATED, _adjusted(g.adjusted))
        result.add(side if first else "", g.name, *cells)
    return result


def sentences(measured: Measured) -> Iterator[str]:
    """Yield which groups are followed more or less than others, and what the stereotype costs."""
    yield from differing(measured)
    singles, gap = _families(measured)["stated groups"], following.stereotype(measured)
    if gap is not None:
        what = "With errors undone" if gap.adjusted else "As read"
        yield (
            f"{what}, following along the stereotype minus against it: {_points(gap.adjusted or _one(gap.read))} "
            f"(p {p_value(gap.p)})."
        )
    rates = [g for g in singles if g.no_face and g.refused]
    if rates:
        yield f"By stated group: {_extremes(rates, 'refused')}; {_extremes(rates, 'no_face')}."


def differing(measured: Measured) -> Iterator[str]:
    """Yield which groups of one attribute, and which of several together, are followed more or less than others."""
    for which, family in _families(measured).items():
        tested = [g for g in family if math.isfinite(g.p)]
        if tested:
            yield _differing(tested, which)


def _families(measured: Measured) -> dict[str, list[Group]]:
    """Return the groups that are tested together, by what they are called."""
    groups = following.groups(measured)
    singles = [g for g in groups if g.attribute in measured.space.declared.labels]
    return {"stated groups": singles, "groups stated together": [g for g in groups if g not in singles]}


def _differing(tested: Sequence[Group], which: str) -> str:
    """Return which groups of a family of tests are shown to be followed more or less than its others."""
    found = sorted((g for g in tested if g.p <= following.LEVEL), key=lambda g: g.p)
    tests = "one test" if len(tested) == 1 else f"{len(tested)} tests"
    lead = f"Followed more or less than other {which}{_of(tested)} ({tests})"
    if not found:
        return f"{lead}: none is shown to be."
    named = (f"{g.name} {_points(g.gap_adjusted or _one(g.gap))}" for g in found[:_MOST])
    more = f" and {len(found) - _MOST} more" if len(found) > _MOST else ""
    return f"{lead}: {'; '.join(named)}{more}."


def _one(row: Row | None) -> tuple[Row, ...]:
    return () if row is None else (row,)


def _points(rows: Sequence[Row]) -> str:
    """Return a gap in points with its interval."""
    scaled = [{n: None if r[n] is None else 100 * r[n] for n in ("value", "ci_low", "ci_high")} for r in rows]
    values = list(dict.fromkeys(number(r["value"], 1, sign=True) for r in (scaled[0], scaled[-1])))
    low = min(r["ci_low"] for r in scaled if r["ci_low"] is not None)
    high = max(r["ci_high"] for r in scaled if r["ci_high"] is not None)
    return f"{' to '.join(values)} [{number(low, 1)}, {number(high, 1)}] points"


def _extremes(groups: Sequence[Group], name: str) -> str:
    """Return the lowest and the highest rate and whose they are."""
    rates = [(getattr(g, name)["value"], g.name) for g in groups if getattr(g, name)["value"] is not None]
    words = {"refused": "refused", "no_face": "without a face"}[name]
    if not rates:
        return f"{words} is not known"
    (low, of_low), (high, of_high) = min(rates), max(rates)
    if high == 0:
        return f"none {words}"
    return f"{words} from {percent(low)} ({of_low}) to {percent(high)} ({of_high})"


def stated(measured: Measured) -> str:
    """Return what to know of the main table where prompts name whom to show; empty where they do not."""
    named = {g.attribute for g in (*following.groups(measured), *following.customary(measured))}
    names = [name for name in measured.space.declared.labels if name in named]
    if not named:
        return ""
    what = f" of {' and '.join(names)}" if names else ""
    return f"Prompts name or imply whom to show: unevenness{what} within a prompt is no finding here."
