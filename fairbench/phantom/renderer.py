"""Mannequins that depict nobody: a neutral grey head, eyes, a nose line and a mouth above a pair of shoulders.

Two arbitrary marks stand for two attributes: the *shape* of the headwear for gender (brimmed hat or peaked cap) and
the *hue* of the clothing for race. Everything else (background, greys, position, scale, brightness) is drawn before
the attributes are looked at, so it cannot carry anything about them.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from PIL import Image, ImageDraw

from fairbench.types import RgbImage

GENDERS = ("female", "male")
RACES = ("WMELH", "Black", "Indian", "Asian")
"""The labels of attribute `race4`; WMELH stands for White, Middle Eastern, Latino Hispanic."""

Colour = tuple[float, float, float]
Box = tuple[float, float, float, float]

CLOTHES: dict[str, Colour] = {
    "WMELH": (236, 180, 30),
    "Black": (40, 160, 90),
    "Indian": (40, 85, 210),
    "Asian": (205, 40, 75),
}
BACKGROUNDS: tuple[Colour, ...] = (
    (226, 226, 226),
    (198, 200, 204),
    (224, 214, 198),
    (202, 214, 224),
    (206, 220, 206),
    (222, 206, 214),
)
_INK: Colour = (38, 38, 40)
_SUPERSAMPLING = 4


@dataclass(frozen=True, slots=True)
class Scene:
    """What an image shows apart from its attributes. Lengths are fractions of the image's side.

    x, y: centre of the head. scale: 1 is the usual size. brightness: factor on every colour. head, hat: grey levels.
    """

    background: Colour
    brightness: float
    x: float
    y: float
    scale: float
    head: float
    hat: float


def sample_scene(rng: np.random.Generator, calm: bool = False) -> Scene:
    """Draw a scene: one integer and six uniform numbers of `rng`, in a fixed order.

    A calm scene has one of the two grey backgrounds, and every range is half as wide about its centre.
    """
    background = BACKGROUNDS[int(rng.integers(2 if calm else len(BACKGROUNDS)))]
    low = np.array([0.90, 0.47, 0.44, 0.92, 132.0, 52.0])
    high = np.array([1.06, 0.53, 0.48, 1.08, 164.0, 84.0])
    if calm:
        low, high = low + (high - low) / 4, high - (high - low) / 4
    brightness, x, y, scale, head, hat = (float(v) for v in rng.uniform(low, high))
    return Scene(background, brightness, x, y, scale, head, hat)


def render(gender: str, race: str, rng: np.random.Generator, size: int = 64, head: bool = True) -> RgbImage:
    """Return one mannequin as uint8 (size, size, 3).

    The image depends on the arguments and the state of `rng` alone, which advances by the same draws whatever the
    attributes: two generators of the same seed give the same scene with other marks. Without `head`, the shoulders
    and the stump of the neck are left. Raises ValueError for a label that GENDERS or RACES does not hold.
    """
    return draw(gender, race, sample_scene(rng), size, head)


def draw(gender: str, race: str, scene: Scene, size: int = 64, head: bool = True) -> RgbImage:
    """Draw a scene with the marks of `gender` and `race`; see `render`."""
    if gender not in GENDERS or race not in RACES:
        raise ValueError(f"no mannequin stands for {gender!r}, {race!r}: the labels are {GENDERS} and {RACES}")
    canvas = _Canvas(scene, size)
    canvas.shoulders(CLOTHES[race])
    if head:
        canvas.head()
        canvas.brimmed_hat() if gender == "female" else canvas.cap()
    return canvas.pixels()


def bust_box(scene: Scene) -> Box:
    """Return left, top, right, bottom (fractions of the side) of headwear, head and shoulders, clipped to the image."""
    s = scene.scale
    left, right = scene.x - 0.40 * s, scene.x + 0.40 * s
    return max(left, 0.0), max(scene.y - 0.36 * s, 0.0), min(right, 1.0), 1.0


class _Canvas:
    """A drawing at four times the final size, in a frame whose origin is the centre of the head."""

    def __init__(self, scene: Scene, size: int) -> None:
        self._scene, self._side = scene, size * _SUPERSAMPLING
        self._image = Image.new("RGB", (self._side, self._side), self._shade(scene.background))
        self._pen = ImageDraw.Draw(self._image)

    def _shade(self, colour: Colour) -> tuple[int, int, int]:
        r, g, b = (min(255, round(c * self._scene.brightness)) for c in colour)
        return r, g, b

    def _place(self, points: tuple[float, ...]) -> list[float]:
        origin = (self._scene.x, self._scene.y)
        return [(origin[i % 2] + v * self._scene.scale) * self._side for i, v in enumerate(points)]

    def _ellipse(self, colour: Colour, *box: float) -> None:
        self._pen.ellipse(self._place(box), fill=self._shade(colour))

    def _rectangle(self, colour: Colour, *box: float, radius: float = 0.0) -> None:
        corner = radius * self._scene.scale * self._side
        self._pen.rounded_rectangle(self._place(box), corner, fill=self._shade(colour))

    def shoulders(self, clothes: Colour) -> None:
        """A garment that reaches below the image's edge, and the neck in the grey of the head."""
        self._rectangle(clothes, -0.38, 0.27, 0.38, 1.2, radius=0.18)
        grey = self._scene.head * 0.88
        self._rectangle((grey, grey, grey), -0.085, 0.10, 0.085, 0.31, radius=0.05)

    def head(self) -> None:
        """An oval with two eyes, the line of a nose and a mouth."""
        grey = self._scene.head
        self._ellipse((grey, grey, grey), -0.165, -0.22, 0.165, 0.22)
        for side in (-1, 1):
            self._ellipse(_INK, side * 0.07 - 0.026, -0.065, side * 0.07 + 0.026, -0.013)
        self._rectangle(_INK, -0.009, -0.01, 0.009, 0.065)
        self._rectangle(_INK, -0.065, 0.105, 0.065, 0.13, radius=0.012)

    def brimmed_hat(self) -> None:
        """A crown above a straight brim that is wider than the head on both sides."""
        grey = self._scene.hat
        self._rectangle((grey, grey, grey), -0.15, -0.34, 0.15, -0.10, radius=0.05)
        self._rectangle((grey, grey, grey), -0.34, -0.15, 0.34, -0.09, radius=0.03)

    def cap(self) -> None:
        """A low dome that fits the head, with a peak to the right."""
        grey = self._scene.hat
        self._pen.pieslice(self._place((-0.18, -0.29, 0.18, 0.09)), 180, 360, fill=self._shade((grey, grey, grey)))
        self._rectangle((grey, grey, grey), 0.0, -0.145, 0.34, -0.085, radius=0.03)

    def pixels(self) -> RgbImage:
        """Average every 4 x 4 block."""
        return np.array(self._image.reduce(_SUPERSAMPLING), dtype=np.uint8)
