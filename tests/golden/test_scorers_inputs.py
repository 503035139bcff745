"""What scorers make of images and texts before the network, against computations that share no code with them.

Images of several sizes and shapes, texts of unequal length in both orders, prompts beyond the context, embeddings whose
norms are far from 1: where a slip in preprocessing, truncation or normalisation would show.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import open_clip
import pytest
import torch
from numpy.typing import NDArray
from PIL import Image
from safetensors.torch import load_file, save_file
from torchvision.models import inception_v3

from fairbench.networks.openclip import OpenClip
from fairbench.scorers.clip_iqa import ClipIqa
from fairbench.scorers.clip_score import ClipScore
from fairbench.scorers.inception_score import InceptionScore
from fairbench.types import BuildContext, RgbImage
from tests.builders.openclip import LETTERS, SPECIAL, save_tiny_openclip

SIZES = ((32, 32), (40, 90), (90, 40), (33, 31), (7, 20), (256, 100))
TEXTS = ("a", "a photo of a nurse, a person", "zebra" * 30, "0.9", "a photo of a nurse", "x" * 75)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny CLIP whose embeddings have norms far from 1, those of images above and those of texts below."""
    made = save_tiny_openclip(tmp_path_factory.mktemp("inputs") / "clip", seed=5)
    file = made / "open_clip_model.safetensors"
    state = load_file(file)
    state["visual.proj"] *= 7
    state["text_projection"] *= 0.02
    save_file(state, file)
    return made


@pytest.fixture(scope="module")
def images() -> list[RgbImage]:
    rng = np.random.default_rng(11)
    return [rng.integers(0, 256, (*size, 3), dtype=np.uint8) for size in SIZES]


def prepared(image: RgbImage, side: int) -> NDArray[np.float32]:
    """Shorter side to `side` (bicubic), the central square, then from 0..255 to -1..1; channels first."""
    height, width = image.shape[:2]
    scale = side / min(height, width)
    size = (side, int(height * scale)) if width <= height else (int(width * scale), side)
    large = np.asarray(Image.fromarray(image).resize(size, Image.Resampling.BICUBIC))
    top, left = (round((n - side) / 2) for n in large.shape[:2])
    square = large[top : top + side, left : left + side]
    return (square.astype(np.float32) / 127.5 - 1).transpose(2, 0, 1)


def tokens(text: str) -> list[int]:
    """Start, a token per letter, end: 77 at most, of which the last is the end; then padding."""
    table = {token: number for number, token in enumerate([*SPECIAL, *LETTERS])}
    letters = [table.get(letter, table["<unk>"]) for letter in text.lower().replace(" ", "")][:75]
    row = [table["<start>"], *letters, table["<end>"]]
    return row + [table["<pad>"]] * (77 - len(row))


def network(folder: Path) -> open_clip.CLIP:
    model = open_clip.CLIP(**json.loads((folder / "open_clip_config.json").read_text())["model_cfg"])
    model.load_state_dict(load_file(folder / "open_clip_model.safetensors"))
    return model.eval()


def of_images(model: open_clip.CLIP, images: list[RgbImage]) -> NDArray[np.float64]:
    """Return the images' embeddings as the network gives them, not normalised; each image by itself."""
    with torch.inference_mode():
        rows = [model.encode_image(torch.from_numpy(prepared(image, 32))[None])[0].numpy() for image in images]
    return np.array(rows, np.float64)


def of_texts(model: open_clip.CLIP, texts: Sequence[str]) -> NDArray[np.float64]:
    with torch.inference_mode():
        return np.array([model.encode_text(torch.tensor([tokens(text)]))[0].numpy() for text in texts], np.float64)


Embeddings = tuple[NDArray[np.float64], NDArray[np.float64]]


@pytest.fixture(scope="module")
def raw(folder: Path, images: list[RgbImage]) -> Embeddings:
    model = network(folder)
    return of_images(model, images), of_texts(model, TEXTS)


def cosines(raw: Embeddings) -> NDArray[np.float64]:
    """Return the cosine of every image with every text."""
    pictures, texts = (rows / np.sqrt((rows**2).sum(axis=1, keepdims=True)) for rows in raw)
    return np.asarray(pictures @ texts.T)


def test_the_embeddings_have_other_norms_than_1(raw: Embeddings) -> None:
    pictures, texts = (np.linalg.norm(rows, axis=1) for rows in raw)
    assert pictures.min() > 2 and texts.max() < 0.5
    assert np.ptp(pictures) > 0.1 and np.ptp(texts) > 0.001


@pytest.mark.parametrize("shift", range(len(SIZES)))
@pytest.mark.parametrize("backwards", [False, True])
def test_clip_score_of_all_pairs_of_sizes_and_texts(
    folder: Path,
    images: list[RgbImage],
    raw: Embeddings,
    shift: int,
    backwards: bool,
) -> None:
    scorer = ClipScore(ClipScore.Params.model_validate({"path": str(folder)}), BuildContext())
    rows = list(range(len(images)))[:: -1 if backwards else 1]
    columns = [(row + shift) % len(TEXTS) for row in rows]
    expected = 100 * np.maximum(cosines(raw)[rows, columns], 0)
    found = scorer.features([images[i] for i in rows], [TEXTS[i] for i in columns])[:, 0]
    np.testing.assert_allclose(found, expected, atol=2e-3)
    assert cosines(raw).std() > 0.05  # another pairing would be another value


