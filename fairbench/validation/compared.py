"""Two runs: false positives, power, and equivalence, by the functions with which runs are compared."""

from __future__ import annotations

from typing import Final

import numpy as np

from fairbench.stats import paired, power
from fairbench.stats.estimands import IntArray, concentration, rd_at
from fairbench.stats.intervals import concentration_of_prompts
from fairbench.stats.paired import Pairs
from fairbench.stats.rarefaction import rd_at_of_prompts
from fairbench.validation import worlds
from fairbench.validation.cells import Cell, Measure, Study, grid, share

ALPHA: Final = 0.05
MARGINS: Final = {2: 0.05, 4: 0.025, 8: 0.0125}
"""Differences of RD that a task card calls negligible."""
POWER: Final = 0.9
_PROMPTS: Final = 50
_SIGN_FLIPS: Final = 999
_FACES: Final = ("equal", "unequal", "random")
_PROMPTS_WHEN_FIXED: Final = {2: 20, 4: 10}
"""Prompts of cells in which the error of rd@n0 over images is computed too: it takes long."""


def _faces(kind: str, times: int, prompts: int, rng: np.random.Generator) -> tuple[IntArray, IntArray]:
    """Return the face counts (R, P) of run A and B: 160 and 160, 160 and 128, or four fifths of 160 at random in B."""
    a = np.full((times, prompts), 160)
    if kind == "random":
        return a, rng.binomial(160, 0.8, size=a.shape)
    return a, np.full_like(a, {"equal": 160, "unequal": 128}[kind])


def _pairs_by_metric(a: IntArray, b: IntArray) -> dict[str, list[Pairs]]:
    """Return the pairs of every replicate; rd@n0 is at the smaller face count of every prompt."""
    n0 = np.minimum(a.sum(axis=-1), b.sum(axis=-1))
    values = {"rd@n0": (rd_at(a, n0), rd_at(b, n0)), "concentration": (concentration(a), concentration(b))}
    return {name: list(map(paired.pair, *runs)) for name, runs in values.items()}


def run_false(cell: Cell) -> list[Measure]:
    """Two equal models: how often is a difference found?"""
    settings, rng = cell.settings, cell.rng()
    k, fixed = settings["K"], settings["scope"] == "list"
    prompts = _PROMPTS_WHEN_FIXED[k] if fixed else _PROMPTS
    times = cell.replicates
    shares = worlds.draw(settings["truth"], k, (times, prompts), rng)
    a, b = (rng.multinomial(n, shares) for n in _faces(settings["faces"], times, prompts, rng))
    if fixed:
        return [share(name, hits, most=ALPHA) for name, hits in _fixed_differences(a, b, rng).items()]
    measures = []
    for name, pairs in _pairs_by_metric(a, b).items():
        tests = [paired.effect_random(p).p_value() for p in pairs]
        flips = [paired.sign_flip_p(p, rng, resamples=_SIGN_FLIPS) for p in pairs]
        measures += [share(f"{name} t", np.array(tests) < ALPHA, most=ALPHA)]
        measures += [share(f"{name} sign-flip", np.array(flips) <= ALPHA, most=ALPHA)]
    return measures


def _fixed_differences(a: IntArray, b: IntArray, rng: np.random.Generator) -> dict[str, list[bool]]:
    """Return for each replicate whether the normal test over images finds a difference."""
    differences: dict[str, list[bool]] = {"rd@n0 normal": [], "concentration normal": []}
    for x, y in zip(a, b, strict=True):
        n0 = np.minimum(x.sum(axis=1), y.sum(axis=1))
        runs = {
            "rd@n0 normal": [rd_at_of_prompts(c, n0, rng, times=100) for c in (x, y)],
            "concentration normal": [concentration_of_prompts(c) for c in (x, y)],
        }
        for name, (run_a, run_b) in runs.items():
            pairs = paired.pair(run_a.value, run_b.value)
            error = paired.independent_se(pairs, run_a.variance, run_b.variance)
            differences[name].append(paired.effect_fixed(pairs, error).p_value() < ALPHA)
    return differences


