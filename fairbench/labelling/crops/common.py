"""What the crops share: a rectangle of whole pixels that may lie partly, or wholly, outside its image."""

from __future__ import annotations

import numpy as np

from fairbench.types import RgbImage


def cut_padded(image: RgbImage, box: tuple[int, int, int, int], pad_value: int) -> RgbImage:
    """Return the pixels of `box` (left, top, right, bottom; the last two excluded) as a new array.

    Pixels outside the image have `pad_value` in all three channels. An empty box gives the one pixel at its corner,
    so that a chip always has pixels.
    """
    left, top = box[:2]
    right, bottom = max(box[2], left + 1), max(box[3], top + 1)
    chip = np.full((bottom - top, right - left, 3), pad_value, dtype=np.uint8)
    height, width = image.shape[:2]
    x1, y1, x2, y2 = max(left, 0), max(top, 0), min(right, width), min(bottom, height)
    if x1 < x2 and y1 < y2:
        chip[y1 - top : y2 - top, x1 - left : x2 - left] = image[y1:y2, x1:x2]
    return chip
