"""Text from outside is shown as it is: no markup, no command to the terminal, whatever a label, name or path holds."""

from __future__ import annotations

import ast
import logging
import re
import shutil
from pathlib import Path
from typing import Any

import pytest
import yaml
from rich.cells import cell_len

from fairbench.cards import catalog
from fairbench.cli.logs import set_up_logging
from tests.builders.cli import Cli
from tests.builders.folders import ROOT

HOSTILE = ["[/]", "[/red]", "[bold]x", "$a$", "=b", "%s{}"]
ACTS = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069\u200e\u200f]")


@pytest.fixture(autouse=True)
def eighty_columns(cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "80")


@pytest.fixture
def labeller(tmp_path: Path) -> Path:
    """A copy of the phantom's labeller whose labels are hostile; its name, title and notes too."""
    source = catalog.find("labellers")["phantom"]
    data = yaml.safe_load(source.read_text())
    shutil.copytree(source.parent / "weights", tmp_path / "cards" / "weights")
    data["attributes"] = {"gender": {"labels": HOSTILE[:2]}, "race4": {"labels": HOSTILE[2:]}}
    data |= {"name": "copy", "title": "[/title]", "notes": "[/notes] $b$"}
    del data["calibration"]
    path = tmp_path / "cards" / "copy.yaml"
    path.write_text(yaml.safe_dump(data, sort_keys=False))
    return path


def checked(result: Any, *, code: int = 0) -> str:
    assert result.code == code, result.err
    assert "Traceback" not in result.err
    text = str(result.out + result.err)
    assert not ACTS.search(text), repr(ACTS.search(text))
    wide = [row for row in result.out.splitlines() if cell_len(row) > 80 and "/" not in row and "--" not in row]
    assert not wide, "paths and commands are on one line, and nothing else is wider than the terminal"
    return text


def test_labels_paths_and_domains(cli: Cli, labeller: Path, tmp_path: Path) -> None:
    common = (
        "run",
        "--model",
        "phantom-exact",
        "-n",
        "24",
        "--limit-prompts",
        "3",
        "--scorers",
        "none",
        "-q",
        "--labeller",
        labeller,
    )
    for seed, out in ((0, "a [/]b"), (1, "c [red]\x1b[31m")):
        text = checked(cli(*common, "--seed", seed, "--out", out, "--full"))
        assert all(f" {label} " in text for label in ("[/]", "[/red]", "[bold]x", "$a$", "=b"))
    assert "in c [red]\\x1b[31m" in text
    text = checked(cli("show", "a [/]b", "--full"))
    assert re.search(r"\[/red\] +[\d.]+ +[▏▎▍▌▋▊▉█]", text), "a bar beside a share"
    text = checked(cli("compare", "a [/]b", "c [red]\x1b[31m", "--out", "compared [/x]"))
    assert "written to compared [/x]" in text and Path("compared [/x]/compare.png").exists()
    made = checked(cli("phantom", "images", "--out", "images", "--per-group", "20"))
    assert "160 images" in made and "steps" not in made
    manifest = Path("images/manifest.csv")
    words = dict(zip(["female", "male", "WMELH", "Black", "Indian", "Asian"], HOSTILE, strict=True))
    rows = [",".join(words.get(cell, cell) for cell in row.split(",")) for row in manifest.read_text().splitlines()]
    manifest.write_text("\n".join(rows) + "\n")
    text = checked(
        cli(
            "calibrate",
            "--labeller",
            labeller,
            "--images",
            manifest,
            "--out",
            "c.json",
            "--domain",
            "[/red] \u202edomain",
        )
    )
    assert "on [/red] \\u202edomain" in text and "[/red] =b" in text
    assert "[/notes]" in checked(cli("show", "labeller", labeller))
    assert "board [/].csv" in checked(cli("leaderboard", "add", "a [/]b", "--csv", "board [/].csv", "--no-evidence"))
    checked(cli("leaderboard", "show", "board [/].csv"))
    checked(cli("leaderboard", "verify", "board [/].csv"))


@pytest.mark.parametrize("name", ["\x1b[31mred", "[/]", "\u202eabc", "a\x07b"])
def test_sentences_of_errors(cli: Cli, name: str) -> None:
    for command in (
        ("run", "--model", name),
        ("list", name),
        ("compare", name, name),
        ("leaderboard", "show", name),
        ("check", name),
        ("show", "task", name),
    ):
        checked(cli(*command), code=2)


def test_warnings_are_written_out(capsys: pytest.CaptureFixture[str]) -> None:
    from rich.console import Console

    set_up_logging(Console(stderr=True, width=200))
    logging.getLogger("fairbench").warning("a name: %s", "[/red]\x1b[31m\u202e")
    assert "[/red]\\x1b[31m\\u202e" in capsys.readouterr().err


def test_everything_is_printed_through_display() -> None:
    """A print that goes around `fairbench.display` would read data as markup, or let it command the terminal."""
    bypassing = []
    for path in (ROOT / "fairbench").rglob("*.py"):
        if "display" in path.parts:
            continue
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.ImportFrom) and node.module in {"rich.table", "rich.text", "rich.markup", "rich"}:
                bypassing.append(f"{path}:{node.lineno}")
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
                name = ast.unparse(node.func)
                if name in {"typer.echo", "click.echo"} or (name.endswith("console.print") and node.args):
                    bypassing.append(f"{path}:{node.lineno}")
    assert not bypassing
