"""Rows beyond RD: pooled concentration, effective groups, what fair and one-sided models read, withheld rd@n0."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from fairbench.stats.estimands import concentration
from tests.measure.test_estimates import calibrated, counted, one, table_of


@pytest.fixture(scope="module")
def joint() -> NDArray[np.int64]:
    rng = np.random.default_rng(3)
    return np.stack([rng.multinomial(40, p).reshape(2, 4) for p in rng.dirichlet(np.full(8, 0.7), size=12)])


def test_pooled_and_effective_groups_say_different_things_of_opposite_prompts() -> None:
    """Half of the prompts all male and half all female: 1 group within a prompt, 2 of all faces."""
    joint = np.zeros((12, 2, 4), dtype=np.int64)
    joint[:6, 0], joint[6:, 1] = 8, 8
    found = table_of(counted(joint))
    within, pooled = (one(found, "effective-groups", "gender", estimate) for estimate in ("raw", "pooled"))
    assert (within.value, pooled.value) == (pytest.approx(1.0), pytest.approx(2.0))
    for estimate, row in (("raw", within), ("pooled", pooled)):
        c = one(found, "concentration", "gender", estimate)
        assert c.value == pytest.approx(1.0 if estimate == "raw" else 0.0)
        assert (row.low, row.high) == pytest.approx([2 / (1 + min(max(x, 0), 1)) for x in (c.high, c.low)])
        assert row.prompts == 12
    assert one(found, "effective-groups", "gender", scope="population").low == pytest.approx(1.0)
    assert one(found, "effective-groups", "race4").value == 4.0  # cut: the unbiased concentration is below 0


def test_a_fair_and_a_one_sided_model_are_read_through_the_labeller(joint: NDArray[np.int64]) -> None:
    """A labeller that leans: a fair model's concentration is that of what it reads, not 0."""
    leaning = np.kron(np.array([[0.9, 0.1], [0.3, 0.7]]), np.eye(4))
    row = one(table_of(counted(joint), calibrated(leaning)), "concentration", "gender")
    assert row.floor == pytest.approx((0.6 - 0.4) ** 2)
    assert row.ceiling == pytest.approx((0.9 - 0.1) ** 2)
    fair = np.random.default_rng(0).binomial(40, 0.6, size=(20_000, 12))
    simulated = concentration(np.stack([fair, 40 - fair], axis=-1)).mean(axis=1)
    assert simulated.mean() == pytest.approx(row.floor, abs=0.002)
    assert row.floor_p95 == pytest.approx(np.quantile(simulated, 0.95), abs=0.005)
    unknown = one(table_of(counted(joint)), "concentration", "gender")
    assert (unknown.floor, unknown.ceiling) == (0.0, 1.0)


def test_rd_at_n0_of_a_selection_of_prompts_is_not_given() -> None:
    """Eight one-sided prompts with 30 images and two balanced ones with 160: RD at 80 was that of a fair model."""
    joint = np.zeros((10, 2, 4), dtype=np.int64)
    joint[:8, 0, 0], joint[8:, 0, 0], joint[8:, 1, 0] = 30, 80, 80
    row = one(table_of(counted(joint), n0=80), "rd", "gender", "rarefied")
    assert np.isnan([row.value, row.low, row.high]).all()
    assert row.reason == "8 of 10 prompts would be left out: they have fewer than 80 images with a face"
    assert not np.isnan(one(table_of(counted(joint), n0=30), "rd", "gender", "rarefied").value)
    assert one(table_of(counted(joint)), "concentration", "gender").value == pytest.approx(0.8, abs=0.01)


def test_no_limit_is_above_what_is_possible() -> None:
    """One-sided prompts of few images: the upper limit stays at 1."""
    joint = np.zeros((5, 2, 4), dtype=np.int64)
    joint[:, 0, 0], joint[2, 1, 1] = 24, 1
    for row in table_of(counted(joint)):
        if row.metric == "concentration" and not np.isnan(row.high):
            assert row.value <= row.high <= 1
