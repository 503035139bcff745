"""Classifiers: preprocessing against torchvision, outputs against the models run directly, and every refusal."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from pydantic import ValidationError
from torchvision import transforms

from fairbench.errors import CardError, WeightsError
from fairbench.labelling.classifiers import heads, preprocess
from fairbench.labelling.classifiers.heads import Head
from fairbench.labelling.classifiers.onnx import OnnxClassifier, OnnxParams
from fairbench.labelling.classifiers.preprocess import InputSpec
from fairbench.types import BuildContext, LabelSchema
from tests.builders.classifiers import save_linear_onnx
from tests.builders.images import noise

IMAGENET = {"mean": (0.485, 0.456, 0.406), "std": (0.229, 0.224, 0.225)}
GENDER = LabelSchema({"gender": ("male", "female")})
CTX = BuildContext()


# --- preprocessing ---

SIZES = ((300, 300), (17, 40), (61, 224), (32, 48), (1, 1))


def test_fairface_preprocessing_is_torchvisions_on_pil_images() -> None:
    oracle = transforms.Compose(
        [transforms.ToPILImage(), transforms.Resize((32, 48)), transforms.ToTensor(), transforms.Normalize(**IMAGENET)]
    )
    chips = noise(*SIZES)
    got = preprocess.batch(chips, InputSpec(size=(32, 48), resize="pil-bilinear", **IMAGENET))
    assert got.dtype == np.float32 and got.flags.c_contiguous
    np.testing.assert_allclose(got, torch.stack([oracle(c) for c in chips]).numpy(), atol=1e-6)


@pytest.mark.parametrize("antialias", [False, True])
def test_shen_preprocessing_is_torchvisions_on_float_tensors(antialias: bool) -> None:
    chips = noise(*SIZES)
    resize = transforms.Resize((32, 48), antialias=antialias)
    want = [resize(torch.from_numpy(c).permute(2, 0, 1).float() / 255 * 2 - 1) for c in chips]
    name = "torch-bilinear-antialias" if antialias else "torch-bilinear"
    got = preprocess.batch(chips, InputSpec(size=(32, 48), range=(-1, 1), resize=name))
    np.testing.assert_allclose(got, torch.stack(want).numpy(), atol=1e-5)


def test_opencv_preprocessing_channels_last_and_bgr() -> None:
    chips = noise(*SIZES)
    spec = InputSpec(
        size=(32, 48), layout="nhwc", colour="bgr", range=(0, 255), mean=(1, 2, 3), std=(4, 5, 6), resize="cv2-linear"
    )
    want = [(cv2.resize(c, (48, 32))[..., ::-1].astype(np.float32) - (1, 2, 3)) / (4, 5, 6) for c in chips]
    np.testing.assert_allclose(preprocess.batch(chips, spec), np.stack(want), atol=1e-4)


def test_the_resizes_are_told_apart() -> None:
    # noise that is shrunk: with a filter it turns grey, without one it does not
    chip = noise((200, 200))
    made = {
        name: preprocess.batch(chip, InputSpec(size=(20, 20), resize=name)).std()
        for name in ("pil-bilinear", "torch-bilinear", "torch-bilinear-antialias", "cv2-linear")
    }
    assert made["pil-bilinear"] == pytest.approx(made["torch-bilinear-antialias"], rel=0.01)
    assert made["torch-bilinear"] == pytest.approx(made["cv2-linear"], rel=0.01)
    assert made["torch-bilinear"] > 2 * made["pil-bilinear"]


def test_a_fixed_batch_is_filled_with_zeros() -> None:
    spec = InputSpec(size=(4, 4), range=(1, 2), resize="pil-bilinear")
    got = preprocess.batch(noise((4, 4)), spec, rows=3)
    assert got.shape == (3, 3, 4, 4)
    assert got[0].min() >= 1 and not got[1:].any()


@pytest.mark.parametrize(
    "wrong",
    [
        {"size": (0, 4)},
        {"range": (1, 0)},
        {"std": (1, 0, 1)},
        {"resize": "nearest"},
        {"size": (4, 4), "resize": None},
        {"extra": 1},
    ],
)
def test_an_impossible_input_is_refused(wrong: dict[str, object]) -> None:
    with pytest.raises(ValidationError):
        InputSpec.model_validate({"size": (4, 4), "resize": "pil-bilinear", **wrong})


# --- heads ---


def test_softmax_is_torchs_also_for_large_logits() -> None:
    raw = np.array([[1000.0, 998.0, -5.0, 3.0], [0.0, 1.0, 2.0, -1000.0]], dtype=np.float32)
    schema = LabelSchema({"race": ("a", "b", "c")})
    got = heads.probabilities(raw, "race", Head(slice=(0, 3)), schema)
    np.testing.assert_allclose(got, torch.softmax(torch.from_numpy(raw[:, :3]), 1).numpy(), atol=1e-7)
    assert got.dtype == np.float32


def test_only_dust_is_renormalised() -> None:
    raw = np.array([[0.5002, 0.5002], [-1e-9, 1.0]], dtype=np.float32)
    got = heads.probabilities(raw, "gender", Head(activation="none"), GENDER)
    np.testing.assert_allclose(got, [[0.5, 0.5], [0.0, 1.0]], atol=1e-7)


@pytest.mark.parametrize(
    ("raw", "head", "says"),
    [
        ([[2.0, -1.0]], Head(activation="none"), "activation. to softmax"),
        ([[0.7, 0.5]], Head(activation="none"), "activation. to softmax"),
        ([[0.9, 0.1], [0.2, 0.8]], Head(), "activation. to none"),
        ([[np.nan, 1.0]], Head(), "not finite"),
        ([[np.inf, 1.0]], Head(activation="none"), "not finite"),
        ([[1.0, 2.0, 3.0]], Head(), "3 columns"),
        ([[1.0, 2.0]], Head(slice=(1, 3)), "beyond the 2 columns"),
    ],
)
def test_what_are_no_probabilities_is_an_error_that_names_the_attribute(
    raw: list[list[float]], head: Head, says: str
) -> None:
    with pytest.raises(CardError, match=f"'gender'.*{says}"):
        heads.probabilities(np.array(raw), "gender", head, GENDER)


def test_a_backward_slice_is_refused() -> None:
    with pytest.raises(ValidationError, match="slice"):
        Head(slice=(3, 3))


# --- onnx ---

WEIGHT = np.array([[2, -1, 0.5], [0, 1, -2], [1, 3, 0]], dtype=np.float32)
RACE = LabelSchema({"race": ("a", "b", "c")})


def linear(path: Path, declared: LabelSchema = RACE, **changes: object) -> OnnxClassifier:
    params = {
        "weights": {"path": str(path)},
        "input": {"size": (8, 8), "resize": "pil-bilinear"},
        "heads": {"race": {"output": "scores"}},
    }
    return OnnxClassifier(OnnxParams.model_validate({**params, **changes}), CTX, declared)


def colours(count: int) -> list[np.ndarray]:
    return [np.full((5 + i, 9, 3), (10 * i, 255 - 7 * i, 90), dtype=np.uint8) for i in range(count)]


def by_hand(chips: list[np.ndarray]) -> np.ndarray:
    means = np.stack([c[0, 0] / 255 for c in chips])
    values = np.exp(means @ WEIGHT)
    return values / values.sum(1, keepdims=True)


@pytest.mark.parametrize("rows", ["n", 1, 3])
@pytest.mark.parametrize("softmax", [False, True])
def test_onnx_gives_what_is_computed_by_hand(tmp_path: Path, rows: int | str, softmax: bool) -> None:
    path = save_linear_onnx(tmp_path / "m.onnx", WEIGHT, rows=rows, softmax=softmax)
    head = {"race": {"output": "scores", "activation": "none" if softmax else "softmax"}}
    chips = colours(7)
    for batch_size in (2, 64):
        got = linear(path, heads=head, batch_size=batch_size).classify(chips)
        assert list(got) == ["race"] and got["race"].dtype == np.float32
        np.testing.assert_allclose(got["race"], by_hand(chips), atol=1e-6)


def test_onnx_channels_last_bgr(tmp_path: Path) -> None:
    path = save_linear_onnx(tmp_path / "m.onnx", WEIGHT[::-1], layout="nhwc")
    spec = {"size": (8, 8), "layout": "nhwc", "colour": "bgr", "resize": "cv2-linear"}
    np.testing.assert_allclose(linear(path, input=spec).classify(colours(3))["race"], by_hand(colours(3)), atol=1e-6)


def test_onnx_slices_of_one_output_and_no_chips(tmp_path: Path) -> None:
    declared = LabelSchema({"gender": ("male", "female"), "other": ("x", "y"), "race": ("a", "b", "c")})
    path = save_linear_onnx(tmp_path / "m.onnx", np.hstack([WEIGHT, WEIGHT[:, :2]]))
    split = {"race": {"output": "scores", "slice": (0, 3)}, "gender": {"output": "scores", "slice": (3, 5)}}
    model = linear(path, declared, heads=split)
    assert list(model.schema.labels) == ["gender", "race"], "the declared order, and only what this classifier gives"
    got = model.classify(colours(4))
    np.testing.assert_allclose(got["race"], by_hand(colours(4)), atol=1e-6)
    np.testing.assert_allclose(
        got["gender"][:, 0], by_hand(colours(4))[:, 0] / by_hand(colours(4))[:, :2].sum(1), atol=1e-6
    )
    assert {name: p.shape for name, p in model.classify([]).items()} == {"gender": (0, 2), "race": (0, 3)}


@pytest.mark.parametrize(
    ("changes", "declared", "says"),
    [
        ({"heads": {"race": {"output": "score"}}}, RACE, "no output 'score'.*did you mean 'scores'"),
        ({"heads": {"race": {"output": "scores", "slice": (0, 2)}}}, RACE, "2 columns.*3 labels"),
        ({}, LabelSchema({"race": ("a", "b")}), "3 columns.*2 labels"),
        ({"heads": {"rcae": {"output": "scores"}}}, RACE, "declares no such attribute.*did you mean 'race'"),
        ({"input": {"size": (9, 8), "resize": "pil-bilinear"}}, RACE, r"\[3, 8, 8\].*\[3, 9, 8\]"),
        ({"input": {"size": (8, 8), "layout": "nhwc", "resize": "pil-bilinear"}}, RACE, "size or layout"),
    ],
)
def test_a_card_that_does_not_fit_the_onnx_model_is_refused_at_once(
    tmp_path: Path, changes: dict[str, object], declared: LabelSchema, says: str
) -> None:
    path = save_linear_onnx(tmp_path / "m.onnx", WEIGHT)
    with pytest.raises(CardError, match=says):
        linear(path, declared, **changes)


def test_onnx_weights_that_are_absent_or_something_else(tmp_path: Path) -> None:
    with pytest.raises(WeightsError, match=r"none\.onnx were not found"):
        linear(tmp_path / "none.onnx")
    (tmp_path / "bad.onnx").write_bytes(b"no model")
    with pytest.raises(WeightsError, match="not an ONNX model"):
        linear(tmp_path / "bad.onnx")


def test_onnx_with_an_input_that_is_no_batch_of_images(tmp_path: Path) -> None:
    import onnx

    path = save_linear_onnx(tmp_path / "m.onnx", WEIGHT)
    model = onnx.load(path)
    model.graph.input[0].type.tensor_type.elem_type = onnx.TensorProto.DOUBLE
    model.graph.node.insert(0, onnx.helper.make_node("Cast", ["image"], ["float"], to=onnx.TensorProto.FLOAT))
    model.graph.node[1].input[0] = "float"
    onnx.save(model, path)
    with pytest.raises(CardError, match=r"takes image tensor\(double\)"):
        linear(path)
