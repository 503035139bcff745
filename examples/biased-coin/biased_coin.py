"""An adapter, in one file: `fairbench run --plugins biased_coin.py --model biased-coin:0.8 --labeller phantom`.

A function is a model, too, with less to write: see README.md. An adapter is for a family of models that has parameters.
"""

import numpy as np

import fairbench
from fairbench.phantom.renderer import RACES, render


class BiasedCoinParams(fairbench.Params):
    """share: how many of the mannequins are female, from 0 to 1."""

    share: float = 0.5


@fairbench.register("adapters", "biased-coin")
class BiasedCoin:
    """Draws mannequins that depict nobody, female with a share that is known: put your model here."""

    version = 1  # raise it whenever an image changes: stored images are then made again
    uses_dtype = False  # nothing is computed in the run's dtype
    target = "share"  # the parameter that stands behind the colon of --model
    Params = BiasedCoinParams

    def __init__(self, card, params, ctx):
        self.share = params.share

    def generate(self, requests):
        """Return one image per request: a PIL image, or height x width x 3 in uint8 or floats from 0 to 1."""
        return [self.draw(np.random.default_rng(request.seed)) for request in requests]

    def draw(self, rng):
        gender = "female" if rng.random() < self.share else "male"
        return render(gender, str(rng.choice(RACES)), rng)
