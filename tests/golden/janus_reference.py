"""Janus in plain float64 arithmetic from a state dict, as its authors' code computes it.

Nothing here calls a model class: layer by layer from the published description (the VQ tokenizer of LlamaGen, SigLIP's
vision transformer, Llama, the processor's formula), so that a mistake of the library shows.
"""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch.nn import functional

State = dict[str, torch.Tensor]


def wide(state: State) -> State:
    """Return the weights in float64."""
    return {name: value.double() for name, value in state.items()}


def _conv(state: State, name: str, x: torch.Tensor, padding: int = 1, stride: int = 1) -> torch.Tensor:
    return functional.conv2d(x, state[f"{name}.weight"], state[f"{name}.bias"], stride=stride, padding=padding)


def _group_norm(state: State, name: str, x: torch.Tensor) -> torch.Tensor:
    grouped = x.reshape(x.shape[0], 32, -1)
    mean, variance = grouped.mean(-1, keepdim=True), grouped.var(-1, keepdim=True, unbiased=False)
    normal = ((grouped - mean) / (variance + 1e-6).sqrt()).reshape(x.shape)
    return normal * state[f"{name}.weight"][:, None, None] + state[f"{name}.bias"][:, None, None]


def _swish(x: torch.Tensor) -> torch.Tensor:
    return x / (1 + torch.exp(-x))


def _residual(state: State, name: str, x: torch.Tensor) -> torch.Tensor:
    y = _conv(state, f"{name}.conv1", _swish(_group_norm(state, f"{name}.norm1", x)))
    y = _conv(state, f"{name}.conv2", _swish(_group_norm(state, f"{name}.norm2", y)))
    return x + y


def _attention(state: State, name: str, x: torch.Tensor) -> torch.Tensor:
    y = _group_norm(state, f"{name}.norm", x)
    q, k, v = (_conv(state, f"{name}.{part}", y, padding=0).flatten(2) for part in "qkv")
    weights = torch.softmax(torch.einsum("bcq,bck->bqk", q, k) / x.shape[1] ** 0.5, dim=-1)
    return x + _conv(state, f"{name}.proj_out", torch.einsum("bqk,bck->bcq", weights, v).reshape(x.shape), padding=0)


def _middle(state: State, name: str, x: torch.Tensor) -> torch.Tensor:
    x = _residual(state, f"{name}.block_1", x)
    return _residual(state, f"{name}.block_2", _attention(state, f"{name}.attn_1", x))


def _block(state: State, name: str, index: int, x: torch.Tensor) -> torch.Tensor:
    x = _residual(state, f"{name}.block.{index}", x)
    return _attention(state, f"{name}.attn.{index}", x) if f"{name}.attn.{index}.q.weight" in state else x


def latents(state: State, images: NDArray[np.uint8]) -> torch.Tensor:
    """Return the latents (n, D, grid, grid) of square images (n, side, side, 3) before they are quantised."""
    x = torch.from_numpy(images.astype(np.float64)).permute(0, 3, 1, 2) / 127.5 - 1
    x = _conv(state, "model.vqmodel.encoder.conv_in", x)
    level = 0
    while f"{(name := f'model.vqmodel.encoder.down.{level}')}.block.0.conv1.weight" in state:
        x = _block(state, name, 0, x)
        if f"{name}.downsample.conv.weight" in state:
            x = _conv(state, f"{name}.downsample.conv", functional.pad(x, (0, 1, 0, 1)), padding=0, stride=2)
        level += 1
    x = _swish(_group_norm(state, "model.vqmodel.encoder.norm_out", _middle(state, "model.vqmodel.encoder.mid", x)))
    return _conv(state, "model.vqmodel.quant_conv", _conv(state, "model.vqmodel.encoder.conv_out", x), padding=0)


def cosine_codes(state: State, found: torch.Tensor) -> NDArray[np.int64]:
    """Return the most similar code of each latent, row by row of the grid: (n, grid * grid). One pair at a time."""
    rows = found.permute(0, 2, 3, 1).flatten(1, 2).numpy()
    book = state["model.vqmodel.quantize.embedding.weight"].numpy()
    angles = [[[(z @ e) / (np.linalg.norm(z) * np.linalg.norm(e)) for e in book] for z in row] for row in rows]
    return np.array(angles).argmax(axis=-1)


