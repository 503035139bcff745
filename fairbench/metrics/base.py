"""A metric is a spec and a pure function; this ties the two together."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import ArrayLike

from fairbench.protocols import MetricSpec
from fairbench.types import FloatArray

TOLERANCE: Final = 1e-3
"""How far shares may sum from 1, and lie outside [0, 1]: published shares are rounded, softmax is float32."""


@dataclass(frozen=True, slots=True)
class ShareMetric:
    """Calls `fn(p, ref)` after checking shares. `fn` is vectorised over the leading axes and maps NaN to NaN."""

    spec: MetricSpec
    fn: Callable[[FloatArray, FloatArray | None], FloatArray]

    def __call__(
        self, shares: ArrayLike | None = None, ref: ArrayLike | None = None, *, counts: ArrayLike | None = None
    ) -> FloatArray:
        """Map shares[..., K] to values [...]; or counts[..., K] of faces, which are divided by their sum first.

        ref: reference shares that broadcast against them, for a metric that compares with one. A row of NaN, and a row
        of counts without any, give NaN. Raises ValueError for shares that do not lie in [0, 1] or do not sum to 1, for
        counts that are negative, for fewer than two classes, or a missing reference.
        """
        if shares is not None and counts is None:
            p = self._shares(shares)
        elif counts is not None and shares is None:
            p = self._divided(counts)
        else:
            raise ValueError(f"{self.spec.name}: give either shares= or counts=")
        if self.spec.needs_reference and ref is None:
            raise ValueError(f"{self.spec.name}: needs a reference distribution")
        reference = None if ref is None else np.asarray(ref, dtype=np.float64)
        if reference is not None and reference.shape[-1:] == p.shape[-1:]:  # else `fn` says what is wrong
            self._shares(reference)
        return self.fn(p, reference)

    def _rows(self, values: ArrayLike, what: str) -> FloatArray:
        rows = np.asarray(values, dtype=np.float64)
        if rows.ndim == 0 or rows.shape[-1] < 2:
            raise ValueError(f"{self.spec.name}: {what} need a last axis of at least two declared classes")
        if self.spec.labels is not None and rows.shape[-1] != len(self.spec.labels):
            raise ValueError(f"{self.spec.name}: needs exactly the classes {self.spec.labels}")
        return rows

    def _shares(self, values: ArrayLike) -> FloatArray:
        p = self._rows(values, "shares")
        outside = ((p < -TOLERANCE) | (p > 1 + TOLERANCE)).any(axis=-1)
        wrong = outside | (np.abs(p.sum(axis=-1) - 1) > TOLERANCE)  # False for a row of NaN
        if wrong.any():
            row = p[wrong][0]
            numbers = ", ".join(f"{value:.6g}" for value in row[:8])
            raise ValueError(
                f"{self.spec.name}: shares lie in [0, 1] and sum to 1, but [{numbers}] sums to {row.sum():.6g}; "
                "give numbers of faces as counts="
            )
        return p

    def _divided(self, values: ArrayLike) -> FloatArray:
        counts = self._rows(values, "counts")
        if (counts < 0).any() or np.isinf(counts).any():
            raise ValueError(f"{self.spec.name}: counts are numbers of faces, 0 or more")
        total = counts.sum(axis=-1, keepdims=True)
        shares: FloatArray = counts / np.where(total == 0, np.nan, total)
        return shares
