"""The image side of Janus against an independent float64 computation, on weights that could tell a mistake.

Codes of unequal length, biases and norms that are not the defaults, images that are not square.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from fairbench.networks import janus_tokens
from fairbench.networks.janus import JanusModel, load, rgb
from tests.builders.janus import BOOK, save_uneven_janus
from tests.golden import janus_reference as reference


def loaded(folder: Path) -> tuple[JanusModel, reference.State]:
    return load(folder, "cpu", "float32"), reference.wide(load_file(folder / "model.safetensors"))


def images(count: int, side: int) -> np.ndarray:
    """Smooth gradients with noise, so that neighbouring tokens differ."""
    rng = np.random.default_rng(count)
    coarse = rng.integers(256, size=(count, side // 4, side // 4, 3)).repeat(4, axis=1).repeat(4, axis=2)
    return np.clip(coarse + rng.integers(-40, 40, coarse.shape), 0, 255).astype(np.uint8)


@pytest.fixture(scope="module")
def spread(tmp_path_factory: pytest.TempPathFactory) -> tuple[JanusModel, reference.State]:
    return loaded(save_uneven_janus(tmp_path_factory.mktemp("spread"), 0.1))


@pytest.mark.parametrize("relative", [0.0, 0.02, 0.1])
def test_every_token_is_the_most_similar_code(tmp_path: Path, relative: float) -> None:
    """transformers' own `encode` takes the nearest code without normalising: other tokens once lengths differ."""
    model, state = loaded(save_uneven_janus(tmp_path, relative))
    shown = images(40, 16)
    tokens = janus_tokens.encode(model, list(shown), batch=16)
    latents = reference.latents(state, shown)
    assert tokens.shape == (40, 16)
    assert tokens.dtype == np.int64
    np.testing.assert_array_equal(tokens, reference.cosine_codes(state, latents))
    assert len(np.unique(tokens)) > 10
    nearest = reference.euclidean_codes(state, latents)
    assert (tokens != nearest).any() == (relative > 0), "lengths that differ must be able to tell the two rules apart"


def test_the_scale_of_a_code_changes_no_token(spread: tuple[JanusModel, reference.State], tmp_path: Path) -> None:
    model, _ = spread
    shown = list(images(8, 16))
    before = janus_tokens.encode(model, shown)
    path = save_uneven_janus(tmp_path, 0.1) / "model.safetensors"
    state = load_file(path)
    state[BOOK] = state[BOOK] * torch.linspace(0.1, 9, len(state[BOOK]))[:, None]
    save_file(state, path, metadata={"format": "pt"})
    np.testing.assert_array_equal(janus_tokens.encode(load(tmp_path, "cpu", "float32"), shown), before)


def test_in_reduced_precision_codes_are_compared_in_float32(tmp_path: Path) -> None:
    """bfloat16 angles have ties: the first of some thousand codes would win too often."""
    folder = save_uneven_janus(tmp_path, 0.1)
    model = load(folder, "cpu", "bfloat16")
    pixels = torch.from_numpy(janus_tokens.as_input(model, list(images(4, 16)))).bfloat16()
    vq = model.net.model.vqmodel
    with torch.inference_mode():
        latents = vq.quant_conv(vq.encoder(pixels)).double()
    state = {BOOK: vq.quantize.embedding.weight.double()}
    np.testing.assert_array_equal(
        janus_tokens.encode(model, list(images(4, 16))), reference.cosine_codes(state, latents)
    )


def test_a_batch_of_several_sizes_is_encoded_image_by_image(spread: tuple[JanusModel, reference.State]) -> None:
    model, _ = spread
    rng = np.random.default_rng(1)
    shown = [rng.integers(256, size=(*size, 3), dtype=np.uint8) for size in ((16, 16), (40, 23), (9, 31), (64, 64))]
    together = janus_tokens.encode(model, shown)
    np.testing.assert_array_equal(together, np.concatenate([janus_tokens.encode(model, [i]) for i in shown]))
    np.testing.assert_array_equal(together[::-1], janus_tokens.encode(model, shown[::-1]))
    assert len({row.tobytes() for row in together}) == 4


def test_pixels_are_those_of_the_normalised_codes(spread: tuple[JanusModel, reference.State]) -> None:
    model, state = spread
    tokens = np.random.default_rng(2).integers(model.vocabulary, size=(3, model.tokens_per_image))
    expected = reference.decoded(state, tokens)
    with torch.inference_mode():
        values = model.net.decode_image_tokens(torch.from_numpy(tokens)).numpy()
    np.testing.assert_allclose(values, expected, atol=1e-4)
    assert expected.std() > 0.1
    for row, value in zip(tokens, expected, strict=True):
        away = model.pixels(row).astype(int) - rgb(value).astype(int)
        assert np.abs(away).max() <= 1, "only a value on the edge of two grey levels may round another way"
        assert (away == 0).mean() > 0.99
