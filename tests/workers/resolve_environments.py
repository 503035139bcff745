"""Resolve each recipe's requirements for its own Python: `python -m tests.workers.resolve_environments [NAME ...]`.

Needs `uv` and a package index. Downloads metadata and installs nothing; packages that only exist as source are built
for it where uv has to. Exits with 1 where an environment that is not in EXCEPTIONS cannot be resolved, and where one
that is there can.
"""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from fairbench.workers import recipes
from tests.builders.folders import ROOT

EXCEPTIONS: Final[Mapping[str, str]] = {}
"""Recipe -> why its requirements cannot be resolved without its own machine."""
PLATFORM: Final = "x86_64-manylinux_2_28"
"""Where the models run; wheels of CUDA exist for it alone."""


def resolve(path: Path) -> str:
    """Return why the environment of a recipe cannot be resolved; nothing where it can."""
    environment = recipes.read(path).environment
    if environment is None or environment.python is None:
        return "there is no requirements file, or it does not name its Python"
    uv = Path(sys.executable).with_name("uv")
    command = [str(uv if uv.is_file() else "uv"), "pip", "compile", "--quiet", "--no-header", "--no-annotate"]
    command += ["--python-version", environment.python, "--python-platform", PLATFORM, str(environment.path)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    return "" if done.returncode == 0 else " ".join(done.stderr.split())[:2000]


def main(names: list[str]) -> int:
    """Print a line per recipe and return the exit code."""
    paths = sorted((ROOT / "models" / "workers").glob("*.py"))
    wrong = 0
    for path in paths:
        if names and path.stem not in names:
            continue
        problem, expected = resolve(path), EXCEPTIONS.get(path.stem)
        if problem and expected is not None:
            print(f"{path.stem}: not resolved, as known: {expected}")
        else:
            wrong += bool(problem) or expected is not None
            print(f"{path.stem}: {problem or ('resolved' if expected is None else 'resolved: it is no exception')}")
        environment = recipes.read(path).environment
        for command in environment.then if environment is not None else ():
            print(f"{path.stem}: not part of what was resolved: {command}")
    return int(wrong > 0)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
