"""Gradients flow through a labeller: its values are the labeller's own, its gradients those of finite differences."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml

from fairbench.cards import catalog
from fairbench.errors import CardError
from fairbench.labelling import differentiable
from fairbench.labelling.classifiers import preprocess
from fairbench.labelling.classifiers.preprocess import InputSpec
from fairbench.labelling.labeller import Labeller
from fairbench.types import Face, FoundFace
from tests.builders.differentiable import save_labeller

BOXES = [(4.2, 3.0, 20.0, 27.5), (-6.0, 10.0, 15.0, 60.0), (25.0, -9.0, 70.0, 8.0)]


def pictures(count: int = 3) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (count, 32, 40, 3), dtype=np.uint8)


def tensors(images: np.ndarray) -> torch.Tensor:
    return torch.from_numpy(images).permute(0, 3, 1, 2).float() / 255


@pytest.mark.parametrize("crop", [{"type": "square", "expand": 0.25, "pad_value": 60}, {"type": "box", "padding": 0.1}])
def test_values_are_the_labellers_own(tmp_path: Path, crop: dict[str, Any]) -> None:
    labeller = Labeller(catalog.load_labeller(str(save_labeller(tmp_path, crop=crop))))
    differentiable.check(labeller)
    images, faces = pictures(), [FoundFace(Face(box, 1.0), 0) for box in BOXES]
    chips = [labeller.cut(image, face) for image, face in zip(images, faces, strict=True)]
    own = labeller.classify(chips)
    found = differentiable.log_probs(labeller, tensors(images), faces)
    assert found.keys() == own.keys()
    for name, values in found.items():
        np.testing.assert_allclose(values.exp().numpy(), own[name], atol=2e-5)
        assert np.ptp(own[name][:, 0]) > 0.01
    left, top, right, bottom = differentiable.region(labeller, faces[0], 40, 32)
    assert chips[0].shape == (bottom - top, right - left, 3)


def test_gradients_are_those_of_finite_differences(tmp_path: Path) -> None:
    labeller = Labeller(catalog.load_labeller(str(save_labeller(tmp_path))))
    labeller.load()
    for part in labeller.classifiers:
        part.built._model.double()
        part.built._model.register_forward_pre_hook(lambda _, inputs: (inputs[0].double(),))
    images, face = tensors(pictures(1)).double().requires_grad_(), FoundFace(Face(BOXES[0], 1.0), 0)

    def score(pixels: torch.Tensor) -> torch.Tensor:
        of_labels = differentiable.log_probs(labeller, pixels, [face]).values()
        return sum(values[0, 0] for values in of_labels)

    score(images).backward()
    generator = torch.Generator().manual_seed(0)
    direction = torch.randn(images.shape, generator=generator, dtype=torch.float64)
    width = 1e-5
    with torch.no_grad():
        slope = (score(images + width * direction) - score(images - width * direction)) / (2 * width)
    assert float((images.grad * direction).sum()) == pytest.approx(float(slope), rel=1e-3)
    outside = images.grad.clone()
    left, top, right, bottom = differentiable.region(labeller, face, 40, 32)
    outside[:, :, max(top, 0) : bottom, max(left, 0) : right] = 0
    assert outside.abs().max() == 0 and images.grad.abs().max() > 0


@pytest.mark.parametrize("resize", ["torch-bilinear", "torch-bilinear-antialias", "pil-bilinear", "cv2-linear"])
@pytest.mark.parametrize("layout", ["nchw", "nhwc"])
def test_preprocessing_is_that_of_the_labeller(resize: str, layout: str) -> None:
    """Up to rounding to 8 bits: PIL rounds twice, after each axis."""
    spec = InputSpec.model_validate(
        {
            "size": [24, 20],
            "layout": layout,
            "colour": "bgr",
            "range": [-1, 1],
            "mean": [0.1, 0.2, 0.3],
            "std": [0.5, 0.4, 0.3],
            "resize": resize,
        }
    )
    chips = [pictures(1)[0], np.ascontiguousarray(pictures(1)[0][:13, :9])]
    expected = preprocess.batch(chips, spec)
    found = preprocess.differentiable([tensors(chip[None])[0] for chip in chips], spec).numpy()
    rounding = 0 if resize.startswith("torch") else 1.1
    assert found.shape == expected.shape
    assert np.abs(found - expected).max() <= rounding * 2 / 255 / 0.3 + 1e-5


def test_derived_attributes_are_sums(tmp_path: Path) -> None:
    path = save_labeller(tmp_path)
    card = yaml.safe_load(path.read_text())
    card["attributes"]["shade"] = {"from": "race4", "labels": ["b", "a"], "map": {"WMELH": "a", "Black": "b"}}
    path.write_text(yaml.safe_dump(card))
    labeller = Labeller(catalog.load_labeller(str(path)))
    found = differentiable.log_probs(labeller, tensors(pictures(1)), [FoundFace(Face(BOXES[0], 1.0), 0)])
    torch.testing.assert_close(found["shade"], found["race4"].flip(1))


def test_parts_without_gradients_are_refused(tmp_path: Path) -> None:
    with pytest.raises(CardError, match="no gradient flows through the classifier onnx; name a labeller whose"):
        differentiable.check(Labeller(catalog.load_labeller("phantom")))
    path = save_labeller(tmp_path)
    card = yaml.safe_load(path.read_text())
    card["routes"][0]["crop"] = {"type": "fairface-chip"}
    card["routes"][0]["detector"] = {"type": "dlib", "model": "cnn"}
    path.write_text(yaml.safe_dump(card))
    with pytest.raises(CardError, match="no gradient flows through the crop fairface-chip"):
        differentiable.check(Labeller(catalog.load_labeller(str(path))))
