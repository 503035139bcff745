"""Shared fixtures. No test reaches the network; each has a cache of its own."""

from __future__ import annotations

import logging
import os
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

# Before anything imports huggingface_hub, which reads it once.
os.environ["HF_HUB_OFFLINE"] = "1"
os.environ["TOKENIZERS_PARALLELISM"] = "false"
# Tiny models on shared cores: threads that wait for each other cost ten times what they compute.
os.environ["OMP_NUM_THREADS"] = "1"

import pytest

ROOT = Path(__file__).resolve().parents[1]
# Processes that tests start import this checkout, installed or not, whatever folder they work in.
os.environ["PYTHONPATH"] = os.pathsep.join([str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])])
SHARED = ROOT.parent / "shared"


@pytest.fixture(autouse=True)
def _isolated(monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory) -> None:
    monkeypatch.setenv("FAIRBENCH_CACHE", str(tmp_path_factory.mktemp("cache")))
    for name in ("FAIRBENCH_PATH", "FAIRBENCH_WEIGHTS_DIR", "FAIRBENCH_STORE", "FAIRBENCH_OFFLINE"):
        monkeypatch.delenv(name, raising=False)
    # A command sets our logger up for its own console; the next test must see what it logs.
    ours = logging.getLogger("fairbench")
    ours.handlers, ours.propagate = [], True
    ours.setLevel(logging.NOTSET)
    logging.getLogger().setLevel(logging.WARNING)


@dataclass
class Result:
    """What a command did."""

    code: int
    out: str
    err: str


@pytest.fixture
def cli(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> Callable[..., Result]:
    """Run the real command line in this process, in an empty folder; returns exit code, stdout, stderr."""
    from fairbench.cli.app import main

    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "200")

    def call(*args: str | Path) -> Result:
        monkeypatch.setattr(sys, "argv", ["fairbench", *map(str, args)])
        capsys.readouterr()
        try:
            main()
            code = 0
        except SystemExit as stop:
            code = int(stop.code or 0)
        captured = capsys.readouterr()
        return Result(code, captured.out, captured.err)

    return call
