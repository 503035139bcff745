"""Composite indices: HoloFair's published values, entropies by another library, and what few faces do to them."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from fairbench.stats import composite
from fairbench.stats.units import Units
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


@pytest.mark.parametrize(("faces", "read"), [(10, 0.8154), (32, 0.9490), (160, 0.9903)])
def test_a_fair_model_of_seven_classes_reads_less_than_one(faces: int, read: float) -> None:
    assert composite.expected_entropy([1 / 7] * 7, faces) == pytest.approx(read, abs=5e-5)
    split = composite.Split(np.zeros(40, dtype=bool), np.ones(40, dtype=bool))
    drawn = composite.fair(np.full(40, faces), [7], split, np.full(7, 1 / 7), 400, np.random.default_rng(3))
    assert drawn.mean.mean() == pytest.approx(read, abs=1e-3)
    assert (drawn.worst < drawn.mean).all() and np.isnan(drawn.mgbi).all()


def test_indices_of_a_cross_are_those_of_its_attributes() -> None:
    rng = np.random.default_rng(8)
    joint = rng.multinomial(30, rng.dirichlet(np.full(12, 0.7)), size=9)
    joint[4] = 0
    split = composite.Split(np.arange(9) < 3, np.arange(9) >= 3)
    found = composite.indices(joint, [2, 2, 3], split)
    cells = joint.reshape(9, 2, 2, 3)
    tables = [cells.sum(axis=(2, 3)), cells.sum(axis=(1, 3)), cells.sum(axis=(1, 2))]
    assert found.inter_group == pytest.approx(composite.inter_group_diversity([t[:3] for t in tables]))
    by_prompt = [stats.gmean([stats.entropy(t[i], base=t.shape[1]) for t in tables]) for i in (3, 5, 6, 7, 8)]
    assert found.mean == pytest.approx(np.mean(by_prompt))
    assert found.worst == pytest.approx(np.quantile(by_prompt, 0.1))
    assert found.mgbi == pytest.approx(composite.mgbi(float(found.inter_group), float(found.worst)))


def test_limits_of_a_quantile_are_exact_whatever_the_distribution() -> None:
    rng = np.random.default_rng(4)
    drawn = rng.beta(0.4, 1.3, size=(4000, 60))
    low, high = np.transpose([composite.quantile_limits(values) for values in drawn])
    truth = stats.beta(0.4, 1.3).ppf(0.1)
    assert (low > truth).mean() <= 0.025 + 0.008 and (high < truth).mean() <= 0.025 + 0.008
    assert ((low <= truth) & (truth <= high)).mean() <= 0.985  # and not everything
    assert composite.quantile_limits(np.linspace(0.2, 0.8, 30))[0] == 0  # .9^30 > .025: no value lies low enough


def test_images_with_several_faces_are_redrawn_whole() -> None:
    """Images of four faces that agree vary as much as a quarter of the faces would."""
    split = composite.Split(np.ones(20, dtype=bool), np.zeros(20, dtype=bool))
    times = np.random.default_rng(5).multinomial(40, [0.3, 0.7], size=20)
    alike = Units(np.array([[4, 0], [0, 4]]), times)
    rng = np.random.default_rng(6)
    several = composite.redrawn(alike, [2], split, 600, rng).inter_group.std()
    one = composite.redrawn(times, [2], split, 600, rng).inter_group.std()
    independent = composite.redrawn(4 * times, [2], split, 600, rng).inter_group.std()
    assert several == pytest.approx(one, rel=0.15) and independent == pytest.approx(one / 2, rel=0.15)
