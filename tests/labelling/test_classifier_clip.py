"""The classifier `clip-zeroshot`, and loading open_clip models."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import open_clip
import pytest
import torch
from PIL import Image
from pydantic import ValidationError
from safetensors.torch import save_file

from fairbench.errors import CardError, WeightsError
from fairbench.labelling.classifiers.clip_zeroshot import ClipZeroShotClassifier, ClipZeroShotParams
from fairbench.networks import identity, openclip
from fairbench.notices import collecting
from fairbench.types import BuildContext, LabelSchema
from tests.builders.images import noise
from tests.builders.openclip import save_tiny_openclip

GENDER = LabelSchema({"gender": ("male", "female")})
CTX = BuildContext()


PROMPTS = {
    "gender": {
        "female": ["a photo of a woman", "the face of a woman"],
        "male": ["a photo of a man"],
    }
}


def zero_shot(declared: LabelSchema = GENDER, **changes: object) -> ClipZeroShotClassifier:
    params = ClipZeroShotParams.model_validate({"prompts": PROMPTS, **changes})
    return ClipZeroShotClassifier(params, CTX, declared)


def test_clip_gives_what_open_clip_gives_in_the_declared_order(tiny_openclip: Path) -> None:
    chips = noise((32, 32), (50, 40), (20, 64))
    model, preprocess_ = open_clip.create_model_from_pretrained(f"local-dir:{tiny_openclip}")
    tokenizer = open_clip.get_tokenizer(f"local-dir:{tiny_openclip}")
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
    got = zero_shot(path=str(tiny_openclip), batch_size=2).classify(chips)["gender"]
    np.testing.assert_allclose(got, want, atol=1e-5)
    assert np.ptp(got[:, 0]) > 0.01, "a model that tells images apart"

    turned = zero_shot(LabelSchema({"gender": ("female", "male")}), path=str(tiny_openclip))
    np.testing.assert_allclose(turned.classify(chips)["gender"], got[:, ::-1], atol=1e-6)
    assert turned.classify([])["gender"].shape == (0, 2)


@pytest.mark.parametrize(
    ("labels", "says"),
    [(("male", "female", "other"), "none for the label 'other'"), (("male", "women"), "none for the label 'women'")],
)
def test_clip_prompts_must_be_those_of_the_declared_labels(
    tiny_openclip: Path, labels: tuple[str, ...], says: str
) -> None:
    with pytest.raises(CardError, match=rf"prompts\.gender.*{says}"):
        zero_shot(LabelSchema({"gender": labels}), path=str(tiny_openclip))
    more = {"gender": {**PROMPTS["gender"], "dog": ["a dog"]}}
    with pytest.raises(CardError, match="'dog', which is no label"):
        zero_shot(prompts=more, path=str(tiny_openclip))


def test_clip_weights_that_are_absent_damaged_or_of_another_architecture(tiny_openclip: Path, tmp_path: Path) -> None:
    with pytest.raises(WeightsError, match="does not exist"):
        zero_shot(path=str(tmp_path / "none"))
    with pytest.raises(WeightsError, match=r"no open_clip_config\.json"):
        zero_shot(path=str(tmp_path))
    (tmp_path / "open_clip_config.json").write_bytes((tiny_openclip / "open_clip_config.json").read_bytes())
    with pytest.raises(WeightsError, match="cannot be loaded by open_clip"):
        zero_shot(path=str(tmp_path))  # the config alone: open_clip would go on with random weights
    file = {"path": str(tiny_openclip / "open_clip_model.safetensors")}
    with pytest.raises(WeightsError, match="did you mean 'ViT-B-32'"):
        zero_shot(model="ViTB-32", weights=file)


@pytest.mark.parametrize(
    "source",
    [{}, {"model": "ViT-B-32"}, {"path": "a", "repo": "b/c"}, {"path": "a", "model": "x", "weights": {"path": "y"}}],
)
def test_an_open_clip_model_has_one_source(source: dict[str, object]) -> None:
    with pytest.raises(ValidationError):
        openclip.OpenClipParams.model_validate(source)


def test_open_clip_weights_enter_keys_by_content(tiny_openclip: Path, tmp_path: Path) -> None:
    def key(folder: Path) -> object:
        return identity.of_params(openclip.OpenClipParams.model_validate({"path": str(folder)}), None)

    same, other = (save_tiny_openclip(tmp_path / str(seed), seed) for seed in (0, 1))
    assert json.dumps(key(same)) == json.dumps(key(tiny_openclip)) != json.dumps(key(other))


def test_one_file_of_a_known_architecture(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # a small architecture of open_clip's own table stands in for ViT-B-32, which takes 600 MB
    import open_clip.factory as factory

    small = {
        "embed_dim": 8,
        "vision_cfg": {"image_size": 32, "layers": 1, "width": 64, "patch_size": 16},
        "text_cfg": {"context_length": 77, "vocab_size": 49408, "width": 64, "heads": 1, "layers": 1},
    }
    monkeypatch.setitem(factory._MODEL_CONFIGS, "ViT-tiny", small)
    torch.manual_seed(0)
    save_file(open_clip.create_model("ViT-tiny").state_dict(), tmp_path / "tiny.safetensors")
    params = openclip.OpenClipParams.model_validate({"model": "ViT-tiny", "weights": {"path": "tiny.safetensors"}})
    loaded = openclip.load(params, BuildContext(base_dir=tmp_path))
    assert loaded.name.startswith("ViT-tiny (tiny.safetensors, sha256 ")
    features = loaded.text_features(["a man", "a woman"])
    assert features.shape == (2, 8)
    np.testing.assert_allclose(np.linalg.norm(features, axis=1), 1, atol=1e-5)


# --- files that no hash covers ---


def test_an_architecture_whose_tokenizer_comes_from_the_hub_is_refused(tmp_path: Path) -> None:
    """Its weights have a hash; the tokenizer could change under the same key."""
    (tmp_path / "w.bin").write_bytes(b"x")
    weights = {"path": str(tmp_path / "w.bin")}
    for name in ("ViT-B-16-SigLIP", "xlm-roberta-base-ViT-B-32"):
        with pytest.raises(WeightsError, match=rf"tokenizer of {name} from the hub \(.*`repo`"):
            zero_shot(model=name, weights=weights)
    with pytest.raises(WeightsError, match="cannot be loaded by open_clip"):  # its tokenizer is open_clip's own
        zero_shot(model="RN50", weights=weights)


def test_a_folder_whose_text_model_is_configured_on_the_hub_is_a_notice(tiny_openclip: Path, tmp_path: Path) -> None:
    folder = tmp_path / "xlm"
    shutil.copytree(tiny_openclip, folder)
    config = json.loads((folder / "open_clip_config.json").read_text())
    with collecting() as notices:
        openclip._source(ClipZeroShotParams.model_validate({"prompts": PROMPTS, "path": str(folder)}), None)
    assert notices == []
    config["model_cfg"]["text_cfg"]["hf_model_name"] = "xlm-roberta-base"
    (folder / "open_clip_config.json").write_text(json.dumps(config))
    with collecting() as notices:
        openclip._source(ClipZeroShotParams.model_validate({"prompts": PROMPTS, "path": str(folder)}), None)
    (said,) = notices
    assert said.code == "unpinned" and "xlm takes its configuration from xlm-roberta-base" in said.text
    for broken in ("{", "[]", '{"model_cfg": null}'):
        (folder / "open_clip_config.json").write_text(broken)
        with pytest.raises(WeightsError, match="no configuration of an open_clip model"):
            zero_shot(path=str(folder))
