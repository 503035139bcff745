"""The test behind a product-of-margins table."""

from __future__ import annotations

import numpy as np
import pytest

from fairbench.stats.independence import independent_errors

GENDER = np.array([[0.95, 0.05], [0.1, 0.9]])
RACE = np.array([[0.8, 0.15, 0.05], [0.1, 0.85, 0.05], [0.02, 0.08, 0.9]])
JOINT = np.kron(GENDER, RACE)


def _exact(table):
    return np.rint(10**7 * table).astype(int)


def test_a_product_is_found_again_and_its_p_values_are_uniform():
    rng = np.random.default_rng(0)
    found = independent_errors(_exact(JOINT), (2, 3), rng, draws=1)
    assert found.product == pytest.approx(JOINT)
    assert found.statistic == pytest.approx(0, abs=1e-4)
    assert found.dof == 30 - 2 - 6
    p = [independent_errors(rng.multinomial(300, JOINT), (2, 3), rng, draws=99).p_value for _ in range(150)]
    assert np.mean(np.array(p) <= 0.1) == pytest.approx(0.1, abs=0.075)
    assert np.mean(p) == pytest.approx(0.5, abs=0.1)


def test_three_attributes_make_one_product():
    other = np.array([[0.7, 0.3], [0.2, 0.8]])
    found = independent_errors(_exact(np.kron(JOINT, other)), (2, 3, 2), np.random.default_rng(0), draws=1)
    assert found.product == pytest.approx(np.kron(JOINT, other))


def test_errors_that_come_together_are_found():
    """Gender is misread on the faces whose race is: 5 % of all, with the margins' rates as before."""
    rng = np.random.default_rng(1)
    together = 0.95 * np.eye(4) + 0.05 * np.eye(4)[::-1]
    found = independent_errors(rng.multinomial(500, together), (2, 2), rng, draws=199)
    assert found.p_value == 1 / 200
    assert found.largest_gap == pytest.approx(0.0475, abs=0.02)


def test_errors_that_depend_on_the_other_attribute_are_found():
    rng = np.random.default_rng(2)
    worse = np.array([[0.7, 0.3], [0.3, 0.7]])
    table = np.zeros((4, 4))
    for race, gender in enumerate((GENDER, worse)):
        table[race::2, race::2] = gender
    assert independent_errors(rng.multinomial(300, table), (2, 2), rng, draws=199).p_value == 1 / 200


def test_tables_that_cannot_be_tested_are_refused():
    rng = np.random.default_rng(0)
    with pytest.raises(ValueError, match="product of two or more sizes"):
        independent_errors(np.eye(4), (2, 3), rng)
    with pytest.raises(ValueError, match="no found face"):
        independent_errors(np.diag([1, 1, 1, 0]), (2, 2), rng)
