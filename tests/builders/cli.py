"""The real command line, called in the process of the test."""

from __future__ import annotations

import contextlib
import io
import json
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import pytest


@dataclass(frozen=True)
class Result:
    """What a command did."""

    code: int
    out: str
    err: str

    def succeeded(self) -> Result:
        """Return itself, or fail with what the command printed."""
        assert self.code == 0, self.out + self.err
        return self

    def json(self) -> Any:
        """Return what a command that succeeded printed with --json."""
        return json.loads(self.succeeded().out)


class Cli(Protocol):
    """The fixture `cli`: arguments -> what the command did."""

    def __call__(self, *args: object) -> Result: ...


def exit_code(*args: object) -> int:
    """Run a command and return its exit code; it prints to stdout and stderr. Runs write no page unless they say so."""
    from fairbench.cli.app import main  # not for tests without commands

    if args and args[0] == "run" and not {"--report", "--no-report"} & set(args):
        args = (*args, "--no-report")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "argv", ["fairbench", *map(str, args)])
        try:
            main()
        except SystemExit as stop:
            return int(stop.code or 0)
    return 0


def run_quietly(*args: object) -> None:
    """Run a command that must succeed, for fixtures of modules, which cannot have the fixture `cli`."""
    with contextlib.redirect_stdout(io.StringIO()) as out, contextlib.redirect_stderr(io.StringIO()) as err:
        code = exit_code(*args)
    assert code == 0, out.getvalue() + err.getvalue()


def make_run(folder: Path, *args: object, store: Path | None = None) -> Path:
    """Make a run without sheets and return its folder; the store lies beside it."""
    run_quietly("run", *args, "--no-sheets", "--quiet", "--store", store or folder.parent / "store", "--out", folder)
    return folder
