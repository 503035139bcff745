"""The page that a run writes at its end."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

import fairbench
from fairbench.reporting import build
from tests.builders.cli import Cli

RUN = ("run", "--model", "phantom-exact", "--task", "phantom-occupations", "--limit-prompts", "2", "-n", "3")
RUN = (*RUN, "--no-sheets", "--quiet", "--store", "store", "--out")


def test_a_run_writes_its_page_and_names_it_last(cli: Cli, tmp_path: Path) -> None:
    told = cli(*RUN, "a", "--dry-run", "--report").succeeded().out
    assert "page: a/index.html" in told and not (tmp_path / "a").exists()
    printed = cli(*RUN, "a", "--report").succeeded().out
    assert printed.splitlines()[-1] == "page: a/index.html"
    assert fairbench.load(tmp_path / "a").id in (tmp_path / "a/index.html").read_text()
    assert "page" not in cli(*RUN, "b", "--no-report").succeeded().out
    assert not (tmp_path / "b/index.html").exists()
    found = cli(*RUN, "c", "--report", "--json")
    assert json.loads(found.succeeded().out) and found.err.splitlines()[-1] == "page: c/index.html"


def test_a_page_is_written_again_only_where_something_changed(
    cli: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    written, write = [], build.write
    monkeypatch.setattr(build, "write", lambda *args, **kwargs: written.append(1) or write(*args, **kwargs))
    for option, times in (("--report", 1), ("--report", 1), ("--no-report", 1)):
        cli(*RUN, "a", option).succeeded()
        assert len(written) == times and (tmp_path / "a/report/data/images-000.js").is_file()
    monkeypatch.setattr(build, "__version__", "another")  # a page beside the files of another version would be false
    cli(*RUN, "a", "--no-report").succeeded()
    assert len(written) == 2
    assert not [path for path in (tmp_path / "a").rglob("*") if ".fairbench" in path.name]
    cli(*RUN[:-5], "-n", "4", *RUN[-5:], "a").succeeded()  # another run: the page goes aside with its own
    assert not (tmp_path / "a/index.html").exists()
    assert len(list(tmp_path.glob("a-*/index.html"))) == 1 and len(list(tmp_path.glob("a-*/report/frame.js"))) == 1


def test_a_page_that_fails_costs_no_run(cli: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*args: Any, **kwargs: Any) -> None:
        raise ValueError("no room for charts")

    monkeypatch.setattr(build, "write", fail)
    found = cli(*RUN, "a", "--report").succeeded()
    assert "could not be written (no room for charts)" in found.err and "fairbench report a" in found.err
    assert "Traceback" not in found.err and fairbench.load(tmp_path / "a").id


def test_a_shard_has_no_page(cli: Cli, tmp_path: Path) -> None:
    cli(*RUN, "a", "--shard", "0/2", "--report").succeeded()
    assert not (tmp_path / "a").exists()
    assert "page" not in cli(*RUN, "a", "--shard", "0/2", "--report", "--dry-run").succeeded().out


def test_from_python_a_page_is_asked_for(tmp_path: Path) -> None:
    arguments: dict[str, Any] = {"limit_prompts": 2, "images_per_prompt": 2, "store": tmp_path / "store"}
    arguments |= {"sheets": False, "progress": False}
    fairbench.run("phantom-exact", out=tmp_path / "a", **arguments)
    assert not (tmp_path / "a/index.html").exists()
    fairbench.run("phantom-exact", out=tmp_path / "a", report=True, **arguments)
    assert (tmp_path / "a/index.html").is_file()
