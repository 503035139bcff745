"""Equivalence is two claims: equally concentrated, and drawing the same groups. Neither follows from the other."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import numpy as np

from fairbench.comparison.margins import Margins
from fairbench.comparison.sides import QUOTA, Side, primary_attributes, shared_attributes
from fairbench.comparison.verdicts import ROOT, TOTAL_VARIATION, Row
from fairbench.measure.counts import cross_name
from fairbench.stats import distance, equivalence, gaffke, intervals
from fairbench.stats.distance import Pair
from fairbench.stats.mean_square import MeanSquare
from fairbench.stats.units import Data


def claims(a: Side, b: Side, margins: Margins, alpha: float) -> Iterator[Row]:
    """Yield the rows of both claims for every shared attribute, in both scopes, without verdicts.

    root-concentration: the difference of sqrt(mean concentration), with one-sided limits at level 1 - alpha each.
    total-variation: which share of the images shows other groups; high is its upper limit at level 1 - alpha. Over
    other prompts the limits are Gaffke's, and a claim holds where they lie within the margin.
    """
    for names in shared_attributes(a, b):
        name, classes = cross_name(names), len(a.run.counts.labeller.classes(names))
        data = a.data(names), b.data(names)
        pair = distance.pair_of(*data)
        common: dict[str, Any] = {
            "baseline": a.letter,
            "run": b.letter,
            "attribute": name,
            "primary": names in primary_attributes(a),
        }
        common |= {"n_prompts": pair.prompts, "left_out": len(pair.in_both) - pair.prompts}
        roots = {**common, "estimand": ROOT, "claim": "equally concentrated", "better": "lower"}
        groups = {**common, "estimand": TOTAL_VARIATION, "claim": "same groups"}
        roots["margin"], groups["margin"] = margins.concentration(name, classes), margins.groups(name, classes)
        quota = a.quota or b.quota
        yield from _roots(pair, data, roots, alpha, quota=quota)
        yield from _groups(pair, groups, alpha, quota=quota)


def _roots(pair: Pair, data: tuple[Data, Data], columns: dict[str, Any], alpha: float, *, quota: bool) -> Iterator[Row]:
    a, b = pair.concentrations() if pair.prompts else (MeanSquare(math.nan, math.nan),) * 2
    root_a, root_b = (math.sqrt(max(mean.value, 0.0)) for mean in (a, b))
    row = Row(a=root_a, b=root_b, effect=root_b - root_a, scope="this list", **columns)
    if quota or not pair.prompts:
        yield replace(row, reason=QUOTA if quota else "no prompt has enough images with a face in both runs")
    else:
        low, high = -equivalence.largest_excess(b, a, alpha), equivalence.largest_excess(a, b, alpha)
        yield replace(row, low=low, high=high, p_equivalence=equivalence.equally_concentrated_p(a, b, row.margin))
    other = replace(row, scope="other prompts")
    if pair.prompts < gaffke.FEWEST:
        yield replace(other, reason=gaffke.TOO_FEW)
        return
    # Each limit at alpha / 2, so that two of them err with alpha at most.
    limits = []
    for each in data:
        values_of_prompts = intervals.concentration_of_prompts(each).value[pair.in_both]
        lowest = intervals.lowest_concentration(each)
        of_mean = gaffke.mean_interval(values_of_prompts, lowest, 1.0, 1 - alpha)
        limits.append([math.sqrt(max(float(limit), 0.0)) for limit in of_mean])
    (low_a, high_a), (low_b, high_b) = limits
    yield replace(other, low=low_b - high_a, high=high_b - low_a)


def _groups(pair: Pair, columns: dict[str, Any], alpha: float, *, quota: bool) -> Iterator[Row]:
    squared = pair.squared_distance().value if pair.prompts else math.nan
    bound = math.sqrt(pair.classes * max(squared, 0.0)) / 2
    row = Row(a=math.nan, b=math.nan, effect=bound, scope="this list", **columns)
    if quota or not pair.prompts:
        yield replace(row, reason=QUOTA if quota else "no prompt has enough images with a face in both runs")
    else:
        yield replace(row, low=0.0, high=pair.largest_tv(alpha), p_equivalence=pair.same_groups_p(row.margin))
    other = replace(row, scope="other prompts")
    if pair.prompts < gaffke.FEWEST:
        yield replace(other, reason=gaffke.TOO_FEW)
        return
    observed = pair.observed_tv()
    _, high = gaffke.mean_interval(np.minimum(observed, 1.0), 0.0, 1.0, 1 - 2 * alpha)
    needed = math.ceil(math.log(alpha) / math.log(1 - row.margin))
    few = f"a margin of {row.margin:g} needs at least {needed} prompts" if pair.prompts < needed else None
    yield replace(other, effect=float(observed.mean()), low=0.0, high=float(high), reason=few)
