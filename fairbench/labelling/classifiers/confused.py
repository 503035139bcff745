"""The classifier `confused`: another classifier whose joint labels are confused by a declared table.

For tests of corrections: what the table says is exactly what a correction has to undo.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import Annotated, Any, ClassVar

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, Field, field_validator, model_validator

from fairbench import registry
from fairbench.cards.cards import PluginRef
from fairbench.errors import CardError, FairbenchError
from fairbench.protocols import FaceClassifier, Params
from fairbench.types import BuildContext, LabelSchema, RgbImage

SUM_TOLERANCE = 1e-6
Probability = Annotated[float, Field(ge=0.0, le=1.0)]


class Inner(Params):
    """The classifier that is wrapped, written as in a card: `type`, and beside it that plug-in's own parameters.

    They are checked here and kept as that plug-in's `Params`, so that its version and the content of its weights enter
    the label key, as they would if it stood alone.
    """

    type: str
    version: int
    params: BaseModel

    @model_validator(mode="before")
    @classmethod
    def _resolved(cls, data: Any) -> dict[str, Any]:
        ref = PluginRef.model_validate(data)
        try:
            plugin = registry.resolve("classifiers", ref.type)
        except FairbenchError as err:
            raise ValueError(str(err).rstrip(".")) from err
        if getattr(plugin, "unclear", False):
            raise ValueError(f"{ref.type} gives some chips no label, which no table can confuse; wrap another")
        return {"type": ref.type, "version": int(plugin.version), "params": registry.parse_params(plugin, ref.params)}

    def build(self, ctx: BuildContext, declared: LabelSchema) -> FaceClassifier:
        """Build the plug-in; raises what it raises."""
        built: FaceClassifier = registry.resolve("classifiers", self.type)(self.params, ctx, declared)
        return built


class ConfusedParams(Params):
    """What a card may set.

    attributes: those whose joint label is confused. table: P(label drawn | label that the inner classifier gives), a
    row per given label; rows and columns are the combinations of the attributes' declared labels, the last attribute
    changing fastest. seed: another seed is another draw for every chip.
    """

    classifier: Inner
    attributes: Annotated[list[str], Field(min_length=1)]
    table: Annotated[list[list[Probability]], Field(min_length=1)]
    seed: int = Field(0, ge=0)

    @field_validator("attributes")
    @classmethod
    def _unique(cls, attributes: list[str]) -> list[str]:
        if len(set(attributes)) != len(attributes):
            raise ValueError("an attribute stands twice; name each once")
        return attributes

    @field_validator("table")
    @classmethod
    def _distributions(cls, table: list[list[float]]) -> list[list[float]]:
        for number, row in enumerate(table, 1):
            if len(row) != len(table):
                raise ValueError(
                    f"row {number} has {len(row)} columns, but there are {len(table)} rows; make it square"
                )
            if abs(sum(row) - 1.0) > SUM_TOLERANCE:
                raise ValueError(f"row {number} sums to {sum(row):.6g}; a row must sum to 1")
        return table


class ConfusedClassifier:
    """Takes each chip's most probable joint cell and draws another from that cell's row of the table.

    The draw comes from a hash of the chip's pixels: one chip is always read the same, in every batch and every run.
    So chips with the very same pixels share their error, and chips that differ in one pixel do not. The drawn labels
    have probability 1; other attributes of the inner classifier pass unchanged. Raises CardError where the table does
    not fit the declared labels, or the inner classifier gives no such attribute, and what the inner classifier raises.
    """

    version: ClassVar[int] = 1
    Params: ClassVar[type[BaseModel]] = ConfusedParams

    def __init__(self, params: ConfusedParams, ctx: BuildContext, declared: LabelSchema) -> None:
        self._attributes, self._seed = params.attributes, params.seed
        self._refuse_unknown(declared, "the labeller card declares no such attribute with labels of its own")
        self._sizes = tuple(declared.size(name) for name in params.attributes)
        if len(params.table) != np.prod(self._sizes):
            shape = " x ".join(f"{size} ({name})" for size, name in zip(self._sizes, self._attributes, strict=True))
            raise CardError(
                f"Classifier confused, field table: it has {len(params.table)} rows, the declared labels have "
                f"{shape} = {np.prod(self._sizes)} combinations: fix the table or `attributes`."
            )
        self._inner = params.classifier.build(ctx, declared)
        self.schema = self._inner.schema
        self._refuse_unknown(self.schema, f"its classifier {params.classifier.type} does not give it")
        cumulative = np.cumsum(params.table, axis=1)
        self._cumulative = cumulative / cumulative[:, -1:]  # exactly 1 at the end, which no draw reaches

    def classify(self, chips: Sequence[RgbImage]) -> dict[str, NDArray[np.float32]]:
        """Return, for every attribute, class probabilities of shape (chips, K) in the declared order."""
        probs = dict(self._inner.classify(chips))
        inner_cells = np.ravel_multi_index([probs[name].argmax(axis=1) for name in self._attributes], self._sizes)
        uniforms = np.array([self._uniform(chip) for chip in chips], dtype=np.float64)
        cells = (self._cumulative[inner_cells] <= uniforms[:, None]).sum(axis=1)
        for name, size, labels in zip(self._attributes, self._sizes, np.unravel_index(cells, self._sizes), strict=True):
            probs[name] = np.eye(size, dtype=np.float32)[labels]
        return probs

    def _uniform(self, chip: RgbImage) -> float:
        """Return the chip's own uniform number in [0, 1)."""
        digest = hashlib.blake2b(f"{self._seed} {chip.shape} ".encode() + chip.tobytes(), digest_size=8).digest()
        return float((int.from_bytes(digest, "big") >> 11) * 2.0**-53)

    def _refuse_unknown(self, schema: LabelSchema, why: str) -> None:
        for name in self._attributes:
            if name not in schema.labels:
                hint = registry.suggest(name, schema.labels)
                raise CardError(f"Classifier confused, field attributes: {name!r}: {why}{hint}.")
