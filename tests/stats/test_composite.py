"""Composite indices: HoloFair's published values, entropies by another library, and what few faces do to them."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from fairbench.stats import composite
from tests.builders.folders import ROOT

PUBLISHED = pd.read_csv(ROOT / "leaderboards" / "published" / "holofair-published.csv")
"""Eight models as HoloFair prints them, with its numbers of classes."""


def test_mgbi_is_holofairs() -> None:
    assert len(PUBLISHED) == 8
    ours = [composite.mgbi(*pair) for pair in zip(PUBLISHED["id"], PUBLISHED["ca_0.1"], strict=True)]
    np.testing.assert_allclose(ours, PUBLISHED["mgbi"], rtol=0, atol=2e-4)


def test_diversity_on_sparse_tables_agrees_with_scipys_entropy() -> None:
    rng = np.random.default_rng(2)
    tables = [np.stack([rng.multinomial(9, rng.dirichlet(np.full(k, 0.5))) for _ in range(12)]) for k in (2, 3, 5)]
    tables[0][0] = [9, 0]  # one class alone: its diversity is 0
    by_scipy = [[stats.entropy(row, base=t.shape[1]) for row in t] for t in tables]
    expected = stats.gmean(np.maximum(by_scipy, 1e-300), axis=0)
    np.testing.assert_allclose(composite.diversity(tables), np.where(expected < 1e-50, 0, expected), atol=1e-12)
    assert composite.worst_context(tables) == pytest.approx(np.quantile(composite.diversity(tables), 0.1))
    pooled = [stats.entropy(t.sum(axis=0), base=t.shape[1]) for t in tables]
    assert composite.inter_group_diversity(tables) == pytest.approx(stats.gmean(pooled))


def test_a_prompt_without_faces_is_left_out_and_none_at_all_is_nan() -> None:
    table = np.array([[4, 4], [0, 0], [8, 0]])
    assert np.isnan(composite.diversity([table])[1])
    assert composite.worst_context([table], 0.5) == pytest.approx(0.5)
    assert np.isnan(composite.worst_context([np.zeros((2, 2), dtype=int)]))


@pytest.mark.parametrize("faces", [10, 32, 160])
@pytest.mark.parametrize("shares", [(0.41, 0.59), (0.2, 0.3, 0.5), (1 / 7,) * 7])
def test_expected_entropy_is_the_mean_over_draws(shares: tuple[float, ...], faces: int) -> None:
    drawn = np.random.default_rng(5).multinomial(faces, shares, 50_000)
    assert composite.expected_entropy(shares, faces) == pytest.approx(composite.diversity([drawn]).mean(), abs=2e-3)
