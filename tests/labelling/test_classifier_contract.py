"""ONNX models that are not what a card says, and models that would read files which no hash covers."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from fairbench.errors import CardError, WeightsError
from fairbench.labelling.classifiers import onnx as onnx_classifier
from fairbench.labelling.classifiers.onnx import OnnxClassifier, OnnxParams
from fairbench.labelling.classifiers.torchvision import TorchvisionClassifier, TorchvisionParams
from fairbench.labelling.detectors.insightface import InsightFaceDetector, InsightFaceParams
from fairbench.networks import onnx as onnx_sessions
from fairbench.networks import onnxfile
from fairbench.types import BuildContext, LabelSchema
from tests.builders import scrfd
from tests.builders.classifiers import save_fairface, save_linear_onnx

WEIGHT = np.array([[2, -1, 0.5], [0, 1, -2], [1, 3, 0]], dtype=np.float32)
RACE = LabelSchema({"race": ("a", "b", "c")})
CTX = BuildContext()


def classifier(path: Path, declared: LabelSchema = RACE, **changes: object) -> OnnxClassifier:
    fields = {
        "weights": {"path": str(path)},
        "input": {"size": (8, 8), "resize": "pil-bilinear"},
        "heads": {"race": {"output": "scores"}},
    }
    return OnnxClassifier(OnnxParams.model_validate({**fields, **changes}), CTX, declared)


def chips(count: int, seed: int = 0) -> list[np.ndarray]:
    return list(np.random.default_rng(seed).integers(0, 256, (count, 9, 7, 3), dtype=np.uint8))


def with_tail(
    path: Path, *nodes: onnx.NodeProto, constants: dict[str, np.ndarray] | None = None, kind: int = TensorProto.FLOAT
) -> Path:
    """Save the linear model with more nodes from `logits` to `scores`, whose shape is left open."""
    model = onnx.load(save_linear_onnx(path, WEIGHT))
    del model.graph.node[-1]
    model.graph.node.extend(nodes)
    model.graph.initializer.extend(numpy_helper.from_array(v, k) for k, v in (constants or {}).items())
    del model.graph.output[:]
    model.graph.output.append(helper.make_tensor_value_info("scores", kind, None))
    onnx.save(model, path)
    return path


# --- what a model gives ---


@pytest.mark.parametrize("trailing", [[], [1, 1]])
def test_an_output_is_rows_by_columns_also_as_a_convolution_gives_it(tmp_path: Path, trailing: list[int]) -> None:
    shape = {"to": np.array([-1, 3, *trailing])}
    path = with_tail(tmp_path / "m.onnx", helper.make_node("Reshape", ["logits", "to"], ["scores"]), constants=shape)
    plain = classifier(save_linear_onnx(tmp_path / "plain.onnx", WEIGHT))
    np.testing.assert_array_equal(classifier(path).classify(chips(5))["race"], plain.classify(chips(5))["race"])


@pytest.mark.parametrize(
    ("nodes", "constants", "kind", "says"),
    [
        ([("Transpose", ["logits"])], {}, TensorProto.FLOAT, r"'scores' of m\.onnx has 3 rows for 8 images"),
        ([("ReduceMean", ["logits"])], {}, TensorProto.FLOAT, "has 1 columns"),
        ([("Reshape", ["logits", "to"])], {"to": np.array([-1])}, TensorProto.FLOAT, r"has shape \(24,\)"),
        ([("Gather", ["logits", "to"])], {"to": np.array([0, 0])}, TensorProto.FLOAT, "has 2 rows for 8 images"),
        ([("ArgMax", ["logits"])], {}, TensorProto.INT64, "holds int64, not float numbers"),
        ([("Sqrt", ["logits"])], {}, TensorProto.FLOAT, "not finite"),
    ],
)
def test_an_output_that_is_no_answer_per_image_is_one_sentence(
    tmp_path: Path, nodes: list[tuple[str, list[str]]], constants: dict[str, np.ndarray], kind: int, says: str
) -> None:
    made = [helper.make_node(op, inputs, ["scores"]) for op, inputs in nodes]
    path = with_tail(tmp_path / "m.onnx", *made, constants=constants, kind=kind)
    with pytest.raises(CardError, match=says) as caught:
        classifier(path).classify(chips(5))
    assert "\n" not in str(caught.value)


def test_a_scalar_output_is_refused(tmp_path: Path) -> None:
    node = helper.make_node("ReduceSum", ["logits"], ["scores"], keepdims=0)
    with pytest.raises(CardError, match=r"has shape \(\)"):
        classifier(with_tail(tmp_path / "m.onnx", node)).classify(chips(2))


def test_a_batch_axis_that_is_open_in_name_only_is_one_sentence(tmp_path: Path) -> None:
    """Exporters write a free batch axis and a reshape to the traced number of rows."""
    node = helper.make_node("Reshape", ["logits", "to"], ["scores"])
    path = with_tail(tmp_path / "m.onnx", node, constants={"to": np.array([1, 3])})
    assert classifier(path, batch_size=1).classify(chips(3))["race"].shape == (3, 3)
    with pytest.raises(CardError, match=r"m\.onnx cannot read a batch of 8 images.*batch_size"):
        classifier(path).classify(chips(3))


def test_batches_of_no_rows_are_refused(tmp_path: Path) -> None:
    with pytest.raises(CardError, match="batches of 0 images"):
        classifier(save_linear_onnx(tmp_path / "m.onnx", WEIGHT, rows=0))


TWO = LabelSchema({"gender": ("f", "m"), "race": ("a", "b", "c")})


@pytest.mark.parametrize("first", [(0, 2), None])
def test_heads_that_overlap_are_refused(tmp_path: Path, first: tuple[int, int] | None) -> None:
    """One column cannot belong to two attributes; read twice, it would give plausible labels."""
    path = save_linear_onnx(tmp_path / "m.onnx", np.hstack([WEIGHT, WEIGHT[:, :1]]))
    heads = {"gender": {"output": "scores", "slice": first}, "race": {"output": "scores", "slice": (1, 4)}}
    with pytest.raises(CardError, match="'gender' and 'race' read the same columns"):
        classifier(path, TWO, heads=heads)
    for split in ({"gender": {"slice": (0, 2)}, "race": {"slice": (1, 4)}},):
        params = TorchvisionParams.model_validate(
            {
                "architecture": "mobilenet_v3_small",
                "weights": {"path": "absent.pt"},
                "heads": split,
                "input": {"size": (32, 32), "resize": "pil-bilinear"},
            }
        )
        with pytest.raises(CardError, match="'gender' and 'race' read the same columns"):
            TorchvisionClassifier(params, CTX, TWO)


# --- batches ---


def test_a_batch_is_bounded_by_its_pixels_and_answers_do_not_depend_on_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    exported, _ = save_fairface(tmp_path, size=64)
    declared = LabelSchema({"gender": ("m", "f")})
    fields = {"input": {"size": (64, 64), "resize": "pil-bilinear"}, "heads": {"gender": {"output": "gender_output"}}}
    many = chips(9)
    whole = classifier(exported, declared, **fields).classify(many)["gender"]
    sizes = []
    run = OnnxClassifier._run
    monkeypatch.setattr(OnnxClassifier, "_run", lambda self, part, rows: sizes.append(rows) or run(self, part, rows))
    monkeypatch.setattr(onnx_classifier, "MAX_PIXELS", 4 * 64 * 64 + 1)
    cut = classifier(exported, declared, **fields).classify(many)["gender"]
    assert sizes == [4, 4, 4]  # the last is filled up: on a CPU a batch has a constant number of rows
    np.testing.assert_array_equal(cut, whole)
    monkeypatch.setattr(onnx_classifier, "MAX_PIXELS", 5)
    sizes.clear()
    classifier(exported, declared, **fields).classify(many[:2])
    assert sizes == [1, 1]


@pytest.mark.long
def test_a_small_model_of_large_activations_takes_little_memory(tmp_path: Path) -> None:
    """64 chips in one batch took gigabytes where the file has kilobytes. In a process of its own: peaks stay."""
    weight = numpy_helper.from_array(np.ones((64, 3, 1, 1), dtype=np.float32), "wide")
    model = onnx.load(save_linear_onnx(tmp_path / "m.onnx", np.ones((64, 3), np.float32), size=(224, 224)))
    model.graph.initializer.append(weight)
    model.graph.node.insert(0, helper.make_node("Conv", ["image", "wide"], ["planes"]))
    model.graph.node.insert(1, helper.make_node("Relu", ["planes"], ["lit"]))
    model.graph.node[2].input[0] = "lit"
    onnx.save(model, tmp_path / "m.onnx")
    script = f"""
