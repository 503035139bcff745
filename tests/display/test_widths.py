"""No command cuts a number, however narrow the terminal, and each number printed is the one of the file, rounded."""

from __future__ import annotations

import csv
import io
import json
import re
import shutil
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from fairbench.audit import terminal as audit_terminal
from fairbench.display.numbers import number, span
from fairbench.display.tables import Table
from fairbench.leaderboard import terminal as leaderboard_terminal
from fairbench.leaderboard.columns import COLUMNS
from fairbench.leaderboard.verify import Check, Difference
from fairbench.phantom import terminal as phantom_terminal
from fairbench.phantom.figures import Bar
from fairbench.planning import analysis
from fairbench.runs import terminal_tables
from fairbench.stats import list_power
from fairbench.synthesis import terminal as synthesis_terminal
from fairbench.validation import document
from fairbench.validation.cells import Measure
from fairbench.validation.cells import Result as Simulated
from fairbench.validation.runner import cells_of
from tests.audit.test_report import found as audited  # noqa: F401 (a fixture)
from tests.builders.cli import Cli
from tests.builders.fake_runs import BALANCED, BIASED
from tests.builders.folders import ROOT

WIDTHS = (60, 80, 120)
NUMBER = re.compile(r"(?<![\w.,+<-])(?:[+<-]?\d[\d,]*(?:\.\d+)?|[+<-]?\.\d+)(?![\w.]*\w)")
ODD = (-0.111, 1.0, 10.853, -10.5, 0.0004, None)
"""Values whose digits a narrow column or a careless formatter loses."""


class Shown:
    """The tables that were shown, with what was printed."""

    def __init__(self) -> None:
        self.tables: list[Table] = []

    def check(self, text: str, width: int) -> None:
        assert self.tables
        assert "…" not in text
        long = [words for words in text.splitlines() if len(words) > width and "/" not in words and "--" not in words]
        assert not long, f"wider than {width}: {long}"
        cells = (c.text for t in self.tables for row in t.rows if row is not None for c in row)
        lost = Counter(n for text_of in cells for n in NUMBER.findall(text_of)) - Counter(NUMBER.findall(text))
        assert not lost, f"not whole at {width}: {lost}\n{text}"
        self.tables.clear()


@pytest.fixture
def shown(monkeypatch: pytest.MonkeyPatch) -> Iterator[Shown]:
    record, show = Shown(), Table.show

    def spy(table: Table, console: Console) -> None:
        record.tables.append(table)
        show(table, console)

    monkeypatch.setattr(Table, "show", spy)
    yield record


def printed(show: Callable[[Console], object], width: int) -> str:
    out = io.StringIO()
    show(Console(file=out, width=width))
    return out.getvalue()


def numbers_of(text: str) -> Counter[str]:
    return Counter(NUMBER.findall(text))


@pytest.fixture
def runs(mannequin_runs: Path, tmp_path: Path) -> Path:
    """Copies of two runs, one of which is made again."""
    return Path(shutil.copytree(mannequin_runs, tmp_path / "runs-of-mannequins"))


