"""To which groups undecided images go in the worst cases: against a search over all splits."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from fairbench.stats.prediction import LabelledSample
from fairbench.stats.undecided import worst_cases


@pytest.mark.parametrize(
    ("read", "share"), [((70, 20, 10), 0.3), ((34, 33, 33), 0.1), ((50, 50, 0), 0.2), ((90, 5, 5), 0.5)]
)
def test_no_split_of_the_undecided_is_less_or_more_concentrated(read: tuple[int, ...], share: float) -> None:
    images = np.array([[[*read, 0]]])
    sample = LabelledSample(np.zeros((1, 1, 5, 4), dtype=np.int64), images)
    predicted = np.zeros((1, 4, 4))
    predicted[0, :3, :3], predicted[0, :, 3] = np.eye(3) * (1 - share), share
    lowest, highest = worst_cases(sample, predicted)
    kept = np.array(read) / 100 * (1 - share)
    steps = range(51)
    splits = [np.array([a, b, 50 - a - b]) / 50 for a, b in itertools.product(steps, steps) if a + b <= 50]
    values = [((kept + share * split) ** 2).sum() for split in splits]
    assert ((kept + share * lowest[0]) ** 2).sum() <= min(values) + 1e-12
    assert ((kept + share * lowest[0]) ** 2).sum() == pytest.approx(min(values), abs=1e-3)
    assert ((kept + share * highest[0]) ** 2).sum() == pytest.approx(max(values))
    assert lowest[0].sum() == pytest.approx(1) and highest[0].sum() == 1
