"""Lists that are hard: few prompts, one prompt, prompts that differ, unequal faces, several faces in an image."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

import numpy as np

from fairbench.stats.estimands import Floats, IntArray, concentration_of_shares
from fairbench.stats.intervals import Interval, Scope, concentration_interval
from fairbench.stats.units import Data, Units, units_of_images
from fairbench.validation import worlds
from fairbench.validation.cells import Cell, Measure, Study, average, grid, share

UNEQUAL: Final = "5-160"
"""Faces per prompt from 5 to 160, evenly spaced on a logarithmic scale."""
_SHARES: Final[dict[str, tuple[float, ...]]] = {
    "6:4": (0.6, 0.4),
    "7:3": (0.7, 0.3),
    "8:2": (0.8, 0.2),
    "4:3:2:1": (0.4, 0.3, 0.2, 0.1),
    "4:1:1:1:1:1:1": (0.4, *[0.1] * 6),
    "fair, 7": (1 / 7,) * 7,
}
_MOST_WIDTH: Final = 1.5
"""Mean width over that of the normal interval that knows the standard error, in smooth populations."""


def faces_of(kind: int | str, prompts: int) -> IntArray:
    """Return the faces (P,) of prompts: as many for each, or from 5 to 160."""
    if kind == UNEQUAL:
        return np.asarray(np.round(np.geomspace(5, 160, prompts)), dtype=np.int64)
    return np.full(prompts, int(kind))


def measures_of(
    intervals: Sequence[Interval], truth: float, least: float, most: float | None = None, *, smooth: bool = False
) -> list[Measure]:
    """Return coverage and width of the intervals that would be printed, and how many would be.

    smooth: whether the width has a bar. Where prompts are one-sided, an interval that knew it would have no width.
    """
    printed = [i for i in intervals if not np.isnan(i.low)]
    shown = share("printed", np.array([not np.isnan(i.low) for i in intervals]))
    if len(printed) < len(intervals) / 10:
        return [shown]
    low, high = (np.array([getattr(i, side) for i in printed]) for side in ("low", "high"))
    inside = (low <= truth + 1e-9) & (truth - 1e-9 <= high)
    errors = np.array([i.estimate for i in intervals]) - truth
    width = average("width", high - low)
    figures = [average("bias", errors), share("cover", inside, least, most), width]
    oracle = 2 * 1.96 * float(errors.std(ddof=1))
    if oracle > 0:
        # The error of a standard deviation of R normal values is about its 1/sqrt(2R).
        ratio = width.value / oracle
        figures.append(
            Measure("of oracle", ratio, ratio / np.sqrt(2 * len(errors)), most=_MOST_WIDTH if smooth else None)
        )
    return [*figures, shown]


def _simulated(shares: Floats, faces: IntArray, scope: Scope, rng: np.random.Generator) -> list[Interval]:
    """Return the interval of every replicate, of true shares (R, P, K)."""
    return [concentration_interval(rng.multinomial(faces, p), scope) for p in shares]


def run_few(cell: Cell) -> list[Measure]:
    """Simulate concentration of few or uneven prompts, this list alone being what is claimed of."""
    settings, rng = cell.settings, cell.rng()
    shares = worlds.draw(settings["truth"], settings["K"], (settings["P"],), rng)
    truth = float(concentration_of_shares(shares).mean())
    faces = faces_of(settings["n"], settings["P"])
    runs = np.broadcast_to(shares, (cell.replicates, *shares.shape))
    mixed = settings["truth"] == "mix" and settings["n"] in (16, 160)
    most = 0.97 if mixed and settings["P"] >= 20 and settings["n"] == 160 else None
    return measures_of(_simulated(runs, faces, "this list", rng), truth, 0.93, most, smooth=mixed)


def run_one(cell: Cell) -> list[Measure]:
    """Simulate concentration of a single prompt."""
    settings, rng = cell.settings, cell.rng()
    shares = np.array(_SHARES[settings["shares"]])
    truth = float(concentration_of_shares(shares))
    runs = np.broadcast_to(shares, (cell.replicates, 1, len(shares)))
    return measures_of(_simulated(runs, faces_of(settings["n"], 1), "this list", rng), truth, 0.93)


def run_other(cell: Cell) -> list[Measure]:
    """Simulate concentration of other prompts of the population from which the prompts were drawn."""
    settings, rng = cell.settings, cell.rng()
    size = (cell.replicates, settings["P"])
    shares = worlds.draw(settings["truth"], settings["K"], size, rng)
    truth = worlds.population_concentration(settings["truth"], settings["K"])
    intervals = _simulated(shares, faces_of(settings["n"], settings["P"]), "other prompts", rng)
    return measures_of(intervals, truth, 0.93, smooth=settings["truth"] == "mix")


def several_faces(shares: Floats, images: int, faces: int, alike: float, rng: np.random.Generator) -> Units:
    """Return images of prompts with shares (P, K), each with so many faces, which are all alike with a probability."""
    prompts, k = shares.shape
    kinds = np.zeros((prompts, images, k), dtype=np.int64)
    same = rng.random((prompts, images)) < alike
    for prompt, p in enumerate(shares):
        kinds[prompt] = rng.multinomial(faces, p, size=images)
        kinds[prompt, same[prompt]] = faces * rng.multinomial(1, p, size=int(same[prompt].sum()))
    return units_of_images(np.repeat(np.arange(prompts), images), kinds.reshape(-1, k), prompts)


def run_several(cell: Cell) -> list[Measure]:
    """Simulate concentration where images show several faces that resemble each other."""
    settings, rng = cell.settings, cell.rng()
    shares = worlds.draw(settings["truth"], settings["K"], (20,), rng)
    truth = float(concentration_of_shares(shares).mean())

    def drawn() -> Data:
        return several_faces(shares, settings["images"], settings["faces"], settings["alike"], rng)

    intervals = [concentration_interval(drawn(), "this list") for _ in range(cell.replicates)]
    return measures_of(intervals, truth, 0.93)


def _few_cells(quick: bool) -> list[Cell]:
    if quick:
        return grid("few prompts", 200, K=(2, 7), P=(3, 20), n=(8, UNEQUAL), truth=("half", "fair"))
    truths = ("half", "mix", "near", "fair")
    return grid("few prompts", 1000, K=(2, 4, 7), P=(3, 5, 8, 20), n=(4, 8, 16, 160, UNEQUAL), truth=truths)


def _one_cells(quick: bool) -> list[Cell]:
    sizes = (8, 16, 32, 50, 160)
    if quick:
        return grid("one prompt", 60, shares=("7:3", "4:3:2:1"), n=(8, 50))
    two = [name for name, shares in _SHARES.items() if len(shares) == 2]
    more = [name for name in _SHARES if name not in two]  # each interval inverts a simulated test
    cells = [*grid("one prompt", 1000, shares=two, n=sizes), *grid("one prompt", 400, shares=more, n=sizes)]
    return [*cells, Cell("one prompt", {"shares": "fair, 7", "n": 4}, 400)]


def _other_cells(quick: bool) -> list[Cell]:
    if quick:
        return grid("other prompts", 100, K=[2], P=(10, 20), n=[160], truth=("mix", "rare"))
    return grid("other prompts", 1000, K=(2, 4, 7), P=(10, 20, 50), n=(16, 160), truth=("mix", "half", "rare"))


def _several_cells(quick: bool) -> list[Cell]:
    settings: dict[str, Any] = {
        "truth": ("fair", "half"),
        "images": (10, 40, 160),
        "faces": (4, 8),
        "alike": (0.3, 0.9),
    }
    if quick:
        return grid("several faces", 60, K=[4], truth=("fair", "half"), images=[40], faces=[4], alike=[0.9])
    return grid("several faces", 1000, K=(2, 4, 8), **settings)


_WIDTH: Final = "`of oracle`: mean width over that of a normal interval that knows the standard error"
STUDIES: Final = (
    Study(
        name="one prompt",
        title="concentration of a single prompt",
        about=f"Shares as in the first column; n images with one face each. Coverage must be at least .93. {_WIDTH}.",
        cells=_one_cells,
        run=run_one,
    ),
    Study(
        name="few prompts",
        title="concentration of this list: few prompts, prompts that differ, unequal faces",
        about=(
            "P prompts of n faces, or of 5 to 160. `half`: half of the prompts one-sided, half balanced; `near`: one "
            f"class has .97. Coverage must be at least .93, and .93 to .97 for `mix` at 20 prompts of 160. {_WIDTH}, "
            "for `mix` at 16 and at 160 faces at most 1.5."
        ),
        cells=_few_cells,
        run=run_few,
    ),
    Study(
        name="other prompts",
        title="concentration of other prompts",
        about=(
            "The prompts are drawn anew from a population, whose mean is the truth. `rare`: one prompt in ten is "
            f"one-sided, the rest are balanced. Coverage must be at least .93. {_WIDTH}, for `mix` at most 1.5."
        ),
        cells=_other_cells,
        run=run_other,
    ),
    Study(
        name="several faces",
        title="concentration of images with several faces",
        about=(
            "20 prompts; all faces of an image are alike with the probability `alike`. Coverage must be at least "
            f".93. {_WIDTH}."
        ),
        cells=_several_cells,
        run=run_several,
    ),
)