def test_run(cli: Cli, runs: Path, shown: Shown, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also with the file's values replaced by odd ones."""
    command = (
        "run",
        "--model",
        "phantom-exact",
        "-n",
        "12",
        "--limit-prompts",
        "4",
        "--no-sheets",
        "-q",
        "--store",
        runs / "store",
        "--out",
        runs / "phantom",
    )
    with (runs / "phantom" / "metrics.csv").open() as file:
        rows = [r for r in csv.DictReader(file) if r["scope"] in ("task", "population")]
    real = terminal_tables.task_rows
    lines = {(line.metric, line.estimate) for line in terminal_tables.LINES}

    def odd(run: Any) -> list[dict[str, Any]]:
        changed = real(run)
        for i, row in enumerate(changed):
            for j, name in enumerate(("value", "ci_low", "ci_high", "floor", "floor_p95", "ceiling")):
                row[name] = ODD[(i + j) % 5] if row[name] is not None else None
        return changed

    for width in WIDTHS:
        monkeypatch.setenv("COLUMNS", str(width))
        result = cli(*command, "--full")
        assert result.code == 0, result.err
        for row in rows:
            if (row["metric"], row["estimate"]) in lines and row["value"]:
                for name in ("value", *(["ci_low", "ci_high"] if row["ci_low"] else [])):
                    assert number(float(row[name])) in numbers_of(result.out), (row, width)
        shown.check(result.out, width)
        with monkeypatch.context() as patch:
            patch.setattr(terminal_tables, "task_rows", odd)
            shown.check(cli(*command).out, width)
            result = cli(*command, "--full")
        assert {"10.85", "-10.50", "-.111", "1.000"} <= set(numbers_of(result.out))
        shown.check(result.out, width)


def test_compare(cli: Cli, runs: Path, shown: Shown, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    two = BIASED.write(tmp_path / "a"), BALANCED.write(tmp_path / "b")
    third = replace(BALANCED, model="a-third-one").write(tmp_path / "c")
    for folders in (two, (runs / "phantom", runs / "phantom-noisy"), (*two, third)):
        for width in WIDTHS:
            monkeypatch.setenv("COLUMNS", str(width))
            result = cli("compare", *folders, "--full", "--out", "report")
            assert result.code == 0, result.err
            record = json.loads(Path("report/compare.json").read_text())
            there = numbers_of(result.out)
            for effect in record.get("effects", []):
                if effect["attribute"] in record["primary"] and effect["estimand"] in ("rd@n0", "concentration"):
                    if effect["scope"] == "this list":
                        assert number(effect["effect"]) in there and number(effect["a"]) in there
                    assert all(limit in there for limit in span(effect["low"], effect["high"]).split())
            for agreed in record.get("attributes", []):
                assert number(agreed["agreement"]["raw"]) in there and number(agreed["agreement"]["kappa"]) in there
            shown.check(result.out, width)


def test_calibrate(cli: Cli, shown: Shown, monkeypatch: pytest.MonkeyPatch) -> None:
    assert cli("phantom", "images", "--out", "images", "--per-group", "6", "-q").code == 0
    images = ("--images", "images/manifest.csv", "--domain", "renders")
    command = ("calibrate", "--labeller", "phantom-noisy", *images, "--out", "c.json")
    record = json.loads(cli(*command, "--json").out)
    for width in WIDTHS:
        monkeypatch.setenv("COLUMNS", str(width))
        result = cli(*command, "-q")
        there = numbers_of(result.out)
        for share in [*record["attributes"], *(cell["read_right"] for cell in record["cells"] if cell["read_right"])]:
            assert {number(share[k]) for k in ("share", "low", "high")} <= set(there)
        shown.check(result.out, width)


def test_plan(cli: Cli, shown: Shown, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(list_power, "_LISTS", 40)  # how good the numbers are is no matter here
    made: list[analysis.Analysis] = []  # one for all widths
    analyse = analysis.analyse

    def once(*args: Any, **options: Any) -> analysis.Analysis:
        made.extend([] if made else [analyse(*args, **options)])
        return made[0]

    monkeypatch.setattr(analysis, "analyse", once)
    command = ("plan", "--task", "occupations-mini", "--labeller", "phantom", "--detect", "0.05", "--budget", "4000")
    record = json.loads(cli(*command, "--json").out)
    for width in WIDTHS:
        monkeypatch.setenv("COLUMNS", str(width))
        result = cli(*command)
        there = numbers_of(result.out)
        for row in record["attributes"]:
            assert number(row["baseline_concentration"]) in there and number(row["smallest_change"]) in there
        for curve in record["curves"]:
            assert {number(v) for v in curve["smallest_change"]["8"] if v is not None} <= set(there)
        shown.check(result.out, width)


@pytest.mark.parametrize("width", WIDTHS)
def test_audit(audited: Any, shown: Shown, width: int) -> None:  # noqa: F811
    text = printed(lambda console: audit_terminal.show(audited, Path("out"), console), width)
    there = numbers_of(text)
    for group in audited.tokenizer[0].groups:
        for share in (group.agreement, group.lost, group.arrivals):
            assert {number(v, 2) for v in (share.value, share.low, share.high)} <= set(there)
    assert number(audited.encoder.probes[0].accuracy.low) in there
    shown.check(text, width)


@pytest.mark.parametrize("width", WIDTHS)
def test_leaderboard(shown: Shown, width: int) -> None:
    row = {
        **dict.fromkeys(COLUMNS, ""),
        "source": "measured",
        "task": "t",
        "prompts": "8",
        "images_per_prompt": "16",
        "labeller": "l",
        "model": "m",
        "method": "lora:somewhere",
        "run_id": "r",
        "rank": "1",
        "rank.low": "1",
        "rank.high": "12",
        "no-face-rate": "0.123",
        "clip_score": "31.4159",
        "n0": "8",
    }
    for attribute, values in (
        ("gender", (-0.111, -0.2, 0.05)),
        ("race4", (1.0, 0.9, 1.0)),
        ("gender_x_race4", (0.5, 0.4, 10.853)),
    ):
        row |= dict(
            zip(
                (f"{attribute}.concentration", f"{attribute}.concentration.low", f"{attribute}.concentration.high"),
                map(str, values),
                strict=True,
            )
        )
        row[f"{attribute}.rd"] = "0.9876"
    published = list(csv.DictReader((ROOT / "leaderboards" / "occupations-v1.csv").open()))
    text = printed(lambda console: leaderboard_terminal.show([row, *published], console), width)
    assert {"-.11", "-.20", "1.00", "10.85", ".99", "31.42", "12.3"} <= set(numbers_of(text))
    shown.check(text, width)
    checks = [
        Check(
            2,
            "abc",
            "m",
            "none",
            "differs",
            (Difference("gender_x_race4.concentration.corrected.low", "0.81234567890123456", "-0.1"),),
        )
    ]
    text = printed(lambda console: leaderboard_terminal.show_verification(checks, console), width)
    assert "0.81234567890123456" in text and "-0.1" in text
    shown.check(text, width)


@pytest.mark.parametrize("width", WIDTHS)
def test_validate_phantom_and_synthesize(shown: Shown, width: int) -> None:
    results = [
        Simulated(
            cell, [Measure("bias of it", -10.853, 0.0012), Measure("cover of these", 1.0, 0.005, 0.93, 0.97)], 1.0
        )
        for cell in {cell.study: cell for cell in cells_of(True)}.values()
    ]
    text = printed(lambda console: document.show(results, console), width)
    assert "-10.8530(12)" in text and "1.000(5)" in text
    shown.check(text, width)
    wrapped = Bar("a long name of a figure that has to wrap", -0.111, "at least", 0.99, 0.01, 3.0)
    bars = [wrapped, Bar("bytes", 10_853_000.0, "at most", 2e7)]
    text = printed(phantom_terminal.table(bars).show, width)
    assert "-.1110" in text and "10,853,000" in text
    shown.check(text, width)
    counts = dict.fromkeys(("of", "images", "confirmed", "other", "no_face", "no_image"), 12345)
    record = {
        "origin": "o",
        "labeller": {"name": "l"},
        "confirmation": [{"group": ["female", "WMELH"], "share": 1.0, "low": 0.951, "high": 1.0, **counts}],
    }
    text = printed(synthesis_terminal.confirmations(record).show, width)
    assert "1.00" in text and ".95" in text and text.count("12345") == 6
    shown.check(text, width)
