"""One way to open an ONNX model: quiet, on the right device, without arena growth."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from fairbench import threads
from fairbench.errors import WeightsError
from fairbench.networks import onnxfile
from fairbench.networks.hub import first_line


def session(path: Path, device: str = "cpu") -> Any:
    """Return an onnxruntime InferenceSession.

    Raises WeightsError for an unusable file, and for one that reads further files.
    """
    onnxfile.refuse_external_data(path)
    import onnxruntime as ort

    try:
        return ort.InferenceSession(str(path), session_options(threads.count()), providers=providers(device))
    except Exception as err:
        raise WeightsError(f"{path} is not an ONNX model that onnxruntime can load ({first_line(err)}).") from err


def providers(device: str) -> list[Any]:
    """Return the execution providers of a device, the preferred one first: names, or pairs of a name and its options.

    Without the package onnxruntime-gpu there is no provider for CUDA, and a processor computes.
    """
    import onnxruntime as ort

    kind, _, number = device.partition(":")
    if kind != "cuda" or (cuda := "CUDAExecutionProvider") not in ort.get_available_providers():
        return ["CPUExecutionProvider"]
    return [(cuda, {"device_id": int(number or 0)}), "CPUExecutionProvider"]


def session_options(intra_op_threads: int) -> Any:
    """Return SessionOptions that keep quiet, with threads of a given number that wait actively for a bounded time."""
    import onnxruntime as ort

    options = ort.SessionOptions()
    options.log_severity_level = 3  # older exporters' initialiser warnings run to hundreds of lines
    options.intra_op_num_threads = intra_op_threads
    options.add_session_config_entry("session.intra_op.spin_duration_us", str(threads.SPIN_MICROSECONDS))
    return options
