"""Terminals that cannot show every character: results stand there, with question marks; prompts are never changed."""

from __future__ import annotations

import os
import subprocess
import sys

ASCII = {**os.environ, "PYTHONIOENCODING": "ascii"}


def fairbench(*args: str) -> subprocess.CompletedProcess[bytes]:
    return subprocess.run([sys.executable, "-m", "fairbench", *args], env=ASCII, capture_output=True, timeout=120)


def test_a_task_is_shown_on_a_terminal_without_its_letters() -> None:
    shown = fairbench("show", "task", "occupations-zh")
    assert shown.returncode == 0, shown.stderr
    assert b"occupations-zh" in shown.stdout and b"????" in shown.stdout
    assert b"Traceback" not in shown.stderr


def test_prompts_are_refused_where_they_would_be_changed() -> None:
    refused = fairbench("prompts", "--task", "occupations-zh", "--format", "txt")
    assert refused.returncode == 2 and refused.stdout == b""
    assert b"UnicodeEncodeError" in refused.stderr and b"Traceback" not in refused.stderr
    assert fairbench("prompts", "--task", "occupations-mini", "--format", "txt").stdout.count(b"\n") == 8
