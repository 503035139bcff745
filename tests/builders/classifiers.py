"""Small face classifiers as files: a linear one whose answers can be computed by hand, and FairFace's architecture."""

from __future__ import annotations

import warnings
from pathlib import Path

import numpy as np
import onnx
import torch
import torchvision
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper
from safetensors.torch import save_file

FAIRFACE_HEADS = {"race7": (0, 7), "gender": (7, 9), "age": (9, 18)}
FAIRFACE_OUTPUTS = {"race7": "race_output", "gender": "gender_output", "age": "age_output"}


def save_linear_onnx(
    path: Path,
    weight: NDArray[np.float32],
    size: tuple[int, int] = (8, 8),
    layout: str = "nchw",
    rows: int | str = "n",
    softmax: bool = False,
) -> Path:
    """Write a model: mean colour of the image (3) x `weight` (3, columns) -> output `scores` (rows, columns).

    rows: a number fixes the batch axis. softmax: the outputs are probabilities instead of logits.
    """
    height, width = size
    shape = [rows, 3, height, width] if layout == "nchw" else [rows, height, width, 3]
    axes = [2, 3] if layout == "nchw" else [1, 2]
    initialisers = [
        numpy_helper.from_array(np.asarray(weight, dtype=np.float32), "weight"),
        numpy_helper.from_array(np.array(axes, dtype=np.int64), "axes"),
    ]
    nodes = [
        helper.make_node("ReduceMean", ["image", "axes"], ["colour"], keepdims=0),
        helper.make_node("MatMul", ["colour", "weight"], ["logits"]),
        helper.make_node("Softmax" if softmax else "Identity", ["logits"], ["scores"]),
    ]
    graph = helper.make_graph(
        nodes,
        "linear",
        [helper.make_tensor_value_info("image", TensorProto.FLOAT, shape)],
        [helper.make_tensor_value_info("scores", TensorProto.FLOAT, [rows, weight.shape[1]])],
        initialisers,
    )
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=8), path)
    return path


def random_model(architecture: str, outputs: int, seed: int = 0) -> torch.nn.Module:
    """Return a torchvision model in evaluation mode with random weights whose answers differ from image to image.

    Freshly made, its batch norms have the statistics of nothing, and the signal dies out on its way to the end: so
    the norms take theirs from a batch of noise, and the last layer is brought to logits around 0 that spread by 1.
    """
    with torch.random.fork_rng(devices=[]), torch.no_grad():
        torch.manual_seed(seed)
        model = torchvision.models.get_model(architecture, weights=None, num_classes=outputs)
        for module in model.modules():
            if isinstance(module, torch.nn.BatchNorm2d):
                module.momentum = 1.0
        noise = torch.randn(8, 3, 64, 64)
        model.train()(noise)
        last = [module for module in model.modules() if isinstance(module, torch.nn.Linear)][-1]
        last.weight /= model.eval()(noise).std(dim=0).mean()
        last.bias -= model(noise).mean(dim=0)
    return model


class _Split(torch.nn.Module):
    """FairFace's three heads as three outputs, as its published ONNX export has them."""

    def __init__(self, model: torch.nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, image: torch.Tensor) -> tuple[torch.Tensor, ...]:
        values = self.model(image)
        return tuple(values[:, start:stop] for start, stop in FAIRFACE_HEADS.values())


def save_fairface(folder: Path, size: int = 64, seed: int = 0) -> tuple[Path, Path]:
    """Write one ResNet-34 with FairFace's 18 outputs and random weights twice; return (ONNX, safetensors)."""
    model = random_model("resnet34", 18, seed)
    exported, plain = folder / "fairface.onnx", folder / "fairface.safetensors"
    save_file(model.state_dict(), plain)
    names = list(FAIRFACE_OUTPUTS.values())
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # the newer exporter needs one more package
        torch.onnx.export(
            _Split(model),
            (torch.zeros(2, 3, size, size),),
            str(exported),
            dynamo=False,
            input_names=["input"],
            output_names=names,
            dynamic_axes={name: {0: "batch_size"} for name in ["input", *names]},
        )
    return exported, plain
