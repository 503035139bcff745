"""A scorer of sharpness as a user's file registers it, and mannequins whose pictures of one group may be blurred."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
from PIL import Image, ImageFilter

from fairbench.phantom.renderer import RACES, render

SHARPNESS = """\
import numpy as np
from fairbench.protocols import ScorerSpec
from fairbench.registry import register


@register("scorers", "sharpness")
class Sharpness:
    '''Mean size of the steps between neighbouring pixels.'''

    version = 1
    spec = ScorerSpec("sharpness", "higher", "mean step between neighbours", ("sharpness",))
    backbone = "none"

    def __init__(self, params, ctx):
        pass

    def features(self, images, prompts):
        return np.array([[steps(image)] for image in images])

    def summarise(self, features):
        return {"sharpness": float(features.mean()) if len(features) else None}


def steps(image):
    grey = image.mean(axis=2)
    return (np.abs(np.diff(grey, axis=0)).mean() + np.abs(np.diff(grey, axis=1)).mean()) / 2
"""


def plugin_file(folder: Path) -> Path:
    """Write the scorer `sharpness` as a plug-in file and return it."""
    path = folder / "sharpness.py"
    path.write_text(SHARPNESS)
    return path


def mannequin(gender: str, race: str, rng: np.random.Generator, radius: float = 0.0) -> np.ndarray:
    """Return a picture, blurred by a Gaussian of this radius in pixels."""
    picture = render(gender, race, rng)
    if not radius:
        return picture
    return np.asarray(Image.fromarray(picture).filter(ImageFilter.GaussianBlur(radius)))


def drawer(blurred: Sequence[str], radius: float = 1.0) -> Callable[[str, int], np.ndarray]:
    """Return a model whose pictures of these genders or races are blurred; shares of groups differ by prompt."""

    def draw(prompt: str, seed: int) -> np.ndarray:
        rng = np.random.default_rng(seed)
        share = 0.25 + (len(prompt) % 3) / 4
        gender = "female" if rng.random() < share else "male"
        race = RACES[rng.integers(4)]
        return mannequin(gender, race, rng, radius if {gender, race} & set(blurred) else 0.0)

    return draw
