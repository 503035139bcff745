"""The crops: Shen's square against hand-made vectors and exact arithmetic, boxes with padding, FairFace's chip."""

from __future__ import annotations

import math
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from pydantic import ValidationError

from fairbench.errors import CardError
from fairbench.labelling.crops.box import BoxCrop, BoxParams
from fairbench.labelling.crops.square import SquareCrop, SquareParams, square
from fairbench.registry import resolve
from fairbench.types import BuildContext, Face, RgbImage

CTX = BuildContext()

# Worked out on paper. (box, expand) -> edges.
SQUARES = [
    ((100, 100, 140, 160), 0.5, (75, 85, 165, 175)),  # high: 60 -> 90; the width gains 90 - 40
    ((100, 100, 160, 140), 0.5, (85, 75, 175, 165)),  # wide: the same, turned
    ((0, 0, 100, 100), 0.5, (-25, -25, 125, 125)),  # square already, and out of the image
    ((0, 0, 10, 10), 0.5, (-2, -2, 12, 12)),  # -2.5 and 12.5: halves go to the even pixel
    ((3, 3, 13, 13), 0.5, (0, 0, 16, 16)),  # 0.5 -> 0 and 15.5 -> 16
    ((10, 20, 50, 120), 1.1, (-75, -35, 135, 175)),  # 100 -> 210
    ((200, 100, 320, 180), 1.1, (134, 14, 386, 266)),  # 120 -> 252
    ((10.25, 20.5, 50.75, 70.5), 0.5, (-7, 8, 68, 83)),  # -7.0, 8.0, 68.0, 83.0
    ((5, 5, 9, 9), 0.0, (5, 5, 9, 9)),
]


def numbered(height: int, width: int) -> RgbImage:
    """An image without a 0, whose every pixel differs from its neighbours."""
    y, x = np.mgrid[:height, :width]
    return np.stack([1 + x % 200, 1 + y % 200, 1 + (x + y) % 200], axis=-1).astype(np.uint8)


def face(*box: float) -> Face:
    return Face((box[0], box[1], box[2], box[3]), 0.9)


@pytest.mark.parametrize(("box", "expand", "edges"), SQUARES)
def test_square_follows_the_published_expansion(box, expand, edges):
    assert square(box, expand) == edges


coordinates = st.integers(-4000, 4000).map(lambda n: n / 8)  # exact in single precision
sides = st.integers(1, 4000).map(lambda n: n / 8)


@given(coordinates, coordinates, sides, sides, st.sampled_from(["0", "0.3", "0.5", "1.1", "2"]))
def test_square_agrees_with_exact_arithmetic(x1, y1, width, height, expand):
    box = (x1, y1, x1 + width, y1 + height)
    side = Fraction(max(width, height)) * (1 + Fraction(expand))
    centre = Fraction(x1) + Fraction(width) / 2, Fraction(y1) + Fraction(height) / 2
    exact = [centre[0] - side / 2, centre[1] - side / 2, centre[0] + side / 2, centre[1] + side / 2]
    binary = Fraction(expand).denominator in (1, 2)
    # Where 1.1 or 0.3, which no binary number equals, puts an edge on a half, the last bit decides: vectors, above.
    assume(binary or all(abs(e - math.floor(e) - Fraction(1, 2)) > Fraction(1, 10**6) for e in exact))
    assert square(box, float(expand)) == tuple(round(e) for e in exact)


def test_square_takes_the_sides_in_single_precision():
    # As float32 these edges are 91.9999986 apart, which single precision rounds to 92. The side is then 138, and the
    # upper edge 22.5 exactly, to be rounded to 22; in double precision throughout it would be 22.500001, hence 23.
    box = tuple(float(np.float32(v)) for v in (7.1, 69.4, 99.1, 113.6))
    assert square(box, 0.5) == (-16, 22, 122, 160)


@pytest.mark.parametrize(
    ("box", "expand"), [((20, 10, 60, 70), 0.5), ((-15, 30, 25, 60), 0.5), ((70, 60, 130, 99), 1.1)]
)
def test_square_chip_is_the_published_one(box, expand):
    """In [-1, 1], padded with -1 all around and sliced, as the published pipeline sees it."""
    image = numbered(100, 120)
    chip = SquareCrop(SquareParams(expand=expand), CTX).cut(image, face(*box))
    margin = 200
    signed = np.pad(image / 255 * 2 - 1, ((margin, margin), (margin, margin), (0, 0)), constant_values=-1)
    x1, y1, x2, y2 = (edge + margin for edge in square(box, expand))
    np.testing.assert_allclose(chip / 255 * 2 - 1, signed[y1:y2, x1:x2], atol=1e-12)
    assert chip.dtype == np.uint8


