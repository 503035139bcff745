"""A scorer that fails at an evaluation costs its value there, not the training."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from fairbench.notices import collecting
from fairbench.protocols import ScorerSpec
from fairbench.training import evaluation

IMAGES = [np.full((8, 8, 3), level, dtype=np.uint8) for level in (10, 20, 60)]


class Scorer:
    spec = ScorerSpec("mine", "none", "mean grey level", ("brightness",))

    def __init__(self, answer: Any) -> None:
        self.answer = answer

    def features(self, images: list[Any], texts: list[str]) -> Any:
        return self.answer(np.array([[image.mean()] for image in images]))

    def summarise(self, features: Any) -> dict[str, float | None]:
        return {"brightness": float(features.mean()) if len(features) else None}


def test_values_are_those_of_the_images_that_have_one() -> None:
    assert evaluation._values(Scorer(lambda f: f), IMAGES, ["a"] * 3) == {"brightness": 30.0}  # type: ignore[arg-type]
    some = Scorer(lambda f: np.where(f == 60, np.nan, f))
    assert evaluation._values(some, IMAGES, ["a"] * 3) == {"brightness": 15.0}  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("answer", "words"),
    [(lambda f: 1 / 0, "ZeroDivisionError"), (lambda f: f[0], "array of shape"), (None, "TypeError")],
)
def test_a_scorer_that_fails_is_said_and_has_no_value(answer: Any, words: str) -> None:
    with collecting() as said:
        found = evaluation._values(Scorer(answer), IMAGES, ["a"] * 3)  # type: ignore[arg-type]
    assert found == {"brightness": None}
    assert [n.code for n in said] == ["scorer-left-out"]
    assert words in said[0].text