def euclidean_codes(state: State, found: torch.Tensor) -> NDArray[np.int64]:
    """Return the nearest code of each latent without normalisation, which is not the model's own."""
    rows = found.permute(0, 2, 3, 1).flatten(1, 2).numpy()
    book = state["model.vqmodel.quantize.embedding.weight"].numpy()
    return np.linalg.norm(rows[:, :, None] - book, axis=-1).argmin(axis=-1)


def decoded(state: State, tokens: NDArray[np.int64]) -> NDArray[np.float64]:
    """Return the decoder's values (n, side, side, 3) of image tokens (n, grid * grid)."""
    book = state["model.vqmodel.quantize.embedding.weight"]
    codes = (book / book.norm(dim=1, keepdim=True))[torch.from_numpy(tokens)]
    grid = round(tokens.shape[1] ** 0.5)
    x = codes.reshape(len(tokens), grid, grid, -1).permute(0, 3, 1, 2)
    x = _conv(state, "model.vqmodel.decoder.conv_in", _conv(state, "model.vqmodel.post_quant_conv", x, padding=0))
    x = _middle(state, "model.vqmodel.decoder.mid", x)
    level = 0
    while f"{(name := f'model.vqmodel.decoder.up.{level}')}.block.0.conv1.weight" in state:
        for index in (0, 1):
            x = _block(state, name, index, x)
        if f"{name}.upsample.conv.weight" in state:
            x = _conv(state, f"{name}.upsample.conv", x.repeat_interleave(2, dim=2).repeat_interleave(2, dim=3))
        level += 1
    x = _conv(state, "model.vqmodel.decoder.conv_out", _swish(_group_norm(state, "model.vqmodel.decoder.norm_out", x)))
    return x.permute(0, 2, 3, 1).numpy()


def _linear(state: State, name: str, x: torch.Tensor) -> torch.Tensor:
    return x @ state[f"{name}.weight"].T + state[f"{name}.bias"]


def _layer_norm(state: State, name: str, x: torch.Tensor) -> torch.Tensor:
    normal = (x - x.mean(-1, keepdim=True)) / (x.var(-1, keepdim=True, unbiased=False) + 1e-6).sqrt()
    return normal * state[f"{name}.weight"] + state[f"{name}.bias"]


def _gelu(x: torch.Tensor) -> torch.Tensor:
    return x * (1 + torch.erf(x / 2**0.5)) / 2


def vision(state: State, pixels: NDArray[np.float64], heads: int) -> torch.Tensor:
    """Return the vision encoder's states (n, patches, hidden) of processed pixels (n, 3, side, side)."""
    name = "model.vision_model"
    kernel = state[f"{name}.embeddings.patch_embedding.weight"]
    size = kernel.shape[-1]
    patches = torch.from_numpy(pixels).unfold(2, size, size).unfold(3, size, size)  # n, 3, rows, columns, size, size
    x = torch.einsum("ncrkij,dcij->nrkd", patches, kernel).flatten(1, 2)
    x = x + state[f"{name}.embeddings.patch_embedding.bias"] + state[f"{name}.embeddings.position_embedding.weight"]
    layer = 0
    while f"{(inner := f'{name}.encoder.layers.{layer}')}.mlp.fc1.weight" in state:
        y = _layer_norm(state, f"{inner}.layer_norm1", x)
        q, k, v = (
            _linear(state, f"{inner}.self_attn.{part}_proj", y).unflatten(-1, (heads, -1)).transpose(1, 2)
            for part in "qkv"
        )
        weights = torch.softmax(q @ k.transpose(-1, -2) / q.shape[-1] ** 0.5, dim=-1)
        x = x + _linear(state, f"{inner}.self_attn.projection_layer", (weights @ v).transpose(1, 2).flatten(-2))
        y = _gelu(_linear(state, f"{inner}.mlp.fc1", _layer_norm(state, f"{inner}.layer_norm2", x)))
        x = x + _linear(state, f"{inner}.mlp.fc2", y)
        layer += 1
    return _layer_norm(state, f"{name}.post_layernorm", x)


def aligned(state: State, states: torch.Tensor) -> torch.Tensor:
    """Return the vision encoder's states as the language model sees them (n, patches, text hidden)."""
    hidden = _gelu(_linear(state, "model.aligner.fc1", states))
    return _linear(state, "model.aligner.hidden_layers.0", hidden)


