"""The interval of one metric from counts alone: what a run reports, for counts that come from anywhere."""

from __future__ import annotations

from typing import Final, NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from fairbench import registry
from fairbench.errors import FairbenchError
from fairbench.measure import estimates
from fairbench.measure.quantities import (
    AT_THESE_COUNTS,
    GAFFKE,
    SCOPES,
    THIS_LIST,
    Quantity,
    Spread,
    Table,
    concentration,
    left_out,
)
from fairbench.metrics.base import ShareMetric
from fairbench.stats import estimands, rarefaction
from fairbench.stats.estimands import Floats, IntArray
from fairbench.stats.intervals import Scope
from fairbench.stats.units import bootstrap_task_means

CONCENTRATION: Final = "concentration"
_DRAWS: Final = 2000


class Interval(NamedTuple):
    """The mean of a metric over prompts with its 95 % interval; low and high are NaN where `reason` says why.

    method: how the interval was computed; None where there is none. prompts: how many have a value.
    """

    value: float
    low: float
    high: float
    method: str | None
    prompts: int
    reason: str | None


def interval(counts: ArrayLike, metric: str = CONCENTRATION, *, scope: Scope = "this list", seed: int = 0) -> Interval:
    """Return the mean of a metric over prompts with its 95 % interval, and how that was computed.

    Args:
        counts: Shape (P, K) or (K,): for each prompt the faces of each declared class.
        metric: `concentration`, or the name of a metric of class shares, such as `rd`. Most of these have a chance
            floor, and the interval is then of their expected value at these face counts.
        scope: "this list" where the prompts are all that is asked about, "other prompts" where they stand for others.
        seed: Of the resampling.

    Returns:
        Value, low and high, and how the interval was computed.

    Raises:
        ValueError: For anything but counts.
        FairbenchError: For an unknown metric.

    >>> import fairbench
    >>> value, low, high, *_ = fairbench.interval([[30, 10], [5, 5], [12, 8]], "concentration")
    >>> f"{value:.3f} [{low:.3f}, {high:.3f}]"
    '0.036 [-0.098, 0.202]'
    """
    scopes = {design: name for name, design in SCOPES.items()}
    if scope not in scopes:
        raise ValueError(f"interval: scope is {scope!r}; it is one of {', '.join(map(repr, scopes))}")
    data = Table("counts", _table(counts), [seed])
    row = estimates.row_of(data, _quantity(data, metric, scopes[scope]))
    method = None if np.isnan(row.low) else row.ci_method
    return Interval(row.value, row.low, row.high, method, row.prompts or 0, row.reason)


def _table(counts: ArrayLike) -> IntArray:
    table = np.atleast_2d(np.asarray(counts))
    if table.ndim != 2 or table.shape[1] < 2 or not len(table):
        raise ValueError(f"interval: counts have shape (prompts, classes), with two classes or more, not {table.shape}")
    if not (np.issubdtype(table.dtype, np.number) and (table >= 0).all() and (table == np.floor(table)).all()):
        raise ValueError(
            "interval: counts are numbers of faces: whole, 0 or more; shares do not say how many there are"
        )
    return table.astype(np.int64)


def _quantity(data: Table, name: str, scope: str) -> Quantity:
    classes = data.table.shape[1]
    if name == CONCENTRATION:
        return concentration(data, scope)
    if name == "rd":
        values = rarefaction.rd_at_of_prompts(data.table, np.maximum(data.faces, 1), data.rng)
        method = AT_THESE_COUNTS if scope == THIS_LIST else f"{AT_THESE_COUNTS}: {GAFFKE}"
        return Quantity(name, "raw", scope, values, (0.0, 2 / classes), {"ci_method": method})
    if name not in registry.names("metrics"):
        near = registry.suggest(name, [CONCENTRATION, *_with_interval()])
        raise FairbenchError(f"There is no metric {name!r}{near}.")
    if name not in _with_interval():
        raise FairbenchError(f"{name} is no function of class shares alone: fairbench.metrics gives its value.")
    if scope != THIS_LIST:
        raise FairbenchError(f"{name} has no interval for other prompts: concentration and rd have one.")
    metric: ShareMetric = registry.resolve("metrics", name)

    def statistic(p: Floats) -> Floats:
        return np.asarray(metric.fn(p, None), dtype=np.float64)

    means = bootstrap_task_means({name: statistic}, data.table, _DRAWS, data.rng)[name]
    error = float(means.std(ddof=1)) if data.faces.any() else np.nan
    mean = estimands.task_mean(statistic(estimands.shares(data.table)))
    columns = {"prompts": mean.used, "reason": left_out(mean.used, mean.left_out)}
    limits = (-np.inf, np.inf) if metric.spec.limits is None else metric.spec.limits(classes)
    return Quantity(name, "raw", scope, Spread(mean.value, error), limits, columns)


def _with_interval() -> list[str]:
    """Return the built-in metrics of any number of class shares and nothing else."""
    specs = ((name, registry.resolve("metrics", name).spec) for name in registry.BUILTIN["metrics"])
    return [name for name, s in specs if s.input == "shares" and not s.needs_reference and s.labels is None]
