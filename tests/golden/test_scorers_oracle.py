"""The scorers against independent oracles: torchmetrics, the libraries' own routes, and values worked out by hand."""

from __future__ import annotations

import shutil

import numpy as np
import open_clip
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file, save_file
from torchmetrics.functional.multimodal import clip_score
from torchmetrics.functional.multimodal.clip_iqa import _clip_iqa_compute, _clip_iqa_format_prompts
from torchmetrics.image.inception import InceptionScore as TorchmetricsInceptionScore
from torchvision.models import inception_v3
from torchvision.transforms import functional

from fairbench.scorers.clip_iqa import ANTONYMS, ClipIqa
from fairbench.scorers.clip_score import ClipScore
from fairbench.scorers.inception_score import TORCHVISION, InceptionScore
from fairbench.types import BuildContext

PROMPTS = ["a photo of a nurse", "a photo of a pilot", "a cat", "a photo of a nurse"]
# What the version on the left gives on the tiny checkpoints of seed 0: a change here needs a higher version.
GOLDEN = {
    "clip-score v1": [52.8413, 36.6993, 26.4145, 34.6438],
    "clip-iqa v1": [0.73542, 0.86223, 0.15372, 0.94034],
    "inception-score v1": [0.81975, 0.72420, 0.74289, 0.58607],
}


@pytest.fixture(scope="module")
def images():
    y, x = np.mgrid[0:48, 0:56]
    waves = [
        np.stack([np.sin(x / a), np.cos(y / b), np.sin((x + y) / (a + b))], axis=-1)
        for a, b in [(3, 5), (7, 2), (11, 13), (2, 9)]
    ]
    return [np.round(127.5 + 127.5 * wave).astype(np.uint8) for wave in waves]


@pytest.fixture(scope="module")
def clip_embeddings(tiny_openclip, images):
    """Unit-norm embeddings of the images, prompts and antonyms, one at a time, through open_clip alone."""
    model, _, preprocess = open_clip.create_model_and_transforms(f"local-dir:{tiny_openclip}")
    tokenizer = open_clip.get_tokenizer(f"local-dir:{tiny_openclip}")
    model.eval()
    with torch.no_grad():
        raw = [
            [model.encode_image(preprocess(Image.fromarray(image))[None])[0].numpy() for image in images],
            [model.encode_text(tokenizer([text]))[0].numpy() for text in PROMPTS],
            [model.encode_text(tokenizer([text]))[0].numpy() for text in ("Good photo.", "Bad photo.")],
        ]
    return [np.array([row / np.linalg.norm(row) for row in rows], dtype=np.float64) for rows in raw]


@pytest.fixture(scope="module")
def inception(tiny_inception):
    return tiny_inception, InceptionScore(InceptionScore.Params(weights={"path": str(tiny_inception)}), BuildContext())


def summarise(logits, splits=1):
    """The score alone, without a network."""
    scorer = InceptionScore.__new__(InceptionScore)
    scorer._params = InceptionScore.Params(splits=splits)
    return scorer.summarise(np.asarray(logits, dtype=np.float32))["inception_score"]


def test_clip_score_is_a_hundred_times_the_positive_cosine(tiny_openclip, clip_embeddings, images):
    scorer = ClipScore(ClipScore.Params(path=str(tiny_openclip)), BuildContext())
    pictures, texts, _ = clip_embeddings
    expected = 100 * np.maximum((pictures * texts).sum(axis=1), 0)
    found = scorer.features(images, PROMPTS)
    np.testing.assert_allclose(found[:, 0], expected, atol=1e-4)
    assert scorer.summarise(found)["clip_score"] == pytest.approx(expected.mean(), abs=1e-4)


def test_clip_score_agrees_with_torchmetrics(tiny_openclip, images):
    """torchmetrics takes any pair with the methods of transformers' CLIP; it clips the mean, so one image at a time."""
    scorer = ClipScore(ClipScore.Params(path=str(tiny_openclip)), BuildContext())
    found = scorer.features(images, PROMPTS)[:, 0]

    def pair():
        model, _, preprocess = open_clip.create_model_and_transforms(f"local-dir:{tiny_openclip}")
        return _LikeTransformers(model.eval()), _processor(preprocess, f"local-dir:{tiny_openclip}")

    with torch.no_grad():
        pixels = [torch.from_numpy(image).permute(2, 0, 1) for image in images]
        expected = [float(clip_score(a, b, pair)) for a, b in zip(pixels, PROMPTS, strict=True)]
    np.testing.assert_allclose(found, expected, atol=1e-4)


class _LikeTransformers(torch.nn.Module):
    def __init__(self, model):
        super().__init__()
        self.model, self.config = model, None

    def get_image_features(self, pixels):
        return self.model.encode_image(pixels)

    def get_text_features(self, tokens, attention_mask):
        return self.model.encode_text(tokens)


def _processor(preprocess, source):
    tokenizer = open_clip.get_tokenizer(source)

    def process(images=None, text=None, **_):
        if text is not None:
            tokens = tokenizer(text)
            return {"input_ids": tokens, "attention_mask": torch.ones_like(tokens)}
        return {"pixel_values": torch.stack([preprocess(functional.to_pil_image(image)) for image in images])}

    return process


