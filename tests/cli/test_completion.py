"""-h, shell completion, and what is done with a word that nobody knows."""

from __future__ import annotations

import shlex
import subprocess
import sys

import pytest

from fairbench.cli.app import COMMANDS
from fairbench.display.glossary import GLOSSARY
from tests.builders.cli import Cli
from tests.cli.test_help import TREE, Names


@pytest.mark.parametrize("names", TREE, ids=" ".join)
def test_h_is_help(cli: Cli, names: Names) -> None:
    assert cli(*names, "-h").succeeded().out == cli(*names, "--help").succeeded().out


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("pla", "plan"),
        ("phantom c", "check"),
        ("leaderboard v", "verify"),
        ("run --labelle", "--labeller"),
        ("run --model phantom-", "phantom-exact"),
        ("run --model no-such", ""),
        ("run -t occupations-m", "occupations-mini"),
        ("audit -l shen", "shen2024"),
        ("run --method chain", "chain-of-thought"),
        ("run --metrics rd,majority", "rd,majority-share"),
        ("run --scorers clip-s", "clip-score"),
        ("train sft -m janus-pro-7", "janus-pro-7b"),
        ("list lab", "labellers"),
        ("show col", "columns"),
        ("show task occupations-l", "occupations-labour"),
        ("show runs/", ""),
        ("show runs/x ph", ""),
        ("glossary worst", "worst-case-misses"),
    ],
)
def test_a_word_is_completed(cli: Cli, monkeypatch: pytest.MonkeyPatch, line: str, expected: str) -> None:
    monkeypatch.setenv("_FAIRBENCH_COMPLETE", "complete_bash")
    monkeypatch.setenv("COMP_WORDS", f"fairbench {line}")
    monkeypatch.setenv("COMP_CWORD", str(len(line.split())))
    assert cli().out.split() == expected.split()


def test_every_command_is_completed(cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("_FAIRBENCH_COMPLETE", "complete_bash")
    monkeypatch.setenv("COMP_WORDS", "fairbench ")
    monkeypatch.setenv("COMP_CWORD", "1")
    assert cli().out.split()[: len(COMMANDS)] == list(COMMANDS)


def test_the_script_of_a_shell_is_printed(cli: Cli) -> None:
    """The shell is the one that the command was started from, whatever started these tests; `true` keeps it alive."""
    typed = f"{shlex.quote(sys.executable)} -m fairbench --show-completion; true"
    printed = subprocess.run(["bash", "-c", typed], capture_output=True, text=True, check=True).stdout
    assert "complete -o default -F" in printed and "_fairbench_completion fairbench" in printed
    assert "--install-completion" in cli("--help").out


def test_a_term_is_explained_and_a_misspelt_one_gets_the_nearest(cli: Cli) -> None:
    assert "Shen et al., ICLR 2024" in cli("glossary", "RD").succeeded().out
    assert "the table it was taught" in cli("glossary", "realised").out
    assert cli("glossary", "flor").err == "Error: The glossary has no term 'flor': did you mean 'floor'?\n"
    assert "did you mean 'rarefied'" in cli("glossary", "rarefaction").err
    unknown = cli("glossary", "qqq")
    assert (unknown.code, unknown.out) == (2, "") and "`fairbench glossary` lists all" in unknown.err
    everything = cli("glossary").succeeded().out
    assert all(term in everything for term in GLOSSARY)


@pytest.mark.parametrize("width", ["60", "80", "120"])
def test_the_glossary_fits(cli: Cli, monkeypatch: pytest.MonkeyPatch, width: str) -> None:
    whole = cli("glossary").out.split()
    monkeypatch.setenv("COLUMNS", width)
    lines = cli("glossary").out.splitlines()
    assert " ".join(lines).split() == whole and max(len(line.rstrip()) for line in lines) <= int(width)
