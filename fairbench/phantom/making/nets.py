"""The two networks of the phantom's labeller, small enough to be trained in a minute and shipped in the package."""

from __future__ import annotations

import io
import warnings
from collections.abc import Sequence

import torch
from torch import nn

from fairbench.phantom.renderer import GENDERS, RACES

CHIP = 48
"""Side of the classifier's input, in pixels."""
_WIDTHS = (12, 16, 24, 32)


def _trunk(side: int, outputs: int) -> nn.Sequential:
    """Four strided convolutions and two linear layers: (n, 3, side, side) in 0..1 -> (n, outputs)."""
    layers: list[nn.Module] = []
    for before, after in zip((3, *_WIDTHS), _WIDTHS, strict=False):
        layers += [nn.Conv2d(before, after, kernel_size=3, stride=2, padding=1), nn.ReLU()]
        side = (side + 1) // 2
    layers += [nn.Flatten(), nn.Linear(_WIDTHS[-1] * side * side, 64), nn.ReLU(), nn.Linear(64, outputs)]
    return nn.Sequential(*layers)


class Detector(nn.Module):
    """Images -> presence (n,), a probability, and box (n, 4), fractions of the side.

    The box is predicted as a centre and half a size of at least a tenth, so that it can never be turned inside out.
    """

    def __init__(self, side: int) -> None:
        super().__init__()
        self.trunk = _trunk(side, 5)

    def forward(self, images: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Return presence and boxes."""
        unit = torch.sigmoid(self.trunk(images))
        centre, half = unit[:, 1:3], 0.1 + 0.5 * unit[:, 3:5]
        return unit[:, 0], torch.cat([centre - half, centre + half], dim=1)


class Classifier(nn.Module):
    """Chips (n, 3, CHIP, CHIP) -> logits of gender (n, 2) and of race4 (n, 4)."""

    def __init__(self) -> None:
        super().__init__()
        self.trunk = _trunk(CHIP, len(GENDERS) + len(RACES))

    def forward(self, chips: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Return the logits of both attributes."""
        logits = self.trunk(chips)
        return logits[:, : len(GENDERS)], logits[:, len(GENDERS) :]


def to_onnx(net: nn.Module, side: int, name: str, outputs: Sequence[str]) -> bytes:
    """Return the network as the bytes of an ONNX file with a free batch size."""
    file = io.BytesIO()
    with warnings.catch_warnings():
        # The exporter without these warnings needs two packages more, for a network of a dozen plain layers.
        warnings.simplefilter("ignore", DeprecationWarning)
        torch.onnx.export(
            net.eval().to(memory_format=torch.contiguous_format),
            (torch.zeros(1, 3, side, side),),
            file,  # type: ignore[arg-type]  # this exporter takes a file object too
            dynamo=False,
            opset_version=17,
            input_names=[name],
            output_names=list(outputs),
            dynamic_axes={n: {0: "n"} for n in (name, *outputs)},
        )
    return file.getvalue()
