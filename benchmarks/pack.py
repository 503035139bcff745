"""A stand-in for insightface's pack buffalo_l, which may not be shipped: its files, formats and costs, other weights.

Weights are random, so no network here knows a face. The detector's last layer is set by hand instead: it answers with
one face around the one deep red spot of an image, whatever its backbone computed before. Architectures: det_10g is
SCRFD-10GF (Guo et al., "Sample and Computation Redistribution for Efficient Face Detection", ICLR 2022), w600k_r50 the
IResNet-50 of ArcFace. What lies behind 2d106det, genderage and 1k3d68 was not published; MobileNetV2 and ResNet-50,
with fewer weights than the real files hold, stand for them.
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
import torchvision
from torch import Tensor, nn
from torch.nn import functional

SPOT = 32
"""Side, in pixels of the detector's input, of the cell that the red spot must fill, and the grid that it lies on."""
STRIDES = (8, 16, 32)


@dataclass(frozen=True)
class Sizes:
    """Channels and blocks. det_size: pixels of the detector's square input, a multiple of 32."""

    det_size: int = 640
    det_base: int = 56
    det_planes: tuple[int, ...] = (56, 88, 88, 224)
    det_blocks: tuple[int, ...] = (3, 4, 2, 3)
    det_head: int = 80
    face_width: int = 64
    face_blocks: tuple[int, ...] = (3, 4, 14, 3)
    landmarks3d: str = "resnet50"
    mobile_width: float = 0.5


REAL = Sizes()
TINY = Sizes(320, 8, (8, 8, 8, 8), (1, 1, 1, 1), 8, 8, (1, 1, 1, 1), "mobilenet_v3_small", 0.25)
"""For a quick look at whether the benchmark works; its ratios say nothing."""


def build(folder: Path, sizes: Sizes) -> Path:
    """Write the five files as insightface.app.FaceAnalysis recognises them: by number of outputs and input size."""
    folder.mkdir(parents=True, exist_ok=True)
    torch.manual_seed(0)
    mobile = torchvision.models.MobileNetV2
    nets: dict[str, tuple[nn.Module, int]] = {
        "2d106det": (mobile(num_classes=212, width_mult=sizes.mobile_width), 192),
        "1k3d68": (torchvision.models.get_model(sizes.landmarks3d, weights=None, num_classes=3309), 192),
        "genderage": (mobile(num_classes=3, width_mult=0.25), 96),
        "w600k_r50": (IResNet(sizes.face_width, sizes.face_blocks), 112),
    }
    for name, (net, side) in nets.items():
        _export(settled(net, side), folder / f"{name}.onnx", torch.zeros(1, 3, side, side), ["output"])
    names = [f"{kind}_{stride}" for kind in ("score", "bbox", "kps") for stride in STRIDES]
    detector = settled(Scrfd(sizes), 128)
    _export(detector, folder / "det_10g.onnx", torch.zeros(1, 3, 64, 64), names, {2: "height", 3: "width"})
    return folder


def settled(net: nn.Module, side: int) -> nn.Module:
    """Return the network in evaluation mode, its batch norms set by one batch of noise.

    As initialised, activations of a deep network die out or blow up, and arithmetic on numbers next to zero is slow.
    """
    norms = [m for m in net.modules() if isinstance(m, nn.BatchNorm1d | nn.BatchNorm2d)]
    for norm in norms:
        norm.momentum = 1.0
    with torch.no_grad():
        net.train()(torch.randn(4, 3, side, side))
    return net.eval().requires_grad_(False)


def _export(
    net: nn.Module, path: Path, example: Tensor, outputs: list[str], dynamic: dict[int, str] | None = None
) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # about the older exporter: the newer one needs one more package
        torch.onnx.export(
            net,
            (example,),
            str(path),
            dynamo=False,
            input_names=["input"],
            output_names=outputs,
            dynamic_axes={"input": dynamic, **{name: {0: "anchors"} for name in outputs}} if dynamic else None,
        )


