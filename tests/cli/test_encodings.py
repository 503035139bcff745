"""Terminals that cannot show every character: results stand there, with question marks; prompts are never changed."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from fairbench.cards import catalog
from fairbench.runs.prompts import expand
from tests.builders.cli import make_run

ASCII = {**os.environ, "PYTHONIOENCODING": "ascii"}


def fairbench(*args: object) -> subprocess.CompletedProcess[bytes]:
    command = [sys.executable, "-m", "fairbench", *map(str, args)]
    return subprocess.run(command, env=ASCII, capture_output=True, timeout=120)


def test_a_run_is_shown_on_a_terminal_without_its_lines_and_dots(tmp_path: Path) -> None:
    run = make_run(tmp_path / "run", "--model", "phantom-exact", "--limit-prompts", "2", "-n", "4")
    shown = fairbench("show", run)
    assert shown.returncode == 0, shown.stderr
    assert b"phantom-exact ? none ? " in shown.stdout and b"gender" in shown.stdout


def test_prompts_stay_as_they_are() -> None:
    printed = fairbench("prompts", "--task", "occupations-zh", "--format", "txt")
    assert printed.stdout.decode().splitlines() == [p.text for p in expand(catalog.load_task("occupations-zh").card)]
