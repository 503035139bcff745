"""A scorer, in one file: `fairbench run --plugins mean_grey.py --scorers mean-grey`."""

import numpy as np

import fairbench


@fairbench.register("scorers", "mean-grey")
class MeanGrey:
    """Mean grey level of the images, from 0 to 255."""

    version = 1  # raise it whenever a value changes: stored values are then computed again
    spec = fairbench.ScorerSpec("mean-grey", "none", "mean grey level, from 0 to 255", values=("mean-grey",))
    backbone = "none"  # the network and its weights, where there is one

    def __init__(self, params, ctx):
        pass

    def features(self, images, prompts):
        return np.array([[image.mean()] for image in images])  # (images, D)

    def summarise(self, features):
        return {"mean-grey": float(features.mean())}  # from all images at once
