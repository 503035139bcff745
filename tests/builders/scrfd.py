"""A detection model in SCRFD's format whose weights are set by hand: it finds bright red squares.

Nine outputs, as insightface decodes them: scores, boxes and landmarks at strides 8, 16 and 32, two anchors a cell. An
anchor inside a square counts the red pixels to its left, above, to its right and below, which are the distances that
the format asks for; so every anchor gives the exact box. The landmarks are the corners and, third, the centre.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

REACH = 64  # how far an anchor sees: squares up to this size, and this far apart
STRIDES = (8, 16, 32)


def save(folder: Path, size: int | None = None, landmarks: bool = True) -> Path:
    """Write det_tiny.onnx: of any input size, or of `size` x `size` only; with or without landmarks."""
    nodes, weights, outputs = [], _weights(), []

    def node(kind: str, inputs: list[str], output: str, **attributes: object) -> str:
        nodes.append(helper.make_node(kind, inputs, [output], **attributes))
        return output

    node("Conv", ["input", "red"], "red_channel")
    node("Cast", [node("Greater", ["red_channel", "zero"], "lit")], "bright", to=TensorProto.FLOAT)
    for stride in STRIDES:
        grid, at = [stride, stride], f"_{stride}"
        across = node("Conv", ["bright", "along_x"], "lr" + at, strides=grid, pads=[0, REACH, 0, REACH - 1])
        down = node("Conv", ["bright", "along_y"], "tb" + at, strides=grid, pads=[REACH, 0, REACH - 1, 0])
        pixels = node("Conv", [node("Concat", [across, down], "lrtb" + at, axis=1), "to_ltrb"], "ltrb" + at)
        here = node("Conv", ["bright", "one"], "here" + at, strides=grid)
        raw = {"score": node("Mul", [here, node("Conv", [pixels, "size", "half"], "sure" + at)], "p" + at)}
        raw["box"] = node("Div", [pixels, f"stride{at}"], "distances" + at)
        if landmarks:
            raw["kps"] = node("Conv", [raw["box"], "to_kps"], "marks" + at)
        for name, tensor in raw.items():
            twice = node("Concat", [tensor, tensor], f"{name}_twice{at}", axis=1)
            last = node("Transpose", [twice], f"{name}_last{at}", perm=[0, 2, 3, 1])
            outputs.append((name, stride, node("Reshape", [last, f"{name}_shape"], name + at)))
    kinds = {"score": 1, "box": 4, "kps": 10}
    order = sorted(outputs, key=lambda o: (list(kinds).index(o[0]), o[1]))
    graph = helper.make_graph(
        nodes,
        "tiny_scrfd",
        [helper.make_tensor_value_info("input", TensorProto.FLOAT, [1, 3, size or "height", size or "width"])],
        [helper.make_tensor_value_info(o, TensorProto.FLOAT, [f"n{s}", kinds[k]]) for k, s, o in order],
        [numpy_helper.from_array(value, name) for name, value in weights.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    onnx.checker.check_model(model, full_check=True)
    path = folder / "det_tiny.onnx"
    onnx.save(model, path)
    return path


def _weights() -> dict[str, np.ndarray]:
    before_after = np.zeros((2, 1, 1, 2 * REACH), np.float32)
    before_after[0, ..., :REACH] = before_after[1, ..., REACH:] = 1
    left, top, right, bottom = np.eye(4, dtype=np.float32) * np.array([[-1], [-1], [1], [1]], np.float32)
    centre = ((left + right) / 2, (top + bottom) / 2)
    marks = np.stack([left, top, right, top, *centre, left, bottom, right, bottom])
    return {
        "red": np.array([1, 0, 0], np.float32).reshape(1, 3, 1, 1),
        "zero": np.zeros(1, np.float32),
        "one": np.ones((1, 1, 1, 1), np.float32),
        "along_x": before_after,
        "along_y": before_after.transpose(0, 1, 3, 2).copy(),
        "to_ltrb": np.eye(4, dtype=np.float32)[[0, 2, 1, 3]].reshape(4, 4, 1, 1),
        "to_kps": marks.reshape(10, 4, 1, 1),
        # A score of 0.5 and more, growing with the width: the larger of two squares comes first.
        "size": np.array([1, 0, 1, 0], np.float32).reshape(1, 4, 1, 1) / (4 * REACH),
        "half": np.full(1, 0.5, np.float32),
        "score_shape": np.array([-1, 1]),
        "box_shape": np.array([-1, 4]),
        "kps_shape": np.array([-1, 10]),
        **{f"stride_{s}": np.full(1, s, np.float32) for s in STRIDES},
    }
