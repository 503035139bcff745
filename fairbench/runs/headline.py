"""What a run's short form says of each attribute, from its metrics table: rows may be absent."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Final, Literal, NamedTuple

from scipy.stats import norm

from fairbench.measure.quantities import OTHER_PROMPTS, THIS_LIST
from fairbench.runs.people import CONCENTRATION, PEOPLE, POOLED, UNDECIDED
from fairbench.runs.terminal_tables import Measured, Row
from fairbench.stats import estimands, gaffke

Source = Literal["read", "people"]
_POINTS: Final = 100


class Limits(NamedTuple):
    """A value with its 95 % interval; None where there is none."""

    value: float | None
    low: float | None
    high: float | None

    @property
    def numbers(self) -> list[float]:
        """Those of the three that are known."""
        return [x for x in self if x is not None]


NOTHING: Final = Limits(None, None, None)


class Lean(NamedTuple):
    """How far the share of a class lies from the mean share of the others, in points (-100 to 100)."""

    label: str
    points: Limits
    shown: bool
    """Whether it differs from 0, by a test at 5 % over all classes of its attribute (Bonferroni)."""


@dataclass(frozen=True, slots=True)
class Headline:
    """One attribute or cross of K = `classes` classes. All concentrations are means over the prompts of this list.

    read: as the labeller reads it. fair, fair_p95, one_sided: what a fair model (on average; 95 % of the time at most)
    and a model of one class alone would read through the labeller. corrected: for the labeller's errors. lowest,
    highest: the ends of the range where the calibration is of other images than the run's. people: by labels of people
    on the run's own images. within, pooled: effective numbers of groups, of a prompt and of all faces together.
    """

    attribute: str
    classes: int
    read: Limits
    fair: float | None = None
    fair_p95: float | None = None
    one_sided: float | None = None
    corrected: Limits = NOTHING
    lowest: Limits = NOTHING
    highest: Limits = NOTHING
    people: Limits = NOTHING
    within: float | None = None
    pooled: float | None = None
    used: int = 0
    faces: int = 0
    unclear: int = 0
    through_table: bool = True
    """Whether `fair` and `one_sided` are read with a calibration's errors; else as by a labeller without errors."""
    asked: bool = False
    """Whether the labels are a model's answers, of which nothing is said until people have labelled some images."""
    left_out: str | None = None
    not_corrected: str | None = None
    adjusted_remark: str | None = None
    """What else a correction rests on, as few images."""
    undecided: float | None = None
    """Share of faces on which people cannot decide."""
    other_prompts: Limits = NOTHING
    no_other_prompts: str | None = None
    rd: float | None = None
    rd_fair: float | None = None
    leans: tuple[Lean, ...] = ()

    @property
    def main(self) -> Limits:
        """The estimate that the verdict is of: by people where there is one, else as read."""
        return self.read if self.people.value is None else self.people

    @property
    def has_range(self) -> bool:
        """Whether the labeller's errors leave a range instead of a value."""
        return self.corrected.value is None and self.lowest.value is not None

    @property
    def highest_limit(self) -> float | None:
        """The largest upper limit of all that is printed: by people alone where there is that."""
        if self.people.value is not None:
            return self.people.high
        highs = [x.high for x in (self.read, self.corrected, self.lowest, self.highest) if x.high is not None]
        return max(highs) if highs else None


def of_run(measured: Measured) -> list[Headline]:
    """Return what is said of each attribute and cross, in the labeller's order."""
    return [_of_attribute(measured, name, names) for name, names in measured.attributes.items()]


def effective_groups(concentration: float | None, classes: int) -> float | None:
    """Return K/(1 + (K - 1) c), cut to [1, K]: the number of equally frequent groups that are as concentrated.

    The Hill number of order 2 (Hill, Ecology 54, 1973); of parties, Laakso and Taagepera (1979).

    >>> [effective_groups(c, 4) for c in (0.0, 1.0, -0.1, 1 / 3)]
    [4.0, 1.0, 4.0, 2.0]
    """
    if concentration is None:
        return None
    return float(estimands.effective_groups(concentration, classes))


