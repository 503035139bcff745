"""The recall of a labeller on a page: of each class, of the images whose face was read."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import beta

from fairbench.labelling.confusion import NO_FACE, NO_PERSON, Calibration
from fairbench.reporting.charts import calibrated

CELLS = (("female", "old"), ("female", "young"), ("male", "old"), ("male", "young"))
COUNTS = np.array([[6, 2, 1, 0, 1], [3, 20, 0, 0, 0], [0, 0, 0, 0, 7], [0, 0, 0, 0, 0], [0, 0, 4, 0, 90]])


def test_recall_is_of_the_images_of_a_class_whose_face_was_read() -> None:
    rows, columns = (*CELLS, NO_PERSON), (*CELLS, NO_FACE)
    made = Calibration("mine", "0" * 32, "photographs", ("gender", "age"), rows, columns, COUNTS, "by hand", 0)
    recall, *tables = calibrated.charts(made)
    shown = {value["group"]: value for value in recall.spec["data"]["values"]}
    assert list(shown) == ["gender: female (n = 32)", "gender: male (n = 0)", "age: old (n = 9)", "age: young (n = 23)"]
    counted = [(value["right"], value["read"], value["no face"]) for value in shown.values()]
    assert counted == [(31, 32, 1), (0, 0, 7), (7, 9, 8), (20, 23, 0)]
    old = shown["age: old (n = 9)"]
    assert old["recall"] == 7 / 9
    assert (old["low"], old["high"]) == pytest.approx(tuple(beta.ppf([0.025, 0.975], 7.5, 2.5)))
    assert shown["gender: male (n = 0)"]["recall"] is None  # nothing was read: neither 0 nor 1
    assert (
        "gender: male (n = 0), 7 without a face" in recall.alt
        and "age: old (n = 9) .778 [.456, .951], 8 without" in recall.alt
    )
    assert [table.name for table in tables] == ["calibration-gender", "calibration-age"]
