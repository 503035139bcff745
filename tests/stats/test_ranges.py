"""The declared range of a metric, read from its text."""

from __future__ import annotations

import doctest
import math

import numpy as np
import pytest

from fairbench.registry import BUILTIN, resolve
from fairbench.stats import ranges
from fairbench.stats.ranges import EVERYTHING, limits


@pytest.mark.parametrize("name", BUILTIN["metrics"])
@pytest.mark.parametrize("classes", [2, 4, 7, 8])
def test_every_built_in_metric_declares_a_range_that_can_be_read_and_is_reached(name: str, classes: int) -> None:
    """Balance and one class alone are the ends of every metric that is a function of the shares alone."""
    metric = resolve("metrics", name)
    low, high = limits(metric.spec.bounds, classes)
    assert -math.inf < low < high < math.inf
    of_two = metric.spec.labels is not None or metric.spec.input in ("faces", "stated")
    if metric.spec.needs_reference or (of_two and classes > 2):
        return
    ends = np.vstack([np.full(classes, 1 / classes), np.eye(classes)])
    values = metric(ends)
    assert (values.min(), values.max()) == (pytest.approx(low, abs=1e-12), pytest.approx(high, abs=1e-12))


def test_expressions_are_read() -> None:
    assert limits("[-(K - 1) * 2, sqrt(K) + K**2 / 8]", 4) == (-6, 4)
    assert limits(" [0, inf] ", 3) == (0, math.inf)
    assert limits("[-1, .5]", 3) == (-1, 0.5)
    assert doctest.testmod(ranges).failed == 0


@pytest.mark.parametrize(
    "text",
    ["", "not negative", "[0, 1", "[0, 1)", "[0]", "[0, 1, 2]", "0, 1", "[0, N]", "[0, '1']", "[0, K % 2]",
     "[0, log(0)]", "[1/(K - 2), 1]", "[0, (-1)**0.5]", "[0, 9.0**9**9]", "[0, log(K, 2)]",
     "[0, __import__('os').getpid()]"],
)  # fmt: skip
def test_what_is_no_range_limits_nothing_and_is_never_run(text: str) -> None:
    assert limits(text, 2) == EVERYTHING
