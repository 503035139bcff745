"""A labeller that errs: what raw values miss, what corrected concentration and RD recover, and how intervals cover."""

from __future__ import annotations

from typing import Any, Final, get_args

import numpy as np

from fairbench.metrics._rd import relative_diversity
from fairbench.stats import correction, correction_interval, transfer
from fairbench.stats.correction_concentration import corrected_concentration
from fairbench.stats.estimands import Floats, concentration, concentration_of_shares
from fairbench.stats.estimands import shares as shares_of
from fairbench.stats.intervals import Scope
from fairbench.validation import worlds
from fairbench.validation.cells import Cell, Measure, Study, average, grid, rmse, share
from fairbench.validation.raw import PROMPTS, interval_measures

_DRAWS: Final = 100
"""Tables behind the calibration's part of an error; a run draws 2,000."""
_CHECKED_REPLICATES: Final = 200
"""Replicates in which the calibration is also checked for transfer."""


def bias_measures(raw: Floats, corrected: Floats, barred: bool = True) -> list[Measure]:
    """Return the bias without and with correction; the latter is at most a quarter of the former, or 0.01."""
    most = max(abs(float(raw.mean())) / 4, 0.01) if barred else None
    return [average("bias raw", raw), average("bias", corrected, None if most is None else -most, most)]


def run_concentration(cell: Cell) -> list[Measure]:
    """Simulate corrected concentration in both scopes; bias, RMSE and refusals are those for "this list"."""
    settings, rng = cell.settings, cell.rng()
    k, world = settings["K"], settings["truth"]
    table = worlds.table(k, settings["accuracy"])
    measures: list[Measure] = []
    for scope in get_args(Scope):
        fixed = scope == "this list"
        shares = worlds.draw(world, k, (PROMPTS,) if fixed else (cell.replicates, PROMPTS), rng)
        truth = float(concentration_of_shares(shares).mean()) if fixed else worlds.population_concentration(world, k)
        shares_of_runs = np.broadcast_to(shares, (cell.replicates, PROMPTS, k))
        observed = worlds.read(shares_of_runs, table, settings["n"], rng)
        calibrations = rng.multinomial(settings["calibration"], table, size=(cell.replicates, k))
        intervals = [
            correction_interval.concentration_interval(o, c, scope, rng, draws=_DRAWS)
            for o, c in zip(observed, calibrations, strict=True)
        ]
        if fixed:
            raw_errors = concentration(observed[..., :k]).mean(axis=1) - truth
            errors = np.array([i.estimate for i in intervals]) - truth
            measures += bias_measures(raw_errors, errors)
            measures += [rmse("rmse raw", raw_errors), rmse("rmse", errors)]
            pairs = list(zip(observed, calibrations, strict=True))[:_CHECKED_REPLICATES]
            refused = [transfer.check(o, c, [range(k)], rng)[0].reason is not None for o, c in pairs]
        measures += interval_measures(intervals, truth, scope, settings)
    return [*measures, share("refused", refused, most=0.01)]


def run_rd(cell: Cell) -> list[Measure]:
    """Simulate three estimates of RD for two classes: likely shares, linear inverse, and the root of concentration."""
    settings, rng = cell.settings, cell.rng()
    rd = settings["RD"]
    table = worlds.table(2, settings["accuracy"])
    # Every prompt has this RD; in every other one the first class leads.
    first = 0.5 + 0.5 * rd * np.where(np.arange(PROMPTS) % 2, 1, -1)
    shares = np.broadcast_to(np.stack([first, 1 - first], axis=1), (cell.replicates, PROMPTS, 2))
    observed = worlds.read(shares, table, settings["n"], rng)
    calibration = rng.multinomial(settings["calibration"], table, size=(cell.replicates, 2))

    def errors(values: Any) -> Any:
        return np.asarray(values).mean(axis=1) - rd

    raw = errors(relative_diversity(shares_of(observed[..., :2])))
    likely = errors(relative_diversity(correction.likely_shares(observed, calibration)))
    linear = errors(np.abs(correction.corrected_shares(observed, calibration)[..., 0] * 2 - 1))
    root = errors(np.sqrt(np.maximum(corrected_concentration(observed, calibration), 0)))
    return [
        *bias_measures(raw, likely, barred=rd <= 0.9),
        rmse("rmse", likely),
        average("bias linear", linear),
        average("bias root concentration", root),
    ]


def _concentration_cells(quick: bool) -> list[Cell]:
    def cell(k: int, accuracy: float, truth: str, n: int, rows: int) -> Cell:
        settings = {"K": k, "accuracy": accuracy, "truth": truth, "n": n, "calibration": rows}
        return Cell("corrected concentration", settings, 80 if quick else 1000)

    classes = (2, 8) if quick else worlds.CLASSES
    cells = [cell(k, 0.85, truth, 160, 500) for k in classes for truth in worlds.TRUTHS]
    if quick:
        return cells
    others = [(0.75, 500), (0.85, 5000), (0.94, 500), (1.0, 500)]
    some = (2, 4, 8)
    cells += [cell(k, accuracy, "mix", 160, rows) for k in some for accuracy, rows in others]
    return cells + [cell(k, 0.85, t, n, 500) for k in some for n in (50, 1000) for t in ("fair", "mix")]


def _rd_cells(quick: bool) -> list[Cell]:
    levels = (0.2, 0.4, 0.6, 0.9)
    if quick:
        return grid("corrected rd", 200, RD=levels, accuracy=[0.85], n=[160], calibration=[500])
    return grid("corrected rd", 2000, RD=levels, accuracy=(0.85, 0.94, 1.0), n=(160, 1000), calibration=(500, 5000))


CONCENTRATION = Study(
    name="corrected concentration",
    title="concentration with the labeller's errors undone",
    about=(
        f"{PROMPTS} prompts of n images, read with the stated accuracy (errors towards all other classes alike); "
        "`calibration`: images per row of the confusion table, which is drawn anew in every replicate. `bias` must"
        " be at most a quarter of `bias raw`, or 0.01. `refused`: valid calibrations that the transfer check turns"
        " down."
    ),
    cells=_concentration_cells,
    run=run_concentration,
)
RD = Study(
    name="corrected rd",
    title="RD with the labeller's errors undone, two classes",
    about=(
        "All prompts have this RD, half of them towards either class. `bias`: RD of the most likely shares, the "
        "value that a run shows. `bias linear`: the size of the gap of the linear inverse. `bias root "
        "concentration`: the root of corrected concentration."
    ),
    cells=_rd_cells,
    run=run_rd,
)
STUDIES = (CONCENTRATION, RD)
