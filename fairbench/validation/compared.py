"""Two runs: false positives, power, and equivalence, by the functions with which runs are compared."""

from __future__ import annotations

from typing import Final

import numpy as np

from fairbench.stats import power
from fairbench.stats.difference import concentration_difference
from fairbench.stats.distance import pair_of
from fairbench.stats.equivalence import shown_equally_concentrated
from fairbench.stats.estimands import IntArray, concentration_of_shares
from fairbench.validation import worlds
from fairbench.validation.cells import Cell, Measure, Study, grid, share

ALPHA: Final = 0.05
POWER: Final = 0.9
SAME_GROUPS: Final = {(2, 0.05): 0.9, (4, 0.1): POWER, (8, 0.1): POWER}
"""Of identical balanced models, the least power of "draws the same groups" that is asked for, by classes and margin."""
_PROMPTS: Final = 50
_FACES: Final = ("equal", "unequal", "random")
_CHANGES: Final = {2: 0.05, 4: 0.04, 8: 0.03}
"""Differences in mean concentration whose detection is simulated, in shares of these."""
_HARD_CHANGES: Final = {
    ("one-sided", 2, 20, 60): (0.017, 0.028),
    ("one-sided", 8, 5, 60): (0.045, 0.07),
    ("near", 2, 20, 20): (0.1, 0.17),
    ("near", 4, 20, 60): (0.035, 0.06),
    ("half", 2, 8, 60): (0.047, 0.072),
    ("half", 4, 20, 20): (0.044, 0.072),
    ("mild", 2, 3, 160): (0.06, 0.085),
    ("mild", 8, 20, 60): (0.024, 0.038),
    ("rare", 4, 20, 160): (0.0056, 0.01),
    ("mix", 4, 3, 16): (0.2, 0.27),
}
"""The same where the statistic is not normal, by truth, classes, prompts and faces: found in about .4 and .85."""


def _faces(kind: str, times: int, prompts: int, rng: np.random.Generator) -> tuple[IntArray, IntArray]:
    """Return the face counts (R, P) of run A and B: 160, and 160, 128, 8, or four fifths of 160 at random in B."""
    a = np.full((times, prompts), 160)
    if kind == "random":
        return a, rng.binomial(160, 0.8, size=a.shape)
    return a, np.full_like(a, {"equal": 160, "unequal": 128, "few": 8}[kind])


def run_false(cell: Cell) -> list[Measure]:
    """Two equal models over this list: how often is a difference in concentration found, and in rd@n0?"""
    settings, rng = cell.settings, cell.rng()
    k, prompts, times = settings["K"], settings["P"], cell.replicates
    shares = worlds.draw(settings["truth"], k, (times, prompts), rng)
    a, b = (rng.multinomial(n, shares) for n in _faces(settings["faces"], times, prompts, rng))
    found = [concentration_difference(x, y).effect.p_value() <= ALPHA for x, y in zip(a, b, strict=True)]
    return [share("concentration", found, most=ALPHA)]


def run_equivalent(cell: Cell) -> list[Measure]:
    """Two balanced models, or two a margin apart: how often are they called equal in one way and the other?"""
    settings, rng = cell.settings, cell.rng()
    k, margin, times = settings["K"], settings["margin"], cell.replicates
    shares_a = shares_b = np.full((_PROMPTS, k), 1 / k)
    if settings["models"] == "a margin apart":
        # A share of all images shows one group instead: as far apart in sqrt(concentration) as that share.
        shares_b = (1 - margin) * shares_a + margin * np.eye(k)[0]
    drawn = (
        rng.multinomial(n, p)
        for n, p in zip(_faces(settings["faces"], times, _PROMPTS, rng), (shares_a, shares_b), strict=True)
    )
    pairs = [pair_of(*counts) for counts in zip(*drawn, strict=True)]
    concentrated = [shown_equally_concentrated(*pair.concentrations(), margin, ALPHA) for pair in pairs]
    if settings["models"] == "both balanced":
        groups = [pair.same_groups_p(margin) <= ALPHA for pair in pairs]
        least = SAME_GROUPS.get((k, margin)) if settings["faces"] == "equal" else None
        return [share("equally concentrated", concentrated), share("same groups", groups, least)]
    # Of these models, TV is below the margin: at just their own distance the claim must be as rare.
    distance = float(np.abs(shares_a - shares_b).sum(axis=1).mean() / 2)
    groups = [pair.same_groups_p(distance) <= ALPHA for pair in pairs]
    return [share("equally concentrated", concentrated, most=ALPHA), share("same groups", groups, most=ALPHA)]


