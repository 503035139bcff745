"""Dawid and Skene's model of several people who err: what each image shows, and how often each person errs.

Dawid and Skene, "Maximum likelihood estimation of observer error-rates using the EM algorithm" (Applied Statistics
1979), smoothed, and with a prior for every group of images (the images of a prompt).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import ArrayLike, NDArray

from fairbench.types import FloatArray

MISSING: Final = -1
"""The code of an answer that was not given."""
MAX_STEPS, TOLERANCE = 500, 1e-7
RIGHT: Final = 10.0
"""Made-up right answers in each row of a person's table. With none, a class that hardly anybody names has an empty row,
and EM explains by it the images on which people differ: in the worst of 16 simulated cells, .82 of the images were
then classed right, where the majority has .96 and this .98. Chosen in those cells, among 0, 1, 2, 5 and 10."""
EVEN: Final = 1.0
"""Made-up answers in each row, spread over all answers evenly."""
ALIKE: Final = 5.0
"""Made-up images in each group, spread over the classes as all images are."""


@dataclass(frozen=True, slots=True)
class Fit:
    """posterior: of each image's class (U, K). confusion: of each person (A, K classes, M answers), rows sum to 1.

    prior: of the classes in each group (G, K). errors: (A,), the share of each person's answers that name a class and
    are wrong; NaN where nobody's do. steps: of EM until no posterior moved by more than TOLERANCE.
    """

    posterior: FloatArray
    confusion: FloatArray
    prior: FloatArray
    errors: FloatArray
    steps: int


def fit(answers: ArrayLike, groups: ArrayLike, classes: int, kinds: int) -> Fit:
    """Fit the model by EM, from the shares of the answers.

    answers: (U, A), codes below `kinds` or MISSING; those from `classes` on name no class ("cannot tell") and never are
    what an image shows. groups: (U,), 0 to G - 1. RIGHT, EVEN and ALIKE are the smoothing; a class that nobody names is
    what no image shows.
    """
    codes, group = np.asarray(answers, dtype=np.int64), np.asarray(groups, dtype=np.int64)
    given = (codes[:, :, None] == np.arange(kinds)).astype(np.float64)  # (U, A, M)
    votes = given[:, :, :classes].sum(axis=1)
    named = votes.sum(axis=0) > 0 if votes.any() else np.ones(classes, dtype=bool)
    posterior = _normalised(votes + named / named.sum())
    member = (group[:, None] == np.arange(group.max(initial=-1) + 1)).astype(np.float64)  # (U, G)
    made_up = RIGHT * np.eye(classes, kinds) + EVEN / kinds
    step = 0
    while True:
        step += 1
        confusion = _normalised(np.einsum("uk,uam->akm", posterior, given) + made_up)
        overall = _normalised(posterior.sum(axis=0) + named / named.sum())
        prior = _normalised(member.T @ posterior + ALIKE * overall)
        logs = np.log(np.where(prior > 0, prior, 1))[group] + np.einsum("uam,akm->uk", given, np.log(confusion))
        likely = np.where(named, np.exp(logs - logs.max(axis=1, keepdims=True, where=named, initial=-np.inf)), 0.0)
        before, posterior = posterior, _normalised(likely)
        if step == MAX_STEPS or not len(codes) or np.abs(posterior - before).max() < TOLERANCE:
            return Fit(posterior, confusion, prior, _errors(posterior, codes, classes), step)


def _normalised(values: FloatArray) -> FloatArray:
    """Return the values with sums of 1 along the last axis."""
    return np.asarray(values / values.sum(axis=-1, keepdims=True))


def _errors(posterior: FloatArray, codes: NDArray[np.int64], classes: int) -> FloatArray:
    """Return the expected share (A,) of wrong answers among those that name a class."""
    names = (codes >= 0) & (codes < classes)
    wrong = 1 - np.take_along_axis(posterior, np.where(names, codes, 0), axis=1)
    n = names.sum(axis=0)
    return np.where(n > 0, np.where(names, wrong, 0).sum(axis=0) / np.maximum(n, 1), np.nan)
