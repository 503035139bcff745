"""Plans from few simulated lists."""

from __future__ import annotations

import pytest

from fairbench.stats import list_power


@pytest.fixture(autouse=True)
def _few_lists(monkeypatch: pytest.MonkeyPatch) -> None:
    """The power of a plan is simulated: here from few lists, since tests/stats holds it against another simulation."""
    monkeypatch.setattr(list_power, "_LISTS", 300)
    monkeypatch.setattr(list_power, "_POOL", 1000)
