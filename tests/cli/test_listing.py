"""What `list`, `show` and `--help` say, and the dictionary of a run's tables."""

from __future__ import annotations

from typing import Any

import pytest

from fairbench import registry
from fairbench.cards import catalog
from fairbench.display.dictionary import COLUMNS, PROMPT_COLUMNS
from fairbench.display.estimates import ESTIMATES, about
from fairbench.display.labels import SHORT, expanded, meaning
from fairbench.listing.kinds import KINDS, SHOWN
from fairbench.runs.prompts import expand
from fairbench.storage import schemas
from tests.builders.cli import Cli
from tests.builders.folders import ROOT


@pytest.mark.parametrize("width", ["60", "80", "120"])
def test_lists_are_whole_and_within_the_width(cli: Cli, monkeypatch: pytest.MonkeyPatch, width: str) -> None:
    for kind in ("", *KINDS):
        result = cli("list", *([kind] if kind else []))
        whole = result.out.split()
        monkeypatch.setenv("COLUMNS", width)
        result = cli("list", *([kind] if kind else []))
        assert result.code == 0, result.err
        assert kind == "models" or result.out.split() == whole  # the models' table has several columns that wrap
        assert "…" not in result.out
        assert all(len(words.rstrip()) <= int(width) for words in result.out.splitlines())
        monkeypatch.setenv("COLUMNS", "200")


def test_a_broken_card_is_listed_as_such(cli: Cli, monkeypatch: pytest.MonkeyPatch, tmp_path: Any) -> None:
    (tmp_path / "models").mkdir()
    (tmp_path / "models" / "odd.yaml").write_text("name: [\n")
    monkeypatch.setenv("FAIRBENCH_PATH", str(tmp_path))
    assert "(broken:" in cli("list", "models").out


def test_hostile_cards_are_listed_and_shown_as_plain_text(
    cli: Cli, monkeypatch: pytest.MonkeyPatch, tmp_path: Any
) -> None:
    names = {"bad": "x \\e[31mred [/red] [bold]loud \\u202e =cmd|calc", "loud": "[/red] =cmd|calc", "n" * 120: "=1+1"}
    for name, title in names.items():
        (tmp_path / "tasks" / name).mkdir(parents=True)
        (tmp_path / "tasks" / name / "s.csv").write_text("subject\nnurse\n")
        (tmp_path / "tasks" / name / "task.yaml").write_text(
            f'name: {name}\nversion: 1\ntitle: "{title}"\ntemplates: [{{id: a, text: "A {{subject}}"}}]\n'
            "subjects: s.csv\nsource: me\nlicence: CC0-1.0\n"
        )
    (tmp_path / "tasks" / "huge").mkdir()
    (tmp_path / "tasks" / "huge" / "task.yaml").write_text(f"name: {'n' * 10_000}\nversion: 1\n")
    (tmp_path / "tasks" / "\u202eodd\x1b[31m").mkdir()
    (tmp_path / "tasks" / "\u202eodd\x1b[31m" / "task.yaml").write_text("name: [\n")
    monkeypatch.setenv("FAIRBENCH_PATH", str(tmp_path))
    monkeypatch.setenv("COLUMNS", "80")
    for arguments in (("list", "tasks"), ("show", "task", "bad"), ("show", "task", "huge")):
        result = cli(*arguments)
        printed = result.out + result.err
        assert "\x1b" not in printed and "\u202e" not in printed and "Traceback" not in printed
    refused = cli("show", "task", "bad")
    assert refused.code == 2 and "field title: it holds the character U+001B" in refused.err
    assert "[/red] =cmd|calc" in " ".join(cli("show", "task", "loud").succeeded().out.split())
    listed = cli("list", "tasks").succeeded().out
    assert "(broken:" in listed and "occupations-zh" in listed
    assert "".join(listed.split()).count("n" * 120) == 1 and max(map(len, listed.splitlines())) <= 80


def test_everything_that_is_listed_can_be_shown(cli: Cli) -> None:
    for kind in KINDS:
        names = catalog.find(kind) if kind in ("models", "tasks", "labellers") else registry.names(kind)  # type: ignore[arg-type]
        for name in list(names)[:2]:
            result = cli("show", kind[:-1], name)
            assert result.code == 0 and name in result.out, (kind, name, result.err)
    for name in (*ESTIMATES, "share[female]", "gap[WMELH]"):
        shown = cli("show", "metric", name).out
        assert (shown.startswith(name) and "Range" in shown) or name in (
            "concentration",
            "effective-groups",
            "rd-above-floor",
        )
    assert "can fall below 0" in " ".join(cli("show", "metric", "concentration").out.split())
    assert cli("show", "metric", "sq2").code == 2 and about("sq2") is None
    assert cli("show", "task").err.startswith("Error: Name the task to show")
    assert "columns" in SHOWN and "did you mean 'metric'?" in cli("show", "metrics", "rd").err


def test_a_task_is_shown_with_all_its_prompts(cli: Cli) -> None:
    prompts = [p.text for p in expand(catalog.load_task("occupations").card)]
    lines = cli("show", "task", "occupations").out.splitlines()
    start = lines.index("50 prompts")
    assert [words.strip() for words in lines[start + 1 :]] == prompts and len(prompts) == 50
    some = cli("show", "task", "occupations", "--first", "2").out.splitlines()
    assert some[-3:] == ["50 prompts, the first 2", f"  {prompts[0]}", f"  {prompts[1]}"]


def test_a_labeller_says_what_its_classes_mean(cli: Cli) -> None:
    words = " ".join(cli("show", "labeller", "fairface").out.split())
    assert "WMELH read as White, Middle Eastern or Latino_Hispanic (race7)" in words
    assert SHORT["WMELH"] in cli("show", "labeller", "phantom").out
    assert "never anyone's identity" in words
    assert meaning("old", "age", {"70+": "old"}) == "read as 70+ (age)"
    assert meaning("female", None, {}) == "what the classifier calls female"
    assert expanded(["female", "male"]) == "" and expanded(["male WMELH"]).startswith("WMELH: White")


def test_the_dictionary_has_every_column_and_the_page_says_the_same() -> None:
    assert list(COLUMNS) == schemas.schema("metrics").names
    page = (ROOT / "docs" / "metrics.md").read_text()
    for table in (COLUMNS, PROMPT_COLUMNS, {name: summary for name, (summary, _) in ESTIMATES.items()}):
        for name, words in table.items():
            assert f"| `{name}` | {words} |" in page, name
    assert SHORT["WMELH"] in page
