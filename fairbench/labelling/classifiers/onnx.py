"""The classifier `onnx`: any ONNX model of face attributes, declared in the labeller card."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Annotated, Any, ClassVar, Final

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, Field

from fairbench.cards.cards import FileWeights
from fairbench.errors import CardError
from fairbench.labelling.classifiers import heads, preprocess
from fairbench.labelling.classifiers.preprocess import InputSpec
from fairbench.networks import batching, onnx, weights
from fairbench.protocols import TRANSPORT, Params
from fairbench.registry import suggest
from fairbench.types import BuildContext, LabelSchema, RgbImage


class OnnxHead(heads.Head):
    """A head in the output named `output`."""

    output: str


class OnnxParams(Params):
    """What a card may set: the weights, the model's input, and for each attribute the head that gives it."""

    weights: FileWeights
    input: InputSpec
    heads: Annotated[dict[str, OnnxHead], Field(min_length=1)]
    batch_size: int = Field(64, ge=1, le=4096, json_schema_extra={**TRANSPORT})


MAX_PIXELS: Final = 8 * 224 * 224
"""Pixels of one batch, at most: activations of small networks take up to 1.5 KB each, so 0.6 GB. Answers do not depend
on it; eight chips of 224 x 224 take no longer per chip than 64."""


class OnnxClassifier:
    """Runs one session over batches of chips. The file, its input and its outputs are checked when it is built.

    Raises WeightsError for an absent or unusable file, CardError where the card and the model disagree.
    """

    version: ClassVar[int] = 1
    Params: ClassVar[type[BaseModel]] = OnnxParams

    def __init__(self, params: OnnxParams, ctx: BuildContext, declared: LabelSchema) -> None:
        self.schema = heads.declared_part(params.heads, declared)
        self._params, self._device = params, ctx.device
        self._path = weights.locate(params.weights, ctx.base_dir)
        self._session = onnx.session(self._path, ctx.device)
        self._input, self._fixed_rows = self._check_input()
        self._outputs = sorted({head.output for head in params.heads.values()})
        self._check_outputs()

    def classify(self, chips: Sequence[RgbImage]) -> dict[str, NDArray[np.float32]]:
        """Return, for every attribute, class probabilities of shape (chips, K) in the declared order."""
        if not chips:
            return heads.empty(self.schema)
        height, width = self._params.input.size
        max_rows = self._fixed_rows or max(1, min(self._params.batch_size, MAX_PIXELS // (height * width)))
        device = "" if self._fixed_rows else self._device  # a number of rows that the model fixes is constant already
        batches = batching.batches(chips, device, max_rows, max_rows)
        parts = [self._run(part, self._fixed_rows or rows) for part, rows in batches]
        raw = {name: np.concatenate([part[name] for part in parts]) for name in self._outputs}
        of = self._params.heads
        return {n: heads.probabilities(raw[of[n].output], n, of[n], self.schema) for n in self.schema.labels}

    def _run(self, chips: Sequence[RgbImage], rows: int) -> dict[str, NDArray[Any]]:
        batch = preprocess.batch(chips, self._params.input, rows)
        try:
            values = self._session.run(self._outputs, {self._input: batch})
        except Exception as err:
            first = (str(err).splitlines() or [""])[0]
            raise CardError(
                f"{self._path.name} cannot read a batch of {len(batch)} images ({first}): export it with a free batch "
                "axis, or set `batch_size` to the number that it was exported for."
            ) from err
        for name, value in zip(self._outputs, values, strict=True):
            heads.check_output(value, len(batch), name, self._path.name)
        return {name: value[: len(chips)] for name, value in zip(self._outputs, values, strict=True)}

    def _check_input(self) -> tuple[str, int | None]:
        """Return the input's name, and the number of rows of a model with a fixed batch axis."""
        inputs = self._session.get_inputs()
        if len(inputs) != 1 or inputs[0].type != "tensor(float)":
            kinds = ", ".join(f"{i.name} {i.type}" for i in inputs)
            raise CardError(f"{self._path.name} takes {kinds}; a classifier takes one tensor(float) of images.")
        shape, expected = inputs[0].shape, self._params.input.shape
        fits = len(shape) == 4 and all(
            not isinstance(axis, int) or axis == size for axis, size in zip(shape[1:], expected, strict=True)
        )
        if not fits:
            raise CardError(
                f"{self._path.name} takes images of shape {list(shape)[1:]}, the card's `input` makes "
                f"{list(expected)}: fix its size or layout."
            )
        rows = shape[0] if isinstance(shape[0], int) else None
        if rows is not None and rows < 1:
            raise CardError(f"{self._path.name} takes batches of {rows} images: export it with a free batch axis.")
        return inputs[0].name, rows

    def _check_outputs(self) -> None:
        columns = {output.name: _columns(output.shape) for output in self._session.get_outputs()}
        heads.refuse_overlap(self._params.heads, {name: head.output for name, head in self._params.heads.items()})
        for name, head in self._params.heads.items():
            if head.output not in columns:
                raise CardError(
                    f"{self._path.name} has no output {head.output!r}, which head {name!r} names"
                    f"{suggest(head.output, columns)}."
                )
            width = head.width or columns[head.output]
            if width is not None:  # else the graph leaves it open: checked on the first batch
                heads.check_width(name, width, self.schema)


def _columns(shape: Sequence[Any]) -> int | None:
    """Return how many values an output gives per image; None where its declared shape does not tell."""
    inner = list(shape)[1:]
    return math.prod(inner) if inner and all(isinstance(axis, int) for axis in inner) else None
