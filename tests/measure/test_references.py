"""Shares beside a task's references: what numpy says of few prompts, and how often the intervals hold."""

from __future__ import annotations

import numpy as np
import pytest

from fairbench.measure.estimates import Estimate, row_of
from fairbench.measure.quantities import OTHER_PROMPTS, THIS_LIST, Attribute
from fairbench.measure.references import of_attribute, side


class _Table(Attribute):
    """Counts (P, K) of images with one face each, without a run around them."""

    def __init__(self, counts: np.ndarray) -> None:  # type: ignore[type-arg]
        super(Attribute, self).__init__("age3", counts, [1, 2])
        self.classes = [f"c{i}" for i in range(counts.shape[1])]


def _rows(counts: np.ndarray, reference: np.ndarray | None) -> dict[tuple[str, str], Estimate]:  # type: ignore[type-arg]
    table = _Table(counts)
    return {(q.metric, q.scope): row_of(table, q) for q in of_attribute(table, reference)}


def test_a_share_has_a_side_from_five_points_off_half_on_either_side() -> None:
    np.testing.assert_array_equal(side(np.array([0.55, 0.45, 0.549, 0.451, 0.5, np.nan])), [1, -1, *[np.nan] * 4])


def test_values_are_means_over_the_prompts_that_have_them() -> None:
    counts = np.array([[8, 1, 1], [0, 0, 0], [2, 2, 4], [1, 9, 0], [3, 3, 3]])
    reference = np.array([[0.7, 0.2, 0.1], [0.9, 0.05, 0.05], [0.47, 0.3, 0.23], [0.3, 0.6, 0.1], [np.nan] * 3])
    rows = _rows(counts, reference)
    assert len(rows) == 3 * 2 * 2
    p = counts[[0, 2, 3]] / counts[[0, 2, 3]].sum(axis=1, keepdims=True)
    shift = p - reference[[0, 2, 3]]
    signs = np.array([[1, -1, -1], [0, -1, -1], [-1, 1, -1]])
    for k in range(3):
        row = rows[f"shift[c{k}]", THIS_LIST]
        assert row.value == pytest.approx(shift[:, k].mean()) and row.prompts == 3
        assert row.reason == "over the 3 of 5 prompts with a reference and faces"
        amplified = rows[f"amplification[c{k}]", THIS_LIST]
        known = signs[:, k] != 0
        assert amplified.value == pytest.approx((signs[known, k] * shift[known, k]).mean())
        assert amplified.prompts == known.sum() and amplified.low < amplified.value < amplified.high
    assert "10 prompts" in str(rows["shift[c0]", OTHER_PROMPTS].reason)


def test_two_classes_have_one_row_and_no_reference_none() -> None:
    counts = np.tile([[5, 3]], (12, 1))
    near = np.tile([[0.52, 0.48]], (12, 1))
    rows = _rows(counts, near)
    assert {metric for metric, _ in rows} == {"shift[c0]", "amplification[c0]"}
    assert np.isnan(rows["amplification[c0]", THIS_LIST].value) and np.isnan(rows["amplification[c0]", THIS_LIST].low)
    assert " .05 or more from .5" in str(rows["amplification[c0]", THIS_LIST].reason)
    assert rows["shift[c0]", OTHER_PROMPTS].value == pytest.approx(5 / 8 - 0.52)
    assert _rows(counts, None) == {}


def test_intervals_hold_for_this_list_and_for_other_prompts() -> None:
    rng, prompts, images, repeats = np.random.default_rng(6), 30, 16, 300
    within: dict[tuple[str, str], int] = {}
    for _ in range(repeats):
        r = rng.beta(1.5, 1.5, prompts)
        p = np.clip(r + 0.15 * np.sign(r - 0.5) + rng.normal(0, 0.05, prompts), 0, 1)  # exaggerated, by up to .15
        drawn = rng.binomial(images, p)
        far = np.abs(r - 0.5) >= 0.05
        counts, reference = np.column_stack([drawn, images - drawn]), np.column_stack([r, 1 - r])
        truth = {
            "shift[c0]": {THIS_LIST: (p - r).mean(), OTHER_PROMPTS: 0.0},
            "amplification[c0]": {THIS_LIST: (np.sign(r - 0.5) * (p - r))[far].mean(), OTHER_PROMPTS: _AMPLIFIED},
        }
        for (metric, scope), row in _rows(counts, reference).items():
            held = row.low <= truth[metric][scope] <= row.high
            within[metric, scope] = within.get((metric, scope), 0) + held
    for (_, scope), count in within.items():
        assert count / repeats >= (0.92 if scope == THIS_LIST else 0.95)


def _amplified() -> float:
    rng = np.random.default_rng(0)
    r = rng.beta(1.5, 1.5, 400_000)
    p = np.clip(r + 0.15 * np.sign(r - 0.5) + rng.normal(0, 0.05, r.size), 0, 1)
    return float((np.sign(r - 0.5) * (p - r))[np.abs(r - 0.5) >= 0.05].mean())


_AMPLIFIED = _amplified()
