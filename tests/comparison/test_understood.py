"""Fairness of runs in two languages is compared only where both are shown to be understood."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path

import pytest

from fairbench.comparison.compare import RunComparison, compare
from fairbench.comparison.sides import BY_CONCEPT, BY_PROMPT
from fairbench.comparison.understood import NEEDED, withheld
from fairbench.comparison.verdicts import Row
from fairbench.measure.series import FACES, QUALITY
from fairbench.runs import spec
from fairbench.runs.arguments import RunSettings
from tests.builders.cli import make_run

OCCUPATIONS = ("senator", "violinist", "legal secretary", "cosmetologist")


def row(attribute: str, estimand: str, p_equivalence: float = math.nan, run: str = "B") -> Row:
    preserved = attribute in (FACES, QUALITY)
    made = Row("A", run, attribute, estimand, "this list", 0.5, 0.2, -0.3, 20, 0, -0.4, -0.2, p=0.001)
    return replace(
        made,
        primary=not preserved,
        better="higher" if preserved else None,
        claim="preserved" if preserved else None,
        margin=0.1,
        p_equivalence=p_equivalence,
    )


def verdicts(pairing: str, *of_quality: float) -> dict[str, str]:
    rows = [row("gender", "concentration"), row("gender", "gap[female]")]
    rows += [row(*which, p) for which, p in zip(NEEDED, of_quality, strict=False)]
    return {r.estimand: r.verdict for r in withheld(rows, {"B": pairing}, 0.05)}


def test_only_what_is_shown_to_be_understood_gets_a_verdict() -> None:
    assert verdicts(BY_CONCEPT, 0.001, 0.001)["concentration"] == "B less concentrated"
    for of_quality in ((0.001, 0.5), (0.5, 0.001), (0.001,), ()):
        found = verdicts(BY_CONCEPT, *of_quality)
        assert found["concentration"] == found["gap[female]"] == "withheld"
    assert verdicts(BY_PROMPT, 0.5, 0.5)["concentration"] == "B less concentrated"


def test_one_run_that_is_not_understood_costs_no_other_its_verdict() -> None:
    rows = [row("gender", "concentration", run=run) for run in "BC"]
    rows += [row(*which, 0.0001 if run == "B" else 0.9, run) for which in NEEDED for run in "BC"]
    found = {r.run: r.verdict for r in withheld(rows, {"B": BY_CONCEPT, "C": BY_CONCEPT}, 0.05) if r.primary}
    assert found == {"B": "B less concentrated", "C": "withheld"}


@pytest.mark.long
def test_nonsense_gets_no_verdict(tmp_path: Path) -> None:
    texts = {
        "english": [f"A photo of the face of a {o}, a person" for o in OCCUPATIONS],
        "nonsense": [f"Qwx zzt {i}" for i in range(4)],
    }
    for name, prompts in texts.items():
        rows = "".join(f'"{p}",{o},{o}\n' for p, o in zip(prompts, OCCUPATIONS, strict=True))
        (tmp_path / f"{name}.csv").write_text(f"prompt,subject,concept\n{rows}", encoding="utf-8")
        make_run(tmp_path / name, "--model", "phantom", "--task", tmp_path / f"{name}.csv", "-n", "24")
    result = compare([tmp_path / "english", tmp_path / "nonsense"])
    assert isinstance(result, RunComparison)
    assert result.pairing == {"B": BY_CONCEPT}
    fairness = [r for r in result.rows if r.attribute in result.primary]
    assert fairness and all(math.isnan(r.p) and math.isnan(r.p_equivalence) for r in fairness)
    assert any("clip_score" in str(r.reason) for r in fairness)


@pytest.mark.parametrize("task", ["occupations-de", "occupations-zh"])
def test_a_task_in_another_language_is_scored_against_english(task: str) -> None:
    def made(task: str) -> spec.RunSpec:
        return spec.make(RunSettings(model="phantom", task=task, images_per_prompt=2, limit_prompts=6, device="cpu"))

    other, english = made(task), made("occupations")
    assert other.scorers[0].key != english.scorers[0].key
    assert (other.scored_language, english.scored_language) == ("en", "en")
    assert {p.scored_as for p in other.prompts} <= {p.text for p in english.prompts}
    assert {p.scored_as for p in english.prompts} == {""}
