"""Whether a table can be inverted: enough images per row, and rows that differ."""

from __future__ import annotations

import numpy as np
import pytest

from fairbench.stats import conditioning
from tests.builders.confusions import symmetric


@pytest.mark.parametrize(
    ("calibration", "words"),
    [
        ([[260, 240, 0], [250, 250, 0]], "near singular (condition number"),
        ([[250, 250, 0], [250, 250, 0]], "near singular (condition number inf"),
        ([[24, 6, 0], [14, 16, 0]], "too uncertain"),
        ([[30, 0, 0], [0, 2, 0]], "a row of the calibration holds fewer than 30 images (the smallest 2)"),
        ([[29, 0, 0], [0, 0, 0]], "2 of the 2 rows of the calibration hold fewer than 30 images (the smallest 0)"),
        ([[450, 50, 0], [0, 0, 500]], "near singular"),  # no face of the second group is ever found
        ([[500, 0, 0], [0, 500, 0], [0, 0, 29]], "fewer than 30"),  # images of nobody are a row, too
    ],
)
def test_tables_that_cannot_be_inverted_are_refused(calibration, words):
    reason = conditioning.check(calibration).reason
    assert reason is not None and words in reason


def test_from_thirty_images_per_row_a_table_is_used():
    verdict = conditioning.check([[30, 0, 0], [1, 29, 0]])
    assert (verdict.reason, verdict.images) == (None, 30)
    perfect = conditioning.check([[30, 0, 0], [0, 30, 0]])
    assert (perfect.reason, perfect.certainty) == (None, np.inf)
    rng = np.random.default_rng(0)
    assert conditioning.check(rng.multinomial(500, symmetric(4, 0.9))).condition == pytest.approx(1 / 0.867, rel=0.05)


def test_the_certainty_is_that_of_many_calibrations():
    rng = np.random.default_rng(2)
    table = symmetric(4, 0.7)[:, :4] @ np.diag([1, 1, 1, 0.8])
    drawn = rng.multinomial(2000, np.c_[table, 1 - table.sum(axis=1)], size=(500, 4))[..., :4] / 2000
    smallest = np.linalg.svd(drawn, compute_uv=False)[:, -1]
    _, certainty = conditioning.conditioning(table, np.full(4, 2000))
    assert certainty == pytest.approx(smallest.mean() / smallest.std(), rel=0.25)
