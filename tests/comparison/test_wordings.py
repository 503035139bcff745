"""The order of runs wording by wording: planted where one wording turns it round, and not found where none does."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from fairbench.comparison import wordings
from tests.builders.cli import Cli

SUBJECTS, IMAGES = ("nurse", "judge", "clerk", "baker", "pilot", "tailor"), 40
TEXTS = {"bare": "a {}", "portrait": "a portrait of a {}", "office": "a {} in an office"}


def write_tables(folder: Path, shares: dict[str, dict[str, float]]) -> None:
    """Write prompts.csv, and for each run a table of labels with these shares of women in every prompt of a wording."""
    rows = [(TEXTS[wording].format(subject), subject, wording) for subject in SUBJECTS for wording in TEXTS]
    lines = ["prompt,subject,template", *(",".join(row) for row in rows)]
    (folder / "prompts.csv").write_text("\n".join(lines))
    for name, of_wording in shares.items():
        labels = [
            f"{text},{i},{'female' if i < round(of_wording[wording] * IMAGES) else 'male'}"
            for text, _, wording in rows
            for i in range(IMAGES)
        ]
        (folder / f"{name}.csv").write_text("\n".join(["prompt,sample,gender", *labels]))


@pytest.mark.parametrize("turned", [True, False])
def test_a_wording_that_turns_the_order_round_is_named(cli: Cli, tmp_path: Path, turned: bool) -> None:
    shares = {"a": {"bare": 0.95, "portrait": 0.95, "office": 0.5 if turned else 0.95}}
    shares["b"] = {"bare": 0.6, "portrait": 0.6, "office": 0.95 if turned else 0.6}
    write_tables(tmp_path, shares)
    for name in shares:
        cli("run", "--labels", f"{name}.csv", "--task", "prompts.csv", "--out", name).succeeded()
    result = cli("compare", "a", "b", "--out", "compared").succeeded()
    said = " ".join(result.out.split())
    (found,) = json.loads((tmp_path / "compared" / "compare.json").read_text())["orders"]
    assert found["overall"] == "BA" and found["of"]["bare"] == found["of"]["portrait"] == "BA"
    assert found["of"]["office"] == ("AB" if turned else "BA")
    assert found["reversals"] == ([["office", "A", "B"]] if turned else [])
    expected = (
        "B A in 2 of 3 wordings (A B in 1); shown to be reversed: A before B in office"
        if turned
        else ("B A in 3 of 3 wordings; no pair is shown to be reversed")
    )
    assert f"By wording, the least concentrated first: gender {expected}." in said


def test_nothing_is_said_of_prompts_in_one_wording() -> None:
    assert list(wordings.sentences([])) == []
