"""`siglip-score` and `pickscore` on tiny checkpoints of the real classes, against transformers run directly."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file, save_file
from transformers import AutoProcessor, CLIPModel, SiglipModel

from fairbench.errors import WeightsError
from fairbench.runs import spec
from fairbench.scorers.two_towers import CLIP_H, PICKSCORE, SIGLIP, PickScore, SiglipScore
from fairbench.types import BuildContext
from tests.builders.cli import Cli
from tests.builders.folders import written_once
from tests.builders.two_towers import CONTEXT, save_tiny_clip, save_tiny_siglip

SCORERS: dict[str, Any] = {"siglip": SiglipScore, "clip": PickScore}
PROMPTS = ["a nurse", "a photo of the face of a pilot", "a", "a photo of a nurse", "A Photo, of a Nurse!", "b", "a cab"]


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    return {
        "siglip": written_once(tmp_path_factory, "tiny-siglip", save_tiny_siglip),
        "clip": written_once(tmp_path_factory, "tiny-clip", save_tiny_clip),
    }


def pictures(count: int) -> list[np.ndarray]:
    rng = np.random.default_rng(0)
    shapes = [(40 + 9 * i, 70 - 5 * i, 3) for i in range(count)]
    return [rng.integers(0, 256, shape, dtype=np.uint8) for shape in shapes]


def build(kind: str, folder: Path, **more: Any) -> Any:
    processor = {"processor": {"path": str(folder)}} if kind == "clip" else {}
    plugin = SCORERS[kind]
    return plugin(plugin.Params.model_validate({"model": {"path": str(folder)}, **processor, **more}), BuildContext())


def directly(kind: str, folder: Path, images: list[np.ndarray], prompts: list[str]) -> np.ndarray:
    """Return (images,) through transformers' own forward pass: logits of pairs, of which the cosine is what it says."""
    processor = AutoProcessor.from_pretrained(folder)
    net = (SiglipModel if kind == "siglip" else CLIPModel).from_pretrained(folder)
    values = []
    for image, prompt in zip(images, prompts, strict=True):
        options = {"padding": "max_length", "max_length": CONTEXT} if kind == "siglip" else {}
        inputs = processor(
            text=[prompt], images=Image.fromarray(image), return_tensors="pt", truncation=True, **options
        )
        inputs.pop("attention_mask", None)  # SigLIP has none; of one text without padding it holds ones alone
        with torch.no_grad():
            logit = net(**inputs).logits_per_image[0, 0].double()
        scale = net.logit_scale.detach().double().exp()
        values.append(float(100 * (logit - net.logit_bias.detach()) / scale if kind == "siglip" else logit))
    return np.array(values)


@pytest.mark.parametrize("kind", SCORERS)
def test_it_is_what_transformers_computes(kind: str, folders: dict[str, Path]) -> None:
    images = pictures(len(PROMPTS))
    scorer = build(kind, folders[kind])
    found = scorer.features(images, PROMPTS)
    assert found.shape == (len(PROMPTS), 1) and found.dtype == np.float32
    np.testing.assert_allclose(found[:, 0], directly(kind, folders[kind], images, PROMPTS), atol=2e-4)
    assert np.ptp(found) > 1
    mean = scorer.summarise(found)
    assert list(mean.values()) == [pytest.approx(float(found.mean(dtype=np.float64)))]
    assert list(scorer.summarise(scorer.features([], [])).values()) == [None]


@pytest.mark.parametrize("kind", SCORERS)
def test_an_image_has_the_same_value_in_any_batch(kind: str, folders: dict[str, Path]) -> None:
    images, prompts = pictures(7) + pictures(4), PROMPTS + PROMPTS[:4]
    together = build(kind, folders[kind]).features(images, prompts)
    scorer, order = build(kind, folders[kind], batch_size=2), np.random.default_rng(1).permutation(len(images))
    for i in order:
        np.testing.assert_array_equal(scorer.features([images[i]], [prompts[i]])[0], together[i])
    reverse = scorer.features(images[:5][::-1], prompts[:5][::-1])[::-1]
    np.testing.assert_array_equal(reverse, together[:5])


