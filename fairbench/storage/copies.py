"""Given images that are no independent evidence: copies, near-copies, and images of one colour.

Generation decodes each image once and keeps what it saw as notes of its row; `report` reads only those, so that a run
says the same when all its images are in the store already.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from fairbench.notices import MAX_EXAMPLES, notice
from fairbench.types import RgbImage

PIXELS: Final = "pixels"
"""Note of every image that came as a file: sha256 (hex) of its size and decoded pixels."""
PERCEPTUAL: Final = "phash"
"""Note of every given image: its perceptual hash, 16 hex digits."""
PLAIN: Final = "plain-image"
"""Note of an image of one colour: which."""
GREY_LEVELS: Final = 2
"""How far apart the pixels of a plain image are at most, in each channel."""
NEAR_BITS: Final = 4
"""In how many of 64 bits the perceptual hashes of near-copies differ at most."""

_SIDE, _KEPT = 32, 8


@dataclass(frozen=True, slots=True)
class GivenImage:
    """An image file that somebody gave. prompt: the id of its prompt; error: why it cannot be used, None if it can."""

    name: str
    prompt: bytes
    sha256: str | None
    error: str | None = None
    notes: Mapping[str, str] = field(default_factory=dict)


def notes_of(image: RgbImage) -> dict[str, str]:
    """Return what `report` needs to know of a decoded image, as notes of its row."""
    notes = {PIXELS: content_hash(image), PERCEPTUAL: f"{perceptual_hash(image):016x}"}
    if _is_plain(image[::16, ::16]) and _is_plain(image):  # a few pixels mostly decide, hundreds of times faster
        middle = image[image.shape[0] // 2, image.shape[1] // 2].tolist()
        notes[PLAIN] = f"every pixel is about RGB {tuple(middle)}"
    return notes


def content_hash(image: RgbImage) -> str:
    """Return the sha256 (hex) of an image's size and pixels, whatever file they come from."""
    content = hashlib.sha256(repr(image.shape).encode())
    content.update(np.ascontiguousarray(image).data)
    return content.hexdigest()


def _is_plain(image: RgbImage) -> bool:
    low, high = image.min(axis=(0, 1)).astype(int), image.max(axis=(0, 1)).astype(int)
    return bool((high - low).max() <= GREY_LEVELS)


def perceptual_hash(image: RgbImage) -> int:
    """Return a hash of 64 bits that small changes (compression, scaling, brightness) hardly change.

    That of the package ImageHash (`phash`): which of the 8 x 8 lowest frequencies of the grey image, scaled to 32 x 32,
    lie above their median.
    """
    grey = Image.fromarray(image).convert("L").resize((_SIDE, _SIDE), Image.Resampling.LANCZOS)
    cosines = _cosines()
    low = cosines @ np.asarray(grey, dtype=np.float64) @ cosines.T
    bits = (low > np.median(low)).ravel()
    return int.from_bytes(np.packbits(bits).tobytes(), "big")


def _cosines() -> NDArray[np.float64]:
    """Return the first rows of the discrete cosine transform, (8, 32): 2 cos(pi k (2n + 1) / 64)."""
    k, n = np.arange(_KEPT)[:, None], np.arange(_SIDE)[None, :]
    return np.asarray(2 * np.cos(np.pi * k * (2 * n + 1) / (2 * _SIDE)))


def report(images: Sequence[GivenImage], *, near_copies: bool = False) -> None:
    """Report files that cannot be read, images of one colour, copies, and, if asked, near-copies.

    Images whose rows have no notes (stored by an earlier release) are compared by their bytes alone.
    """
    unread = [image.error.rstrip(".") for image in images if image.error is not None]
    plain = [f"{i.name}: {i.notes[PLAIN]}" for i in images if PLAIN in i.notes]
    for code, examples, what in (
        ("unread-file", unread, "image files cannot be read and count as failed."),
        (PLAIN, plain, "images are of one colour; they count as ok, without a face."),
    ):
        if examples:
            notice(code, f"{len(examples)} of {len(images)} {what}", count=len(examples), examples=examples)
    _report_copies(images)
    if near_copies:
        _report_near(images)


def _report_copies(images: Sequence[GivenImage]) -> None:
    """Report images with the same bytes or pixels as an earlier one, within its prompt or under another."""
    first: dict[str, GivenImage] = {}
    prompts: dict[str, set[bytes]] = {}
    within = across = 0
    examples: list[str] = []
    for image in images:
        content = image.notes.get(PIXELS) or image.sha256
        if image.error is not None or not content:
            continue
        earlier = first.setdefault(content, image)
        shown_under = prompts.setdefault(content, set())
        if earlier is not image:
            same = "byte by byte" if earlier.sha256 == image.sha256 else "pixel by pixel"
            within += image.prompt in shown_under
            across += image.prompt not in shown_under
            examples.append(f"{image.name} = {earlier.name}, {same}") if len(examples) < MAX_EXAMPLES else None
        shown_under.add(image.prompt)
    if within + across:
        text = (
            f"{within + across} of {len(images)} images are copies of an earlier one ({within} of their own prompt, "
            f"{across} of another); each counts as an image of its own."
        )
        notice("copies", text, count=within + across, examples=examples)


def _report_near(images: Sequence[GivenImage]) -> None:
    """Report images that look like an earlier one and are no copies of it."""
    hashed = [i for i in images if PERCEPTUAL in i.notes and PLAIN not in i.notes]
    first: dict[str, GivenImage] = {}
    for image in hashed:
        first.setdefault(image.notes[PIXELS], image)
    once = list(first.values())
    earliest = earlier_near(np.array([int(i.notes[PERCEPTUAL], 16) for i in once], dtype=np.uint64))
    near = np.flatnonzero(earliest >= 0)
    if near.size:
        examples = [f"{once[i].name} is like {once[earliest[i]].name}" for i in near[:MAX_EXAMPLES]]
        text = f"{len(near)} of {len(images)} images look like an earlier one."
        notice("near-copies", text, count=len(near), examples=examples)
    unknown = sum(i.error is None and PERCEPTUAL not in i.notes for i in images)
    if unknown:
        text = f"{unknown} of {len(images)} images were stored by an earlier release and were not compared."
        notice("near-copies", text, count=unknown)


def earlier_near(hashes: NDArray[np.uint64], most: int = NEAR_BITS, block: int = 256) -> NDArray[np.int64]:
    """Return for every hash the index of the earliest one before it that differs in at most `most` bits, else -1.

    hashes: uint64, (n,). Memory grows with block x n, time with n squared: 10,000 take about a second.
    """
    earliest = np.full(len(hashes), -1, dtype=np.int64)
    for start in range(0, len(hashes), block):
        rows, later = hashes[start : start + block], hashes[start:]
        near = np.bitwise_count(rows[:, None] ^ later[None, :]) <= most
        near &= np.arange(len(later))[None, :] > np.arange(len(rows))[:, None]  # a row is compared with later ones
        new = near.any(axis=0) & (earliest[start:] < 0)
        earliest[start:][new] = start + near.argmax(axis=0)[new]
    return earliest