def run_equivalent(cell: Cell) -> list[Measure]:
    """Two models that are equal, or differ by the margin: how often are they called equivalent?

    The test compares the difference in rd@n0 with its margin. Near balance that is smaller than the difference in RD,
    so the error is simulated at a margin that equals the true difference in rd@n0.
    """
    settings, rng = cell.settings, cell.rng()
    k, times = settings["K"], cell.replicates
    margin, smaller = MARGINS[k], 160 if settings["faces"] == "equal" else 128
    equal = settings["models"] == "both fair"
    shares_a = shares_b = np.tile(power.shares_at_rd(0.0 if equal else 0.5 / k, k), (_PROMPTS, 1))
    if not equal:
        shares_b = power.shift(shares_a, margin)
        far, near = (worlds.expected_rd(np.asarray(p, dtype=np.float64), smaller, rng) for p in (shares_b, shares_a))
        margin = far - near
    a, b = (
        rng.multinomial(n, shares)
        for n, shares in zip(_faces(settings["faces"], times, _PROMPTS, rng), (shares_a, shares_b), strict=True)
    )
    p_values = np.array([paired.effect_random(p).equivalence_p(margin) for p in _pairs_by_metric(a, b)["rd@n0"]])
    least, most = (POWER, None) if equal else (None, ALPHA)
    return [Measure("margin rd@n0", margin, 0.0), share("called equivalent", p_values < ALPHA, least, most)]


def run_power(cell: Cell) -> list[Measure]:
    """A real difference in RD: how often is it found, and how often did the power analysis expect it?"""
    settings, rng = cell.settings, cell.rng()
    k, times, change = settings["K"], cell.replicates, -settings["change"]
    shares_a = worlds.draw("mix", k, (_PROMPTS,), rng)
    a, b = (rng.multinomial(160, p, size=(times, _PROMPTS)) for p in (shares_a, power.shift(shares_a, change)))
    measures = []
    for name, pairs in _pairs_by_metric(a, b).items():
        p_values = np.array([paired.effect_random(p).p_value() for p in pairs])
        measures.append(share(f"{name} found", p_values < ALPHA))
    planned = float(power.power(power.Plan(baseline=shares_a), change, _PROMPTS, 160))
    return [*measures, Measure("planned rd", planned, 0.0)]


def _false_cells(quick: bool) -> list[Cell]:
    name, some = "false positives", ("fair", "mix")
    if quick:
        return grid(name, 200, K=(2, 8), truth=some, faces=_FACES, scope=["other"])
    cells = grid(name, 2000, K=worlds.CLASSES, truth=worlds.TRUTHS, faces=_FACES, scope=["other"])
    return cells + grid(name, 1000, K=_PROMPTS_WHEN_FIXED, truth=some, faces=_FACES[:2], scope=["list"])


def _equivalent_cells(quick: bool) -> list[Cell]:
    return [
        Cell("equivalence", {"K": k, "margin": margin, "models": models, "faces": faces}, 300 if quick else 4000)
        for k, margin in MARGINS.items()
        for models, kinds in (("both fair", _FACES), ("a margin apart", _FACES[:2]))
        for faces in kinds
    ]


def _power_cells(quick: bool) -> list[Cell]:
    return [
        Cell("power", {"K": k, "change": round(change * margin, 4)}, 300 if quick else 4000)
        for k, margin in MARGINS.items()
        for change in (0.2, 0.4, 1.0)
    ]


_RUNS = f"{_PROMPTS} prompts; run A has 160 faces each, run B 160 (`equal`), 128 (`unequal`) or about 128 (`random`)."
FALSE = Study(
    name="false positives",
    title="Two equal models: how often a difference is found at level .05",
    about=(
        f"{_RUNS} Models are paired by prompt; rd@n0 is taken at the smaller face count. `other`: prompts are a "
        "sample (t and sign-flip test); `list`: only images are (normal test), over 20 prompts for K = 2 and 10 "
        "for K = 4."
    ),
    cells=_false_cells,
    run=run_false,
)
EQUIVALENT = Study(
    name="equivalence",
    title="Two models within a margin of RD: how often they are called equivalent at level .05",
    about=(
        f"{_RUNS} `both fair` is the power, which must be at least .9; `a margin apart` in RD is the error, at most"
        " .05, at a margin of just the true difference in rd@n0, which is what is tested: near balance, less than "
        "that in RD."
    ),
    cells=_equivalent_cells,
    run=run_equivalent,
)
POWER_STUDY = Study(
    name="power",
    title="A real difference: how often it is found at level .05",
    about=(
        f"{_PROMPTS} prompts of 160 faces in either run; the mean RD of B is lower by `change`. `planned rd`: the "
        "power that `fairbench plan` computes for it."
    ),
    cells=_power_cells,
    run=run_power,
)
STUDIES = (FALSE, EQUIVALENT, POWER_STUDY)
