"""Help at 80 columns: a summary for every command that is whole, and a phrase for every option."""

from __future__ import annotations

import inspect
from collections.abc import Iterator

import pytest
import typer

from fairbench.cli.app import COMMANDS, app
from tests.builders.cli import Cli

Names = tuple[str, ...]


def tree() -> Iterator[tuple[Names, typer.core.TyperCommand | typer.core.TyperGroup]]:
    """Yield every command and group with the words that call it."""
    pending: list[tuple[Names, typer.core.TyperCommand | typer.core.TyperGroup]] = [((), typer.main.get_command(app))]
    while pending:
        names, command = pending.pop()
        yield names, command
        if isinstance(command, typer.core.TyperGroup):
            context = typer.Context(command)
            pending += [((*names, name), command.get_command(context, name)) for name in command.list_commands(context)]


TREE = dict(tree())
GROUPS = [names for names, command in TREE.items() if isinstance(command, typer.core.TyperGroup)]


def summary(names: Names) -> str:
    """Return the first paragraph of a command's help."""
    return inspect.cleandoc(TREE[names].help or "").split("\n\n")[0].replace("\n", " ")


def test_every_command_is_there() -> None:
    assert {names[0] for names in TREE if names} == set(COMMANDS)
    assert set(GROUPS) == {(), ("train",), ("phantom",), ("leaderboard",), ("axes",), ("store",)}


@pytest.mark.parametrize("names", TREE, ids=" ".join)
def test_help_fits_80_columns(cli: Cli, monkeypatch: pytest.MonkeyPatch, names: Names) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    text = cli(*names, "--help").out
    assert max(map(len, text.splitlines())) <= 80
    _usage, _, rest = text.partition("\n\n")
    assert not [line for line in rest.splitlines() if "…" in line or line.endswith("...")]


@pytest.mark.parametrize("group", GROUPS, ids=" ".join)
def test_the_list_of_a_group_shows_each_summary_whole_on_one_line(
    cli: Cli, monkeypatch: pytest.MonkeyPatch, group: Names
) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    listed = cli(*group, "--help").out.partition("Commands:\n")[2].splitlines()
    shown = {line.split()[0]: " ".join(line.split()[1:]) for line in listed}
    expected = {names[-1]: summary(names) for names in TREE if names and names[:-1] == group}
    assert shown == expected


@pytest.mark.parametrize("names", [n for n in TREE if n not in GROUPS], ids=" ".join)
def test_every_option_has_a_phrase(names: Names) -> None:
    for parameter in TREE[names].params:
        words = getattr(parameter, "help", None) or ""
        assert words and not words.startswith("["), f"{' '.join(names)} {parameter.name}"
