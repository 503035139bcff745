"""Every image file that a user may have is decoded, or refused with one sentence."""

from __future__ import annotations

import io
import os
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, features

from fairbench.errors import ImageError
from fairbench.storage import pixels


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


def test_a_postscript_file_is_never_interpreted(monkeypatch: pytest.MonkeyPatch) -> None:
    """Pillow runs Ghostscript for it, whatever the file's name says."""
    from PIL import EpsImagePlugin

    monkeypatch.setattr(EpsImagePlugin, "Ghostscript", lambda *_args, **_options: pytest.fail("was interpreted"))
    data = b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 10 10\n%%EndComments\nshowpage\n"
    with pytest.raises(ImageError, match=r"a\.png is not an image that can be read"):
        pixels.decode(data, "a.png")


@pytest.mark.parametrize("orientation", range(1, 9))
def test_every_exif_orientation(orientation: int) -> None:
    upright = np.random.default_rng(0).integers(0, 256, (4, 6, 3), dtype=np.uint8)
    # The file holds what the camera saw; the tag says how to turn it back.
    seen = {
        1: upright,
        2: upright[:, ::-1],
        3: upright[::-1, ::-1],
        4: upright[::-1],
        5: upright.transpose(1, 0, 2),
        6: np.rot90(upright, 1),
        7: np.rot90(upright, 2).transpose(1, 0, 2),
        8: np.rot90(upright, -1),
    }[orientation]
    exif = Image.Exif()
    exif[274] = orientation
    assert np.array_equal(pixels.decode(saved(Image.fromarray(np.ascontiguousarray(seen)), "PNG", exif=exif)), upright)


def test_transparency_of_palette_grey_and_one_colour_is_laid_over_white() -> None:
    palette = Image.fromarray(np.zeros((4, 4), dtype=np.uint8), mode="P")
    palette.putpalette([10, 20, 30, 40, 50, 60])
    palette.putpixel((1, 0), 1)
    rgb = pixels.decode(saved(palette, "PNG", transparency=bytes([255, 0])))
    assert rgb[0, 0].tolist() == [10, 20, 30]
    assert rgb[0, 1].tolist() == [255, 255, 255]
    assert pixels.decode(saved(Image.new("RGB", (2, 2), (1, 2, 3)), "PNG", transparency=(1, 2, 3))).min() == 255
    assert pixels.decode(saved(Image.new("L", (2, 2), 7), "PNG", transparency=7)).min() == 255
    assert pixels.decode(saved(Image.new("LA", (2, 2), (0, 128)), "PNG"))[0, 0].tolist() == [127, 127, 127]


@pytest.mark.parametrize("kind", ["AVIF", "WEBP", "JPEG2000", "PPM", "MPO", "TIFF", "BMP"])
def test_formats_of_pictures(kind: str) -> None:
    if kind == "AVIF" and not features.check("avif"):
        pytest.skip("this Pillow has no AVIF")
    assert pixels.decode(saved(Image.new("RGB", (16, 16), "red"), kind)).shape == (16, 16, 3)


def test_only_regular_files_are_read(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.png")
    for path in (tmp_path / "pipe.png", Path("/dev/zero"), tmp_path):
        with pytest.raises(ImageError, match="is not a regular file"):
            pixels.read(path)
    with pytest.raises(ImageError, match="cannot be read"):
        pixels.read(Path("a\0b.png"))
