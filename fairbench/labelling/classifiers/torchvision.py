"""The classifier `torchvision`: any of torchvision's classification architectures, with weights of one's own."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, ClassVar, Final

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, Field

from fairbench.cards.cards import FileWeights
from fairbench.errors import CardError, WeightsError
from fairbench.labelling.classifiers import heads, preprocess
from fairbench.labelling.classifiers.heads import Head
from fairbench.labelling.classifiers.preprocess import InputSpec
from fairbench.networks import batching, weights
from fairbench.protocols import TRANSPORT, Params
from fairbench.registry import suggest
from fairbench.types import BuildContext, LabelSchema, RgbImage


class TorchvisionParams(Params):
    """What a card may set.

    architecture: torchvision's name, such as resnet34. outputs: the width of the last layer; null: where the heads
    end. rename: a prefix of the file's keys and what replaces it, such as `module.` and nothing.
    """

    architecture: str
    weights: FileWeights
    input: InputSpec
    heads: Annotated[dict[str, Head], Field(min_length=1)]
    outputs: int | None = Field(None, ge=1)
    rename: dict[str, str] = Field(default_factory=dict)
    batch_size: int = Field(16, ge=1, le=4096, json_schema_extra={**TRANSPORT})


MAX_PIXELS: Final = 16 * 224 * 224
"""Pixels of one batch, at most: large inputs go in smaller batches, so that memory stays bounded."""


class TorchvisionClassifier:
    """A torchvision model in float32 whose last layer has the declared width; weights are loaded when it is built.

    Raises WeightsError for an absent or unusable file, or one of another architecture; CardError for a card that
    contradicts itself.
    """

    version: ClassVar[int] = 1
    Params: ClassVar[type[BaseModel]] = TorchvisionParams

    def __init__(self, params: TorchvisionParams, ctx: BuildContext, declared: LabelSchema) -> None:
        import torch

        if params.input.layout != "nchw":
            raise CardError("The classifier 'torchvision': `input.layout` is nchw for every torchvision model.")
        self.schema = heads.declared_part(params.heads, declared)
        self._params = params
        self._device = ctx.device
        heads.refuse_overlap(params.heads, dict.fromkeys(params.heads, params.architecture))
        ends = [self._end(name, head) for name, head in params.heads.items()]
        path = weights.locate(params.weights, ctx.base_dir)
        model = _architecture(params.architecture, params.outputs or max(ends))
        _load_strictly(model, _state(path, params.rename), f"{path} for {params.architecture}")
        # Depth-wise convolutions want channels last; a third faster on a CPU.
        model = model.eval().requires_grad_(False)
        self._model = model.to(self._device, memory_format=torch.channels_last)

    def classify(self, chips: Sequence[RgbImage]) -> dict[str, NDArray[np.float32]]:
        """Return, for every attribute, class probabilities of shape (chips, K) in the declared order."""
        if not chips:
            return heads.empty(self.schema)
        height, width = self._params.input.size
        batches = batching.batches(chips, self._device, self._params.batch_size, MAX_PIXELS // (height * width) or 1)
        raw = np.concatenate([self._logits(*batch) for batch in batches])
        return {n: heads.probabilities(raw, n, self._params.heads[n], self.schema) for n in self.schema.labels}

    def log_probs(self, chips: Sequence[Any]) -> dict[str, Any]:
        """Return log-probabilities (chips, K) of every attribute, through which gradients flow to the chips."""
        raw = self._model(preprocess.differentiable(chips, self._params.input))
        return {name: heads.log_probs(raw, self._params.heads[name]) for name in self.schema.labels}

    def _logits(self, chips: Sequence[RgbImage], rows: int) -> NDArray[np.float32]:
        import torch

        with torch.inference_mode(), batching.repeatable():
            batch = torch.from_numpy(preprocess.batch(chips, self._params.input, rows))
            values: NDArray[np.float32] = self._model(batch.to(self._device)).float().cpu().numpy()
        return values[: len(chips)]

    def _end(self, name: str, head: Head) -> int:
        """Return the column after a head's last, having checked the head's width."""
        end = head.slice[1] if head.slice else self._params.outputs or self.schema.size(name)
        heads.check_width(name, head.width or end, self.schema)
        return end


def _architecture(name: str, outputs: int) -> Any:
    from torchvision import models

    names = models.list_models(module=models)  # classification only: the other kinds live in submodules
    if name not in names:
        raise CardError(f"torchvision has no classification architecture {name!r}{suggest(name, names)}.")
    return models.get_model(name, weights=None, num_classes=outputs)


def _state(path: Path, rename: Mapping[str, str]) -> dict[str, Any]:
    """Read a state dict without running any code of the file, its keys renamed by their first matching prefix."""
    import torch
    from safetensors.torch import load_file

    try:
        if path.suffix == ".safetensors":
            state = load_file(path)
        else:
            state = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as err:
        raise WeightsError(
            f"{path} cannot be read as a safetensors file or as a plain state dict ({_one_line(err)}): save the "
            "model's state_dict() again."
        ) from err
    if not isinstance(state, Mapping) or not all(isinstance(value, torch.Tensor) for value in state.values()):
        raise WeightsError(f"{path} holds no plain state dict (names and tensors): save the model's state_dict().")
    return {_renamed(key, rename): value for key, value in state.items()}


def _renamed(key: str, rename: Mapping[str, str]) -> str:
    old = next((prefix for prefix in rename if key.startswith(prefix)), None)
    return key if old is None else rename[old] + key.removeprefix(old)


def _load_strictly(model: Any, state: Mapping[str, Any], what: str) -> None:
    try:
        model.load_state_dict(state, strict=True)
    except RuntimeError as err:
        raise WeightsError(f"{what}: keys or shapes differ ({_one_line(err)}); see `rename` and `outputs`.") from err


def _one_line(err: BaseException) -> str:
    text = " ".join(str(err).split()) or type(err).__name__
    return text if len(text) <= 300 else text[:297] + "..."