import resource
import numpy as np
from tests.labelling.test_classifier_contract import classifier
from pathlib import Path
made = classifier(Path({str(tmp_path / "m.onnx")!r}), input={{"size": (224, 224), "resize": "pil-bilinear"}})
made.classify([np.zeros((224, 224, 3), np.uint8)])
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
made.classify([np.zeros((224, 224, 3), np.uint8)] * 64)
print((resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) // 1024)
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert int(done.stdout) < 700, "MB; one tensor of 64 chips x 64 planes of 224 x 224 floats has 822"


# --- files ---


def external(path: Path, source: Path) -> Path:
    onnx.save_model(onnx.load(source), path, save_as_external_data=True, location=path.name + ".data", size_threshold=0)
    assert (path.parent / (path.name + ".data")).is_file()
    return path


def test_weights_in_a_file_beside_the_model_are_refused(tmp_path: Path) -> None:
    """The declared sha256 covers the model file alone: what lies beside it could be swapped under the same key."""
    path = external(tmp_path / "m.onnx", save_linear_onnx(tmp_path / "whole.onnx", WEIGHT))
    for load in (lambda: classifier(path), lambda: onnx_sessions.session(path)):
        with pytest.raises(WeightsError, match=r"m\.onnx keeps weights in another file \(m\.onnx\.data\).*one file"):
            load()
    onnx.save_model(onnx.load(path), tmp_path / "one.onnx")  # the fix that the sentence names
    assert classifier(tmp_path / "one.onnx").classify(chips(2))["race"].shape == (2, 3)


def test_a_detector_with_weights_beside_it_is_refused(tmp_path: Path) -> None:
    path = external(tmp_path / "det_out.onnx", scrfd.save(tmp_path))
    made = InsightFaceDetector(InsightFaceParams.model_validate({"weights": {"path": str(path)}}), CTX)
    with pytest.raises(WeightsError, match=r"det_out\.onnx\.data"):
        made.detect([np.zeros((64, 64, 3), np.uint8)])


def outside_tensor() -> TensorProto:
    tensor = numpy_helper.from_array(np.ones(3, np.float32), "w")
    tensor.ClearField("raw_data")
    tensor.data_location = TensorProto.EXTERNAL
    tensor.external_data.add(key="location", value="../else.bin")
    return tensor


def hidden_places() -> dict[str, onnx.ModelProto]:
    """One outside tensor, each time in another of the places that can hold one."""
    info = [helper.make_tensor_value_info("y", TensorProto.FLOAT, [3])]

    def model(*nodes: onnx.NodeProto, **graph: object) -> onnx.ModelProto:
        return helper.make_model(helper.make_graph(list(nodes), "g", [], info, **graph))

    constant = helper.make_node("Constant", [], ["y"], value=outside_tensor())
    inner = helper.make_graph([constant], "inner", [], info)
    branch = helper.make_node("If", ["c"], ["y"], then_branch=inner, else_branch=inner)
    sparse = helper.make_sparse_tensor(
        outside_tensor(), numpy_helper.from_array(np.arange(3, dtype=np.int64), "at"), [3]
    )
    function = helper.make_function("own", "F", [], ["y"], [constant], [helper.make_opsetid("", 17)])
    with_function = model(helper.make_node("F", [], ["y"], domain="own"))
    with_function.functions.append(function)
    compiled = helper.make_node("EPContext", [], ["y"], domain="com.microsoft", ep_cache_context="engine.bin")
    return {
        "initializer": model(initializer=[outside_tensor()]),
        "constant": model(constant),
        "branch": model(branch),
        "sparse": model(sparse_initializer=[sparse]),
        "function": with_function,
        "compiled": model(compiled),
    }


@pytest.mark.parametrize("name", list(hidden_places()))
def test_every_place_of_a_model_is_searched(tmp_path: Path, name: str) -> None:
    path = tmp_path / f"{name}.onnx"
    path.write_bytes(hidden_places()[name].SerializeToString())
    with pytest.raises(WeightsError, match="EPContext" if name == "compiled" else r"\(\.\./else\.bin\)"):
        onnxfile.refuse_external_data(path)


def test_models_of_one_file_pass_and_other_files_are_no_models(tmp_path: Path) -> None:
    whole = save_fairface(tmp_path)[0]
    onnxfile.refuse_external_data(whole)
    cut = tmp_path / "cut.onnx"
    cut.write_bytes(whole.read_bytes()[:-1000])
    (tmp_path / "empty.onnx").touch()
    (tmp_path / "text.onnx").write_text("no model at all")
    deep = tmp_path / "deep.onnx"
    message = b""
    for tag in (*(b"\x32\x2a\x0a" * 200), 0x3A):  # an attribute that holds a graph that holds a node ...
        size, head = len(message), bytes([tag])
        while size > 127:
            head, size = head + bytes([size & 127 | 128]), size >> 7
        message = head + bytes([size]) + message
    deep.write_bytes(message)
    for path in (cut, tmp_path / "empty.onnx", tmp_path / "text.onnx", tmp_path / "absent.onnx", deep):
        with pytest.raises(WeightsError, match="not an ONNX model"):
            onnxfile.refuse_external_data(path)
