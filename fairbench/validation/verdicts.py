"""The words of a run's verdict: how often a model gets those of another."""

from __future__ import annotations

from collections import Counter
from typing import Any, Final

import numpy as np

from fairbench.runs import verdict
from fairbench.runs.headline import Headline, Limits
from fairbench.stats import correction_interval, floor
from fairbench.stats.estimands import Floats, concentration, concentration_of_shares
from fairbench.stats.intervals import Interval, concentration_interval
from fairbench.validation import worlds
from fairbench.validation.cells import Cell, Measure, Study, grid, share

_ROWS: Final = 500
"""Calibration images per class."""
_DRAWS: Final = 100
_FAIR_RUNS: Final = 1000
"""Simulated fair models behind the value that 95 % of them stay below; a run has 4,000."""
_WRONG: Final = 0.05
_TENTH: Final = 0.1
_ACCURACY: Final = {"exact": (1.0, 1.0), "errs": (0.94, 0.94), "leans": (0.98, 0.88)}
"""How well each labeller reads the first class, and all others."""


def _shares(model: str, classes: int, prompts: int, rng: np.random.Generator) -> Floats:
    """Return the true shares (P, K). slight: a tenth of a balanced model's images are replaced by one group's."""
    if model == "slight":
        return np.tile((1 - _TENTH) / classes + _TENTH * np.eye(classes)[0], (prompts, 1))
    return worlds.draw(model, classes, (prompts,), rng)


def _table(labeller: str, classes: int) -> Floats:
    """Return the confusion table (K, K + 1)."""
    first, others = _ACCURACY[labeller]
    table = worlds.table(classes, others)
    table[0] = worlds.table(classes, first)[0]
    return table


def run(cell: Cell) -> list[Measure]:
    """Simulate the findings on runs of one model."""
    settings, rng = cell.settings, cell.rng()
    k, prompts, images = settings["K"], settings["P"], settings["n"]
    shares, table = _shares(settings["model"], k, prompts, rng), _table(settings["labeller"], settings["K"])
    exact = settings["labeller"] == "exact"
    found = Counter[str]()
    limits = _reference(k, prompts, images, None, rng)
    for _ in range(cell.replicates):
        read = worlds.read(shares, table, images, rng)
        corrected = Limits(None, None, None)
        if not exact:
            counted = rng.multinomial(_ROWS, table)
            limits = _reference(k, prompts, images, counted[:, :k] / counted.sum(axis=1, keepdims=True), rng)
            of_run = correction_interval.concentration_interval(read, counted, "this list", rng, draws=_DRAWS)
            corrected = _limits(of_run)
        as_read = _limits(concentration_interval(read[:, :k], "this list"))
        fair, alone = limits
        headline = Headline("any", k, as_read, fair_p95=fair, one_sided=alone, corrected=corrected)
        found[verdict.finding(headline)] += 1
    return _measures(found, settings, float(concentration_of_shares(shares).mean()))


def _limits(interval: Interval) -> Limits:
    return Limits(interval.estimate, interval.low, interval.high)


def _reference(
    classes: int, prompts: int, images: int, table: Floats | None, rng: np.random.Generator
) -> tuple[float, float]:
    """Return below what 95 % of fair models stay, and what a model of one class alone reads."""
    faces = np.full(prompts, images)
    fair = floor.floor(concentration, faces, classes, rng, table, times=_FAIR_RUNS).p95
    return fair, floor.ceiling(concentration_of_shares, classes, table)


def _measures(found: Counter[str], settings: Any, truth: float) -> list[Measure]:
    """Return the shares of the findings, with bars on wrong ones, and on clearly uneven models not shown to be."""
    times = sum(found.values())

    def of(name: str, *findings: str, most: float | None = None) -> Measure:
        return share(name, np.arange(times) < sum(found[f] for f in findings), most=most)

    fair = settings["model"] == "fair"
    clearly = settings["model"] in ("mix", "one-sided", *["mild"] * (settings["n"] >= 160)) and settings["n"] >= 50
    return [
        of("uneven", "uneven", "slightly uneven", most=_WRONG if fair else None),
        of("balanced", "balanced", "slightly uneven", most=_WRONG if truth > verdict.BALANCED else None),
        of("not shown", "open", most=_WRONG if clearly else None),
        # The table's own error decides how often a model of one class alone reads as more than that.
        of("contradicted", "contradicted", most=None if settings["model"] == "one-sided" else _WRONG),
    ]


def _cells(quick: bool) -> list[Cell]:
    if quick:
        return grid("verdicts", 100, model=("fair", "mix"), labeller=("exact", "leans"), K=[2], P=[20], n=[50])
    models = ("fair", "slight", "mild", "mix", "one-sided")
    cells = grid("verdicts", 1000, model=models, labeller=_ACCURACY, K=[2], P=[20], n=[50])
    cells += grid("verdicts", 1000, model=("fair", "mild", "one-sided"), labeller=_ACCURACY, K=(2, 4), P=[50], n=[160])
    return cells + grid("verdicts", 1000, model=("fair", "mix"), labeller=["exact"], K=(2, 8), P=(3, 8), n=(16, 50))


VERDICTS: Final = Study(
    name="verdicts",
    title="The words of the verdict",
    about=(
        "P prompts of n images. `slight`: a tenth of a balanced model's images show one group instead, concentration "
        ".01. `labeller`: without errors; reading every class right in .94; or one in .98 and the others in .88, the "
        f"last two with their errors counted on {_ROWS} images of each class. Findings: `uneven` (*clearly uneven*, "
        "and *uneven, but within t %*), `balanced` (*within t % of balance*, either way), `not shown`, `contradicted`. "
        "In at most .05 a fair model is called uneven, one of concentration above .01 balanced, any but `one-sided` "
        "contradicted; and "
        "not shown to be uneven are `mix` and `one-sided` from 50 images on, `mild` (.09) with 50 prompts of 160."
    ),
    cells=_cells,
    run=run,
)
STUDIES: Final = (VERDICTS,)
