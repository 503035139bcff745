"""Classifiers: preprocessing against torchvision, outputs against the models run directly, and every refusal."""

from __future__ import annotations

import json
import pickle
from pathlib import Path

import cv2
import numpy as np
import open_clip
import pytest
import torch
from PIL import Image
from pydantic import ValidationError
from safetensors.torch import load_file, save_file
from torchvision import transforms

from fairbench import identity, openclip
from fairbench.classifiers import heads, preprocess
from fairbench.classifiers.clip_zeroshot import ClipZeroShotClassifier, ClipZeroShotParams
from fairbench.classifiers.heads import Head
from fairbench.classifiers.onnx import OnnxClassifier, OnnxParams
from fairbench.classifiers.preprocess import InputSpec
from fairbench.classifiers.torchvision import TorchvisionClassifier, TorchvisionParams
from fairbench.errors import CardError, WeightsError
from fairbench.types import BuildContext, LabelSchema
from tests.tiny.classifiers import FAIRFACE_HEADS, FAIRFACE_OUTPUTS, random_model, save_fairface, save_linear_onnx
from tests.tiny.openclip import save_tiny_openclip

IMAGENET = {"mean": (0.485, 0.456, 0.406), "std": (0.229, 0.224, 0.225)}
GENDER = LabelSchema({"gender": ("male", "female")})
CTX = BuildContext()


def noise(*sizes: tuple[int, int], seed: int = 0) -> list[np.ndarray]:
    rng = np.random.default_rng(seed)
    return [rng.integers(0, 256, (*size, 3), dtype=np.uint8) for size in sizes]


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


# --- torchvision ---

SHEN_INPUT = {"size": (64, 64), "range": (-1, 1), "resize": "torch-bilinear"}


@pytest.fixture(scope="module")
def mobilenet(tmp_path_factory: pytest.TempPathFactory) -> tuple[torch.nn.Module, Path]:
    """Shen's race classifier with random weights: the model, and its state dict as a .pt file."""
    model = random_model("mobilenet_v3_large", 4)
    path = tmp_path_factory.mktemp("shen") / "race.pt"
    torch.save(model.state_dict(), path)
    return model, path


RACE4 = LabelSchema({"race4": ("WMELH", "Black", "Indian", "Asian")})


def shen(path: Path, declared: LabelSchema = RACE4, **changes: object) -> TorchvisionClassifier:
    params = {
        "architecture": "mobilenet_v3_large",
        "weights": {"path": str(path)},
        "input": SHEN_INPUT,
        "heads": {"race4": {}},
    }
    return TorchvisionClassifier(TorchvisionParams.model_validate({**params, **changes}), CTX, declared)


def test_torchvision_gives_what_the_model_gives(mobilenet: tuple[torch.nn.Module, Path], tmp_path: Path) -> None:
    model, path = mobilenet
    chips = noise((90, 70), (64, 64), (30, 200))
    resize = transforms.Resize((64, 64), antialias=False)
    with torch.inference_mode():
        images = [resize(torch.from_numpy(c).permute(2, 0, 1) / 255 * 2 - 1) for c in chips]
        want = torch.softmax(model(torch.stack(images)), 1).numpy()
    assert np.ptp(want, axis=0).max() > 0.01, "an oracle that tells images apart"
    np.testing.assert_allclose(shen(path, batch_size=2).classify(chips)["race4"], want, atol=1e-4)

    wrapped = tmp_path / "wrapped.safetensors"
    save_file({f"module.{name}": value for name, value in model.state_dict().items()}, wrapped)
    got = shen(wrapped, rename={"module.": ""})
    np.testing.assert_allclose(got.classify(chips)["race4"], want, atol=1e-4)
    assert got.classify([])["race4"].shape == (0, 4)


def test_torchvision_refuses_weights_of_another_shape(mobilenet: tuple[torch.nn.Module, Path], tmp_path: Path) -> None:
    model, path = mobilenet
    with pytest.raises(WeightsError, match=r"race\.pt for resnet18: keys or shapes differ"):
        shen(path, architecture="resnet18")
    with pytest.raises(WeightsError, match="outputs"):
        shen(path, outputs=18, heads={"race4": {"slice": (0, 4)}})
    prefixed = tmp_path / "prefixed.pt"
    torch.save({f"module.{name}": value for name, value in model.state_dict().items()}, prefixed)
    with pytest.raises(WeightsError, match="rename"):
        shen(prefixed)
    nested = tmp_path / "nested.pt"
    torch.save({"epoch": 3, "state_dict": model.state_dict()}, nested)
    with pytest.raises(WeightsError, match="no plain state dict"):
        shen(nested)


