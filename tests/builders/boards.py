"""A leaderboard in a test: its evidence, a spoilt cell, and what `verify` says of it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from fairbench.leaderboard import board as leaderboard_board
from tests.builders.cli import Cli


def evidence(board: Path) -> Path:
    (folder,) = (board.parent / "evidence").iterdir()
    return folder


def spoil(board: Path, column: str, value: str) -> None:
    (row,) = leaderboard_board.read(board)
    board.write_text(leaderboard_board.render([{**row, column: value}]))


def verdicts(cli: Cli, *args: str | Path) -> tuple[int, list[dict[str, Any]]]:
    found = cli("leaderboard", "verify", *args, "--json")
    assert "Traceback" not in found.err
    return found.code, json.loads(found.out)["rows"]
