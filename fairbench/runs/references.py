"""A run beside the shares that its task refers to, as those of a workforce."""

from __future__ import annotations

import numpy as np

from fairbench.display.numbers import number
from fairbench.display.tables import Column, Table, numbers
from fairbench.metrics._rd import relative_diversity
from fairbench.runs.pipeline import Outcome
from fairbench.runs.spec import RunSpec
from fairbench.stats import estimands
from fairbench.types import FloatArray

NOTE = (
    "Means over the prompts that have a reference and faces. rd of shown above that of the reference: the images "
    "exaggerate it, or show few faces, as chance adds to rd. Each prompt's reference is in prompts.csv; "
    "distance-to-reference in metrics.csv."
)


def of_prompts(spec: RunSpec, attribute: str) -> FloatArray | None:
    """Return the reference shares (P, K) of an attribute in the labeller's order, NaN for prompts that have none.

    None where the task has no reference for the attribute.
    """
    shares_of = spec.references.get(attribute)
    if shares_of is None:
        return None
    nothing = (np.nan,) * spec.labeller.declared.size(attribute)
    return np.array([shares_of.get(p.subject, nothing) for p in spec.prompts], dtype=np.float64)


def table(outcome: Outcome) -> Table | None:
    """Return each class's mean share beside its reference, and RD of both; None for a task without references."""
    spec, counts = outcome.spec, outcome.counts
    assert counts is not None
    columns = [Column("attribute"), Column("share of"), *numbers("shown", "reference", "difference")]
    result = Table(columns, "against the task's reference", NOTE, grouped=True)
    for attribute, labels in spec.labeller.declared.labels.items():
        reference = of_prompts(spec, attribute)
        if reference is None:
            continue
        shown = estimands.shares(counts.of((attribute,)))
        both = ~np.isnan(shown[:, 0]) & ~np.isnan(reference[:, 0])
        if not both.any():
            result.add(attribute, "no prompt has both")
            continue
        rows = [*zip(labels, shown[both].mean(axis=0), reference[both].mean(axis=0), strict=True)]
        rows.append(("rd", *(relative_diversity(p[both]).mean() for p in (shown, reference))))
        for i, (name, ours, theirs) in enumerate(rows):
            difference = number(float(ours - theirs), sign=True)
            result.add("" if i else attribute, name, number(float(ours)), number(float(theirs)), difference)
        result.section()
    return result if result.rows else None
