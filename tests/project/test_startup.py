"""Help is instant: it imports no command but the one it is about, and none of what commands need."""

from __future__ import annotations

import subprocess
import sys

PRINT_MODULES = """
import sys
from fairbench.cli.app import main
try:
    main()
finally:
    print("MODULES", *sys.modules)
"""


def modules(*arguments: str) -> set[str]:
    """Return what a command imports, in a process of its own."""
    done = subprocess.run(
        [sys.executable, "-c", PRINT_MODULES, *arguments], check=True, capture_output=True, text=True, timeout=120
    )
    return set(done.stdout.rpartition("MODULES ")[2].split())


def test_the_help_of_all_commands_imports_none_of_them() -> None:
    imported = modules("--help")
    own = {name for name in imported if name.startswith("fairbench")}
    assert own == {"fairbench", "fairbench.cli", "fairbench.cli.app", "fairbench.errors", "fairbench.threads"}
    assert not imported & {"rich.console", "pydantic", "numpy", "yaml", "logging", "torch", "pandas", "pyarrow"}


def test_the_help_of_one_command_imports_that_one() -> None:
    imported = modules("run", "--help")
    assert "fairbench.cli.run" in imported
    assert not imported & {"fairbench.cli.audit", "pydantic", "numpy", "yaml", "torch", "pandas", "pyarrow"}
