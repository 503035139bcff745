"""`@fairbench.metric`: a function of class shares becomes a metric of this process."""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable
from typing import Literal

from fairbench import registry
from fairbench.errors import PluginError
from fairbench.metrics.base import ShareMetric
from fairbench.protocols import MetricSpec
from fairbench.types import FloatArray

_NUMBERS = re.compile(r"\[\s*(-?\d+(?:\.\d+)?)\s*,\s*(-?\d+(?:\.\d+)?)\s*\]")


def metric(
    name: str,
    *,
    version: int = 1,
    direction: Literal["lower", "higher", "zero", "none"] = "none",
    bounds: str = "(-inf, inf)",
    ideal: float | None = None,
    labels: tuple[str, ...] | None = None,
    limits: Callable[[int], tuple[float, float]] | None = None,
) -> Callable[[Callable[..., FloatArray]], ShareMetric]:
    """Make a metric out of a function that maps class shares p[..., K] to values [...], and register it.

    The function takes `p`, or `p` and `ref`, the reference shares [..., K]; its docstring's first line is the metric's
    summary.

    Args:
        name: As users write it, with hyphens.
        version: Raise it whenever a value changes.
        direction: Which way is fairer.
        bounds: The range, for display; where both ends are numbers, intervals are cut there.
        ideal: The value of a perfectly fair model.
        labels: The two labels, in order, that a signed metric needs.
        limits: Where intervals are cut, as a function of K, where `bounds` does not say it in numbers.

    Returns:
        The decorator; the function becomes a metric that can be called with shares or `counts=`.

    Raises:
        FairbenchError: For a name that is taken.
        PluginError: For a function without a docstring or with other parameters.

    >>> @metric("doctest-largest", direction="lower", bounds="[0, 1]")
    ... def largest(p):
    ...     "Largest share."
    ...     return p.max(axis=-1)
    >>> float(largest(counts=[30, 10]))
    0.75
    """
    ends = _NUMBERS.fullmatch(bounds)
    if limits is None and ends is not None:
        low, high = float(ends[1]), float(ends[2])
        limits = lambda _: (low, high)  # noqa: E731

    def register(function: Callable[..., FloatArray]) -> ShareMetric:
        title = registry.title("metrics", name)
        summary = (inspect.getdoc(function) or "").partition("\n")[0].rstrip(".")
        if not summary:
            raise PluginError(
                f"{title} needs a docstring: its first line is what tables and `fairbench list` say of it."
            )
        parameters = len(inspect.signature(function).parameters)
        if parameters not in (1, 2):
            raise PluginError(f"{title} is a function of {parameters} parameters: give it p, or p and ref.")
        spec = MetricSpec(
            name,
            version,
            direction,
            bounds,
            ideal,
            summary,
            needs_reference=parameters == 2,
            labels=labels,
            limits=limits,
        )
        of_shares = function if parameters == 2 else lambda p, _: function(p)
        return registry.register("metrics", name, ShareMetric(spec, of_shares))

    return register
