"""The classifier `torchvision`: what the model gives, from files that cannot run code."""

from __future__ import annotations

import pickle
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from torchvision import transforms

from fairbench.errors import CardError, WeightsError
from fairbench.labelling.classifiers.onnx import OnnxClassifier, OnnxParams
from fairbench.labelling.classifiers.torchvision import TorchvisionClassifier, TorchvisionParams
from fairbench.types import BuildContext, LabelSchema
from tests.builders.classifiers import FAIRFACE_HEADS, FAIRFACE_OUTPUTS, random_model, save_fairface
from tests.builders.images import noise

IMAGENET = {"mean": (0.485, 0.456, 0.406), "std": (0.229, 0.224, 0.225)}
CTX = BuildContext()


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
