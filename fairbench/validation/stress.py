"""What happens where an assumption of the correction does not hold, and whether the data show it."""

from __future__ import annotations

from typing import Final

import numpy as np

from fairbench.stats import correction_interval, transfer
from fairbench.stats.estimands import Floats, IntArray, concentration, concentration_of_shares
from fairbench.stats.power import symmetric_confusion
from fairbench.validation import worlds
from fairbench.validation.cells import Cell, Measure, Study, grid, share
from fairbench.validation.corrected import bias_measures
from fairbench.validation.raw import PROMPTS

_ACCURACY: Final = 0.85
_SHIFT: Final = 0.1
_MISSED: Final = (0.05, 0.3)
"""Share of faces missed of the first and of the last class; the others lie between."""
_JOINT: Final = (2, 4)
"""Classes of gender and race where their errors come together."""
_IMAGES, _ROWS = 160, 1000
_DRAWS, _TESTED = 100, 100

CONTROL: Final = "none: all assumptions hold"
HARDER, EASIER = "calibrated on harder images", "calibrated on easier images"
SUBJECTS: Final = "accuracy differs between prompts"
MISSES_IGNORED, MISSES_IN_TABLE = "misses by group, ignored", "misses by group, in the table"
PRODUCT_TABLE, JOINT_TABLE = "joint errors, product table", "joint errors, joint table"
_HANDLED: Final = (CONTROL, MISSES_IN_TABLE, JOINT_TABLE)
"""Stresses that the correction allows for: its bars hold for them."""


def run(cell: Cell) -> list[Measure]:
    """Simulate one stress: bias of concentration, raw and corrected, its coverage, and how often this is flagged."""
    stress, k, rng = cell.settings["stress"], cell.settings["K"], cell.rng()
    shares = worlds.draw(cell.settings["truth"], k, (PROMPTS,), rng)
    truth = float(concentration_of_shares(shares).mean())
    run_table, calibration_table = _tables(stress, k, rng)
    observed = worlds.read(np.broadcast_to(shares, (cell.replicates, PROMPTS, k)), run_table, _IMAGES, rng)
    counted = rng.multinomial(_ROWS, calibration_table, size=(cell.replicates, k))
    used = [_as_used(stress, c) for c in counted]
    intervals = [
        correction_interval.concentration_interval(o, u, "this list", rng, draws=_DRAWS)
        for o, u in zip(observed, used, strict=True)
    ]
    raw = concentration(observed[..., :k]).mean(axis=1) - truth
    errors = np.array([i.estimate for i in intervals]) - truth
    inside = [i.low <= truth <= i.high for i in intervals]
    pairs = list(zip(observed, used, strict=True))[:_TESTED]
    flagged = [transfer.check(*pair, [range(k)], rng)[0].reason is not None for pair in pairs]
    handled = stress in _HANDLED
    return [
        *bias_measures(raw, errors, barred=handled),
        share("cover list", inside, 0.93 if handled else None),
        share("flagged", flagged, most=0.01 if handled else None),
    ]


def _tables(stress: str, k: int, rng: np.random.Generator) -> tuple[Floats, Floats]:
    """Return the table of the run's images, (K, K + 1) or one per prompt, and that of the calibration's."""
    table = worlds.table(k, _ACCURACY)
    if stress in (HARDER, EASIER):
        return worlds.table(k, _ACCURACY + (_SHIFT if stress == HARDER else -_SHIFT)), table
    if stress == SUBJECTS:
        accuracies = _ACCURACY + rng.permutation(np.linspace(-_SHIFT, _SHIFT, PROMPTS))
        return np.stack([worlds.table(k, a) for a in accuracies]), table
    if stress in (MISSES_IGNORED, MISSES_IN_TABLE):
        missed = np.linspace(*_MISSED, k)[:, None]
        table = np.c_[table[:, :-1] * (1 - missed), missed]
    if stress in (PRODUCT_TABLE, JOINT_TABLE):
        table = _joint()
    return table, table


def _joint() -> Floats:
    """Return a table of gender x race in which some images are hard: then both are often wrong.

    Few images of most cells are hard, and half of those of the second race of either gender.
    """

    def both(gender: float, race: float) -> Floats:
        return np.asarray(np.kron(symmetric_confusion(gender, _JOINT[0]), symmetric_confusion(race, _JOINT[1])))

    hard = np.tile([0.1, 0.5, 0.1, 0.1], _JOINT[0])[:, None]
    easy = both(0.98, 0.97)
    return np.asarray(np.c_[easy + hard * (both(0.65, 0.55) - easy), np.zeros(len(hard))], dtype=np.float64)


def _as_used(stress: str, counted: IntArray) -> IntArray:
    """Return the calibration as the correction gets it: without its misses, or as the product of its margins."""
    k = len(counted)
    if stress == MISSES_IGNORED:
        return np.asarray(counted * np.r_[np.ones(k, dtype=np.int64), 0])
    if stress == PRODUCT_TABLE:
        cells = counted[:, :k].reshape(*_JOINT, *_JOINT)
        margins = [cells.sum(axis=axes) for axes in ((1, 3), (0, 2))]  # of gender, of race: true label by read label
        product = np.kron(*(margin / margin.sum(axis=1, keepdims=True) for margin in margins))
        return np.asarray(np.c_[np.round(_ROWS * product).astype(np.int64), np.zeros(k, dtype=np.int64)])
    return counted


def _cells(quick: bool) -> list[Cell]:
    times, classes, truths = (100, [2], ["mix"]) if quick else (400, [2, 4, 8], ["fair", "mix"])
    stresses = (CONTROL, HARDER, EASIER, SUBJECTS, MISSES_IGNORED, MISSES_IN_TABLE)
    cells = grid("stress", times, stress=stresses, K=classes, truth=truths)
    return cells + grid("stress", times, stress=(PRODUCT_TABLE, JOINT_TABLE), K=[8], truth=truths)


STRESS = Study(
    name="stress",
    title="Corrected concentration where an assumption does not hold",
    about=(
        f"{PROMPTS} prompts of {_IMAGES} images, accuracy {_ACCURACY}, {_ROWS} calibration images per row. Harder "
        f"or easier: accuracy off by {_SHIFT}; between prompts: within {_SHIFT} of the calibration's; misses: "
        f"{_MISSED[0]:.0%} of the first class to {_MISSED[1]:.0%} of the last; joint errors: gender and race are "
        "often wrong together. `flagged`: the check of transfer refuses the calibration. What counts cannot show "
        "is not flagged: the bias is then what the assumption costs. fairbench itself always uses the joint table."
    ),
    cells=_cells,
    run=run,
)
STUDIES = (STRESS,)
