"""Every image file that a user may have is decoded, or refused with one sentence."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from fairbench import pixels
from fairbench.errors import ImageError


def saved(image: Image.Image, kind: str, **options: object) -> bytes:
    out = io.BytesIO()
    image.save(out, kind, **options)
    return out.getvalue()


def test_round_trip_is_lossless() -> None:
    image = np.random.default_rng(0).integers(0, 256, (9, 7, 3), dtype=np.uint8)
    assert np.array_equal(pixels.decode(pixels.encode(image)), image)


def test_cmyk_becomes_rgb() -> None:
    red = pixels.decode(saved(Image.new("CMYK", (4, 4), (0, 255, 255, 0)), "JPEG"))
    assert red.shape == (4, 4, 3)
    assert red[0, 0, 0] > 200
    assert red[0, 0, 1] < 40


def test_sixteen_bits_are_scaled_not_clipped() -> None:
    wide = np.array([[0, 257, 32896, 65535]], dtype=np.uint16)
    assert pixels.decode(saved(Image.fromarray(wide), "PNG"))[0, :, 0].tolist() == [0, 1, 128, 255]


def test_of_an_animation_the_first_frame_is_taken() -> None:
    frames = [Image.new("RGB", (4, 4), c) for c in ("red", "blue")]
    for kind in ("GIF", "PNG", "WEBP"):
        data = saved(
            frames[0], kind, save_all=True, append_images=frames[1:], **({"lossless": True} if kind == "WEBP" else {})
        )
        assert pixels.decode(data)[0, 0].tolist() == [255, 0, 0], kind


def test_transparency_is_laid_over_white() -> None:
    assert pixels.decode(saved(Image.new("RGBA", (2, 2), (255, 0, 0, 0)), "PNG"))[0, 0].tolist() == [255, 255, 255]
    assert pixels.decode(saved(Image.new("LA", (2, 2), (0, 255)), "PNG"))[0, 0].tolist() == [0, 0, 0]


def test_exif_orientation_is_applied() -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    assert pixels.decode(saved(Image.new("RGB", (8, 4)), "JPEG", exif=exif)).shape == (8, 4, 3)


def test_grey_and_one_bit_images() -> None:
    assert pixels.decode(saved(Image.new("L", (3, 2), 7), "PNG")).tolist() == [[[7, 7, 7]] * 3] * 2
    assert pixels.decode(saved(Image.new("1", (3, 2), 1), "PNG"))[0, 0].tolist() == [255, 255, 255]


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b"", "0 bytes"),
        (b"hello", "not an image"),
        (saved(Image.effect_noise((64, 64), 50).convert("RGB"), "JPEG")[:-400], "damaged or truncated"),
        (saved(Image.effect_noise((64, 64), 50), "PNG")[:-700], "damaged or truncated"),
        (saved(Image.new("F", (2, 2)), "TIFF"), "floating-point"),
    ],
)
def test_what_cannot_be_decoded_is_refused_by_name(data: bytes, words: str) -> None:
    with pytest.raises(ImageError, match=words) as caught:
        pixels.decode(data, "cat.jpg")
    assert "cat.jpg" in str(caught.value)


def test_a_decompression_bomb_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 10)
    with pytest.raises(ImageError, match="too many pixels"):
        pixels.decode(saved(Image.new("RGB", (8, 8)), "PNG"))


def test_any_broken_bytes_give_an_image_error_and_nothing_else() -> None:
    rng = np.random.default_rng(1)
    for kind in ("JPEG", "PNG", "GIF", "WEBP", "TIFF", "BMP"):
        whole = bytearray(saved(Image.effect_noise((24, 24), 50).convert("RGB"), kind))
        for _ in range(60):
            data = bytearray(whole)
            for place in rng.integers(0, len(data), 4):
                data[place] = int(rng.integers(0, 256))
            try:
                assert pixels.decode(bytes(data)).shape[2] == 3
            except ImageError:
                continue


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(ImageError, match=r"gone\.png cannot be read"):
        pixels.read(tmp_path / "gone.png")
