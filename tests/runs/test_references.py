"""A task's references, as workforce shares: they stand beside what was shown."""

from __future__ import annotations

import csv
import hashlib
import re
from pathlib import Path

import pytest

import fairbench
from tests.builders.cards import write_task
from tests.builders.cli import Cli

FEMALE = {"nurse": 0.87, "engineer": 0.16}


@pytest.fixture
def task(tmp_path: Path) -> Path:
    """Three occupations, of which two have a reference."""
    text = "A photo of the face of a {subject}, a person"
    fields = {"references": {"gender": "reference.csv"}, "references_source": "a census of tests", "language": "en"}
    folder = write_task(tmp_path / "work", ["nurse", "engineer", "clerk"], text, **fields)
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
    metrics = fairbench.load("out").metrics.set_index(["metric", "attribute", "scope"])
    shift, amplification = (metrics.loc[(f"{name}[female]", "gender", "task")] for name in ("shift", "amplification"))
    assert shift["value"] == pytest.approx(mean - reference) and shift["ci_low"] < shift["value"] < shift["ci_high"]
    by_prompt = [(p - r) * (1 if r > 0.5 else -1) for p, r in zip(shown, FEMALE.values(), strict=True)]
    assert amplification["value"] == pytest.approx(sum(by_prompt) / 2) and amplification["n_prompts"] == 2
    assert "over the 2 of 3 prompts with a reference and faces" in shift["reason"]
    sha256 = hashlib.sha256((task / "reference.csv").read_bytes()).hexdigest()
    assert f"Source: a census of tests; sha256 of the files: gender {sha256[:12]}." in table
    assert "no target, and no appearance" in table
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


def test_references_without_a_source_are_refused(cli: Cli, task: Path) -> None:
    card = (task / "task.yaml").read_text()
    (task / "task.yaml").write_text(card.replace("references_source: a census of tests\n", ""))
    result = cli("run", "--model", "phantom-exact", "--task", task, "-n", "4", "--out", "out")
    assert result.code == 2 and "say in `references_source` who measured these shares" in " ".join(result.err.split())
    assert not Path("out").exists()
