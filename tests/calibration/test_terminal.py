"""What a calibration tells, by machine and in words: shares, intervals, whether it can correct."""

from __future__ import annotations

import io
import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from rich.console import Console

from fairbench.calibration import terminal
from fairbench.display.note import LABEL_NOTE
from fairbench.labelling.confusion import NO_FACE, NO_PERSON, Calibration

CELLS = (("f", "A"), ("f", "B"), ("m", "A"), ("m", "B"))


def example(counts: Any) -> Calibration:
    return Calibration(
        "drawn", "0123456789ab", "[drawings]", ("gender", "race"), CELLS, (*CELLS, NO_FACE), np.array(counts), "c", 0
    )


def told(found: Calibration) -> tuple[dict[str, Any], str]:
    """Return the summary, as it comes out of JSON, and the words."""
    console = Console(file=io.StringIO(), width=200)
    terminal.show(found, Path("c.json"), None, console)
    text = json.dumps(terminal.summary(found, Path("c.json"), None), allow_nan=False)
    return json.loads(text), console.file.getvalue()  # type: ignore[attr-defined]


TOGETHER = [[80, 0, 0, 20, 0], [0, 80, 20, 0, 0], [0, 20, 80, 0, 0], [20, 0, 0, 80, 100]]
"""Whoever is misread is misread in both attributes; half of the last cell is missed."""


def test_shares_and_intervals_by_hand() -> None:
    data, words = told(example(TOGETHER))
    last = data["cells"][3]
    assert last["true"] == {"gender": "m", "race": "B"} and last["n"] == 200
    assert last["no_face"]["share"] == 0.5 and last["read_right"]["share"] == 0.8
    assert (last["read_right"]["count"], last["read_right"]["of"]) == (80, 100)
    # Jeffreys: quantiles of Beta(80.5, 20.5), from a table of the distribution.
    assert last["read_right"]["low"] == pytest.approx(0.7137, abs=5e-4)
    assert last["read_right"]["high"] == pytest.approx(0.8694, abs=5e-4)
    assert [a["share"] for a in data["attributes"]] == [0.8, 0.8] and data["persons"] == 500
    assert ".800 [.714, .869]" in words and "500 persons" in words and "[drawings]" in words
    assert data["note"] == LABEL_NOTE and LABEL_NOTE in words
    assert "calibration: " + str(Path("c.json").resolve()) in words


def test_whether_a_correction_is_possible_and_why_not() -> None:
    data, words = told(example(TOGETHER))
    assert data["correction"]["possible"] and data["correction"]["reason"] is None
    # The last row of the table is (.1, 0, 0, .4), the others (.8, .2) on their diagonals.
    table = np.array([[0.8, 0, 0, 0.2], [0, 0.8, 0.2, 0], [0, 0.2, 0.8, 0], [0.1, 0, 0, 0.4]])
    assert data["correction"]["condition"] == pytest.approx(np.linalg.cond(table))
    assert f"possible: condition number {np.linalg.cond(table):.2f} (at most 10 is allowed)" in words
    blind = [[50, 0, 50, 0, 0], [0, 50, 0, 50, 0], [50, 0, 50, 0, 0], [0, 50, 0, 50, 0]]  # reads no gender
    data, words = told(example(blind))
    assert not data["correction"]["possible"] and data["correction"]["condition"] is None
    assert "correction: not possible with this table: the confusion table is near singular" in words
    one = [[1, 0, 0, 0, 0], *TOGETHER[1:]]
    data, words = told(example(one))
    assert "not possible with this table: a row of the calibration holds fewer than 30 images (the smallest 1)" in words
    assert "correction of gender alone: possible" in words and "correction of race alone: possible" in words
    assert not data["correction"]["possible"] and data["correction"]["alone"]["gender"]["possible"]
    perfect, words = told(example(np.eye(4, 5, dtype=int) * 40))
    assert perfect["correction"]["possible"] and perfect["correction"]["certainty"] is None
    assert "no misreading was counted, which with 40 images in the smallest row leaves up to 8%" in words
    assert "intervals are marked, as the smallest row holds 40 images" in " ".join(words.split())
    for few in (2, 20):
        assert "correction: not possible" in told(example(np.eye(4, 5, dtype=int) * few))[1]


def test_a_share_of_nothing_is_none_and_no_person_is_a_row_of_its_own() -> None:
    unread = example([[0, 0, 0, 0, 10], *TOGETHER[1:]])
    data, _ = told(unread)
    assert data["cells"][0]["read_right"] == {"count": 0, "of": 0, "share": None, "low": None, "high": None}
    single = Calibration(
        "drawn",
        "0123456789ab",
        "d",
        ("gender",),
        (("f",), ("m",), NO_PERSON),
        (("f",), ("m",), NO_FACE),
        np.array([[9, 1, 0], [0, 9, 1], [1, 0, 9]]),
        "c",
        0,
    )
    data, words = told(single)
    assert data["cells"][2]["true"] is None and data["cells"][2]["read_right"] is None
    assert data["persons"] == 20 and "no person (images)" in words
    assert math.isclose(data["attributes"][0]["share"], 18 / 19)


def test_the_card_names_the_file_relative_to_itself_where_it_can(tmp_path: Path) -> None:
    found = example(TOGETHER)
    inside, card = tmp_path / "cards" / "weights" / "c.json", tmp_path / "cards" / "drawn.yaml"
    assert terminal.summary(found, inside, card)["card_line"] == "calibration: weights/c.json"
    outside = tmp_path / "c.json"
    assert terminal.summary(found, outside, card)["card_line"] == f"calibration: {outside.resolve()}"