class _Runs:
    def __reduce__(self) -> tuple[object, tuple[str]]:
        return Path.touch, (Path("ran"),)  # type: ignore[return-value]


def test_a_weights_file_cannot_run_code(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for name, write in (("a.pt", torch.save), ("b.pth", lambda o, p: p.write_bytes(pickle.dumps(o, 2)))):
        write({"classifier.weight": _Runs()}, tmp_path / name)
        assert not Path("ran").exists()
        with pytest.raises(WeightsError, match="cannot be read"):
            shen(tmp_path / name)
    (tmp_path / "c.safetensors").write_bytes(b"\x10" * 40)
    with pytest.raises(WeightsError, match="cannot be read"):
        shen(tmp_path / "c.safetensors")
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"architecture": "mobilenet_v3_larg"}, "did you mean 'mobilenet_v3_large'"),
        ({"architecture": "fasterrcnn_resnet50_fpn"}, "no classification architecture"),
        ({"input": {**SHEN_INPUT, "layout": "nhwc"}}, "layout. is nchw"),
        ({"heads": {"race4": {"slice": (0, 3)}}}, "3 columns"),
        ({"heads": {"gender": {}}}, "declares no such attribute"),
        ({"outputs": 18}, "18 columns"),
    ],
)
def test_a_torchvision_card_that_contradicts_itself(
    mobilenet: tuple[torch.nn.Module, Path], changes: dict[str, object], says: str
) -> None:
    with pytest.raises(CardError, match=says):
        shen(mobilenet[1], **changes)


def test_fairface_gives_the_same_through_onnx_and_torchvision(tmp_path: Path) -> None:
    exported, plain = save_fairface(tmp_path)
    declared = LabelSchema(
        {
            "gender": ("male", "female"),
            "race7": tuple("abcdefg"),
            "age": tuple("123456789"),
        }
    )
    spec = {"size": (64, 64), "resize": "pil-bilinear", **IMAGENET}
    by_onnx = OnnxClassifier(
        OnnxParams.model_validate(
            {
                "weights": {"path": str(exported)},
                "input": spec,
                "heads": {name: {"output": output} for name, output in FAIRFACE_OUTPUTS.items()},
            }
        ),
        CTX,
        declared,
    )
    by_torch = TorchvisionClassifier(
        TorchvisionParams.model_validate(
            {
                "architecture": "resnet34",
                "weights": {"path": str(plain)},
                "input": spec,
                "heads": {name: {"slice": columns} for name, columns in FAIRFACE_HEADS.items()},
            }
        ),
        CTX,
        declared,
    )
    chips = noise((300, 300), (64, 64), (80, 50))
    first, second = by_onnx.classify(chips), by_torch.classify(chips)
    assert list(first) == list(second) == list(declared.labels)
    for name in declared.labels:
        assert first[name].shape == (3, declared.size(name))
        np.testing.assert_allclose(first[name], second[name], atol=1e-4)
        assert np.ptp(first[name], axis=0).max() > 0.01, "a model that tells images apart"
    assert {len(load_file(plain)["fc.weight"])} == {18}


# --- clip-zeroshot ---

PROMPTS = {
    "gender": {
        "female": ["a photo of a woman", "the face of a woman"],
        "male": ["a photo of a man"],
    }
}


@pytest.fixture(scope="module")
def clip_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_tiny_openclip(tmp_path_factory.mktemp("clip") / "tiny")


def zero_shot(declared: LabelSchema = GENDER, **changes: object) -> ClipZeroShotClassifier:
    params = ClipZeroShotParams.model_validate({"prompts": PROMPTS, **changes})
    return ClipZeroShotClassifier(params, CTX, declared)