def test_clip_iqa_of_every_size(folder: Path, images: list[RgbImage]) -> None:
    scorer, model = ClipIqa(ClipIqa.Params.model_validate({"path": str(folder)}), BuildContext()), network(folder)
    scale = float(model.logit_scale.detach().exp())
    logits = scale * cosines((of_images(model, images), of_texts(model, ("Good photo.", "Bad photo."))))
    expected = np.exp(logits[:, 0]) / np.exp(logits).sum(axis=1)
    assert np.ptp(expected) > 0.1
    np.testing.assert_allclose(scorer.features(images, ["ignored"] * len(images))[:, 0], expected, atol=1e-4)


def test_inception_squashes_whole_images_of_any_shape(tiny_inception: Path) -> None:
    """Resized as float tensors by torch, which shares no code with Pillow: half a grey level apart at most."""
    scorer = InceptionScore(
        InceptionScore.Params.model_validate({"weights": {"path": str(tiny_inception)}}), BuildContext()
    )
    y, x = np.mgrid[0:400, 0:400]
    wave = 127.5 + 60 * np.stack([np.sin(x / 40), np.cos(y / 30), np.sin((x + y) / 50)], axis=-1)
    images = [np.rint(wave[:height, :width]).astype(np.uint8) for height, width in ((150, 400), (400, 150), (320, 310))]
    net = inception_v3(weights=None, init_weights=False)
    net.load_state_dict(torch.load(tiny_inception, weights_only=True))
    with torch.inference_mode():
        expected, cropped = [], []
        for image in images:
            pixels = torch.from_numpy(image).permute(2, 0, 1)[None].float()
            whole = torch.nn.functional.interpolate(pixels, (299, 299), mode="bilinear", antialias=True)
            side = min(image.shape[:2])
            part = torch.nn.functional.interpolate(pixels[..., :side, :side], (299, 299), mode="bilinear")
            expected.append(net.eval()(whole / 127.5 - 1)[0].numpy())
            cropped.append(net(part / 127.5 - 1)[0].numpy())
    found = scorer.features(images, [""] * len(images))
    off = np.abs(found - np.array(expected)).max(axis=1)
    other = np.abs(np.array(cropped) - np.array(expected)).max(axis=1)
    assert off.max() < 0.003 and other.min() > 0.01
    assert scorer.summarise(found)["inception_score"] == pytest.approx(_inception_score(found), rel=1e-9)


def _inception_score(logits: NDArray[np.float32]) -> float:
    """exp of the mean KL(p || mean p), term by term."""
    p = [np.exp(row - row.max()) / np.exp(row - row.max()).sum() for row in logits.astype(np.float64)]
    marginal = sum(p) / len(p)
    return float(np.exp(sum((row * (np.log(row) - np.log(marginal))).sum() for row in p) / len(p)))


# --- which prompts a tokenizer cuts ---


def test_the_letter_tokenizer_cuts_from_76_letters_on(folder: Path) -> None:
    scorer = ClipScore(ClipScore.Params.model_validate({"path": str(folder)}), BuildContext())
    texts = ["", "a", "b" * 75, "b" * 76, "b " * 75, "b" * 500, "ß" * 75, "ß" * 76]
    assert scorer.cut(texts) == [False, False, False, True, False, True, False, True]


def test_openais_tokenizer_cuts_where_it_has_more_than_75_tokens() -> None:
    """Byte pairs, counted by the tokenizer's own `encode`; "!" has token 0, which is also what it pads with."""
    tokenizer = open_clip.get_tokenizer("ViT-B-32")
    clip = OpenClip(None, lambda image: image, tokenizer, "none", "cpu")
    texts = [
        " ".join(["nurse"] * 75),
        " ".join(["nurse"] * 76),
        "!" * 30,
        " ! " * 75,
        " ! " * 76,
        "護士" * 40,
        "electroencephalographer " * 20,
        "a photo of a " + "very " * 72 + "old",
        "",
        " ".join(["a"] * 74) + " !",
    ]
    expected = [len(tokenizer.encode(text)) > 75 for text in texts]
    assert True in expected and False in expected
    assert clip.cut(texts) == expected


@pytest.mark.parametrize("padding", ["the end", "its own token"])
def test_a_tokenizer_that_pads_with_its_end_token_is_told_apart(padding: str) -> None:
    """SigLIP's T5 pads with the token that ends a text: only comparing with more room tells that a text just fits."""
    pad = 1 if padding == "the end" else 0

    def tokenizer(texts: list[str], context_length: int = 8) -> torch.Tensor:
        rows = [[*[10 + ord(c) for c in text][: context_length - 1], 1] for text in texts]
        return torch.tensor([row + [pad] * (context_length - len(row)) for row in rows])

    clip = OpenClip(None, lambda image: image, tokenizer, "none", "cpu")
    assert clip.cut(["", "abcdef", "abcdefg", "abcdefgh", "abcdefghi"]) == [False, False, False, True, True]
