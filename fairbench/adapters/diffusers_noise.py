"""Where the noise of a diffusers pipeline comes from: an image's own seed, whatever draws."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np


def cpu_generator(seed: int) -> Any:
    """Return a torch generator on the CPU whose whole state comes from a seed of up to 64 bits.

    `manual_seed` alone keeps the low 32 bits, so that among some 100,000 images a few would share their noise. The
    624 words of the Mersenne twister are those of NumPy's, which a SeedSequence fills from the whole seed.
    """
    import torch

    generator = torch.Generator("cpu").manual_seed(seed)
    state = generator.get_state()
    # 24 bytes of seed, position and flags, then 624 words of 32 bits in 64 each; the position says "draw new words".
    words = state.numpy()[24 : 24 + 624 * 8].view(np.uint64)
    words[:] = np.random.MT19937(np.random.SeedSequence(seed)).state["state"]["key"]
    generator.set_state(state)
    return generator


@contextmanager
def global_streams(generator: Any) -> Iterator[None]:
    """Start torch's global streams at an image's own seed, and put them back afterwards; nothing without a generator.

    Language models inside pipelines draw from them: those that rewrite prompts, and GLM-Image's.
    """
    import torch

    if generator is None:
        yield
        return
    devices = list(range(torch.cuda.device_count()))
    with torch.random.fork_rng(devices=devices):
        torch.cuda.manual_seed_all(generator.initial_seed())
        torch.set_rng_state(generator.get_state())
        yield
