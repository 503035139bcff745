"""A scorer as a user's file registers it: the mean grey level of an image."""

from __future__ import annotations

SCORER = """\
import numpy as np
from fairbench.protocols import ScorerSpec
from fairbench.registry import register


@register("scorers", "brightness")
class Brightness:
    '''Mean grey level.'''

    version = 1
    spec = ScorerSpec("brightness", "none", "mean grey level", ("brightness",))
    backbone = "none"

    def __init__(self, params, ctx):
        pass

    def features(self, images, prompts):
        {body}
        return np.array([[image.mean()] for image in images])

    def summarise(self, features):
        return {{"brightness": float(features.mean())}}
"""
"""{body} is what `features` does first."""
