"""Known truths and known confusion tables, from which everything is simulated, and what they make true."""

from __future__ import annotations

from typing import Final

import numpy as np

from fairbench.metrics._rd import relative_diversity
from fairbench.stats.estimands import Floats, IntArray, concentration_of_shares
from fairbench.stats.power import symmetric_confusion

TRUTHS: Final = ("fair", "mild", "mix", "one-sided")
UNEVEN: Final = ("half", "rare", "near")
INTERIOR: Final = ("mild", "mix")
CLASSES: Final = (2, 4, 7, 8)

_MIX: Final = {2: 0.273, 4: 0.197, 7: 0.147, 8: 0.197}
"""Concentrations of the Dirichlet distributions whose mean RD is .75, .40, .24 and .20: that of published models."""
_CHANCE: Final = {"half": 0.5, "rare": 0.1}
"""With which probability a prompt is one-sided, where the others are fair."""
_NEAR: Final = 0.97
_LEAD: Final = 0.3
"""How far a mild truth is from balance, as a share of the way to one class alone."""
_DRAWS: Final = 400_000
"""Prompts drawn for one expected RD: its error is below 0.0006 and mostly a tenth of that."""
_CELLS: Final = 4_000_000


def draw(truth: str, classes: int, size: tuple[int, ...], rng: np.random.Generator) -> Floats:
    """Return the true shares (*size, K) of prompts of a population.

    fair: all classes equal. mild: a class drawn for every prompt leads the others, RD .3 of its largest value. mix:
    from near balance to near one class, prompt by prompt. one-sided: one class alone, another for every prompt. half,
    rare: one-sided with probability .5 and .1, else fair. near: one class has .97, another for every prompt.
    """
    if truth == "mix":
        return np.asarray(rng.dirichlet(np.full(classes, _MIX[classes]), size))
    alone = np.eye(classes)[rng.integers(classes, size=size)]
    if truth in _CHANCE:
        way = np.asarray(rng.random((*size, 1)) < _CHANCE[truth], dtype=np.float64)
    else:
        near = 1 - (1 - _NEAR) * classes / (classes - 1)
        way = np.asarray({"fair": 0.0, "mild": _LEAD, "near": near, "one-sided": 1.0}[truth])
    return np.asarray((1 - way) / classes + way * alone)


def population_concentration(truth: str, classes: int) -> float:
    """Return the population's mean concentration: for a Dirichlet, sum p^2 is (a + 1) / (K a + 1) on average."""
    if truth in _CHANCE:
        return _CHANCE[truth]
    if truth != "mix":
        return float(concentration_of_shares(draw(truth, classes, (), np.random.default_rng(0))))
    a = _MIX[classes]
    return float((classes * (a + 1) / (classes * a + 1) - 1) / (classes - 1))


def expected_rd(shares: Floats, faces: int, rng: np.random.Generator) -> float:
    """Return the mean over prompts of the expected RD of so many independent faces with these shares (P, K)."""
    prompts, classes = shares.shape
    times = -(-_DRAWS // prompts)
    step = max(1, _CELLS // (prompts * classes))
    total = 0.0
    for start in range(0, times, step):
        counts = rng.multinomial(faces, shares, size=(min(step, times - start), prompts))
        total += float(relative_diversity(counts / faces).sum())
    return float(total / (times * prompts))


def population_rd(truth: str, classes: int, faces: int, rng: np.random.Generator) -> float:
    """Return the mean over the population of the expected RD of so many faces."""
    return expected_rd(draw(truth, classes, (_DRAWS,), rng), faces, rng)


def table(classes: int, accuracy: float) -> Floats:
    """Return the confusion table (K, K + 1) of a labeller that errs equally towards all others and misses no face."""
    return np.asarray(np.c_[symmetric_confusion(accuracy, classes), np.zeros(classes)], dtype=np.float64)


def read(shares: Floats, confusion: Floats, images: int, rng: np.random.Generator) -> IntArray:
    """Return counts (..., P, K + 1) of so many images per prompt, true shares (..., P, K), that a labeller reads.

    confusion: (K, K + 1), or one table per prompt, (P, K, K + 1).
    """
    odds = (shares[..., None, :] @ confusion)[..., 0, :]
    return np.asarray(rng.multinomial(images, odds / odds.sum(axis=-1, keepdims=True)))
