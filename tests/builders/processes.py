"""Commands in processes of their own, which tests may kill or run at once.

They are forked from one process that has imported what commands import: that takes five seconds, a fork none.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
import sys
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from multiprocessing.process import BaseProcess
from pathlib import Path

_CONTEXT = multiprocessing.get_context("forkserver")
_CONTEXT.set_forkserver_preload(
    [
        "accelerate",
        "peft",
        "fairbench.cli.run",
        "fairbench.cli.train",
        "fairbench.networks.janus",
        "fairbench.networks.onnx",
        "fairbench.runs.files",
        "fairbench.training.finetune",
        "tests.builders.endpoints",
        "tests.builders.processes",
    ]
)


@dataclass(frozen=True)
class Process:
    """A process that was started."""

    process: BaseProcess
    errors: Path

    def wait(self) -> int:
        """Return the exit code once it has ended; that of a killed process is -SIGKILL."""
        self.process.join(300)
        assert self.process.exitcode is not None, "the process hangs"
        return self.process.exitcode

    @property
    def err(self) -> str:
        """What it wrote to stderr."""
        return self.errors.read_text()


def command(args: Sequence[str]) -> None:
    """Run `fairbench ARGS` in this process."""
    from fairbench.cli.app import main

    sys.argv = ["fairbench", *args]
    main()


@dataclass(frozen=True)
class KillAtWrite:
    """Runs a command and kills its process right after a file was written: the `count`-th, or one of this name."""

    count: int
    name: str = ""

    def __call__(self, args: Sequence[str]) -> None:
        """Run `fairbench ARGS` until then."""
        from fairbench.storage import atomic

        write, names = atomic.write_bytes, list[str]()

        def write_and_count(path: Path, data: bytes) -> None:
            write(path, data)
            names.append(Path(path).name)
            if len(names) == self.count or names[-1] == self.name:
                os.kill(os.getpid(), signal.SIGKILL)

        atomic.write_bytes = write_and_count
        command(args)


Program = Callable[[Sequence[str]], object]


def start(folder: Path, *args: object, program: Program = command, env: Mapping[str, str] | None = None) -> Process:
    """Start `program` with these arguments in `folder`; env: variables beside those of this process."""
    handle, errors = tempfile.mkstemp(".stderr", dir=folder.parent)
    os.close(handle)
    variables = {**os.environ, **(env or {})}
    process = _CONTEXT.Process(target=_run, args=(program, [str(a) for a in args], folder, variables, errors))
    process.start()
    return Process(process, Path(errors))


def _run(program: Program, args: Sequence[str], folder: Path, variables: Mapping[str, str], errors: str) -> None:
    os.environ.clear()
    os.environ.update(variables)
    os.chdir(folder)
    for descriptor, path in ((1, os.devnull), (2, errors)):
        os.dup2(os.open(path, os.O_WRONLY), descriptor)
    program(args)
