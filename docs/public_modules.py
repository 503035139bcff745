"""Print the files that define the public names of `fairbench`, for pydoclint."""

from __future__ import annotations

import inspect
from pathlib import Path

import fairbench


def files() -> list[str]:
    """Return the files, sorted, relative to the repository."""
    root = Path(__file__).resolve().parents[1]
    exported = [getattr(fairbench, name) for name in fairbench.__all__ if not name.startswith("_")]
    paths = {Path(inspect.getfile(each)).resolve().relative_to(root) for each in exported}
    return sorted(map(str, paths))


if __name__ == "__main__":
    print(*files())