def test_clip_iqa_is_the_antonym_formula(tiny_openclip, clip_embeddings, images):
    scorer = ClipIqa(ClipIqa.Params(path=str(tiny_openclip)), BuildContext())
    pictures, _, (good, bad) = clip_embeddings
    scale = float(load_file(tiny_openclip / "open_clip_model.safetensors")["logit_scale"].exp())
    expected = 1 / (1 + np.exp(-scale * (pictures @ good - pictures @ bad)))
    assert np.sum((expected > 0.01) & (expected < 0.99)) >= 2
    found = scorer.features(images, PROMPTS)
    np.testing.assert_allclose(found[:, 0], expected, atol=1e-4)
    assert scorer.summarise(found)["clip_iqa"] == pytest.approx(expected.mean(), abs=1e-4)


def test_clip_iqa_agrees_with_torchmetrics(tmp_path, tiny_openclip, clip_embeddings, images):
    """Its model loading does not work with transformers 5; its prompts and its formula do. It writes OpenAI's logit
    scale as the constant 100.
    """
    folder = shutil.copytree(tiny_openclip, tmp_path / "clip")
    file = folder / "open_clip_model.safetensors"
    save_file({**load_file(file), "logit_scale": torch.tensor(100.0).log()}, file)
    texts, names = _clip_iqa_format_prompts(("quality",))
    assert tuple(texts) == ANTONYMS
    pictures, _, anchors = (torch.from_numpy(rows) for rows in clip_embeddings)
    found = ClipIqa(ClipIqa.Params(path=str(folder)), BuildContext()).features(images, PROMPTS)
    np.testing.assert_allclose(found[:, 0], _clip_iqa_compute(pictures, anchors, names).numpy(), atol=1e-4)


@pytest.mark.parametrize("classes", [1, 2, 7, 1000])
def test_certain_and_evenly_spread_images_score_their_number_of_classes(classes):
    logits = 1000.0 * np.eye(1000)[np.arange(2 * classes) % classes]
    assert summarise(logits) == pytest.approx(classes, rel=1e-9)


def test_undecided_images_score_1():
    assert summarise(np.zeros((9, 1000))) == pytest.approx(1.0, rel=1e-12)


@pytest.mark.parametrize(
    ("probabilities", "score"),
    [
        # exp(ln 2 - H(0.9, 0.1)) = 2 * 0.9^0.9 * 0.1^0.1
        ([[0.9, 0.1], [0.1, 0.9]], 2 * 0.9**0.9 * 0.1**0.1),
        # marginal (3/4, 1/4): KLs are ln(4/3) and (ln(2/3) + ln 2) / 2 = ln(4/3) / 2, mean 3/4 ln(4/3)
        ([[1 - 1e-12, 1e-12], [0.5, 0.5]], (4 / 3) ** 0.75),
    ],
)
def test_inception_score_by_hand(probabilities, score):
    assert summarise(np.log(probabilities)) == pytest.approx(score, rel=1e-6)


@pytest.mark.filterwarnings("ignore:Metric `InceptionScore` will save", "ignore:std.*degrees of freedom")
@pytest.mark.parametrize("splits", [1, 2, 5])
def test_inception_score_agrees_with_torchmetrics(splits, monkeypatch):
    """Without its shuffle by the global generator: the order is ours."""
    logits = np.random.default_rng(1).normal(scale=3.0, size=(20, 50)).astype(np.float32)
    oracle = TorchmetricsInceptionScore(feature=torch.nn.Identity(), splits=splits)
    oracle.update(torch.from_numpy(logits))
    monkeypatch.setattr(torch, "randperm", torch.arange)
    assert summarise(logits, splits) == pytest.approx(float(oracle.compute()[0]), rel=1e-5)


def test_inception_score_in_many_pieces_equals_the_formula_at_once():
    logits = np.random.default_rng(2).normal(scale=2.0, size=(9001, 12)).astype(np.float32)
    p = np.exp(logits.astype(np.float64))
    p /= p.sum(axis=1, keepdims=True)
    expected = np.exp((p * np.log(p / p.mean(axis=0))).sum(axis=1).mean())
    assert summarise(logits) == pytest.approx(expected, rel=1e-9)


def test_inception_logits_are_those_of_torchvisions_own_route(inception, images):
    """ImageNet normalisation, then `transform_input=True`, as torchvision does with these weights."""
    file, scorer = inception
    net = inception_v3(weights=None, init_weights=False, transform_input=True)
    net.load_state_dict(torch.load(file, weights_only=True))
    squashed = [Image.fromarray(image).resize((299, 299), Image.Resampling.BILINEAR) for image in images[:2]]
    pixels = torch.stack([functional.to_tensor(image) for image in squashed])
    with torch.no_grad():
        expected = net.eval()(functional.normalize(pixels, [0.485, 0.456, 0.406], [0.229, 0.224, 0.225])).numpy()
    np.testing.assert_allclose(scorer.features(images[:2], PROMPTS[:2]), expected, rtol=1e-5, atol=1e-5)


def test_the_declared_hash_is_the_one_in_the_file_name():
    assert TORCHVISION.sha256[:8] == TORCHVISION.filename.removesuffix(".pth").rsplit("-", 1)[1]


def test_unchanged_output_of_this_version(tiny_openclip, inception, images):
    params, ctx = {"path": str(tiny_openclip)}, BuildContext()
    scorers = [ClipScore(ClipScore.Params(**params), ctx), ClipIqa(ClipIqa.Params(**params), ctx), inception[1]]
    found = {f"{s.spec.name} v{s.version}": s.features(images, PROMPTS)[:, 0].tolist() for s in scorers}
    assert found == {name: pytest.approx(values, abs=1e-3) for name, values in GOLDEN.items()}
