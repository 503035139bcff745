"""Given images that are no independent evidence are counted and named: copies, near-copies, images of one colour."""

from __future__ import annotations

import io

import numpy as np
import pytest
import scipy.fft
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from PIL import Image

from fairbench.notices import Notices, collecting
from fairbench.storage import copies
from fairbench.storage.copies import GivenImage


def picture(seed: int, height: int = 96, width: int = 128) -> NDArray[np.uint8]:
    """Return a smooth random picture."""
    small = np.random.default_rng(seed).integers(0, 256, (6, 8, 3), dtype=np.uint8)
    return np.asarray(Image.fromarray(small).resize((width, height), Image.Resampling.BICUBIC))


def reported(*images: GivenImage, near_copies: bool = False) -> Notices:
    with collecting() as notices:
        copies.report(images, near_copies=near_copies)
    return notices


def given_image(name: str, pixels: NDArray[np.uint8], prompt: bytes = b"p", sha256: str | None = None) -> GivenImage:
    return GivenImage(name, prompt, sha256 or name, None, copies.notes_of(pixels))


def test_pixel_copies_are_counted_within_a_prompt_and_across_prompts() -> None:
    one, other = picture(1), picture(2)
    (notice,) = reported(
        given_image("a", one, b"p"),
        given_image("b", one, b"p"),
        given_image("c", one, b"q"),
        given_image("d", one, b"q"),
        given_image("e", other, b"q"),
        given_image("f", other, b"q", sha256="e"),
    )
    assert (notice.code, notice.count) == ("copies", 4)
    assert "4 of 6 images are copies of an earlier one (3 of their own prompt, 1 of another)" in notice.text
    assert notice.examples[0] == "b = a, pixel by pixel"
    assert notice.examples[-1] == "f = e, byte by byte"


def test_the_same_bytes_in_another_shape_are_no_copy() -> None:
    flat = np.arange(16 * 24 * 3, dtype=np.int64).astype(np.uint8)
    assert not reported(given_image("a", flat.reshape(16, 24, 3)), given_image("b", flat.reshape(24, 16, 3)))


def test_rows_without_notes_are_compared_by_their_bytes() -> None:
    (notice,) = reported(GivenImage("a", b"p", "1"), GivenImage("b", b"p", "1"), GivenImage("c", b"p", "2"))
    assert (notice.code, notice.count) == ("copies", 1)


@pytest.mark.parametrize(("spread", "plain"), [(0, True), (2, True), (3, False)])
def test_an_image_of_one_colour(spread: int, plain: bool) -> None:
    image = np.full((40, 50, 3), (200, 10, 0), dtype=np.uint8)
    image[33, 41, 1] += spread  # not among the pixels that are looked at first
    assert [n.code for n in reported(given_image("a.png", image))] == ["plain-image"] * plain


def test_what_cannot_be_read_is_said_once_and_is_no_copy() -> None:
    (notice,) = reported(GivenImage("a", b"p", "1", "a is damaged."), GivenImage("b", b"p", "1", "b is damaged."))
    assert (notice.code, notice.count, notice.examples) == ("unread-file", 2, ("a is damaged", "b is damaged"))


def test_near_copies_only_if_asked_for() -> None:
    one = picture(3)
    out = io.BytesIO()
    Image.fromarray(one).resize((100, 75)).save(out, format="JPEG", quality=60)
    like = np.asarray(Image.open(out))
    images = (given_image("a", one), given_image("b", picture(4)), given_image("c", like), given_image("d", one))
    assert [n.code for n in reported(*images)] == ["copies"]
    _, notice = reported(*images, near_copies=True)
    assert (notice.code, notice.count, notice.examples) == ("near-copies", 1, ("c is like a",))


def test_near_copies_say_how_many_images_were_not_compared() -> None:
    (notice,) = reported(GivenImage("a", b"p", "1"), given_image("b", picture(5)), near_copies=True)
    assert "1 of 2 images were stored by an earlier release and were not compared" in notice.text


@pytest.mark.parametrize("seed", range(5))
def test_the_perceptual_hash_is_that_of_imagehash(seed: int) -> None:
    image = picture(seed)
    grey = np.asarray(Image.fromarray(image).convert("L").resize((32, 32), Image.Resampling.LANCZOS), dtype=np.float64)
    low = scipy.fft.dct(scipy.fft.dct(grey, axis=0), axis=1)[:8, :8]
    bits = "".join("1" if b else "0" for b in (low > np.median(low)).ravel())
    assert copies.perceptual_hash(image) == int(bits, 2)


@settings(max_examples=50)
@given(st.lists(st.integers(0, 63), max_size=20), st.integers(1, 7))
def test_earlier_near_is_the_plain_double_loop(values: list[int], block: int) -> None:
    expected = [next((i for i in range(j) if (values[i] ^ b).bit_count() <= 1), -1) for j, b in enumerate(values)]
    assert copies.earlier_near(np.array(values, dtype=np.uint64), 1, block).tolist() == expected