def test_square_can_clip_the_box_to_the_image_first():
    image = numbered(100, 100)
    crop = SquareCrop(SquareParams(expand=0.5, clip=True), CTX)
    clipped = crop.cut(image, face(-20, 40, 20, 60))
    assert np.array_equal(clipped, SquareCrop(SquareParams(expand=0.5), CTX).cut(image, face(0, 40, 20, 60)))
    assert clipped.shape == (30, 30, 3)


def test_pad_value_fills_what_lies_outside():
    image = numbered(10, 10)
    chip = SquareCrop(SquareParams(expand=1.0, pad_value=7), CTX).cut(image, face(0, 0, 10, 10))
    assert chip.shape == (20, 20, 3)
    assert np.array_equal(chip[5:15, 5:15], image)
    chip[5:15, 5:15] = 7
    assert (chip == 7).all()


@pytest.mark.parametrize(
    ("padding", "box", "edges"),
    [
        (0.0, (10, 20, 30, 60), (10, 20, 30, 60)),
        (0.25, (10, 20, 30, 60), (0, 10, 40, 70)),  # a quarter of the longer side, 40, on every side
        (0.1, (10.4, 20.6, 30.4, 60.6), (6, 17, 34, 65)),
    ],
)
def test_box_grows_by_a_share_of_its_longer_side(padding, box, edges):
    image = numbered(100, 100)
    x1, y1, x2, y2 = edges
    assert np.array_equal(BoxCrop(BoxParams(padding=padding), CTX).cut(image, face(*box)), image[y1:y2, x1:x2])


def test_box_outside_its_image_is_all_padding():
    chip = BoxCrop(BoxParams(pad_value=9), CTX).cut(numbered(10, 10), face(40, 40, 44, 47))
    assert chip.shape == (7, 4, 3)
    assert (chip == 9).all()


def test_box_without_area_still_gives_a_pixel():
    image = numbered(10, 10)
    assert np.array_equal(BoxCrop(BoxParams(), CTX).cut(image, face(4, 5, 4, 5)), image[5:6, 4:5])


def test_a_chip_is_a_copy():
    image = numbered(10, 10)
    BoxCrop(BoxParams(), CTX).cut(image, face(0, 0, 10, 10))[:] = 0
    assert np.array_equal(image, numbered(10, 10))


@pytest.mark.parametrize("name", ["square", "box", "fairface-chip"])
def test_unknown_and_impossible_parameters_are_refused(name):
    if name == "fairface-chip":
        pytest.importorskip("dlib")
    crop = resolve("crops", name)
    with pytest.raises(ValidationError):
        crop.Params(paddding=1)
    field = {"square": "expand", "box": "padding", "fairface-chip": "size"}[name]
    with pytest.raises(ValidationError):
        crop.Params(**{field: -1})


def test_fairface_chip_needs_landmarks():
    pytest.importorskip("dlib")
    crop = resolve("crops", "fairface-chip")
    with pytest.raises(CardError, match="use the detector dlib"):
        crop(crop.Params(), CTX).cut(numbered(50, 50), face(10, 10, 40, 40))


def test_fairface_chip_puts_the_landmarks_where_the_mean_face_has_them():
    """The chip of a face that is turned and then turned back is upright: the two eyes end on one level."""
    pytest.importorskip("dlib")
    crop = resolve("crops", "fairface-chip")
    image = np.zeros((400, 400, 3), np.uint8)
    # dlib's order: corners of the eye on the right of the image, of the one on its left, base of the nose.
    upright = np.array([[260, 150], [220, 150], [140, 150], [180, 150], [200, 220]], float)
    angle = math.radians(30)
    turn = np.array([[math.cos(angle), -math.sin(angle)], [math.sin(angle), math.cos(angle)]])
    points = np.rint((upright - 200) @ turn.T + 200)
    for x, y in points[[0, 2]].astype(int):  # mark the outer corners of both eyes
        image[y - 3 : y + 4, x - 3 : x + 4] = 255
    marked = Face((100.0, 100.0, 300.0, 300.0), 1.0, tuple(points.ravel().tolist()))
    chip = crop(crop.Params(max_size=None), CTX).cut(image, marked)
    assert chip.shape == (300, 300, 3)
    y, x = np.nonzero(chip[:, :, 0] > 128)
    left, right = x < 150, x >= 150
    assert left.any() and right.any()
    assert abs(y[left].mean() - y[right].mean()) < 3
    assert abs((x[left].mean() + x[right].mean()) / 2 - 150) < 3
