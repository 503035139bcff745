"""`show RUN` prints from the folder alone what `run` printed, byte by byte; `--full` prints all numbers of the task."""

from __future__ import annotations

import io
import json
import re
import shutil
from collections import Counter
from pathlib import Path

import pytest
from rich.console import Console

from fairbench import api, registry
from fairbench.display.numbers import number, span
from fairbench.runs import terminal, terminal_tables
from fairbench.runs.terminal_tables import LINES
from tests.builders.cards import write_task
from tests.builders.cli import Cli
from tests.builders.folders import ROOT

OLD = ROOT / "tests" / "data" / "fairbench-0.1.0" / "run"
WIDTHS = (60, 80, 120)
METRIC = """
from fairbench.metrics.decorator import metric

@metric("share-ratio", direction="higher", bounds="[0, 1]", ideal=1.0)
def share_ratio(p):
    "Smallest over largest share."
    return p.min(axis=-1) / p.max(axis=-1)
"""
SMALL = ("run", "--model", "phantom-exact", "--limit-prompts", 3, "-n", 8, "--no-sheets", "-q", "--out", "out")
RUNS: dict[str, tuple[object, ...]] = {
    "corrections, known truth": (*SMALL, "--labeller", "phantom-noisy"),
    "references, scores, a plug-in's metric, notices": (
        *(*SMALL, "--task", "work", "--scorers", "score.yaml", "--plugins", "ratio.py"),
    ),
    "a method": (*SMALL, "--method", "any-gender-suffix", "--metrics", "rd"),
}
WORDS = {
    "corrections, known truth": ("Adjusted, as a range: if errors are no larger", "planted"),
    "references, scores, a plug-in's metric, notices": ("against the task's reference", "clip_score: ", "language: "),
    "a method": ("note: known truth 'planted' is not shown",),
}


@pytest.fixture
def _files(tmp_path: Path, tiny_openclip: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Write what the runs name, and forget the plug-in after the test."""
    monkeypatch.setattr(registry, "_registered", dict(registry._registered))
    (tmp_path / "ratio.py").write_text(METRIC)
    (tmp_path / "clip").symlink_to(tiny_openclip)
    (tmp_path / "score.yaml").write_text("type: clip-score\npath: clip\n")
    write_task(
        tmp_path / "work",
        ("nurse", "pilot", "clerk"),
        language="de",
        references={"gender": "reference.csv"},
        references_source="a census",
    )
    (tmp_path / "work" / "reference.csv").write_text("subject,male,female\nnurse,.13,.87\npilot,.9,.1\n")


def printed(folder: Path, width: int, *, full: bool) -> str:
    out = io.StringIO()
    terminal.show(api.load(folder), Console(file=out, width=width), full=full)
    return out.getvalue()


@pytest.mark.usefixtures("_files")
@pytest.mark.parametrize("kind", RUNS)
def test_a_run_is_shown_again_byte_by_byte(cli: Cli, monkeypatch: pytest.MonkeyPatch, kind: str) -> None:
    before, forms = {}, [[], ["--full"], ["--json"]]
    for width, form in zip(WIDTHS, forms, strict=True):
        monkeypatch.setenv("COLUMNS", str(width))
        before[width] = cli(*RUNS[kind], *form).succeeded().out
    shutil.rmtree("runs")  # the store
    monkeypatch.setattr(registry, "_registered", {})
    for width, form in zip(WIDTHS, forms, strict=True):
        monkeypatch.setenv("COLUMNS", str(width))
        assert cli("show", "out", *form).succeeded().out == before[width]
        assert printed(Path("out"), width, full=form == ["--full"]) == before[width] or form == ["--json"]
    assert all(words in " ".join(before[60].split()) for words in WORDS[kind])
    assert all(words in " ".join(before[80].split()) for words in WORDS[kind])
    assert json.loads(before[120])["folder"] == "out"


@pytest.mark.parametrize("width", [24, *WIDTHS])
def test_the_full_form_has_every_number_of_the_task(width: int) -> None:
    """Of a run of fairbench 0.1.0, whose table names concentration otherwise."""
    run = api.load(OLD)
    rows = terminal_tables.task_rows(run)
    words = Counter(printed(OLD, width, full=True).split())
    for row in rows:
        if row["value"] is not None and row["metric"] != "no-face-rate":
            assert number(row["value"]) in words, row
        if not row["metric"].startswith(("share[", "gap[")) or row["estimate"] == "raw":
            assert all(limit in words for limit in span(row["ci_low"], row["ci_high"]).split()), row
    short = printed(OLD, width, full=False)
    assert {row["metric"] for row in rows if row["scope"] == "population"} > {"rd", "concentration"}
    assert f"run {run.id} in {OLD}\n" in short and "pooled-rd" not in short
    with_numbers = [line for line in short.splitlines() if re.search(r"[ \[]-?[.]\d{2}", line)]
    assert len(with_numbers) > 3 and set(with_numbers) <= set(printed(OLD, width, full=True).splitlines())


def test_what_a_form_shows_is_a_table(monkeypatch: pytest.MonkeyPatch) -> None:
    parts = [part._replace(short=part.show is not terminal._headline) for part in terminal.PARTS[:-1]]
    monkeypatch.setattr(terminal, "PARTS", parts)
    monkeypatch.setattr(terminal_tables, "LINES", LINES[:2])
    short, full = (printed(OLD, 80, full=full) for full in (False, True))
    assert "if fair" not in short.split("RD")[0] and "rd@" in short and "shares of" in short
    assert "if fair /" in full and "run 21995" not in full and "rd corrected" not in full


def test_a_line_below_another_is_named_in_full_where_nothing_is_indented() -> None:
    narrow = printed(OLD, 40, full=True)
    assert "concentration corrected" in " ".join(narrow.split())
    assert "concentration corrected" not in printed(OLD, 80, full=True)


def test_what_is_no_run_is_named(cli: Cli, tmp_path: Path) -> None:
    assert "'nothing' is neither a run's folder nor a kind" in cli("show", "nothing").err
    for folder in ("./nothing", tmp_path):
        assert "name the folder of a finished run" in cli("show", folder).err
    assert "is read as the folder of a run: leave 'rd' out" in cli("show", OLD, "rd").err
    shutil.copytree(OLD, "old")
    Path("old/metrics.parquet").write_bytes(b"PAR1")
    for form in ("--json", "--full"):
        done = cli("show", "old", form)
        assert (done.code, done.out) == (2, "") and "metrics.parquet cannot be read" in done.err


def test_an_estimate_that_every_run_has_may_be_asked_for(cli: Cli) -> None:
    """A selection of metrics crashed where it left out the rate of images without a face."""
    first, second = (cli(*SMALL, "--metrics", names, "--json").json() for names in ("concentration,gap", "rd"))
    assert first["metrics"] == second["metrics"] and first["run_id"] == second["run_id"]
    assert {row["metric"] for row in first["metrics"]} >= {"rd", "no-face-rate", "concentration"}
    assert "There is no metric 'concentrate'" in cli(*SMALL, "--metrics", "concentrate").err
