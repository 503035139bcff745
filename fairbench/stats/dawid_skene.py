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
    what an image shows. groups: (U,), 0 to G - 1. Every row of a person's table gets one made-up answer, spread over
    the answers evenly; every group one made-up image, spread as all images are.
    """
    codes, group = np.asarray(answers, dtype=np.int64), np.asarray(groups, dtype=np.int64)
    given = (codes[:, :, None] == np.arange(kinds)).astype(np.float64)  # (U, A, M)
    posterior = given[:, :, :classes].sum(axis=1) + 1 / classes
    posterior /= posterior.sum(axis=1, keepdims=True)
    member = (group[:, None] == np.arange(group.max(initial=-1) + 1)).astype(np.float64)  # (U, G)
    step = 0
    while True:
        step += 1
        confusion = np.einsum("uk,uam->akm", posterior, given) + 1 / kinds
        confusion /= confusion.sum(axis=2, keepdims=True)
        overall = posterior.sum(axis=0) + 1 / classes
        prior = member.T @ posterior + overall / overall.sum()
        prior /= prior.sum(axis=1, keepdims=True)
        logs = np.log(prior)[group] + np.einsum("uam,akm->uk", given, np.log(confusion))
        likely = np.exp(logs - logs.max(axis=1, keepdims=True))
        before, posterior = posterior, likely / likely.sum(axis=1, keepdims=True)
        if step == MAX_STEPS or not len(codes) or np.abs(posterior - before).max() < TOLERANCE:
            return Fit(posterior, confusion, prior, _errors(posterior, codes, classes), step)


def _errors(posterior: FloatArray, codes: NDArray[np.int64], classes: int) -> FloatArray:
    """Return the expected share (A,) of wrong answers among those that name a class."""
    names = (codes >= 0) & (codes < classes)
    wrong = 1 - np.take_along_axis(posterior, np.where(names, codes, 0), axis=1)
    n = names.sum(axis=0)
    return np.where(n > 0, np.where(names, wrong, 0).sum(axis=0) / np.maximum(n, 1), np.nan)
