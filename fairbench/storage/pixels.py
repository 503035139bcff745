"""Image bytes to RGB arrays and back, for every file a user may have."""

from __future__ import annotations

import functools
import hashlib
import io
import stat
import warnings
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

from fairbench.errors import ImageError
from fairbench.types import RgbImage

SUFFIXES = (".jpg", ".jpeg", ".jfif", ".jpe", ".png", ".webp", ".bmp", ".gif", ".tif", ".tiff")
"""File name endings (lower case) that a folder of images may hold."""
_ORIENTATION, _TURNED = 0x0112, (5, 6, 7, 8)
"""The EXIF tag of an image's orientation, and its values for images that lie on their side."""
_FORMATS = ("JPEG", "MPO", "PNG", "WEBP", "BMP", "DIB", "GIF", "TIFF", "AVIF", "JPEG2000", "PPM", "QOI")


def decode(data: bytes, name: str = "image") -> RgbImage:
    """Decode image bytes to uint8 RGB (height, width, 3).

    CMYK, palette, grey and 16-bit images are converted; of an animation the first frame is taken; transparency is
    laid over white; the EXIF orientation is applied. Raises ImageError, with `name` in its sentence, for anything else.
    """
    if not data:
        raise ImageError(f"{name} is empty (0 bytes): replace or remove it.")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            with Image.open(io.BytesIO(data), formats=_formats()) as img:
                if Image.MAX_IMAGE_PIXELS and img.width * img.height > Image.MAX_IMAGE_PIXELS:
                    # Asked here, too: another thread may have reset the filter that makes the warning an error.
                    raise Image.DecompressionBombError(f"{img.width} x {img.height}")
                img.seek(0)
                img.load()
                rgb = _to_rgb(ImageOps.exif_transpose(img))
    except UnidentifiedImageError as err:
        raise ImageError(f"{name} is not an image that can be read: replace or remove it.") from err
    except (Image.DecompressionBombWarning, Image.DecompressionBombError) as err:
        raise ImageError(f"{name} has too many pixels to be decoded safely: scale it down.") from err
    except Exception as err:  # Pillow's codecs raise many kinds on broken input; each means the same to the user
        raise ImageError(f"{name} is damaged or truncated ({err}): replace or remove it.") from err
    return np.asarray(rgb, dtype=np.uint8)


def size(data: bytes) -> tuple[int, int] | None:
    """Return width and height of an image file as `decode` gives them, from its head alone; None where it is none."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)
            with Image.open(io.BytesIO(data), formats=_formats()) as img:
                turned = img.getexif().get(_ORIENTATION, 1) in _TURNED
                return (img.height, img.width) if turned else img.size
    except Exception:  # noqa: BLE001 - Pillow's codecs raise many kinds on broken input; it is no image then
        return None


def from_pil(img: Image.Image) -> RgbImage:
    """Convert a Pillow image as `decode` does. Raises ValueError for pixels without a defined range."""
    return np.asarray(_to_rgb(img), dtype=np.uint8)


@functools.cache
def _formats() -> tuple[str, ...]:
    """Return the formats that are decoded, of those that this Pillow can: pictures alone.

    Pillow would hand a PostScript file, whatever its name, to an interpreter outside.
    """
    Image.init()
    return tuple(name for name in _FORMATS if name in Image.OPEN)


def _to_rgb(img: Image.Image) -> Image.Image:
    if img.mode == "F":
        raise ValueError("floating-point pixels have no defined range")
    if img.mode.startswith("I"):  # 16 bits per pixel (Pillow widens some of them to 32)
        wide = np.asarray(img).astype(np.int64)
        if wide.min(initial=0) < 0 or wide.max(initial=0) > 65535:
            raise ValueError("its pixels need more than 16 bits")
        return Image.fromarray(((wide + 128) // 257).astype(np.uint8)).convert("RGB")
    if "A" in img.mode or "transparency" in img.info:
        rgba = img.convert("RGBA")
        return Image.alpha_composite(Image.new("RGBA", rgba.size, "white"), rgba).convert("RGB")
    return img.convert("RGB")


def encode(pixels: RgbImage) -> bytes:
    """Encode as PNG: lossless, at the fastest compression level."""
    out = io.BytesIO()
    Image.fromarray(pixels).save(out, format="PNG", compress_level=1)
    return out.getvalue()


def read(path: Path) -> tuple[bytes, str]:
    """Return a file's bytes and their sha256 (hex). Raises ImageError where it cannot be read."""
    try:
        if not stat.S_ISREG(path.stat().st_mode):  # asked before opening: a pipe or a device may never end
            raise ImageError(f"{path} is not a regular file: replace or remove it.")
        data = path.read_bytes()
    except (OSError, ValueError) as err:  # ValueError: a name that is no path
        raise ImageError(f"{path} cannot be read ({getattr(err, 'strerror', None) or err}): fix or remove it.") from err
    return data, hashlib.sha256(data).hexdigest()
