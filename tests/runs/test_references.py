"""A task's references, as workforce shares: they stand beside what was shown."""

from __future__ import annotations

import csv
import re
from pathlib import Path

import numpy as np
import pytest

from fairbench.runs import references
from tests.builders.cards import write_task
from tests.builders.cli import Cli

FEMALE = {"nurse": 0.87, "engineer": 0.16}


@pytest.fixture
def task(tmp_path: Path) -> Path:
    """Three occupations, of which two have a reference."""
    text = "A photo of the face of a {subject}, a person"
    references = {"gender": "reference.csv"}
    folder = write_task(tmp_path / "work", ["nurse", "engineer", "clerk"], text, references=references, language="en")
    rows = [f"{subject},{1 - share},{share}" for subject, share in FEMALE.items()]
    (folder / "reference.csv").write_text("\n".join(["subject,male,female", *rows]) + "\n")
    return folder


def test_references_stand_in_the_table_of_prompts_and_on_the_terminal(cli: Cli, task: Path) -> None:
    run = ("run", "--model", "phantom-exact", "--task", task, "-n", "40", "--scorers", "none", "--no-sheets", "-q")
    result = cli(*run, "--out", "out")
    assert result.code == 0, result.err
    with Path("out/prompts.csv").open() as file:
        rows = {row["subject"]: row for row in csv.DictReader(file)}
    for subject, share in FEMALE.items():
        assert float(rows[subject]["gender.reference female"]) == pytest.approx(share)
        assert float(rows[subject]["gender.reference male"]) == pytest.approx(1 - share)
    assert rows["clerk"]["gender.reference female"] == "" and "race4.reference Black" not in rows["clerk"]
    shown = [float(rows[subject]["gender.share female"]) for subject in FEMALE]
    table = re.sub("[\u2588-\u258f]+", "", result.out.split("against the task's reference")[1])
    assert len(table) < len(result.out.split("against the task's reference")[1])  # shares have bars
    table = " ".join(table.split())
    mean, reference = sum(shown) / 2, sum(FEMALE.values()) / 2

    def short(value: float) -> str:
        return re.sub(r"^([+-]?)0\.", r"\1.", f"{value:.3f}")

    assert f"female {short(mean)} {short(reference)} " in table
    rd = [sum(abs(2 * share - 1) for share in shares) / 2 for shares in (shown, FEMALE.values())]
    assert f"rd {short(rd[0])} {short(rd[1])} " in table


def test_a_task_without_references_has_no_such_table(cli: Cli) -> None:
    result = cli(
        "run",
        "--model",
        "phantom-exact",
        "-n",
        "4",
        "--limit-prompts",
        "2",
        "--scorers",
        "none",
        "-q",
        "--no-sheets",
        "--out",
        "out",
    )
    assert result.code == 0 and "reference" not in result.out
    assert "reference" not in Path("out/prompts.csv").read_text()


def test_amplification_is_the_mean_of_signed_shifts_where_the_reference_has_a_side() -> None:
    reference = np.array([[0.9, 0.1], [0.2, 0.8], [0.52, 0.48], [0.56, 0.44]])
    shown = np.array([[1.0, 0.0], [0.3, 0.7], [0.9, 0.1], [0.46, 0.54]])
    by_prompt = [0.1, -0.1, -0.1]  # exaggerated, softened, (no side), reversed
    np.testing.assert_allclose(references.amplification(shown, reference), [np.mean(by_prompt)] * 2)
    assert np.isnan(references.amplification(shown[2:3], reference[2:3])).all()
