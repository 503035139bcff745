"""GEAR on the five chips that FairFace's own code cut: recorded probabilities, and what FairFace answered."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from fairbench import registry
from fairbench.cards import yamlfile
from fairbench.cards.cards import LabellerCard
from fairbench.labelling.classifiers.onnx import OnnxClassifier
from fairbench.types import BuildContext, LabelSchema, RgbImage

ROOT = Path(__file__).parents[2]
SHARED = ROOT.parent / "shared"
CARD = ROOT / "tests" / "data" / "labellers" / "gear-dlib.yaml"
GOLDEN = json.loads(Path(__file__).with_name("gear.json").read_text())
needed = [SHARED / "weights" / "gear.onnx", SHARED / "photos" / "faces"]
pytestmark = pytest.mark.skipif(
    not all(p.exists() for p in needed), reason="shared/weights/gear.onnx and shared/photos/faces are not here"
)


@pytest.fixture(scope="module")
def gear() -> OnnxClassifier:
    card = yamlfile.parse(yamlfile.load(CARD), LabellerCard)
    declared = LabelSchema({name: tuple(spec.labels) for name, spec in card.attributes.items()})
    params = registry.parse_params(OnnxClassifier, card.classifiers[0].params)
    return OnnxClassifier(params, BuildContext(base_dir=CARD.parent), declared)  # type: ignore[arg-type]


@pytest.fixture(scope="module")
def chips() -> dict[str, RgbImage]:
    files = sorted((SHARED / "photos" / "faces").glob("*.jpg"))
    return {path.stem: np.asarray(Image.open(path).convert("RGB")) for path in files}


@pytest.fixture(scope="module")
def found(gear: OnnxClassifier, chips: dict[str, RgbImage]) -> dict[str, NDArray[np.float32]]:
    return gear.classify(list(chips.values()))


def test_probabilities_are_the_recorded_ones(chips: dict[str, RgbImage], found: dict[str, NDArray[np.float32]]) -> None:
    assert GOLDEN["version"] == OnnxClassifier.version, "a change of the output raises the version"
    assert list(chips) == list(GOLDEN["chips"]) and len(chips) == 5
    for attribute, probs in found.items():
        want = [GOLDEN["chips"][name][attribute] for name in chips]
        np.testing.assert_allclose(probs, want, atol=1e-3, err_msg=attribute)
        np.testing.assert_allclose(probs.sum(axis=1), 1, atol=1e-6)


def test_gender_agrees_with_fairface_on_all_five(
    gear: OnnxClassifier, chips: dict[str, RgbImage], found: dict[str, NDArray[np.float32]]
) -> None:
    with (SHARED / "photos" / "fairface_official_outputs.csv").open() as file:
        official = {Path(row["face_name_align"]).stem: row["gender"].lower() for row in csv.DictReader(file)}
    labels = gear.schema.labels["gender"]
    assert {name: labels[best] for name, best in zip(chips, found["gender"].argmax(1), strict=True)} == official


def test_a_chip_does_not_depend_on_its_batch(gear: OnnxClassifier, chips: dict[str, RgbImage]) -> None:
    together = gear.classify(list(chips.values()))
    alone = [gear.classify([chip]) for chip in chips.values()]
    for name, probs in together.items():
        np.testing.assert_allclose(np.concatenate([one[name] for one in alone]), probs, atol=1e-4)
