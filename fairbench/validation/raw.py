"""A labeller without errors: bias of rd, rd@n0 and concentration, and coverage of the intervals of the last two."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final, get_args

import numpy as np

from fairbench.metrics._rd import relative_diversity
from fairbench.stats.estimands import Floats, IntArray, concentration_of_shares, rd_at
from fairbench.stats.intervals import Scope, concentration_interval
from fairbench.stats.rarefaction import rd_at_interval
from fairbench.validation import worlds
from fairbench.validation.cells import Cell, Measure, Study, average, grid, rmse, share

PROMPTS: Final = 20
PROMPTS_OF_SLOW_CELLS: Final = 10
"""Prompts of cells whose intervals take long."""
_RESAMPLES: Final = 100
"""Redraws behind the error of rd@n0, for 1,000 in a run: with prompts averaged that is enough."""


def interval_measures(
    intervals: Sequence[Any], truth: float, scope: Scope, settings: Mapping[str, Any]
) -> list[Measure]:
    """Return coverage (with the bar for these settings) and mean width of intervals, which have `low` and `high`."""
    low, high = (np.array([getattr(i, side) for i in intervals]) for side in ("low", "high"))
    # A one-sided truth is met exactly, up to rounding, by an interval of no width.
    inside = (low <= truth + 1e-9) & (truth - 1e-9 <= high)
    least, most = bars(settings)
    if scope == "other prompts":  # Gaffke's interval asks for nothing but bounds: it may be wide
        most = None
    name = {"this list": "list", "other prompts": "other"}[scope]
    return [share(f"cover {name}", inside, least, most), average(f"width {name}", high - low)]


def bars(settings: Mapping[str, Any]) -> tuple[float | None, float | None]:
    """Return the least and the most that a coverage of nominally .95 may be."""
    if settings["truth"] not in worlds.INTERIOR:
        return 0.93, None
    return (0.93, 0.97) if settings["n"] >= 50 else (None, None)


def _counts(
    settings: Mapping[str, Any], scope: Scope, prompts: int, times: int, rng: np.random.Generator
) -> tuple[IntArray, Floats]:
    """Return counts (R, P, K), and the shares (P, K) or (R, P, K) behind them."""
    size = (prompts,) if scope == "this list" else (times, prompts)
    shares = worlds.draw(settings["truth"], settings["K"], size, rng)
    return rng.multinomial(settings["n"], shares, size=(times, prompts)), shares


def run_concentration(cell: Cell) -> list[Measure]:
    """Simulate concentration in both scopes; bias and RMSE are those for "this list"."""
    settings, rng = cell.settings, cell.rng()
    measures: list[Measure] = []
    for scope in get_args(Scope):
        counts, shares = _counts(settings, scope, PROMPTS, cell.replicates, rng)
        intervals = [concentration_interval(c, scope) for c in counts]
        if scope == "this list":
            truth = float(concentration_of_shares(shares).mean())
            errors = np.array([i.estimate for i in intervals]) - truth
            measures += [average("bias", errors), rmse("rmse", errors)]
        else:
            truth = worlds.population_concentration(settings["truth"], settings["K"])
        measures += interval_measures(intervals, truth, scope, settings)
    return measures


def run_rd(cell: Cell) -> list[Measure]:
    """Simulate rd and rd@n0; the first against the RD of the true shares, the second against its own estimand."""
    settings, rng = cell.settings, cell.rng()
    n, n0 = settings["n"], settings["n0"]
    prompts = PROMPTS if settings["K"] == 2 or n <= 50 else PROMPTS_OF_SLOW_CELLS
    measures: list[Measure] = []
    for scope in get_args(Scope):
        counts, shares = _counts(settings, scope, prompts, cell.replicates, rng)
        if scope == "this list":
            truth = worlds.expected_rd(shares, n0, rng)
            rd_errors = relative_diversity(counts / n).mean(axis=1) - float(relative_diversity(shares).mean())
            errors = rd_at(counts, n0).mean(axis=1) - truth
            measures += [average("bias rd", rd_errors), rmse("rmse rd", rd_errors)]
            measures += [average("bias", errors), rmse("rmse", errors)]
        else:
            truth = worlds.population_rd(settings["truth"], settings["K"], n0, rng)
        # For "other prompts" the resamples only bound the error from below: a few are enough.
        times = _RESAMPLES if scope == "this list" else _RESAMPLES // 4
        intervals = [rd_at_interval(c, n0, scope, rng, times=times) for c in counts]
        measures += interval_measures(intervals, truth, scope, settings)
    return measures


def _concentration_cells(quick: bool) -> list[Cell]:
    times, sizes = (300, (10, 50, 160)) if quick else (2000, (10, 20, 50, 160, 1000))
    return grid("concentration", times, K=worlds.CLASSES, n=sizes, truth=worlds.TRUTHS)


def _rd_cells(quick: bool) -> list[Cell]:
    if quick:
        return grid("rd", 60, K=(2, 4), n=[50], n0=[40], truth=worlds.TRUTHS)
    return [  # each interval holds a bootstrap
        *grid("rd", 400, K=(2, 4, 8), n=[20], n0=[16], truth=("fair", "mix")),
        *grid("rd", 400, K=worlds.CLASSES, n=[50], n0=[40], truth=worlds.TRUTHS),
        *grid("rd", 400, K=(2, 4, 8), n=[160], n0=[128], truth=worlds.TRUTHS),
        *grid("rd", 400, K=(2, 4), n=[160], n0=[160], truth=("fair", "mix")),
        *grid("rd", 400, K=[2], n=[1000], n0=[160], truth=["mix"]),
    ]


CONCENTRATION = Study(
    name="concentration",
    title="concentration, labels without errors",
    about=(
        f"{PROMPTS} prompts of n faces each. `bias` and `rmse` are those of the task mean. `list`: the prompts are"
        " given and only their images are drawn; `other`: the prompts, too, are drawn anew, and the truth is their "
        "population's."
    ),
    cells=_concentration_cells,
    run=run_concentration,
)
RD = Study(
    name="rd",
    title="rd and rd@n0, labels without errors",
    about=(
        "`bias rd`: the RD of the counted shares against that of the true ones: the chance floor. `bias`: rd@n0 "
        f"against the expected RD of n0 faces, which it estimates. {PROMPTS} prompts; {PROMPTS_OF_SLOW_CELLS} where"
        " n > 50 and K > 2."
    ),
    cells=_rd_cells,
    run=run_rd,
)
STUDIES = (CONCENTRATION, RD)
