"""What a study is made of: cells of known settings, and measures with Monte Carlo errors and bars."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from typing import Any, Final

import numpy as np
from numpy.typing import ArrayLike
from scipy.special import ndtr
from scipy.stats import binomtest

from fairbench import keys
from fairbench.storage.renamed import current, of_0_1_0

VERSION: Final = 2
"""Of the simulations: stored results of another version are not used."""
SLACK: Final = 2.0
"""Every bar is granted this many Monte Carlo standard errors; a share, the exact interval of the same level, 95.4 %."""


@dataclass(frozen=True, slots=True)
class Cell:
    """One combination of settings, simulated `replicates` times. Its random numbers depend on nothing else."""

    study: str
    settings: Mapping[str, Any]
    replicates: int

    @property
    def key(self) -> str:
        """Name of the cell's stored result."""
        return keys.digest("cell", [VERSION, of_0_1_0(self.study), dict(self.settings), self.replicates]).hex()

    def rng(self) -> np.random.Generator:
        """Return the cell's own random numbers."""
        return np.random.default_rng(np.random.SeedSequence(int(self.key, 16)))


@dataclass(frozen=True, slots=True)
class Measure:
    """A simulated figure, its Monte Carlo standard error, and its limits; None is no limit.

    of: how many replicates a share is of; 0 for a figure that is no share.
    """

    name: str
    value: float
    error: float
    least: float | None = None
    most: float | None = None
    of: int = 0

    @property
    def barred(self) -> bool:
        """Whether it has a limit."""
        return self.least is not None or self.most is not None

    @property
    def holds(self) -> bool:
        """Whether the value lies within its limits, give or take its Monte Carlo error; NaN does not."""
        low, high = self._limits()
        return bool((self.least is None or high >= self.least) and (self.most is None or low <= self.most))

    def _limits(self) -> tuple[float, float]:
        """Return the range that the figure may have at infinitely many replicates.

        For a share Clopper and Pearson's interval (1934): the normal one is too short where all replicates agree.
        """
        if not self.of:
            return self.value - SLACK * self.error, self.value + SLACK * self.error
        hits = round(self.value * self.of)
        interval = binomtest(hits, self.of).proportion_ci(2 * float(ndtr(SLACK)) - 1, method="exact")
        return float(interval.low), float(interval.high)

    @property
    def demand(self) -> str:
        """The limits in words."""
        low, high = (f"{x:.3g}" if x is not None else "" for x in (self.least, self.most))
        if low and high:
            return f"{low} to {high}"
        return f"at least {low}" if low else f"at most {high}" if high else ""


@dataclass(frozen=True, slots=True)
class Result:
    """The measures of a finished cell, and how long it took."""

    cell: Cell
    measures: Sequence[Measure]
    seconds: float

    def record(self) -> dict[str, Any]:
        """Return plain data, as it is stored."""
        measures = [{**asdict(m), "holds": m.holds} for m in self.measures]
        return {"key": self.cell.key, **asdict(self.cell), "seconds": self.seconds, "measures": measures}

    @staticmethod
    def of_record(record: Mapping[str, Any]) -> Result:
        """Return what `record` stored. Raises KeyError where an earlier fairbench stored less."""
        names = [f.name for f in fields(Measure)]
        stored = ({name: m[name] for name in names} for m in record["measures"])
        measures = [Measure(**{**m, "name": current(m["name"])}) for m in stored]
        return Result(
            Cell(current(record["study"]), record["settings"], record["replicates"]), measures, record["seconds"]
        )


@dataclass(frozen=True, slots=True)
class Study:
    """A question: its cells at either size, how one is simulated, and the text above its table."""

    name: str
    title: str
    about: str
    cells: Callable[[bool], list[Cell]]
    """quick -> the cells."""
    run: Callable[[Cell], list[Measure]]


def grid(study: str, replicates: int, **settings: Iterable[Any]) -> list[Cell]:
    """Return a cell for every combination of settings, those of the last one next to each other."""
    combinations = itertools.product(*settings.values())
    return [Cell(study, dict(zip(settings, values, strict=True)), replicates) for values in combinations]


def average(name: str, values: ArrayLike, least: float | None = None, most: float | None = None) -> Measure:
    """Return the mean of replicates as a measure."""
    v = np.asarray(values, dtype=np.float64)
    error = float(v.std(ddof=1) / math.sqrt(v.size)) if v.size > 1 else math.nan
    return Measure(name, float(v.mean()), error, least, most)


def share(name: str, hits: ArrayLike, least: float | None = None, most: float | None = None) -> Measure:
    """Return the share of replicates that are true. Its error is that of (hits + 1) / (n + 2): never 0."""
    h = np.asarray(hits, dtype=bool)
    smooth = (h.sum() + 1) / (h.size + 2)
    return Measure(name, float(h.mean()), math.sqrt(smooth * (1 - smooth) / h.size), least, most, h.size)


def rmse(name: str, off: ArrayLike) -> Measure:
    """Return the root of the mean squared error; its own error by the delta method."""
    squares = np.asarray(off, dtype=np.float64) ** 2
    root = float(np.sqrt(squares.mean()))
    error = float(squares.std(ddof=1) / math.sqrt(squares.size) / (2 * root)) if root > 0 else 0.0
    return Measure(name, root, error)
