"""Calibrations that real use has: of few images, and of images that the labeller reads otherwise than the run's."""

from __future__ import annotations

from typing import Any, Final

import numpy as np

from fairbench.stats import conditioning, correction_interval, transfer
from fairbench.stats.estimands import Floats, concentration_of_shares
from fairbench.stats.power import symmetric_confusion
from fairbench.validation import worlds
from fairbench.validation.cells import Cell, Measure, Study, average, share
from fairbench.validation.raw import PROMPTS

_IMAGES: Final = 160
_DRAWS: Final = 200
_GENDERS, _RACES = 2, 4
_RACE_ACCURACY: Final = 0.85
_MARGINS: Final = (
    np.repeat(np.arange(_GENDERS), _RACES).tolist(),
    np.tile(np.arange(_RACES), _GENDERS).tolist(),
    list(range(_GENDERS * _RACES)),
)
"""The class of each cell of gender x race, for gender, race and their cross."""


def run_sparse(cell: Cell) -> list[Measure]:
    """Simulate corrected concentration with a calibration of few images per row."""
    settings, rng = cell.settings, cell.rng()
    k, rows = settings["K"], settings["rows"]
    table = worlds.table(k, settings["accuracy"])
    shares = worlds.draw(settings["truth"], k, (PROMPTS,), rng)
    truth = float(concentration_of_shares(shares).mean())
    observed = worlds.read(np.broadcast_to(shares, (cell.replicates, PROMPTS, k)), table, _IMAGES, rng)
    calibrations = rng.multinomial(rows, table, size=(cell.replicates, k))
    used = [conditioning.check(c).reason is None for c in calibrations]
    intervals = [
        correction_interval.concentration_interval(o, c, "this list", rng, draws=_DRAWS)
        for o, c, usable in zip(observed, calibrations, used, strict=True)
        if usable
    ]
    figures = [share("used", used)]
    if intervals:
        low, high = (np.array([getattr(i, side) for i in intervals]) for side in ("low", "high"))
        least = 0.93 if rows >= conditioning.FEW_IMAGES else 0.92
        figures.append(share("cover", (low <= truth + 1e-9) & (truth - 1e-9 <= high), least))
        figures.append(average("width", high - low))
    return figures


def _joint(gender: float) -> Floats:
    """Return the table (8, 9) of gender x race of a labeller that reads gender this well."""
    cells = np.kron(symmetric_confusion(gender, _GENDERS), symmetric_confusion(_RACE_ACCURACY, _RACES))
    return np.asarray(np.c_[cells, np.zeros(len(cells))], dtype=np.float64)


def run_transfer(cell: Cell) -> list[Measure]:
    """Simulate whether any attribute is refused where gender is read at one accuracy and calibrated at another."""
    settings, rng = cell.settings, cell.rng()
    cells = _GENDERS * _RACES
    here, calibrated = _joint(settings["here"]), _joint(settings["calibrated"])
    refused = np.zeros((cell.replicates, len(_MARGINS)), dtype=bool)
    for replicate in range(cell.replicates):
        shares = worlds.draw(settings["truth"], cells, (settings["P"],), rng)
        observed = worlds.read(shares, here, settings["n"], rng)
        counted = rng.multinomial(settings["rows"], calibrated, size=cells)
        fits = transfer.check(observed, counted, _MARGINS, rng)
        refused[replicate] = [fit.reason is not None for fit in fits]
    same = settings["here"] == settings["calibrated"]
    least = None if same else 0.95 if settings["n"] == _IMAGES else 0.75
    return [
        share("any refused", refused.any(axis=1), least, 0.02 if same else None),
        share("gender refused", refused[:, 0], least),
        share("race refused", refused[:, 1], most=0.02),
    ]


def _sparse_cells(quick: bool) -> list[Cell]:
    def cell(k: int, accuracy: float, rows: int, truth: str) -> Cell:
        return Cell("sparse calibrations", {"K": k, "accuracy": accuracy, "rows": rows, "truth": truth}, times)

    times = 60 if quick else 1000
    tables = [(2, 0.98, 30), (2, 0.98, 50)]
    if not quick:
        tables += [(2, 0.995, 50), (2, 0.995, 100), (2, 0.95, 30), (2, 0.9, 50), (4, 0.98, 30), (4, 0.98, 50)]
        tables += [(7, 0.95, 30), (7, 0.95, 50)]
    return [cell(*table, truth) for table in tables for truth in ("mix", "near")]


def _transfer_cells(quick: bool) -> list[Cell]:
    def cell(**settings: Any) -> Cell:
        return Cell("transfer", settings, 40 if quick else 400)

    whole, small = {"P": 50, "n": _IMAGES}, {"P": 32, "n": 24}
    if quick:
        return [cell(here=here, calibrated=0.94, truth="half", rows=625, **small) for here in (0.94, 0.99)]
    return [
        *(cell(here=0.99, calibrated=0.94, truth="half", rows=625, **size) for size in (whole, small)),
        *(cell(here=0.94, calibrated=0.94, truth="half", rows=625, **size) for size in (whole, small)),
        *(cell(here=0.94, calibrated=0.94, truth="one-sided", rows=rows, **whole) for rows in (625, 50)),
        cell(here=0.94, calibrated=0.94, truth="mix", rows=625, **whole),
    ]


STUDIES: Final = (
    Study(
        name="sparse calibrations",
        title="Corrected concentration with few calibration images",
        about=(
            f"{PROMPTS} prompts of {_IMAGES} images; `rows`: calibration images per row. `used`: calibrations that "
            "are not refused for being too uncertain; coverage is that of their intervals: at least .92 from 30 to 49 "
            "images per row, .93 from 50 on."
        ),
        cells=_sparse_cells,
        run=run_sparse,
    ),
    Study(
        name="transfer",
        title="A labeller that errs otherwise than where it was calibrated: how often that is seen",
        about=(
            f"Gender (two classes) and race (four, read at {_RACE_ACCURACY} in both places) from one table; `here`, "
            "`calibrated`: how well gender is read. Where they are alike, at most .02 of all calibrations are refused "
            f"in any attribute; at .99 and .94, gender is refused in .95 at {_IMAGES} images per prompt, .75 at 24."
        ),
        cells=_transfer_cells,
        run=run_transfer,
    ),
)
