"""A recipe that draws four images per call, each from a generator of its own, and not so where the prompt says so."""

import random

from fairbench_worker import Refused


def load(repository, weights, settings, device):
    return Batch()


class Batch:
    def generate(self, prompt, seed, width, height):
        raise RuntimeError("one image per call is not what the card says")

    def generate_batch(self, prompts, seeds, width, height):
        from PIL import Image

        if len(prompts) != 4:
            raise RuntimeError(f"{len(prompts)} prompts")
        if "refuse" in prompts:
            raise Refused("I would rather not.")
        if "share" in prompts:
            random.random()
        if "numpy" in prompts:
            import numpy

            numpy.random.rand()
        if "memory" in prompts:
            raise MemoryError
        if "too few" in prompts:
            prompts = prompts[:3]
        generators = [random.Random(seeds[i]) for i in range(len(prompts))]
        return [Image.new("RGB", (width, height), tuple(int(256 * g.random()) for _ in range(3))) for g in generators]
