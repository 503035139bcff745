"""A function is a model.

`fairbench run --model my_model.py:draw --task phantom-occupations --labeller phantom -n 8`
"""

import numpy as np

from fairbench.phantom.renderer import RACES, render

version = 1  # images are stored under it and the content of this file


def draw(prompt: str, seed: int):
    """Return a PIL image, an array (height x width x 3: uint8, or floats from 0 to 1), or None where it refuses.

    All chance comes from the seed: the same prompt and seed must give the same image. In batches:
    `draw(prompts, seeds)` returns a list.
    """
    rng = np.random.default_rng(seed)
    gender = "male" if rng.random() < 0.75 else "female"
    return render(gender, str(rng.choice(RACES)), rng)  # a mannequin that depicts nobody: put your model here
