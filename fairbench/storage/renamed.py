"""Names that fairbench 0.1.0 wrote and that are others today: what it wrote is read under today's names."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Final

RENAMED: Final[Mapping[str, str]] = {"sq": "concentration"}
"""What an estimate was called in 0.1.0 -> what it is called today."""
_BEFORE: Final = {today: before for before, today in RENAMED.items()}


def current(name: str) -> str:
    """Return today's name of a quantity of 0.1.0, such as `sq corrected`."""
    return _replace(name, RENAMED)


def of_0_1_0(name: str) -> str:
    """Return what 0.1.0 called it: keys and random numbers that are derived from a name stay what they were."""
    return _replace(name, _BEFORE)


def _replace(text: str, names: Mapping[str, str]) -> str:
    return re.sub(rf"\b({'|'.join(names)})\b", lambda match: names[match[0]], text)