def _conv(inside: int, outside: int, stride: int = 1, kernel: int = 3) -> nn.Sequential:
    layers = [nn.Conv2d(inside, outside, kernel, stride, kernel // 2, bias=False), nn.BatchNorm2d(outside), nn.ReLU()]
    return nn.Sequential(*layers)


class _Basic(nn.Module):
    """Two 3x3 convolutions and a shortcut that, where it must shrink, averages first (ResNet-D)."""

    def __init__(self, inside: int, outside: int, stride: int) -> None:
        super().__init__()
        self.body = nn.Sequential(_conv(inside, outside, stride), *list(_conv(outside, outside))[:2])
        same = stride == 1 and inside == outside
        self.skip = (
            nn.Identity() if same else nn.Sequential(nn.AvgPool2d(stride), *list(_conv(inside, outside, 1, 1))[:2])
        )

    def forward(self, x: Tensor) -> Tensor:
        return functional.relu(self.body(x) + self.skip(x))


class Scrfd(nn.Module):
    """SCRFD: a residual backbone, a pyramid of three levels (PAFPN) and one head that they share."""

    def __init__(self, sizes: Sizes) -> None:
        super().__init__()
        base, planes, neck = sizes.det_base, sizes.det_planes, sizes.det_base
        stem = [_conv(3, base // 2, 2), _conv(base // 2, base // 2), _conv(base // 2, base), nn.MaxPool2d(3, 2, 1)]
        stages, inside = [], base
        for i, (outside, blocks) in enumerate(zip(planes, sizes.det_blocks, strict=True)):
            stages.append(_stage(inside, outside, blocks, 1 if i == 0 else 2))
            inside = outside
        self.bottom, self.stages = nn.Sequential(*stem, stages[0]), nn.ModuleList(stages[1:])
        self.lateral = nn.ModuleList([nn.Conv2d(p, neck, 1) for p in planes[1:]])
        self.smooth = nn.ModuleList([nn.Conv2d(neck, neck, 3, padding=1) for _ in STRIDES])
        self.down = nn.ModuleList([nn.Conv2d(neck, neck, 3, 2, 1) for _ in STRIDES[1:]])
        self.refine = nn.ModuleList([nn.Conv2d(neck, neck, 3, padding=1) for _ in STRIDES[1:]])
        head = sizes.det_head
        self.head = nn.Sequential(_conv(neck, head), _conv(head, head), _conv(head, head))
        # Two anchors a cell. Distances and landmarks, in strides from the cell's first pixel, are those of one face.
        marks = [-0.6, -0.5, 1.6, -0.5, 0.5, 0.7, -0.3, 1.9, 1.3, 1.9]
        self.score, self.box, self.marks = _answer(head, [-20.0]), _answer(head, [3, 3, 4, 4]), _answer(head, marks)

    def forward(self, x: Tensor) -> tuple[Tensor, ...]:
        levels, features = [], self.bottom(x)
        for stage, lateral in zip(self.stages, self.lateral, strict=True):
            features = stage(features)
            levels.append(lateral(features))
        for i in (1, 0):
            levels[i] = levels[i] + functional.interpolate(levels[i + 1], scale_factor=2.0, mode="nearest")
        levels = [smooth(level) for smooth, level in zip(self.smooth, levels, strict=True)]
        for i in (0, 1):
            levels[i + 1] = self.refine[i](levels[i + 1] + self.down[i](levels[i]))
        found = [self.head(level) for level in levels]
        # Pure red is 2, grey 0: a cell's mean passes 1 only where the spot fills it.
        red = functional.relu(x[:, :1] - torch.maximum(x[:, 1:2], x[:, 2:3]))
        spots = [functional.avg_pool2d(red, SPOT) if s == SPOT else 0.0 for s in STRIDES]
        scores = [torch.sigmoid(self.score(f) + 20.0 * spot) for f, spot in zip(found, spots, strict=True)]
        answers = [*scores, *(self.box(f) for f in found), *(self.marks(f) for f in found)]
        return tuple(_rows(a, width) for a, width in zip(answers, [1] * 3 + [4] * 3 + [10] * 3, strict=True))


def _stage(inside: int, outside: int, blocks: int, stride: int) -> nn.Sequential:
    return nn.Sequential(_Basic(inside, outside, stride), *(_Basic(outside, outside, 1) for _ in range(blocks - 1)))


def _answer(inside: int, values: Sequence[float]) -> nn.Conv2d:
    """Return a convolution that costs what a trained one costs and always answers `values`, for both anchors."""
    layer = nn.Conv2d(inside, 2 * len(values), 3, padding=1)
    nn.init.zeros_(layer.weight)
    with torch.no_grad():
        layer.bias = nn.Parameter(torch.tensor([*values, *values], dtype=layer.weight.dtype))
    return layer


def _rows(answer: Tensor, width: int) -> Tensor:
    """(1, 2 * width, height, width of the grid) -> (anchors, width), cell by cell, as insightface reads it."""
    return answer.permute(0, 2, 3, 1).reshape(-1, width)


class IResNet(nn.Module):
    """ArcFace's residual network: full resolution in its first layer, PReLU, a fully connected end of 512."""

    def __init__(self, width: int, blocks: Sequence[int]) -> None:
        super().__init__()
        layers: list[nn.Module] = [*list(_conv(3, width))[:2], nn.PReLU(width)]
        inside = width
        for i, count in enumerate(blocks):
            outside = width * 2**i
            layers += [_IBlock(inside if j == 0 else outside, outside, 2 if j == 0 else 1) for j in range(count)]
            inside = outside
        self.layers = nn.Sequential(
            *layers, nn.BatchNorm2d(inside), nn.Flatten(), nn.Linear(49 * inside, 512), nn.BatchNorm1d(512)
        )

    def forward(self, x: Tensor) -> Tensor:
        answer: Tensor = self.layers(x)
        return answer


class _IBlock(nn.Module):
    def __init__(self, inside: int, outside: int, stride: int) -> None:
        super().__init__()
        first, last = list(_conv(inside, outside))[:2], list(_conv(outside, outside, stride))[:2]
        self.body = nn.Sequential(nn.BatchNorm2d(inside), *first, nn.PReLU(outside), *last)
        self.skip = nn.Identity() if stride == 1 else nn.Sequential(*list(_conv(inside, outside, stride, 1))[:2])

    def forward(self, x: Tensor) -> Tensor:
        answer: Tensor = self.body(x) + self.skip(x)
        return answer
