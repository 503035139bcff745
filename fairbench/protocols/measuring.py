"""Metrics of class shares, and scorers of image quality."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Literal, Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel

from fairbench.types import BuildContext, FloatArray, RgbImage


@dataclass(frozen=True, slots=True)
class MetricSpec:
    """What a metric is.

    version: raise it whenever a value changes. direction: which way is fairer ("none": the metric only describes).
    bounds: the range as a formula of K, for display. limits: the same as a function, K -> (lowest, highest) value, at
    which intervals are cut; None cuts none. ideal: the value of a perfectly fair model, None where that depends on the
    reference. input: "shares" (hard labels), "mean_probs" (mean class probabilities), "faces" (shares of images with
    and without a face), or "stated" (shares of faces that show and do not show what their prompt states).
    labels: the two labels, in this order, that a signed metric needs; None for any attribute.
    """

    name: str
    version: int
    direction: Literal["lower", "higher", "zero", "none"]
    bounds: str
    ideal: float | None
    summary: str
    input: Literal["shares", "mean_probs", "faces", "stated"] = "shares"
    needs_reference: bool = False
    labels: tuple[str, ...] | None = None
    limits: Callable[[int], tuple[float, float]] | None = None


@runtime_checkable
class Metric(Protocol):
    """A pure function of class shares, vectorised over every leading axis (prompts, resamples)."""

    spec: MetricSpec

    def __call__(self, p: FloatArray, /, ref: FloatArray | None = None) -> FloatArray:
        """Map shares p[..., K] (and a reference ref[..., K]) to values [...]; NaN shares give NaN."""
        ...


@dataclass(frozen=True, slots=True)
class ScorerSpec:
    """What a scorer is.

    values: names of the values that `summarise` returns, which are columns of the leaderboard. direction: which way is
    better. needs_prompt: whether `features` reads the prompts. embeds: whether `features` are an embedding, of which
    the variety within perceived groups and the distance from a reference are measured.
    """

    name: str
    direction: Literal["lower", "higher", "none"]
    summary: str
    values: tuple[str, ...]
    needs_prompt: bool = False
    embeds: bool = False


class Scorer(Protocol):
    """Scores the quality of images from pixels and prompts, never from labels. Built as `cls(params, ctx)`.

    The constructor raises WeightsError where weights are absent. A scorer that reads prompts may have
    `cut(texts) -> list[bool]` (which texts its tokenizer cuts) and `languages` (codes of the languages that it reads,
    "*" for any): prompts that it does not read as written are then reported.
    """

    spec: ClassVar[ScorerSpec]
    version: ClassVar[int]
    Params: ClassVar[type[BaseModel]]

    def __init__(self, params: Any, ctx: BuildContext) -> None: ...

    @property
    def backbone(self) -> str:
        """Model and weights, shown beside every value."""
        ...

    def features(self, images: Sequence[RgbImage], prompts: Sequence[str]) -> NDArray[np.float32]:
        """Return an array of shape (images, D); D is 1 for a value per image."""
        ...

    def summarise(self, features: NDArray[np.float32]) -> dict[str, float | None]:
        """Return the values named in `spec.values` from all features, ordered by image id; None for too few images."""
        ...
