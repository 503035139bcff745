"""Generation: the bias of the run's own images, with which the other parts are compared."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from fairbench.audit.estimates import Estimate, no_estimate
from fairbench.audit.groups import Attribute
from fairbench.measure.counts import Counts
from fairbench.metrics._rd import relative_diversity
from fairbench.stats.estimands import Floats, IntArray, shares
from fairbench.stats.floor import floor, of_shares
from fairbench.stats.intervals import concentration_interval
from fairbench.types import Prompt


@dataclass(frozen=True, slots=True)
class Generated:
    """One attribute. rd: mean RD over the prompts with a face, None where there is none; rd_floor: 95th percentile of a
    fair model's at these numbers of faces. concentration: its unbiased counterpart (docs/metrics.md), this list.
    """

    attribute: str
    images: int
    faces: int
    rd: float | None
    rd_floor: float | None
    concentration: Estimate


def generated(counts: Counts, attribute: Attribute, seed: int) -> Generated:
    """Summarise the labels of the run's images."""
    table, images = counts.of((attribute.name,)), int(counts.images.sum())
    faces = table.sum(axis=1)
    if not faces.any():
        return Generated(attribute.name, images, 0, None, None, no_estimate())
    interval = concentration_interval(table, "this list")
    concentration = Estimate(interval.estimate, interval.low, interval.high, interval.prompts)
    rd = float(np.nanmean(_rd(shares(table))))
    fair = floor(of_shares(_rd), faces, len(attribute.labels), np.random.default_rng([seed, 6]), times=1000)
    return Generated(attribute.name, images, int(faces.sum()), rd, fair.p95, concentration)


def rd_of_subjects(table: IntArray, prompts: Sequence[Prompt], subjects: Sequence[str]) -> Floats:
    """Return the mean RD of each subject's prompts, (subjects,), of counts (P, K); NaN where none has a face."""
    rd = _rd(shares(table))
    has_face = ~np.isnan(rd)
    subject_codes = np.array([subjects.index(prompt.subject) for prompt in prompts])[has_face]
    sums = np.bincount(subject_codes, rd[has_face], minlength=len(subjects))
    prompt_counts = np.bincount(subject_codes, minlength=len(subjects))
    return np.where(prompt_counts > 0, sums / np.maximum(prompt_counts, 1), np.nan)


def _rd(p: Floats) -> Floats:
    return np.asarray(relative_diversity(p), dtype=np.float64)
