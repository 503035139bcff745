"""Ask the package index whether the recipes' environments can be made: `python -m tests.workers.resolve [NAME ...]`.

Each models/workers/NAME.txt is resolved by `uv pip compile` for its own Python and Linux on x86-64; nothing is
installed. What pip cannot express (its `# then:` lines) is printed, and is not part of what was resolved.
"""

from __future__ import annotations

import shutil
import subprocess
import sys

from fairbench.workers import recipes

PLATFORM = "x86_64-unknown-linux-gnu"


def resolved(environment: recipes.Environment) -> tuple[int, str]:
    """How many packages the environment has, and why it cannot be made ("" if it can)."""
    command = [shutil.which("uv") or "uv", "pip", "compile", "--quiet", "--no-header", "--no-annotate"]
    command += ["--python-platform", PLATFORM, "--python-version", str(environment.python), str(environment.path)]
    result = subprocess.run(command, capture_output=True, text=True, timeout=600)
    return result.stdout.count("=="), result.stderr.strip() if result.returncode else ""


def main(names: list[str]) -> int:
    """Resolve the named recipes' environments, or all; 1 if one cannot be made."""
    failed = 0
    for name, path in sorted(recipes.shipped().items()):
        environment = recipes.read(path).environment
        if environment is None or (names and name not in names):
            continue
        packages, error = resolved(environment)
        print(f"{name:<16} python {environment.python:<5}", f"{packages} packages" if not error else f"fails: {error}")
        for command in environment.then:
            print(f"{'':<16} not resolved: {command}")
        failed += bool(error)
    return int(failed > 0)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
