"""Help is instant: it imports no command but the one it is about, and none of what commands need."""

from __future__ import annotations

import os
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


def modules(*arguments: str, **variables: str) -> set[str]:
    """Return what a command imports, in a process of its own. variables: of its environment."""
    command = [sys.executable, "-c", PRINT_MODULES, *arguments]
    env = os.environ | variables
    done = subprocess.run(command, check=True, capture_output=True, text=True, timeout=120, env=env)
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


def test_the_completion_of_commands_imports_none_of_them() -> None:
    imported = modules(_FAIRBENCH_COMPLETE="complete_bash", COMP_WORDS="fairbench p", COMP_CWORD="1")
    assert "fairbench.cli.app" in imported
    assert not imported & {"fairbench.cli.plan", "fairbench.cli.phantom", "pydantic", "numpy", "yaml"}


def test_the_completion_of_names_imports_no_network() -> None:
    imported = modules(_FAIRBENCH_COMPLETE="complete_bash", COMP_WORDS="fairbench run --model p", COMP_CWORD="3")
    assert "fairbench.cards.catalog" in imported
    assert not imported & {"torch", "pandas", "pyarrow", "transformers", "rich.console"}
