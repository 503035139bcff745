"""Worlds of labels by people: what images show, what a labeller reads, what it was calibrated on, and what people say.

Errors are those of a labeller that was calibrated on photographs and reads generated images: as well as there, better,
or worse where a picture goes against its prompt.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

import numpy as np

from fairbench.stats.estimands import Floats, concentration_of_shares
from fairbench.stats.power import symmetric_confusion
from fairbench.stats.prediction import LabelledSample

PROMPTS: Final = 50
IMAGES: Final = 160
_RACE4: Final = np.array([0, 1, 0, 2, 2, 3, 0])
"""Race4 (WMELH, Black, Asian, Indian) of White, Black, Latino, East Asian, Southeast Asian, Indian, Middle Eastern."""
_RACE7_RIGHT: Final = (0.75, 0.86, 0.59, 0.78, 0.62, 0.73, 0.62)
"""Accuracies like those of FairFace's classifier on photographs (Kärkkäinen and Joo 2021)."""
_RACE7_EASIER: Final = (0.92, 0.95, 0.80, 0.92, 0.85, 0.90, 0.85)
_CONFUSED: Final = (
    {2: 0.5, 6: 0.4, 5: 0.1},
    {5: 0.4, 2: 0.4, 4: 0.2},
    {0: 0.4, 6: 0.3, 5: 0.2, 1: 0.1},
    {4: 0.9, 0: 0.1},
    {3: 0.7, 2: 0.2, 5: 0.1},
    {2: 0.4, 6: 0.3, 1: 0.15, 4: 0.15},
    {0: 0.55, 2: 0.35, 5: 0.1},
)
"""What each of the seven is read as where it is not read right."""


_AT_94: Final[Floats] = np.asarray(symmetric_confusion(0.94, 2), dtype=np.float64)


@dataclass(frozen=True, slots=True, eq=False)
class World:
    """joint (P, K, K): the probability that an image shows a class and is read as one.

    calibrated (K, K): the table that was counted on other images.
    """

    joint: Floats
    calibrated: Floats

    @property
    def truth(self) -> float:
        """The mean concentration of what is shown."""
        return float(concentration_of_shares(self.joint.sum(axis=2)).mean())


def _two_classes(first: Floats, right: Floats | float) -> Floats:
    """Return the joint distribution of two classes. first (P,): the first one's share; right: accuracies (P, 2)."""
    right = np.broadcast_to(right, (len(first), 2))
    table = np.eye(2) * right[..., None] + (1 - np.eye(2)) * (1 - right)[..., None]
    return np.asarray(np.stack([first, 1 - first], axis=1)[..., None] * table)


def _half_one_sided(rng: np.random.Generator) -> Floats:
    """Return shares of which half are 0 or 1, in turn, and half uniform."""
    one_sided = np.arange(PROMPTS // 2) % 2
    return np.concatenate([one_sided, rng.uniform(size=PROMPTS - len(one_sided))])


def _stereotyped(rng: np.random.Generator) -> World:
    """The smaller class of each prompt is misread in 12 %, the larger one in 1 %."""
    first = rng.uniform(size=PROMPTS)
    leads = np.stack([first > 0.5, first <= 0.5], axis=1)
    return World(_two_classes(first, np.where(leads, 0.99, 0.88)), _AT_94)


def _race7(right: tuple[float, ...]) -> Floats:
    table = np.diag(right)
    for row, others in enumerate(_CONFUSED):
        for column, part in others.items():
            table[row, column] += (1 - right[row]) * part
    return table


def _race4(here: tuple[float, ...], *, mostly_white: bool) -> Callable[[np.random.Generator], World]:
    """Return a world of race4 that is read as race7. mostly_white: WMELH is not as in the photographs, a third each."""

    def world(rng: np.random.Generator) -> World:
        shares = rng.dirichlet(np.ones(4), PROMPTS)
        shares[: PROMPTS // 2] = np.eye(4)[rng.choice(4, PROMPTS // 2, p=[0.7, 0.1, 0.1, 0.1])]
        parts = rng.dirichlet([8, 1, 1] if mostly_white else [300, 300, 300], PROMPTS)
        of_race7 = shares[:, _RACE4]
        of_race7[:, [0, 2, 6]] *= parts
        of_race7[:, [3, 4]] /= 2
        sums = np.eye(4)[_RACE4]
        photographs = np.array([1 / 3, 1, 1 / 3, 1 / 2, 1 / 2, 1, 1 / 3])
        calibrated = sums.T @ (photographs[:, None] * _race7(_RACE7_RIGHT)) @ sums
        joint = np.einsum("pr,rs,ra,sb->pab", of_race7, _race7(here), sums, sums)
        return World(joint, calibrated)

    return world


WORLDS: Final[dict[str, Callable[[np.random.Generator], World]]] = {
    "read as calibrated": lambda rng: World(_two_classes(_half_one_sided(rng), 0.94), _AT_94),
    "read better": lambda rng: World(_two_classes(_half_one_sided(rng), 0.99), _AT_94),
    "no prompt leans far": lambda rng: World(_two_classes(rng.beta(4, 4, PROMPTS), 0.99), _AT_94),
    "stereotyped": _stereotyped,
    "race4 as calibrated": _race4(_RACE7_RIGHT, mostly_white=False),
    "race4 of others": _race4(_RACE7_RIGHT, mostly_white=True),
    "race4 read better": _race4(_RACE7_EASIER, mostly_white=False),
}


def majority(classes: int, annotators: int, error: float) -> Floats:
    """Return P(majority says | shown), (K, K + 1), the last column undecided, of one annotator or three.

    Each errs with this probability, towards all other classes alike and independently of the others.
    """
    one = np.full((classes, classes), error / (classes - 1))
    np.fill_diagonal(one, 1 - error)
    said = one if annotators == 1 else 3 * one**2 * (1 - one) + one**3
    return np.column_stack([said, np.maximum(1 - said.sum(axis=1), 0)])


def draw(world: World, labels: int, said: Floats, replicates: int, rng: np.random.Generator) -> LabelledSample:
    """Return samples (R, P, 1, ...) of PROMPTS x IMAGES images, `labels` of each prompt labelled by such a majority."""
    k, size = world.joint.shape[-1], (replicates, len(world.joint))
    joint = np.einsum("prc,rs->psc", world.joint, said)  # said x read
    answers = rng.multinomial(labels, joint.reshape(len(joint), -1), size=size).reshape(*size, k + 1, k)
    others = rng.multinomial(IMAGES - labels, world.joint.sum(axis=1), size=size)
    labelled = np.zeros((*size, 1, k + 2, k + 1), dtype=np.int64)
    labelled[..., 0, : k + 1, :k] = answers
    images = np.zeros((*size, 1, k + 1), dtype=np.int64)
    images[..., 0, :k] = others + answers.sum(axis=-2)
    return LabelledSample(labelled, images)
