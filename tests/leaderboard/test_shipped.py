"""The leaderboards of the repository: every measured row has its evidence, and agrees with it."""

from __future__ import annotations

import pytest

from tests.builders.cli import Cli
from tests.builders.folders import ROOT
from tests.builders.proofs import mostly_long

SMALLEST = "phantom-occupations-v1"

BOARDS = sorted((ROOT / "leaderboards").glob("*.csv"), key=lambda path: (path.stem != SMALLEST, path))


@pytest.mark.slow
@pytest.mark.parametrize("board", mostly_long(BOARDS), ids=[b.stem for b in BOARDS])
def test_every_measured_row_agrees_with_its_evidence(cli: Cli, board: object) -> None:
    found = cli("leaderboard", "verify", str(board), "--strict")
    assert found.code == 0, found.out + found.err
