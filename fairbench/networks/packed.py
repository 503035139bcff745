"""Drawing tokens on a processor in float32: weights in the order in which oneDNN reads them, attention without copies.

At one position per row a decoder does little more than read its weights and its past. Measured on 100 million
parameters, 16 rows and 352 positions (docs/performance.md): MKL's products read the weights at 60 % of the speed of
oneDNN's, which need them in blocks. From two rows on, products of packed weights were the same, bit for bit,
whatever the number of rows, and on one thread and two (MKL's change below four rows).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import lru_cache
from pathlib import Path
from typing import Any, Final

WORTH: Final = 2**18
"""Numbers in a weight from which on packing pays: 512 x 512. Smaller ones stay in the processor's cache as they are."""
_OWN: Final = "fairbench_step"
"""The name under which transformers knows the attention below."""


@contextmanager
def packed(decoder: Any, head: Any, rows: int) -> Iterator[None]:
    """Let a decoder and the head behind it compute faster while this lasts, where they can; see `layers`.

    The packed weights are copies, which are freed at the end. rows: of the batches to come; others are right as well.
    """
    import torch

    chosen = layers(decoder, head)
    config = decoder.config
    attention = config._attn_implementation
    try:
        for layer in chosen:
            weight = torch.ops.mkldnn._reorder_linear_weight(layer.weight.detach(), rows)
            layer.forward = _product(weight, layer.bias)
        if chosen and attention == "sdpa":
            config._attn_implementation = _own_attention()
        yield
    finally:
        config._attn_implementation = attention
        for layer in chosen:
            vars(layer).pop("forward", None)


def layers(decoder: Any, head: Any) -> list[Any]:
    """Return the linear layers that are packed: large ones, on a processor with oneDNN, in float32, as memory allows.

    None where another library has replaced a layer's forward.
    """
    import torch

    able = torch._C._has_mkldnn and torch._C._get_mkldnn_enabled()
    if decoder.device.type != "cpu" or decoder.dtype != torch.float32 or not able:
        return []
    linear = [m for part in (decoder, head) for m in part.modules() if type(m) is torch.nn.Linear]
    large = [layer for layer in linear if layer.weight.numel() >= WORTH]
    replaced = any("forward" in vars(layer) for layer in large)
    return [] if replaced or 2 * sum(layer.weight.nbytes for layer in large) > _free_bytes() else large


def attention(decoder: Any, head: Any, compiled: Any = None) -> str:
    """Return what computes a decoder's attention while tokens are drawn, for run.json. compiled: its compiled step."""
    given = str(decoder.config._attn_implementation)
    if compiled is not None:
        return f"{given}, compiled behind the prompt"
    return "sdpa; fairbench's own behind the prompt" if given == "sdpa" and layers(decoder, head) else given


def _free_bytes(meminfo: Path = Path("/proc/meminfo")) -> float:
    """Return the bytes that are free or can be freed; infinity where the system does not say."""
    try:
        lines = dict(line.split(":", 1) for line in meminfo.read_text().splitlines())
        return 1024 * int(lines["MemAvailable"].split()[0])
    except (OSError, KeyError, ValueError):
        return float("inf")


def _product(weight: Any, bias: Any) -> Callable[[Any], Any]:
    import torch

    compute = torch.ops.mkldnn._linear_pointwise
    return lambda hidden: compute(hidden, weight, bias, "none", [], "")


def _own_attention() -> str:
    """Tell transformers of the attention below, and return its name."""
    from transformers import AttentionInterface

    AttentionInterface.register(_OWN, _attend)
    return _OWN


def _attend(module: Any, query: Any, key: Any, value: Any, mask: Any, scaling: float, **how: Any) -> tuple[Any, None]:
    """Return attention (rows, new, heads, size), as transformers' functions do: its own one for several new positions.

    query: (rows, heads, new, size). key, value: (rows, kept heads, positions, size), views into the cache. mask:
    (rows, 1, 1, positions), added to the scores. Kept heads that serve several heads are not copied for each.
    """
    from transformers import AttentionInterface

    rows, heads, new, size = query.shape
    if new > 1:
        attended, _ = AttentionInterface()["sdpa"](module, query, key, value, mask, scaling=scaling, **how)
        return attended, None
    kept = key.shape[1]
    scores = (query.reshape(rows, kept, heads // kept, size) * scaling) @ key.transpose(2, 3)
    weights = scores.add_(mask).softmax(dim=-1)
    summed = _one_sum(weights, value) if heads == kept else weights @ value
    return summed.reshape(rows, 1, heads, size), None


def _one_sum(weights: Any, value: Any) -> Any:
    """Return the weighted sums of values, one per row and head.

    A product of one row by a matrix is slow in MKL; sums over the rows of a table are what embeddings are looked up by.
    """
    import torch

    rows, heads, positions, size = value.shape
    length = value.stride(1) // size  # of the cache's buffer, of which the first positions are seen
    table = value.as_strided((rows * heads * length, size), (size, 1))
    found = _indices(rows * heads, length, positions)
    weights = weights.view(rows * heads, positions)
    return torch.nn.functional.embedding_bag(found, table, mode="sum", per_sample_weights=weights)


@lru_cache(maxsize=1)
def _indices(tables: int, length: int, positions: int) -> Any:
    """Return the places (tables, positions) of the first positions of tables of this length, one behind another."""
    import torch

    return torch.arange(tables)[:, None] * length + torch.arange(positions)
