"""How often the phantom's detector and classifier are right, by the same plug-ins that a run uses."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from fairbench.cards.cards import FileWeights, LabellerCard
from fairbench.cards.catalog import Loaded
from fairbench.labelling.classifiers.onnx import OnnxClassifier, OnnxHead, OnnxParams
from fairbench.labelling.classifiers.preprocess import InputSpec
from fairbench.labelling.crops.box import BoxCrop, BoxParams
from fairbench.labelling.labeller import Labeller
from fairbench.phantom.detector import PhantomDetector, PhantomDetectorParams
from fairbench.phantom.making.corpus import Corpus
from fairbench.phantom.making.nets import CHIP
from fairbench.phantom.renderer import GENDERS, RACES
from fairbench.types import BuildContext, LabelSchema

SCHEMA = LabelSchema({"gender": GENDERS, "race4": RACES})


def load(detector: Path, classifier: Path) -> tuple[PhantomDetector, OnnxClassifier]:
    """Build both plug-ins from files, with the settings of the labeller card `phantom`."""
    params = OnnxParams(
        weights=FileWeights(path=str(classifier)),
        input=InputSpec(size=(CHIP, CHIP), resize="pil-bilinear"),
        heads={name: OnnxHead(output=name) for name in SCHEMA.labels},
    )
    finder = PhantomDetector(PhantomDetectorParams(weights=FileWeights(path=str(detector))), BuildContext())
    return finder, OnnxClassifier(params, BuildContext(), SCHEMA)


def labeller(folder: Path) -> Labeller:
    """Return the labeller of a folder's two files, with the settings of the labeller card `phantom`."""
    from fairbench.phantom.making.train_labeller import CLASSIFIER_FILE, DETECTOR_FILE

    detector, classifier = (str((folder / file).resolve()) for file in (DETECTOR_FILE, CLASSIFIER_FILE))
    card = LabellerCard.model_validate(
        {
            "name": "phantom", "title": "Labeller of the phantom's mannequins",
            "routes": [{"detector": {"type": "phantom", "weights": {"path": detector}}, "crop": {"type": "box"}}],
            "classifiers": [
                {"type": "onnx", "weights": {"path": classifier},
                 "input": {"size": [CHIP, CHIP], "resize": "pil-bilinear"},
                 "heads": {name: {"output": name} for name in SCHEMA.labels}, "batch_size": 256}
            ],
            "attributes": {name: {"labels": list(labels)} for name, labels in SCHEMA.labels.items()},
        }
    )  # fmt: skip
    return Labeller(Loaded(card, None))


def measure(detector: PhantomDetector, classifier: OnnxClassifier, data: Corpus) -> dict[str, float]:
    """Return shares: heads missed, false alarms, right labels of each attribute; and the boxes' mean overlap (IoU).

    Labels and overlap are over the heads that were found.
    """
    faces = detector.detect(list(data.images))
    found = np.array([bool(f) for f in faces])
    hits = np.flatnonzero(found & data.head)
    crop = BoxCrop(BoxParams(), BuildContext())
    probs = classifier.classify([crop.cut(data.images[i], faces[i][0]) for i in hits])
    side = data.images.shape[1]
    boxes = np.array([faces[i][0].bbox_xyxy for i in hits]) / side
    return {
        "missed": float(np.mean(~found[data.head])),
        "false alarms": float(np.mean(found[~data.head])),
        "gender": float(np.mean(probs["gender"].argmax(axis=1) == data.gender[hits])),
        "race4": float(np.mean(probs["race4"].argmax(axis=1) == data.race[hits])),
        "overlap": float(np.mean(_overlap(boxes, data.boxes[hits]))),
    }


def _overlap(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Intersection over union, row by row, of boxes (n, 4)."""
    inner = np.prod(np.clip(np.minimum(a[:, 2:], b[:, 2:]) - np.maximum(a[:, :2], b[:, :2]), 0, None), axis=1)
    areas = (np.prod(box[:, 2:] - box[:, :2], axis=1) for box in (a, b))
    return np.asarray(inner / (sum(areas) - inner))
