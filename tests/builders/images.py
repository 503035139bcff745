"""Images without a meaning."""

from __future__ import annotations

import numpy as np

from fairbench.types import RgbImage


def noise(*sizes: tuple[int, int], seed: int = 0) -> list[RgbImage]:
    """Return an image of random colours for each (height, width)."""
    rng = np.random.default_rng(seed)
    return [rng.integers(0, 256, (*size, 3), dtype=np.uint8) for size in sizes]
