"""Wordings of a task: which prompts are crossed, and what a run says of a wording that was planted to matter."""

from __future__ import annotations

from pathlib import Path

import pytest

import fairbench
from fairbench.cards import catalog
from fairbench.measure.wordings import crossing
from fairbench.runs.prompts import expand
from tests.builders.cli import Cli, make_run

SUBJECTS = ("senator", "violinist", "citizen", "legal secretary", "researcher", "cosmetologist")


def test_which_tasks_have_wordings() -> None:
    found = {name: crossing(expand(catalog.load_task(name).card)) for name in catalog.find("tasks")}
    shapes = {name: each.cells.shape for name, each in found.items() if each is not None}
    assert shapes == {
        "wordings": (50, 4),
        "levels": (50, 4),
        "groups": (50, 2),
        "occupations-de": (50, 5),
        "occupations-fr": (50, 5),
    }
    german = found["occupations-de"]
    assert german is not None and german.wordings[0] == "face, masculine" and german.subjects[0] == "senator"
    prompts = expand(catalog.load_task("wordings").card)
    cut = crossing(prompts[:10])
    assert cut is not None and (cut.cells.tolist(), cut.left_out) == ([[0, 1, 2, 3], [4, 5, 6, 7]], 1)
    assert crossing(prompts[:7]) is None and crossing([]) is None


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("wordings")
    (folder / "task").mkdir()
    texts = {"bare": "A photo of the face of a {subject}, a person", "dress": "A photo of a {subject}, a woman or so"}
    templates = "\n".join(f"  - {{id: {name}, text: '{text}'}}" for name, text in texts.items())
    (folder / "task/task.yaml").write_text(
        f"name: dressed\nversion: 1\ntitle: t\ntemplates:\n{templates}\nsubjects: s.csv\nsource: me\nlicence: CC0-1.0\n"
    )
    (folder / "task/s.csv").write_text("\n".join(["subject", *SUBJECTS]) + "\n")
    return make_run(folder / "run", "--model", "phantom-exact", "--task", folder / "task", "-n", "24")


def test_a_wording_that_names_a_group_has_its_share_of_the_variance(run: Path, cli: Cli) -> None:
    metrics = fairbench.load(run).metrics
    rows = metrics[metrics["scope"] == "task"].set_index(["metric", "attribute", "estimate"])
    gender, race = (
        [rows.loc[(f"variance-share[{part}]", name, "raw")] for part in ("subject", "wording", "subject x wording")]
        for name in ("gender", "race4")
    )
    assert gender[1]["ci_low"] > 0.1 and gender[2]["ci_low"] > 0.1  # all are women in one wording: it evens subjects
    assert sum(part["value"] for part in gender) == pytest.approx(1)
    assert race[0]["ci_low"] > 0.8 and race[1]["ci_high"] < 0.1  # the races of women are others, a little
    ranks, by_chance = (rows.loc[("wording-ranks", "race4", estimate)] for estimate in ("raw", "unmoved"))
    assert ranks["value"] >= by_chance["ci_low"] and by_chance["ci_low"] <= by_chance["value"] <= by_chance["ci_high"]
    said = " ".join(cli("show", run).succeeded().out.split())
    assert "the wording has by itself, and through single subjects, in percent: gender" in said
    full = cli("show", run, "--full").succeeded().out
    assert "subject x wording" in full and "Its parts, which add up" in " ".join(full.split())
    for name in ("variance-share[wording]", "variance[prompts]", "wording-ranks"):
        assert cli("show", "metric", name).succeeded().out.startswith(name.partition("[")[0])


def test_sections_by_wording_are_means_of_their_prompts(run: Path) -> None:
    loaded = fairbench.load(run)
    table = loaded.sections("gender", by="wording").set_index(["quantity", "section"])
    shares = loaded.shares("gender")
    women = shares[shares["class"] == "female"]
    dressed = women["prompt"].str.contains("woman")
    assert table.loc[("female", "dress"), "value"] == pytest.approx(women[dressed]["share"].mean()) == 1
    difference = women[dressed]["share"].mean() - women[~dressed]["share"].mean()
    assert table.loc[("female", "dress"), "difference"] == pytest.approx(difference)
    assert table.loc[("female", "dress"), "p_adjusted"] < 0.001
    assert loaded.sections("gender").empty  # no categories
    with pytest.raises(fairbench.FairbenchError, match="no attribute 'age'"):
        loaded.sections("age")