@pytest.mark.parametrize("kind", SCORERS)
def test_prompts_longer_than_the_context_are_named(kind: str, folders: dict[str, Path]) -> None:
    scorer = build(kind, folders[kind])
    tokenizer, ends = scorer._towers.tokenizer, 2 if kind == "clip" else 1
    fits = next(t for n in range(200, 0, -1) if len(tokenizer(t := "z" * n)["input_ids"]) == CONTEXT)
    longer = fits + "z"
    assert scorer.cut(["a nurse", fits, longer]) == [False, False, True]
    assert len(tokenizer(longer)["input_ids"]) > CONTEXT > ends
    image = pictures(1)
    assert abs(scorer.features(image, [fits]) - scorer.features(image, [fits[:-1]])) > 1e-4


def test_a_run_is_scored_and_reports_what_is_cut(cli: Cli, folders: dict[str, Path], tmp_path: Path) -> None:
    for kind, name in (("siglip", "siglip-score"), ("clip", "pickscore")):
        where = f"type: {name}\nmodel: {{path: {folders[kind]}}}\n"
        (tmp_path / f"{name}.yaml").write_text(
            where + (f"processor: {{path: {folders[kind]}}}\n" if kind == "clip" else "")
        )
    (tmp_path / "prompts.txt").write_text(f"a nurse\na photo of a {'z' * 90}\n")
    args = ("run", "--model", "phantom-exact", "--task", "prompts.txt", "-n", "2", "--no-sheets", "--json")
    run = cli(*args, "--scorers", "siglip-score.yaml,pickscore.yaml").json()
    values = {m["metric"]: m["value"] for m in run["metrics"] if m["attribute"] == "quality"}
    assert set(values) == {"siglip_score", "pickscore"} and all(v is not None for v in values.values())
    cut = [n for n in run["notices"] if n["code"] == "prompt-cut"]
    assert sorted(n["text"].split()[0] for n in cut) == ["pickscore", "siglip-score"] and all(
        n["count"] == 1 for n in cut
    )


def test_a_model_without_a_revision_is_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("FAIRBENCH_OFFLINE", "1")
    (tmp_path / "pick.yaml").write_text(f"type: pickscore\nprocessor: {{repo: a/b, revision: {'a' * 40}}}\n")
    settings = spec.RunSettings(model="phantom-exact", scorers=("siglip-score", str(tmp_path / "pick.yaml")))
    named = [n.text for n in spec.make(settings).notices if n.code == "unpinned"]
    assert [text.split(" is named")[0] for text in named] == [
        f"{name}: no revision of {repo}"
        for name, repo in (("siglip-score", SIGLIP.repo), ("pickscore", PICKSCORE.repo))
    ]


def test_published_models_are_the_default_and_batches_stay_out_of_keys() -> None:
    assert SiglipScore.Params().model == SIGLIP
    assert (PickScore.Params().model, PickScore.Params().processor) == (PICKSCORE, CLIP_H)
    for plugin in SCORERS.values():
        assert (plugin.Params.model_fields["batch_size"].json_schema_extra or {})["transport"]


@pytest.mark.parametrize("kind", SCORERS)
def test_what_is_no_whole_checkpoint_of_the_kind_is_refused(
    kind: str, folders: dict[str, Path], tmp_path: Path
) -> None:
    other = next(k for k in SCORERS if k != kind)
    with pytest.raises(WeightsError, match=f"model_type '{other}', not '{kind}'"):
        build(kind, folders[other])
    lacking = Path(shutil.copytree(folders[kind], tmp_path / "lacking"))
    tensors = load_file(lacking / "model.safetensors")
    save_file(dict(list(tensors.items())[:-1]), lacking / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(WeightsError, match="lacks 1 weights"):
        build(kind, lacking)
    without = Path(shutil.copytree(folders[kind], tmp_path / "without"))
    for path in [
        *without.glob("*processor*"),
        *without.glob("*token*"),
        *without.glob("spiece*"),
        *without.glob("vocab*"),
    ]:
        path.unlink()
    with pytest.raises(WeightsError, match="cannot be loaded as a processor checkpoint"):
        build(kind, without)
    (without / "config.json").write_text(json.dumps({"model_type": "t5"}))
    with pytest.raises(WeightsError, match="model_type 't5'"):
        build(kind, without)