def run_power(cell: Cell) -> list[Measure]:
    """A real difference in concentration: how often is it found over this list, and how often is that planned?"""
    settings, rng = cell.settings, cell.rng()
    k, prompts, images, change = settings["K"], settings["P"], settings["n"], -settings["change"]
    shares_a = worlds.draw(settings["truth"], k, (prompts,), rng)
    while -change > concentration_of_shares(shares_a).mean():  # a list without a one-sided prompt has no room
        shares_a = worlds.draw(settings["truth"], k, (prompts,), rng)
    runs = shares_a, power.shift(shares_a, change)
    a, b = (rng.multinomial(images, p, size=(cell.replicates, prompts)) for p in runs)
    found = [concentration_difference(x, y).effect.p_value() <= ALPHA for x, y in zip(a, b, strict=True)]
    planned = float(power.power(power.Plan(shares_a), change, prompts, images))
    return [share("concentration found", found, planned - 0.03, planned + 0.03), Measure("planned", planned, 0.0)]


def _false_cells(quick: bool) -> list[Cell]:
    name, few = "false positives", (3, 8)
    if quick:
        return grid(name, 200, K=(2, 8), P=few, truth=("fair", "mix"), faces=_FACES)
    cells = grid(name, 1000, K=(2, 4, 8), P=(*few, 20), truth=worlds.TRUTHS, faces=_FACES)
    return cells + grid(name, 1000, K=(2, 4, 8), P=few, truth=worlds.TRUTHS, faces=["few"])


def _equivalent_cells(quick: bool) -> list[Cell]:
    return [
        Cell("equivalence", {"K": k, "margin": margin, "models": models, "faces": faces}, 100 if quick else 1000)
        for k, margin in ((2, 0.05), (2, 0.1), (4, 0.05), (4, 0.1), (8, 0.05), (8, 0.1))
        for models, kinds in (("both balanced", _FACES), ("a margin apart", _FACES[:2]))
        for faces in kinds
    ]


def _power_cells(quick: bool) -> list[Cell]:
    def cell(truth: str, k: int, prompts: int, images: int, change: float) -> Cell:
        settings = {"truth": truth, "K": k, "P": prompts, "n": images, "change": round(change, 4)}
        return Cell("power", settings, 200 if quick else 1000)

    ordinary = [cell("mix", k, 50, 160, of * whole) for k, whole in _CHANGES.items() for of in (0.2, 0.4, 1.0)]
    return ordinary + [cell(*design, change) for design, changes in _HARD_CHANGES.items() for change in changes]


_RUNS = "Run A has 160 faces per prompt, run B 160 (`equal`), 128 (`unequal`), about 128 (`random`) or 8 (`few`)."
FALSE = Study(
    name="false positives",
    title="Two equal models: how often a difference is found at level .05",
    about=f"{_RUNS} P prompts, paired, with shares of their own. The test is of concentration, over this list.",
    cells=_false_cells,
    run=run_false,
)
EQUIVALENT = Study(
    name="equivalence",
    title="Two models within a margin: how often they are called equivalent at level .05",
    about=(
        f"{_RUNS} {_PROMPTS} prompts. `both balanced` is the power; `a margin apart` in the square root of "
        "concentration is the error, at most .05; `same groups` is there tested at the models' own distance."
    ),
    cells=_equivalent_cells,
    run=run_equivalent,
)
POWER_STUDY = Study(
    name="power",
    title="A real difference: how often it is found at level .05",
    about=(
        "P prompts of n faces in either run; the mean concentration of B is lower by `change`. `planned`: "
        "the power that `fairbench plan` computes for it, from which what is found differs by at most .03."
    ),
    cells=_power_cells,
    run=run_power,
)
STUDIES = (FALSE, EQUIVALENT, POWER_STUDY)
