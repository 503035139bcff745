"""Labels by people: what they say of a run whose labeller errs otherwise than it did where it was calibrated."""

from __future__ import annotations

from typing import Final

import numpy as np

from fairbench.stats import local_table
from fairbench.stats import prediction_powered as powered
from fairbench.stats.correction_concentration import Sample, concentration_of
from fairbench.stats.estimands import Floats, concentration, concentration_of_shares
from fairbench.stats.prediction import LabelledSample, predictions
from fairbench.validation.cells import Cell, Measure, Study, average, grid, rmse, share
from fairbench.validation.people_worlds import IMAGES, PROMPTS, WORLDS, draw, majority

_PHOTOGRAPHS: Final = 5000
"""Images of the calibration that was made elsewhere, as many of each class."""
_BLOCK: Final = 100
"""Replicates at a time: half a GB at four classes would be too much for a small machine."""
_BARRED: Final = 500
"""Labels from which on bars hold; with fewer, intervals are to be wide, not exact. One annotator's errors are in every
label: that cell shows by how much they move the estimate."""


def run(cell: Cell) -> list[Measure]:
    """Simulate the estimates that `fairbench calibrate --from` prints, and a calibration made elsewhere."""
    settings, rng = cell.settings, cell.rng()
    world = WORLDS[settings["world"]](np.random.default_rng(0))
    k, labels = world.joint.shape[-1], settings["labels"] // PROMPTS
    said = majority(k, settings["annotators"], settings["error"])
    target = _target(world.joint.sum(axis=2), said)
    blocks = [min(_BLOCK, cell.replicates - start) for start in range(0, cell.replicates, _BLOCK)]
    parts = [_estimates(draw(world, labels, said, block, rng), world.calibrated, rng) for block in blocks]
    of = {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}
    barred = settings["labels"] >= _BARRED and settings["annotators"] > 1
    errors = of["estimate"] - target
    depends = settings["world"] == "stereotyped"
    flag = {"least": 0.8} if depends else {"most": 0.05}
    return [
        average("bias", errors, *((-0.01, 0.01) if barred else (None, None))),
        share("coverage", np.abs(errors) <= of["half-width"], *((0.92, 0.98) if barred else (None, None))),
        average("width", 2 * of["half-width"]),
        rmse("rmse", errors),
        rmse("rmse local table", of["local table"] - target),
        rmse("rmse people alone", of["people alone"] - target),
        rmse("rmse calibrated elsewhere", of["elsewhere"] - target),
        rmse("rmse raw", of["raw"] - target),
        share("flagged", of["flagged"] > 0, **(flag if barred else {})),
        average("bias against what is shown", of["estimate"] - world.truth),
    ]


def _target(shares: Floats, said: Floats) -> float:
    """Return the mean concentration of what the majority says, among the images on which there is one."""
    decided = shares @ said[:, :-1]
    return float(concentration_of_shares(decided / decided.sum(axis=1, keepdims=True)).mean())


def _estimates(sample: LabelledSample, calibrated: Floats, rng: np.random.Generator) -> dict[str, Floats]:
    """Return every estimate of the mean concentration (R,), the interval's half-width, and whether there is a flag."""
    k, replicates = sample.classes, len(sample.images)
    predicted = predictions(sample)
    values = powered.concentration_of(powered.totals(sample, predicted))
    estimate, _, high, _ = powered.mean_interval(values, highest=np.inf)
    alone = powered.concentration_of(powered.totals(sample, predicted, alone=True))
    local = local_table.local_concentration(sample, local_table.table_of(sample)).mean(axis=-1)
    off = local_table.error_of_difference(sample, predicted, values)
    read = sample.images[:, :, 0, :k]
    photographs = rng.multinomial(_PHOTOGRAPHS // k, calibrated, size=(replicates, k))
    totals = photographs.sum(axis=-1)
    elsewhere = concentration_of(
        Sample(np.eye(k, dtype=np.int64), read, photographs / totals[..., None], totals, np.eye(k))
    )
    return {
        "estimate": estimate,
        "half-width": high - estimate,
        "people alone": powered.mean_interval(alone, highest=np.inf)[0],
        "local table": local,
        "flagged": (np.abs(estimate - local) > local_table.FLAGGED * off).astype(np.float64),
        "elsewhere": elsewhere.mean(axis=-1),
        "raw": concentration(read).mean(axis=-1),
    }


def _cells(quick: bool) -> list[Cell]:
    if quick:
        some = ("read better", "stereotyped")
        return grid("labels by people", 100, world=some, labels=(500,), annotators=(3,), error=(0.0,))
    cells = grid("labels by people", 1000, world=WORLDS, labels=(200, 500), annotators=(3,), error=(0.0,))
    people = grid("labels by people", 1000, world=["read better"], labels=[500], annotators=(1, 3), error=[0.03])
    return cells + people


PEOPLE: Final = Study(
    name="labels by people",
    title="concentration from labels by people on a sample of the images",
    about=(
        f"{PROMPTS} prompts of {IMAGES} images; the same number of each prompt's are labelled by the majority of the "
        "annotators, each of whom errs in the share `error`. `bias`, `coverage`: of the prediction-powered estimate, "
        "against what that majority says of all images. `rmse calibrated elsewhere`: of the correction by 5,000 "
        "photographs. `flagged`: how often it differs from the local table by two standard errors; only where errors "
        "are stereotyped should it."
    ),
    cells=_cells,
    run=run,
)
STUDIES = (PEOPLE,)
