"""The suites on phantom-exact, from prompts to pages: a page tells the prompts of a suite apart."""

from __future__ import annotations

from pathlib import Path

import pytest

import fairbench
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
