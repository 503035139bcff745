"""A recipe that draws from the shared generators of numpy, torch and Python, which its first image imports."""

import random


def load(repository, weights, settings, device):
    return Libraries()


class Libraries:
    def generate(self, prompt, seed, width, height):
        import numpy
        import torch
        from PIL import Image

        colour = (int(numpy.random.randint(256)), int(torch.randint(256, (1,))), int(256 * random.random()))
        return Image.new("RGB", (width, height), colour)
