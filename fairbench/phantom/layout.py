"""Where the phantom's files lie, in the shipped `models/` folder and in the folder of a build alike."""

from __future__ import annotations

from typing import Final

CARD: Final = "phantom.yaml"
CHECKPOINT: Final = "phantom/janus"
CLIP: Final = "phantom/clip"
REALISED: Final = "phantom/realised.csv"
LABELLER_CARD: Final = "labellers/phantom.yaml"
LABELLER_WEIGHTS: Final = "labellers/weights"
DETECTOR_FILE: Final = "phantom_detector.onnx"
CLASSIFIER_FILE: Final = "phantom_classifier.onnx"
CALIBRATION: Final = f"{LABELLER_WEIGHTS}/phantom_calibration.json"
