"""Where a difference disappears, against errors that are put in and read."""

from __future__ import annotations

import numpy as np
import pytest

from fairbench.stats import tipping
from fairbench.stats.estimands import concentration_of_shares


@pytest.mark.parametrize(("classes", "error"), [(2, 0.02), (2, 0.2), (4, 0.05), (8, 0.3)])
def test_errors_spread_evenly_explain_the_difference_that_they_make(classes: int, error: float) -> None:
    p = np.random.default_rng(0).dirichlet(np.ones(classes), 20)
    read = p @ ((1 - error) * np.eye(classes) + error / (classes - 1) * (1 - np.eye(classes)))
    less, more = (float(concentration_of_shares(x).mean()) for x in (read, p))
    assert tipping.evenly(less, more, classes) == pytest.approx(error)
    assert tipping.evenly(-0.001, more, classes) == pytest.approx((classes - 1) / classes)


@pytest.mark.parametrize(("classes", "error"), [(2, 0.1), (4, 0.05), (7, 0.3)])
def test_errors_towards_the_majority_explain_the_difference_that_they_make(classes: int, error: float) -> None:
    """A share `error` of the images of other groups is read as the majority of the prompt."""
    p = np.random.default_rng(1).dirichlet(np.full(classes, 0.4), 20)
    majority = np.eye(classes)[p.argmax(axis=1)]
    read = (1 - error) * p + error * majority
    counts = np.round(read * 1_000_000).astype(int)
    less = float(concentration_of_shares(p).mean())
    misread = float((error * (1 - p.max(axis=1))).mean())
    assert tipping.towards_majority(less, counts) == pytest.approx(misread, rel=1e-3)


def test_no_errors_towards_the_majority_make_an_even_model_of_one_sided_images() -> None:
    assert np.isnan(tipping.towards_majority(0.0, np.tile([50, 0], (5, 1))))
