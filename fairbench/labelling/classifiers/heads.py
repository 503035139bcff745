"""From a model's raw outputs to checked class probabilities: what the `onnx` and `torchvision` classifiers share."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterable, Mapping
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import model_validator

from fairbench.errors import CardError
from fairbench.protocols import Params
from fairbench.registry import suggest
from fairbench.types import LabelSchema

SUM_TOLERANCE = 1e-3
"""How far from 1 a sum of probabilities may lie (float16 weights, exported softmax) before it is called wrong."""


class Head(Params):
    """Where an attribute's values stand in an output, and what they are.

    slice: first column and the one after the last; null: the whole output. activation: `softmax` where the model
    gives logits, `none` where it gives probabilities.
    """

    slice: tuple[int, int] | None = None
    activation: Literal["softmax", "none"] = "softmax"

    @model_validator(mode="after")
    def _ordered(self) -> Head:
        if self.slice and not 0 <= self.slice[0] < self.slice[1]:
            raise ValueError("slice: the first column, then the one after the last")
        return self

    @property
    def width(self) -> int | None:
        """The number of columns, where a slice tells it."""
        return self.slice[1] - self.slice[0] if self.slice else None


def declared_part(attributes: Iterable[str], declared: LabelSchema) -> LabelSchema:
    """Return the part of the card's schema that these heads give. Raises CardError for an attribute not declared."""
    names = list(attributes)
    for name in names:
        if name not in declared.labels:
            raise CardError(
                f"The classifier has a head {name!r}, but the labeller card declares no such attribute with labels of "
                f"its own{suggest(name, declared.labels)}."
            )
    return LabelSchema({name: labels for name, labels in declared.labels.items() if name in names})


def refuse_overlap(heads: Mapping[str, Head], outputs: Mapping[str, str]) -> None:
    """Raise CardError where two heads read a column twice. outputs: head -> the output that it reads."""
    for (name_a, head_a), (name_b, head_b) in itertools.combinations(heads.items(), 2):
        (start_a, end_a), (start_b, end_b) = (head.slice or (0, math.inf) for head in (head_a, head_b))
        if outputs[name_a] == outputs[name_b] and start_a < end_b and start_b < end_a:
            raise CardError(
                f"Heads {name_a!r} and {name_b!r} read the same columns of the output {outputs[name_a]!r}: give each a "
                "`slice` of its own."
            )


def check_output(values: Any, rows: int, output: str, model: str) -> None:
    """Raise CardError unless an output is an array of floats with one row per image: (rows, columns).

    Axes of size 1 behind the rows, as in a convolution's (rows, columns, 1, 1), are accepted.
    """
    kind = getattr(values, "dtype", None)
    if kind is None or not np.issubdtype(kind, np.floating):
        raise CardError(
            f"Output {output!r} of {model} holds {kind or type(values).__name__}, not float numbers: name the output "
            "of logits or probabilities."
        )
    shape = values.shape
    if len(shape) < 2 or max(shape[1:]) != math.prod(shape[1:]):
        raise CardError(f"Output {output!r} of {model} has shape {shape}: a classifier's is (images, columns).")
    if shape[0] != rows:
        raise CardError(
            f"Output {output!r} of {model} has {shape[0]} rows for {rows} images: it must give one row per image; "
            "export the model with a free batch axis."
        )


def check_width(attribute: str, width: int, schema: LabelSchema) -> None:
    """Raise CardError where a head has another number of columns than the attribute has declared labels."""
    if width != schema.size(attribute):
        raise CardError(
            f"Head {attribute!r} has {width} columns, the labeller card declares {schema.size(attribute)} labels for "
            "it: fix the slice, the output or the labels."
        )


def probabilities(raw: NDArray[Any], attribute: str, head: Head, schema: LabelSchema) -> NDArray[np.float32]:
    """Return class probabilities (n, K), float32, from an output (n, columns).

    Only rounding errors are renormalised. Raises CardError, naming the attribute, for values that are not finite, that
    are no probabilities though `activation: none` says so, or that already are though it says `softmax`.
    """
    columns = raw.reshape(len(raw), -1)
    if head.slice and head.slice[1] > columns.shape[1]:
        raise CardError(f"Head {attribute!r}: slice {list(head.slice)} ends beyond the {columns.shape[1]} columns.")
    values = columns[:, slice(*head.slice) if head.slice else slice(None)].astype(np.float64)
    check_width(attribute, values.shape[1], schema)
    if not np.isfinite(values).all():
        raise CardError(f"Head {attribute!r} gave values that are not finite: the weights or the input are wrong.")
    if head.activation == "softmax":
        # one row of logits may sum to 1 by chance; two rows that do so to six digits do not
        if len(values) > 1 and _off_simplex(values) < 1e-6:
            raise CardError(f"Head {attribute!r} already gives probabilities: set its `activation` to none.")
        values = np.exp(values - values.max(axis=1, keepdims=True))
    elif _off_simplex(values) > SUM_TOLERANCE:
        raise CardError(
            f"Head {attribute!r} gives values from {values.min():.3g} to {values.max():.3g} that are no "
            "probabilities (they must be at least 0 and sum to 1): set its `activation` to softmax."
        )
    values = np.maximum(values, 0.0)
    values /= values.sum(axis=1, keepdims=True)
    return values.astype(np.float32)


def _off_simplex(values: NDArray[np.float64]) -> float:
    """Return how far the worst row is from being probabilities."""
    sums = np.abs(values.sum(axis=1) - 1.0).max(initial=0.0)
    return float(max(sums, -values.min(initial=0.0)))


def empty(schema: LabelSchema) -> dict[str, NDArray[np.float32]]:
    """Return the answer for no chips."""
    return {name: np.zeros((0, len(labels)), dtype=np.float32) for name, labels in schema.labels.items()}


def log_probs(raw: Any, head: Head) -> Any:
    """Return a head's log-probabilities (rows, K) from a tensor of outputs (rows, columns), for gradients."""
    columns = raw.flatten(1)[:, slice(*head.slice) if head.slice else slice(None)]
    return columns.log_softmax(dim=1) if head.activation == "softmax" else columns.clamp(min=1e-12).log()
