"""A labeller through whose crops and classifiers gradients flow, for trainings on images that are being drawn."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from fairbench.errors import CardError
from fairbench.labelling.labeller import Labeller
from fairbench.protocols import DifferentiableClassifier, DifferentiableCrop
from fairbench.types import FoundFace


def check(labeller: Labeller) -> None:
    """Raise CardError for a labeller with a part through which no gradient flows."""
    for _, crop in labeller.routes:
        if not issubclass(crop.plugin, DifferentiableCrop):
            raise CardError(
                f"Labeller {labeller.card.name}: no gradient flows through the crop {crop.ref.type}; name a labeller "
                "whose crops are rectangles (box, square)."
            )
    for classifier in labeller.classifiers:
        if not issubclass(classifier.plugin, DifferentiableClassifier):
            raise CardError(
                f"Labeller {labeller.card.name}: no gradient flows through the classifier {classifier.ref.type}; name "
                "a labeller whose classifiers are torch modules (torchvision), not ONNX files or questions."
            )


def region(labeller: Labeller, face: FoundFace, width: int, height: int) -> tuple[int, int, int, int]:
    """Return the rectangle of an image that is read as a face: left, top, right, bottom."""
    box: tuple[int, int, int, int] = labeller.routes[face.route][1].built.region(width, height, face.face)[0]
    return box


def log_probs(labeller: Labeller, images: Any, faces: Sequence[FoundFace]) -> dict[str, Any]:
    """Return log-probabilities (images, K) of every declared attribute.

    images: a tensor (images, 3, height, width) from 0 to 1. faces: one per image.
    """
    import torch

    chips = [_cut(labeller, image, face) for image, face in zip(images, faces, strict=True)]
    found: dict[str, Any] = {}
    for part in labeller.classifiers:
        found |= part.built.log_probs(chips)
    for name, spec in labeller.card.attributes.items():
        if spec.source is not None:
            sums = torch.from_numpy(labeller.derivation(name)).to(found[spec.source])
            found[name] = (found[spec.source].exp() @ sums).log()
    return found


def _cut(labeller: Labeller, image: Any, face: FoundFace) -> Any:
    """Return the chip that the route's crop cuts, as a tensor."""
    import torch

    height, width = image.shape[1:]
    box, grey = labeller.routes[face.route][1].built.region(width, height, face.face)
    left, top, right, bottom = box[0], box[1], max(box[2], box[0] + 1), max(box[3], box[1] + 1)
    inside = image[:, max(top, 0) : max(bottom, 0), max(left, 0) : max(right, 0)]
    if 0 in inside.shape:
        return image.new_full((3, bottom - top, right - left), grey / 255)
    margins = (max(-left, 0), max(right - width, 0), max(-top, 0), max(bottom - height, 0))
    return torch.nn.functional.pad(inside, margins, value=grey / 255)