def processed(
    image: NDArray[np.uint8], side: int, mean: list[float], std: list[float], min_size: int = 14
) -> NDArray[np.float64]:
    """Return an image as the authors' processor gives it to the vision encoder: (3, side, side).

    The longer side becomes `side` (bicubic), the shorter one follows, rounded down; what is missing to a square is grey
    (127 for a mean of .5), a half on each side, the smaller half above or on the left.
    """
    height, width = image.shape[:2]
    rows, columns = (max(int(n / max(height, width) * side), min_size) for n in (height, width))
    small = Image.fromarray(image).resize((columns, rows), Image.Resampling.BICUBIC)
    longest = max(rows, columns)
    square = Image.new("RGB", (longest, longest), tuple(int(m * 255) for m in mean))
    square.paste(small, ((longest - columns) // 2, (longest - rows) // 2))
    return ((np.asarray(square) / 255 - np.array(mean)) / np.array(std)).transpose(2, 0, 1)


def embedded(state: State, ids: list[int]) -> torch.Tensor:
    """Return the embeddings (T, hidden) of text tokens."""
    return state["model.language_model.embed_tokens.weight"][ids]


def drawn(state: State, tokens: NDArray[np.int64]) -> torch.Tensor:
    """Return image tokens (N,) as the language model reads them back, (N, hidden)."""
    x = state["model.generation_embeddings.weight"][torch.from_numpy(tokens)]
    hidden = _gelu(_linear(state, "model.generation_aligner.fc1", x))
    return _linear(state, "model.generation_aligner.hidden_layers.0", hidden)


def _rms_norm(state: State, name: str, x: torch.Tensor) -> torch.Tensor:
    return x / ((x**2).mean(-1, keepdim=True) + 1e-6).sqrt() * state[f"{name}.weight"]


def _turned(x: torch.Tensor) -> torch.Tensor:
    """Rotate (heads, T, d) by position: component i and i + d/2 form a plane that turns at 10000^(-2i/d)."""
    half = x.shape[-1] // 2
    angle = torch.arange(x.shape[1])[:, None] * 10000.0 ** (-torch.arange(half, dtype=torch.float64) / half)
    a, b = x[..., :half], x[..., half:]
    return torch.cat([a * angle.cos() - b * angle.sin(), b * angle.cos() + a * angle.sin()], dim=-1)


def language(state: State, x: torch.Tensor, heads: int) -> torch.Tensor:
    """Return the language model's last states (T, hidden) of one row of embeddings, without padding or cache."""
    layer, future = 0, torch.ones(len(x), len(x), dtype=torch.bool).triu(1)
    while f"{(name := f'model.language_model.layers.{layer}')}.mlp.up_proj.weight" in state:
        y = _rms_norm(state, f"{name}.input_layernorm", x)
        q, k, v = (
            (y @ state[f"{name}.self_attn.{part}_proj.weight"].T).unflatten(-1, (heads, -1)).transpose(0, 1)
            for part in "qkv"
        )
        scores = _turned(q) @ _turned(k).transpose(-1, -2) / q.shape[-1] ** 0.5
        mixed = torch.softmax(scores.masked_fill(future, -torch.inf), dim=-1) @ v
        x = x + mixed.transpose(0, 1).flatten(1) @ state[f"{name}.self_attn.o_proj.weight"].T
        y = _rms_norm(state, f"{name}.post_attention_layernorm", x)
        gate, up = (y @ state[f"{name}.mlp.{part}_proj.weight"].T for part in ("gate", "up"))
        x = x + (_swish(gate) * up) @ state[f"{name}.mlp.down_proj.weight"].T
        layer += 1
    return _rms_norm(state, "model.language_model.norm", x)


def image_logits(state: State, ids: list[int], tokens: NDArray[np.int64], heads: int) -> torch.Tensor:
    """Return the logits (N, codes) of each image token after a prompt that ends with begin-of-image."""
    x = torch.cat([embedded(state, ids), drawn(state, tokens[:-1])])
    hidden = _gelu(_linear(state, "model.generation_head.proj_out", language(state, x, heads)[len(ids) - 1 :]))
    return _linear(state, "model.generation_head.vision_head", hidden)


def word_logits(state: State, x: torch.Tensor, heads: int) -> torch.Tensor:
    """Return the logits (T, words) of the word after each position of embeddings (T, hidden)."""
    return language(state, x, heads) @ state["lm_head.weight"].T
