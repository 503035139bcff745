"""Generation: the bias of the run's own images, which the other parts are held against."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from fairbench.audit.estimates import Estimate, nothing
from fairbench.audit.groups import Attribute
from fairbench.measure.counts import Counts
from fairbench.metrics.rd import relative_diversity
from fairbench.stats.estimands import Floats, IntArray, shares
from fairbench.stats.floor import floor, of_shares
from fairbench.stats.intervals import concentration_interval
from fairbench.types import Prompt


@dataclass(frozen=True, slots=True)
class Generated:
    """One attribute. rd: mean RD over the prompts with a face, None where there is none; rd_floor: 95th percentile of a
    fair model's at these numbers of faces. concentration: its unbiased counterpart (docs/metrics.md), these prompts.
    """

    attribute: str
    images: int
    faces: int
    rd: float | None
    rd_floor: float | None
    concentration: Estimate


def generated(counts: Counts, attribute: Attribute, seed: int) -> Generated:
    """Summarise what the labeller read in the run's images."""
    table = counts.of((attribute.name,))
    faces = table.sum(axis=1)
    if not faces.any():
        return Generated(attribute.name, int(counts.images.sum()), 0, None, None, nothing())
    found = concentration_interval(table, "these prompts")
    concentration = Estimate(found.estimate, found.low, found.high, found.prompts)
    value = float(np.nanmean(_rd(shares(table))))
    fair = floor(of_shares(_rd), faces, len(attribute.labels), np.random.default_rng([seed, 6]), times=1000)
    return Generated(attribute.name, int(counts.images.sum()), int(faces.sum()), value, fair.p95, concentration)


def rd_of_subjects(table: IntArray, prompts: Sequence[Prompt], subjects: Sequence[str]) -> Floats:
    """Return the mean RD of each subject's prompts, (subjects,), of counts (P, K); NaN where none has a face."""
    values = _rd(shares(table))
    sums, known = np.zeros(len(subjects)), np.zeros(len(subjects))
    for prompt, value in zip(prompts, values, strict=True):
        if not np.isnan(value):
            sums[subjects.index(prompt.subject)] += value
            known[subjects.index(prompt.subject)] += 1
    return np.where(known > 0, sums / np.maximum(known, 1), np.nan)


def _rd(p: Floats) -> Floats:
    return np.asarray(relative_diversity(p), dtype=np.float64)
