"""An export whose process is killed anywhere: the folder holds the old export or the new one, whole, or nothing."""

from __future__ import annotations

import functools
import hashlib
import json
import os
import random
import shutil
import signal
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

import fairbench
from fairbench.exporting.job import MARKER
from fairbench.storage import folders
from tests.builders.processes import start

CHANGES = {"os.rename", "os.remove", "os.mkdir", "os.rmdir", "open"}
"""Audit events of whatever changes a folder; of openings, those that write."""


def forked(work: Callable[[], object]) -> int:
    """Do something in a fork of this process, which has no threads; the exit code, or minus the signal."""
    process = os.fork()
    if process == 0:
        try:
            work()
        finally:
            os._exit(0)
    return os.waitstatus_to_exitcode(os.waitpid(process, 0)[1])


def export_killed_at(run: fairbench.Run, to: str, out: Path, at: int) -> None:
    """Export, and kill this process before its `at`-th change in a folder; 0: write the number of changes beside it."""
    changes = 0

    def hook(event: str, values: tuple[object, ...]) -> None:
        nonlocal changes
        if event not in CHANGES or not any(str(value).startswith(str(out)) for value in values[:2]):
            return
        if event == "open" and not int(str(values[2])) & (os.O_WRONLY | os.O_RDWR):
            return
        changes += 1
        if changes == at:
            os.kill(os.getpid(), signal.SIGKILL)

    sys.addaudithook(hook)
    fairbench.export(run, to=to, out=out, with_images=True)
    if not at:
        out.with_suffix(".changes").write_text(str(changes))


def hashes(folder: Path) -> dict[str, str]:
    """The sha256 of every file of an export but its list of them; what killed processes left is none of it."""
    files = [p for p in folder.rglob("*") if p.is_file() and not str(p.relative_to(folder)).startswith(".fairbench-")]
    found = {p.relative_to(folder).as_posix(): hashlib.sha256(p.read_bytes()).hexdigest() for p in files}
    found.pop(MARKER, None)
    return found


def make_older(new: Path, folder: Path) -> None:
    """Make an earlier export from a new one: every file has other bytes, and a few have other names."""
    shutil.copytree(new, folder)
    for path in [p for p in folder.rglob("*") if p.is_file() and p.name != MARKER]:
        path.write_bytes(path.read_bytes() + b" ")
    for image in sorted(folder.rglob("*.png"))[::3]:
        image.rename(image.with_name(f"99{image.name}"))
    marker = json.loads((folder / MARKER).read_text())
    (folder / MARKER).write_text(json.dumps(marker | {"sha256": hashes(folder)}))


def check_every_kill(to: str, kills: int, args: Sequence[str]) -> None:
    """Export a run again and again into new folders and over an older export, killed at changes drawn by lot."""
    run, folder = fairbench.load(args[0]), Path(args[1])
    out, new, old = folder / "out", folder / "new", folder / "old"
    assert forked(lambda: export_killed_at(run, to, out, 0)) == 0
    total = int(out.with_suffix(".changes").read_text())
    out.rename(new)
    make_older(new, old)
    whole, before = hashes(new), hashes(old)
    assert total > len(whole) > 0 and not set(whole.values()) & set(before.values())
    seen = set()
    for at in sorted({1 + total // 2, total, *random.Random(7).sample(range(1, total + 1), kills)}):
        for there in ({}, before):
            shutil.rmtree(out, ignore_errors=True)
            if there:
                shutil.copytree(old, out)
            code = forked(functools.partial(export_killed_at, run, to, out, at))
            assert code == -signal.SIGKILL, f"change {at} of {total}: {code}"
            out.mkdir(exist_ok=True)
            decided = (out / folders.PENDING).exists()
            folders.finish(out)  # as whoever reads or writes the folder next does first
            found = hashes(out)
            assert found == whole if decided else found in (there, whole), f"killed before change {at} of {total}"
            assert not found or json.loads((out / MARKER).read_text())["sha256"] == found
            seen.add("new" if found == whole else "old")
    assert seen == {"old", "new"}
    assert forked(functools.partial(export_killed_at, run, to, out, 0)) == 0
    assert hashes(out) == whole and not list(out.glob(".fairbench-*"))
    (folder / "checked").touch()


@pytest.mark.parametrize(("to", "kills"), [pytest.param("images", 6, marks=pytest.mark.long), ("markdown", 3)])
def test_a_killed_export_leaves_nothing_half_written(to: str, kills: int, run: Path, tmp_path: Path) -> None:
    """In a process that was just started: this one has threads, which a fork does not survive."""
    started = start(tmp_path, run, tmp_path, program=functools.partial(check_every_kill, to, kills))
    assert started.wait() == 0, started.err
    assert (tmp_path / "checked").exists()
