"""Start-up: `fairbench --help` against `python -c "import typer, rich"`, the least that such a command line can cost.

The two take turns in fresh processes. Usage: python benchmarks/startup.py [--rounds 20]. Target: at most 1.5x.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
from statistics import median

from common import alternate, machine, ratio, show, verdict

TARGET = 1.5
COMMANDS = {
    "fairbench --help": [sys.executable, "-m", "fairbench", "--help"],
    "import typer, rich": [sys.executable, "-c", "import typer, rich"],
}


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=20, help="starts of each command")
    rounds = parser.parse_args().rounds
    runs = {
        name: lambda command=command: subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
        for name, command in COMMANDS.items()
    }
    print(machine())
    alternate(runs, 1)  # bytecode and disk caches
    times = alternate(runs, rounds)
    show(
        ["command", "median ms", "fastest ms"],
        [[name, f"{1000 * median(t):.0f}", f"{1000 * min(t):.0f}"] for name, t in times.items()],
    )
    print(verdict("start-up, median of ratios", ratio(times, *COMMANDS), TARGET, at_most=True))


if __name__ == "__main__":
    main()
