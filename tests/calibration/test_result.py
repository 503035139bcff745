"""A calibration as Python shows it."""

from __future__ import annotations

import pytest

from fairbench.calibration.result import Calibration
from fairbench.display.dictionary import TABLES
from fairbench.labelling import confusion
from tests.builders.folders import ROOT

FILE = ROOT / "models" / "labellers" / "weights" / "phantom_calibration.json"


def test_the_table_has_a_row_for_each_true_and_read_cell() -> None:
    counted = confusion.read(FILE)
    calibration = Calibration(counted, FILE, None)
    table = calibration.table
    assert list(table.columns) == list(TABLES["calibration.table"][1])
    assert table["count"].sum() == counted.counts.sum()
    assert table.groupby("truth")["share"].sum().to_list() == pytest.approx([1.0] * len(counted.rows))
    (right,) = table[(table["truth"] == "female Black") & (table["read"] == "female Black")].to_dict("records")
    row = counted.rows.index(("female", "Black"))
    assert right["count"] == counted.counts[row, row]
    assert right["count"] > 0
    for text in (repr(calibration), calibration.to_markdown(), calibration.to_latex()):
        assert "perceived presentation" in " ".join(text.split())
