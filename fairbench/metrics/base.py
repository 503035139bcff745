"""A metric is a spec and a pure function; this ties the two together."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from fairbench.protocols import MetricSpec
from fairbench.types import FloatArray


@dataclass(frozen=True, slots=True)
class ShareMetric:
    """Calls `fn(p, ref)` after checking shapes. `fn` is vectorised over the leading axes and maps NaN to NaN."""

    spec: MetricSpec
    fn: Callable[[FloatArray, FloatArray | None], FloatArray]

    def __call__(self, p: FloatArray, ref: FloatArray | None = None) -> FloatArray:
        """Map shares p[..., K] to values [...]. Raises ValueError for fewer than two classes or a missing reference."""
        p = np.asarray(p, dtype=np.float64)
        if p.ndim == 0 or p.shape[-1] < 2:
            raise ValueError(f"{self.spec.name}: shares need a last axis of at least two declared classes")
        if self.spec.labels is not None and p.shape[-1] != len(self.spec.labels):
            raise ValueError(f"{self.spec.name}: needs exactly the classes {self.spec.labels}")
        if self.spec.needs_reference and ref is None:
            raise ValueError(f"{self.spec.name}: needs a reference distribution")
        return self.fn(p, None if ref is None else np.asarray(ref, dtype=np.float64))
