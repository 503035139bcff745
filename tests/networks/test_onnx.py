"""Where ONNX models compute: on the device that was asked for, or on a processor without the package for it."""

from __future__ import annotations

import onnxruntime
import pytest

from fairbench.networks import onnx

CUDA, CPU = "CUDAExecutionProvider", "CPUExecutionProvider"


@pytest.mark.parametrize(
    ("device", "expected"),
    [
        ("cpu", [CPU]),
        ("mps", [CPU]),
        ("cuda", [(CUDA, {"device_id": 0}), CPU]),
        ("cuda:3", [(CUDA, {"device_id": 3}), CPU]),
    ],
)
def test_the_device_is_reached(device: str, expected: list[object], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(onnxruntime, "get_available_providers", lambda: ["TensorrtExecutionProvider", CUDA, CPU])
    assert onnx.providers(device) == expected


def test_without_its_package_a_processor_computes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(onnxruntime, "get_available_providers", lambda: ["AzureExecutionProvider", CPU])
    assert onnx.providers("cuda:1") == [CPU]
