"""A detector and a classifier, in one file: `fairbench run --plugins by_colour.py --labeller by-colour.yaml`.

The card by-colour.yaml puts them together. A classifier that is an ONNX file needs no code, only such a card.
"""

import numpy as np

import fairbench
from fairbench.types import Face


@fairbench.register("detectors", "by-colour")
class ByColourDetector:
    """Takes every image for one face: put your detector here."""

    version = 1  # raise it whenever a box changes: stored faces are then found again

    def __init__(self, params, ctx):
        pass

    def detect(self, images):
        return [[Face((0, 0, image.shape[1], image.shape[0]), score=1.0)] for image in images]


@fairbench.register("classifiers", "by-colour")
class ByColourClassifier:
    """Tells warm clothes from cold ones by the lower half of the picture: put your classifier here."""

    version = 1  # raise it whenever a probability changes: stored labels are then made again

    def __init__(self, params, ctx, declared):
        self.schema = declared  # the attributes and labels of the card, in its order

    def classify(self, chips):
        means = np.array([chip[len(chip) // 2 :].mean(axis=(0, 1)) for chip in chips])  # (chips, red green blue)
        warm = 1 / (1 + np.exp((means[:, 2] - means[:, 0]) / 4))
        return {"clothes": np.stack([warm, 1 - warm], axis=1)}  # attribute -> (chips, K), rows sum to 1
