"""Weights are found, checked, and refused with a way out."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest

from fairbench.cards.cards import FileWeights, HubModel
from fairbench.errors import WeightsError
from fairbench.networks import weights

DATA = b"weights"
SHA = hashlib.sha256(DATA).hexdigest()


@pytest.fixture
def online(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("HF_HUB_OFFLINE", raising=False)


def test_a_local_path_is_accepted_and_checked(tmp_path: Path) -> None:
    (tmp_path / "w.onnx").write_bytes(DATA)
    assert weights.locate(FileWeights(path="w.onnx", sha256=SHA), tmp_path) == tmp_path / "w.onnx"
    assert weights.locate(FileWeights(path=str(tmp_path / "w.onnx"))) == tmp_path / "w.onnx"
    with pytest.raises(WeightsError, match="has sha256"):
        weights.locate(FileWeights(path="w.onnx", sha256="0" * 64), tmp_path)


def test_a_folder_named_by_the_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "w.onnx").write_bytes(DATA)
    ref = FileWeights(path="elsewhere/w.onnx", sha256=SHA)
    with pytest.raises(WeightsError, match="name its folder in FAIRBENCH_WEIGHTS_DIR"):
        weights.locate(ref)
    monkeypatch.setenv("FAIRBENCH_WEIGHTS_DIR", str(tmp_path))
    assert weights.locate(ref) == tmp_path / "w.onnx"


def test_offline_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FAIRBENCH_OFFLINE", "1")
    with pytest.raises(WeightsError, match="downloads are off"):
        weights.locate(FileWeights(url="https://example.org/w.onnx", sha256=SHA))


@pytest.mark.usefixtures("online")
def test_a_download_is_verified_before_it_is_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    ref = FileWeights(url="https://example.org/w.onnx", sha256=SHA)
    monkeypatch.setattr(weights, "_from_url", lambda _: [b"something", b" else"])
    with pytest.raises(WeightsError, match="as downloaded, has sha256"):
        weights.locate(ref)
    assert not [p for p in weights.cache_dir().rglob("*") if p.is_file()]
    monkeypatch.setattr(weights, "_from_url", lambda _: [DATA[:3], DATA[3:]])
    path = weights.locate(ref)
    assert path.read_bytes() == DATA
    monkeypatch.setattr(weights, "_from_url", lambda _: pytest.fail("it is in the cache"))
    assert weights.locate(ref) == path
    path.write_bytes(b"rot!")  # verified again on load
    with pytest.raises(WeightsError, match="fetch the declared file again"):
        weights.locate(ref)


@pytest.mark.usefixtures("online")
def test_a_failed_download_names_a_way_out(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise OSError("no route to host")

    monkeypatch.setattr("urllib.request.urlopen", refuse)
    with pytest.raises(WeightsError, match=r"could not be downloaded .*no route to host.*FAIRBENCH_WEIGHTS_DIR"):
        weights.locate(FileWeights(url="https://example.org/w.onnx", sha256=SHA))


def test_downloads_need_a_hash() -> None:
    with pytest.raises(ValueError, match="need their `sha256`"):
        FileWeights(url="https://example.org/w.onnx")
    with pytest.raises(ValueError, match="pattern"):
        FileWeights(url="http://example.org/w.onnx", sha256=SHA)


def test_a_model_that_is_not_here_is_one_sentence() -> None:
    with pytest.raises(WeightsError, match="The model nobody/nothing is not on this machine"):
        weights.model_folder(HubModel(repo="nobody/nothing"))
    with pytest.raises(WeightsError, match="does not exist"):
        weights.model_folder(HubModel(path="/no/such/folder"))


def test_a_local_model_stands_by_its_content(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "m.safetensors").write_bytes(DATA)
    first = weights.model_identity(HubModel(path=str(tmp_path / "a")))
    assert first == {"m.safetensors": SHA}
    (tmp_path / "a").rename(tmp_path / "b")
    assert weights.model_identity(HubModel(path=str(tmp_path / "b"))) == first
    pinned = HubModel(repo="a/b", revision="0" * 40)
    assert weights.model_identity(pinned) == {"repo": "a/b", "revision": "0" * 40}
    assert weights.model_identity(HubModel(repo="a/b"))["revision"] == "unresolved"
