"""The leaderboards of the repository: every measured row has its evidence, and agrees with it."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tests.conftest import ROOT, Result

BOARDS = sorted((ROOT / "leaderboards").glob("*.csv"))


@pytest.mark.slow
@pytest.mark.parametrize("board", BOARDS, ids=[b.stem for b in BOARDS])
def test_every_measured_row_agrees_with_its_evidence(cli: Callable[..., Result], board: object) -> None:
    found = cli("leaderboard", "verify", str(board), "--strict")
    assert found.code == 0, found.out + found.err