def _of_attribute(measured: Measured, attribute: str, names: tuple[str, ...]) -> Headline:
    classes = math.prod(measured.space.declared.size(name) for name in names)
    estimates = {
        name: measured.find("concentration", name, attribute) or {}
        for name in ("raw", "pooled", "corrected", "corrected-lowest", "corrected-highest")
    }
    raw, rd = estimates["raw"], measured.find("rd", "raw", attribute) or {}
    within, pooled = (measured.find("effective-groups", name, attribute) or {} for name in ("raw", "pooled"))
    wider = measured.find("concentration", "raw", attribute, OTHER_PROMPTS) or {}
    few = (raw.get("n_prompts") or 0) < gaffke.FEWEST  # an interval of an old run may be of fewer
    people = _by_people(measured, attribute)
    main = raw.get("value") if people.value is None else people.value
    of_pooled = effective_groups(estimates["pooled"].get("value"), classes)
    pooled_by_people = effective_groups(_by_people(measured, attribute, POOLED).value, classes)
    return Headline(
        attribute,
        classes,
        read=_limits(raw),
        fair=raw.get("floor"),
        fair_p95=raw.get("floor_p95"),
        one_sided=raw.get("ceiling"),
        corrected=_limits(estimates["corrected"]),
        lowest=_limits(estimates["corrected-lowest"]),
        highest=_limits(estimates["corrected-highest"]),
        people=people,
        within=within.get("value") if within and people.value is None else effective_groups(main, classes),
        pooled=pooled.get("value", of_pooled) if people.value is None else pooled_by_people,
        undecided=_by_people(measured, attribute, metric=UNDECIDED).value,
        used=raw.get("n_prompts") or 0,
        faces=raw.get("n_faces") or 0,
        unclear=raw.get("n_excluded") or 0,
        through_table=raw.get("calibration_sha") is not None,
        asked=measured.run.read_by == "questions",
        left_out=raw.get("reason"),
        not_corrected=estimates["corrected"].get("reason") if estimates["corrected"].get("value") is None else None,
        other_prompts=NOTHING if few else _limits(wider),
        no_other_prompts=wider.get("reason") if wider.get("ci_low") is None else None,
        adjusted_remark=_remark(estimates["corrected"]) or _remark(estimates["corrected-lowest"]),
        rd=rd.get("value"),
        rd_fair=rd.get("floor"),
        leans=tuple(_leans(measured, attribute, names)) if len(names) == 1 else (),
    )


def _by_people(measured: Measured, attribute: str, estimate: str = PEOPLE, metric: str = CONCENTRATION) -> Limits:
    row = None if measured.people is None else measured.people.find(metric, estimate, attribute)
    return NOTHING if row is None else Limits(row.value, row.ci_low, row.ci_high)


def _remark(row: Row) -> str | None:
    """Return what an estimate's reason says beside what was left out and what a range assumes, which others say."""
    parts = (row.get("reason") or "").split("; ") if row.get("value") is not None else []
    return "; ".join(part for part in parts if part and not part.startswith(("over ", "if errors "))) or None


def _limits(row: Row) -> Limits:
    return Limits(row.get("value"), row.get("ci_low"), row.get("ci_high")) if row else NOTHING


def _leans(measured: Measured, attribute: str, names: tuple[str, ...]) -> list[Lean]:
    """Return the lean of every class, of the first alone of two: by people or corrected where there is that."""
    labels = measured.space.classes(names)
    two = len(labels) == 2  # then one is minus the other
    z = float(norm.ppf(1 - 0.025 / (1 if two else len(labels))))
    leans = []
    for label in labels[:1] if two else labels:
        rows = [measured.find(f"gap[{label}]", estimate, attribute, THIS_LIST) for estimate in ("corrected", "raw")]
        asked = measured.people and measured.people.find(f"gap[{label}]", "people", attribute)
        if _by_people(measured, attribute).value is not None:  # sources are not mixed
            rows = [asked.model_dump() if asked else None]
        row = next((r for r in rows if r is not None and r["value"] is not None), None)
        if row is None:
            continue
        points = Limits(*(None if x is None else _POINTS * x for x in _limits(row)))
        error = row["error"]
        shown = row["ci_low"] is not None and error is not None and abs(row["value"]) > z * error
        if two and row["value"] < 0:
            value, low, high = (None if x is None else -x for x in points)
            label, points = labels[1], Limits(value, high, low)
        leans.append(Lean(label, points, shown))
    return leans
