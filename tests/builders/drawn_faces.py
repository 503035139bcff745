"""Images whose faces are drawn squares, and plug-ins that read them as they were drawn: labels are known beforehand."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

import numpy as np
import pytest
from pydantic import BaseModel

from fairbench import registry
from fairbench.cards.cards import LabellerCard
from fairbench.cards.catalog import Loaded
from fairbench.protocols import Params
from fairbench.types import BuildContext, Face, LabelSchema, RgbImage

GENDERS, RACES = ("female", "male"), ("WMELH", "Black", "Indian", "Asian")
RACE7 = ("White", "Black", "Latino_Hispanic", "East Asian", "Southeast Asian", "Indian", "Middle Eastern")
TO4 = dict(zip(RACE7, ("WMELH", "Black", "WMELH", "Asian", "Asian", "Indian", "WMELH"), strict=True))
GENDER_PROBS = np.array([[0.9, 0.1], [0.2, 0.8], [0.33, 0.67]], dtype=np.float32)
RACE_PROBS = np.array(
    [
        [0.30, 0.04, 0.04, 0.28, 0.26, 0.04, 0.04],  # White, though Asian has the larger sum
        [0.05, 0.70, 0.05, 0.05, 0.05, 0.05, 0.05],  # Black
        [0.20, 0.05, 0.20, 0.05, 0.00, 0.35, 0.15],  # Indian, though WMELH has the larger sum
        [0.05, 0.05, 0.05, 0.15, 0.60, 0.05, 0.05],  # Southeast Asian
    ],
    dtype=np.float32,
)
SIDE = 64
CROSS = ("gender", "race4")

Drawn = tuple[int, int, int, int]
"""Left edge, side, row of GENDER_PROBS, row of RACE_PROBS."""


class Finder:
    """Finds the squares that row 0 of an image announces."""

    version: ClassVar[int] = 1
    Params: ClassVar[type[BaseModel]] = Params

    def __init__(self, params: Any, ctx: BuildContext) -> None: ...

    def detect(self, images: Sequence[RgbImage]) -> list[list[Face]]:
        return [
            [Face((x, 20, x + s, 20 + s), 0.5) for x, s in enumerate(image[0, :, 0].tolist()) if s] for image in images
        ]


class Teller:
    """Looks the probabilities up that a chip's colour names."""

    version: ClassVar[int] = 1
    Params: ClassVar[type[BaseModel]] = Params

    def __init__(self, params: Any, ctx: BuildContext, declared: LabelSchema) -> None:
        self.schema = declared

    def classify(self, chips: Sequence[RgbImage]) -> dict[str, np.ndarray]:
        colours = np.array([chip[2, 2] for chip in chips])
        return {"gender": GENDER_PROBS[colours[:, 0]], "race7": RACE_PROBS[colours[:, 1]]}


def register(monkeypatch: pytest.MonkeyPatch) -> None:
    """Register the detector and the classifier for one test."""
    monkeypatch.setitem(registry.BUILTIN["detectors"], "announced", f"{__name__}:Finder")  # type: ignore[arg-type]
    monkeypatch.setitem(registry.BUILTIN["classifiers"], "lookup", f"{__name__}:Teller")  # type: ignore[arg-type]


def drawn(number: int, people: Sequence[Drawn]) -> RgbImage:
    """Draw an image of these people; `number` makes it differ from the others."""
    image = np.zeros((SIDE, SIDE, 3), dtype=np.uint8)
    image[-1] = number + 1  # no two images are equal
    for x, side, gender, race in people:
        image[0, x, 0] = side
        image[20 : 20 + side, x : x + side] = (gender, race, 0)
    return image


def card(**policy: Any) -> Loaded[LabellerCard]:
    """Return a labeller of the drawn faces, of which race4 is derived from race7. policy: its face policy."""
    fields = {
        "name": "both",
        "title": "source and sums disagree",
        "routes": [{"detector": {"type": "announced"}, "crop": {"type": "box"}}],
        "classifiers": [{"type": "lookup"}],
        "attributes": {
            "gender": {"labels": list(GENDERS)},
            "race7": {"labels": list(RACE7)},
            "race4": {"labels": list(RACES), "from": "race7", "map": TO4},
        },
        "crosses": [list(CROSS)],
        "face_policy": policy,
    }
    return Loaded(LabellerCard.model_validate(fields), None)
