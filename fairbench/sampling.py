"""Noise that belongs to an image, not to a batch: the Gumbel-max trick with one random stream an image."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import NDArray


def gumbel(seeds: Sequence[int], steps: int, size: int, chunk: int = 16) -> Iterator[NDArray[np.float32]]:
    """Yield standard Gumbel noise for `steps` steps over a vocabulary of `size`, `chunk` steps at a time.

    Each array has shape (steps in this chunk, images, size). argmax(logits + T * noise) is a draw from
    softmax(logits / T). Row i depends on seeds[i] alone: not on the other rows, the chunk, or the device.

    NumPy's PCG64 takes the whole 63-bit seed; torch's CPU generator keeps the low 32 bits, so that among some 100,000
    images a few would share their noise. Drawn in double precision: a float32 draw has 2^24 values, and the tail
    of a vocabulary of 16384 over 576 steps is deep enough to meet the end of that grid.
    """
    streams = [np.random.Generator(np.random.PCG64(seed)) for seed in seeds]
    for start in range(0, steps, chunk):
        count = min(chunk, steps - start)
        noise = np.empty((count, len(streams), size), dtype=np.float32)
        for row, stream in enumerate(streams):
            noise[:, row] = stream.standard_exponential((count, size))
        np.log(noise, out=noise)
        yield np.negative(noise, out=noise)
