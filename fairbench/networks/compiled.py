"""One further position of a decoder, compiled by torch: a CUDA graph on a GPU, C++ on a processor (`run --compile`)."""

from __future__ import annotations

from typing import Any

from fairbench.errors import FairbenchError
from fairbench.networks.hub import first_line


class CompiledStep:
    """Maps embeddings (rows, 1, hidden) to hidden states (rows, hidden), as the decoder itself does.

    All shapes are those of a whole block, from its first step to its last, and blocks of one shape share their buffers:
    a CUDA graph reads and writes at fixed addresses. So attention sees all positions that there will ever be; those to
    come are masked. Every padded length of a text is a shape, and holds buffers of its own.
    """

    def __init__(self, language_model: Any, keyword: str) -> None:
        """Compile nothing yet. keyword: what the decoder calls its past."""
        import torch

        mode = "reduce-overhead" if language_model.device.type == "cuda" else "default"

        def step(embeds: Any, past: _Past) -> Any:
            known = {keyword: past, "use_cache": True}
            positions = past.position[None]
            out = language_model(inputs_embeds=embeds, attention_mask=past.mask, position_ids=positions, **known)
            return out.last_hidden_state[:, -1]

        self._step = torch.compile(step, fullgraph=True, dynamic=False, mode=mode)
        self._pasts: dict[tuple[int, ...], _Past] = {}
        self._past: _Past | None = None

    def go_on(self, layers: dict[int, tuple[Any, Any]], mask: Any) -> None:
        """Take over the past of a text: keys and values (rows, heads, length, size) by layer, and what is masked."""
        shape = tuple(mask.shape)
        if shape not in self._pasts:
            self._pasts[shape] = _Past(layers, mask)
        self._past = self._pasts[shape]
        self._past.take(layers, mask)

    def __call__(self, embeds: Any, position: int) -> Any:
        """Compute the states at a position, which is attended from there on. Raises FairbenchError."""
        import torch

        if self._past is None:
            raise RuntimeError("a text has to be read first")
        self._past.move(position)
        begin: Any = torch.compiler.cudagraph_mark_step_begin
        begin()
        try:
            # A copy: the graph's own output is written over by its next step.
            return self._step(embeds, self._past).clone()
        except torch._dynamo.exc.TorchDynamoException as err:
            raise FairbenchError(f"torch cannot compile this model ({first_line(err)}): leave out --compile.") from err


class _Past:
    """Keys and values at fixed addresses, for transformers' layers, which call `update` only."""

    def __init__(self, layers: dict[int, tuple[Any, Any]], mask: Any) -> None:
        import torch

        self.keys = [torch.empty_like(key) for key, _ in layers.values()]
        self.values = [torch.empty_like(value) for _, value in layers.values()]
        self.mask = torch.empty_like(mask)
        self.position = torch.zeros(1, dtype=torch.long, device=mask.device)
        for buffer in (*self.keys, *self.values, self.mask, self.position):
            torch._dynamo.mark_static_address(buffer)

    def take(self, layers: dict[int, tuple[Any, Any]], mask: Any) -> None:
        """Copy another past into the buffers."""
        self.mask.copy_(mask)
        for layer, (key, value) in layers.items():
            self.keys[layer].copy_(key)
            self.values[layer].copy_(value)

    def move(self, position: int) -> None:
        """Let the next step compute this position, and attend to it."""
        self.position.fill_(position)
        self.mask[..., position] = 0

    def update(self, key: Any, value: Any, layer: int, *_: Any, **__: Any) -> tuple[Any, Any]:
        """Store (rows, heads, 1, size) at the position; return everything."""
        self.keys[layer].index_copy_(2, self.position, key)
        self.values[layer].index_copy_(2, self.position, value)
        return self.keys[layer], self.values[layer]