def test_clip_gives_what_open_clip_gives_in_the_declared_order(clip_folder: Path) -> None:
    chips = noise((32, 32), (50, 40), (20, 64))
    model, preprocess_ = open_clip.create_model_from_pretrained(f"local-dir:{clip_folder}")
    tokenizer = open_clip.get_tokenizer(f"local-dir:{clip_folder}")
    model.eval()
    with torch.inference_mode():
        image = model.encode_image(torch.stack([preprocess_(Image.fromarray(c)) for c in chips]), normalize=True)
        man, woman = (
            torch.nn.functional.normalize(
                model.encode_text(tokenizer(PROMPTS["gender"][k]), normalize=True).mean(0), dim=0
            )
            for k in ("male", "female")
        )
        want = torch.softmax(model.logit_scale.exp() * image @ torch.stack([man, woman]).T, 1).numpy()
    got = zero_shot(path=str(clip_folder), batch_size=2).classify(chips)["gender"]
    np.testing.assert_allclose(got, want, atol=1e-5)
    assert np.ptp(got[:, 0]) > 0.01, "a model that tells images apart"

    turned = zero_shot(LabelSchema({"gender": ("female", "male")}), path=str(clip_folder))
    np.testing.assert_allclose(turned.classify(chips)["gender"], got[:, ::-1], atol=1e-6)
    assert turned.classify([])["gender"].shape == (0, 2)


@pytest.mark.parametrize(
    ("labels", "says"),
    [(("male", "female", "other"), "none for the label 'other'"), (("male", "women"), "none for the label 'women'")],
)
def test_clip_prompts_must_be_those_of_the_declared_labels(
    clip_folder: Path, labels: tuple[str, ...], says: str
) -> None:
    with pytest.raises(CardError, match=rf"prompts\.gender.*{says}"):
        zero_shot(LabelSchema({"gender": labels}), path=str(clip_folder))
    more = {"gender": {**PROMPTS["gender"], "dog": ["a dog"]}}
    with pytest.raises(CardError, match="'dog', which is no label"):
        zero_shot(prompts=more, path=str(clip_folder))


def test_clip_weights_that_are_absent_damaged_or_of_another_architecture(clip_folder: Path, tmp_path: Path) -> None:
    with pytest.raises(WeightsError, match="does not exist"):
        zero_shot(path=str(tmp_path / "none"))
    with pytest.raises(WeightsError, match=r"no open_clip_config\.json"):
        zero_shot(path=str(tmp_path))
    (tmp_path / "open_clip_config.json").write_bytes((clip_folder / "open_clip_config.json").read_bytes())
    with pytest.raises(WeightsError, match="cannot be loaded by open_clip"):
        zero_shot(path=str(tmp_path))  # the config alone: open_clip would go on with random weights
    file = {"path": str(clip_folder / "open_clip_model.safetensors")}
    with pytest.raises(WeightsError, match="did you mean 'ViT-B-32'"):
        zero_shot(model="ViTB-32", weights=file)


@pytest.mark.parametrize(
    "source",
    [{}, {"model": "ViT-B-32"}, {"path": "a", "repo": "b/c"}, {"path": "a", "model": "x", "weights": {"path": "y"}}],
)
def test_an_open_clip_model_has_one_source(source: dict[str, object]) -> None:
    with pytest.raises(ValidationError):
        openclip.OpenClipParams.model_validate(source)


def test_open_clip_weights_enter_keys_by_content(clip_folder: Path, tmp_path: Path) -> None:
    def key(folder: Path) -> object:
        return identity.of_params(openclip.OpenClipParams.model_validate({"path": str(folder)}), None)

    same, other = (save_tiny_openclip(tmp_path / str(seed), seed) for seed in (0, 1))
    assert json.dumps(key(same)) == json.dumps(key(clip_folder)) != json.dumps(key(other))


def test_one_file_of_a_known_architecture(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # a small architecture of open_clip's own table stands in for ViT-B-32, which takes 600 MB
    import open_clip.factory as factory

    small = {"embed_dim": 8, "vision_cfg": {"image_size": 32, "layers": 1, "width": 64, "patch_size": 16},
             "text_cfg": {"context_length": 77, "vocab_size": 49408, "width": 64, "heads": 1, "layers": 1}}  # fmt: skip
    monkeypatch.setitem(factory._MODEL_CONFIGS, "ViT-tiny", small)
    torch.manual_seed(0)
    save_file(open_clip.create_model("ViT-tiny").state_dict(), tmp_path / "tiny.safetensors")
    params = openclip.OpenClipParams.model_validate({"model": "ViT-tiny", "weights": {"path": "tiny.safetensors"}})
    loaded = openclip.load(params, BuildContext(base_dir=tmp_path))
    assert loaded.name.startswith("ViT-tiny (tiny.safetensors, sha256 ")
    features = loaded.text_features(["a man", "a woman"])
    assert features.shape == (2, 8)
    np.testing.assert_allclose(features.norm(dim=1).numpy(), 1, atol=1e-5)
