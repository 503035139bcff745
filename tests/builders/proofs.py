"""Cases of one claim: the first few are run by every `make test`, all of them by `make test-long`."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import pytest


def mostly_long(cases: Iterable[Any], kept: int = 1) -> list[Any]:
    """Return cases for `pytest.mark.parametrize` of which all but the first `kept` are marked `long`."""
    marked = []
    for number, case in enumerate(cases):
        values = case if isinstance(case, tuple) else (case,)
        marked.append(case if number < kept else pytest.param(*values, marks=pytest.mark.long))
    return marked
