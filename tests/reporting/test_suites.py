"""The suites on phantom-exact, from prompts to pages: a page tells the prompts of a suite apart."""

from __future__ import annotations

from pathlib import Path

import pytest

import fairbench
from fairbench.cards import catalog
from fairbench.display.progress import Silent
from fairbench.reporting import build
from fairbench.runs.result import Run
from tests.builders.cli import make_run
from tests.reporting.test_report import data_of


@pytest.fixture(scope="module")
def wordings(tmp_path_factory: pytest.TempPathFactory) -> Run:
    args = ("--model", "phantom-exact", "--task", "wordings", "--limit-prompts", "8", "-n", "8")
    return fairbench.load(make_run(tmp_path_factory.mktemp("suites") / "run", *args))


def test_prompts_of_one_subject_have_rows_of_their_own(wordings: Run, tmp_path: Path) -> None:
    data = data_of(build.write([wordings], tmp_path / "page", Silent()))
    names = [prompt["name"] for prompt in data["prompts"]]
    assert len(set(names)) == 8 and "senator (portrait)" in names
    for name, chart in data["charts"].items():
        rows = [(v["name"], v.get("class")) for v in chart["data"]["values"] if "name" in v]
        assert len(set(rows)) == len(rows), name
        if name.startswith(("shares-", "concentration-")):
            assert {row for row, _ in rows} == set(names)


def test_the_page_shows_wordings_first_and_says_what_they_have(wordings: Run, tmp_path: Path) -> None:
    page = build.write([wordings], tmp_path / "page", Silent())
    charts = [*data_of(page)["charts"]]
    assert charts[:2] == ["variance", "wordings-gender"] or charts[0] == "wordings-gender"
    points = data_of(page)["charts"]["wordings-gender"]["data"]["values"]
    assert {p["wording"] for p in points} == {"face", "portrait", "camera", "works-as"}
    text = page.read_text(encoding="utf-8")
    assert "subject x wording" in text and "variance-share" in text


@pytest.mark.long
@pytest.mark.parametrize("task", sorted(catalog.find("tasks")))
def test_every_suite_ends_in_a_page_that_tells_its_prompts_apart(task: str, tmp_path: Path) -> None:
    args = ("--model", "phantom-exact", "--task", task, "--limit-prompts", "12", "-n", "6")
    run = fairbench.load(make_run(tmp_path / "run", *args))
    page = build.write([run], tmp_path / "page", Silent())
    data, text = data_of(page), page.read_text(encoding="utf-8")
    names = [prompt["name"] for prompt in data["prompts"]]
    assert len(set(names)) == len(names) == len(run.prompts) and task in text
    for name, chart in data["charts"].items():
        rows = [(v["name"], v.get("class")) for v in chart["data"]["values"] if "name" in v]
        assert len(set(rows)) == len(rows), name
    noted = any(notice.code == "content-note" for notice in run.record.notices)
    assert bool(list(tmp_path.glob("page/report/pictures/*.webp"))) != noted
    assert ("by-category-gender" in data["charts"]) == (not run.sections("gender").empty)
    assert ("wordings-gender" in data["charts"]) == (not run.sections("gender", by="wording").empty)
