"""JSON files of our own, read with a sentence for what is wrong."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from fairbench.errors import FairbenchError


def read(path: Path, *, unreadable: str, broken: str) -> Any:
    """Return what a JSON file holds. unreadable, broken: the fix where it cannot be read, or is no JSON.

    Raises FairbenchError.
    """
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except OSError as err:
        raise FairbenchError(f"{path} cannot be read ({err.strerror}): {unreadable}.") from err
    except (ValueError, RecursionError) as err:
        raise FairbenchError(f"{path} is not JSON ({err}): {broken}.") from err
