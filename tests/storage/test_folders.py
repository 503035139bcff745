"""Folders that results are put into: all of a result or none of it, and nobody else's files touched."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

from fairbench.errors import FairbenchError, StoreError
from fairbench.storage import folders
from fairbench.storage.kinds import PLAN, RUN

RECORD = {"run_id": "0" * 32, "fairbench": "0", "declared": {}}
SHARD = "evidence/labels/" + "a" * 32 + "/part-{}.parquet"


def state(folder: Path) -> dict[str, str]:
    """Return relative path -> content of all that a reader sees."""
    return {name: (folder / name).read_text() for name in folders.files(folder)}


def put(folder: Path, which: str) -> None:
    """Write a result whose files tell `which` it is, one of them under a name of its own."""
    with folders.replacing(folder, RUN) as new:
        for name in ("metrics.csv", SHARD.format((which * 32)[:32]), "sheets/0000-a.png"):
            (new / name).parent.mkdir(parents=True, exist_ok=True)
            (new / name).write_text(which)
        (new / "run.json").write_text(json.dumps({**RECORD, "which": which}))


def whole(which: str) -> dict[str, str]:
    return {
        "metrics.csv": which,
        SHARD.format((which * 32)[:32]): which,
        "sheets/0000-a.png": which,
        "run.json": json.dumps({**RECORD, "which": which}),
    }


def test_a_result_replaces_the_one_before_and_nothing_else(tmp_path: Path) -> None:
    put(tmp_path / "out", "a")
    others = {"notes.txt": "mine", "evidence/mine.txt": "mine", "sheets/picture.png": "mine"}
    for name, text in others.items():
        (tmp_path / "out" / name).write_text(text)
    put(tmp_path / "out", "b")
    assert state(tmp_path / "out") == whole("b") | others
    assert {p.name for p in (tmp_path / "out").iterdir()} == {
        "run.json",
        "metrics.csv",
        "sheets",
        "evidence",
        "notes.txt",
    }


class Crash(BaseException):
    """Stands for a kill: no handler of ours runs after it."""


@contextmanager
def crash_at(step: int, monkeypatch: pytest.MonkeyPatch) -> Iterator[list[str]]:
    """Let the step-th change of a folder's names (rename, replace, unlink, rmdir) and all after it raise."""
    steps: list[str] = []

    def counted(name: str) -> Callable[..., object]:
        real = getattr(Path, name)

        def change(self: Path, *args: object, **kwargs: object) -> object:
            steps.append(name)
            if len(steps) > step:
                raise Crash(name)
            return real(self, *args, **kwargs)

        return change

    with monkeypatch.context() as patch:
        for name in ("rename", "replace", "unlink"):
            patch.setattr(Path, name, counted(name))
        patch.setattr(
            "shutil.rmtree", lambda *args, **kwargs: steps.append("rmtree")
        )  # a killed process cleans nothing
        yield steps


def test_a_kill_at_any_step_leaves_the_old_or_the_new(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every reader and writer calls `finish` first; after it there is one whole result, and the user's file."""
    seen, step = set(), 0
    while True:
        folder = tmp_path / f"out-{step}"
        put(folder, "a")
        (folder / "notes.txt").write_text("mine")
        with crash_at(step, monkeypatch) as steps:
            try:
                put(folder, "b")
            except Crash:
                killed = True
            else:
                killed = False
        if not killed:
            break
        folders.finish(folder)
        after = state(folder)
        assert after in [whole(w) | {"notes.txt": "mine"} for w in "ab"], f"after {steps}"
        seen.add(json.loads(after["run.json"])["which"])
        put(folder, "b")
        assert state(folder) == whole("b") | {"notes.txt": "mine"}
        step += 1
    assert seen == {"a", "b"}
    assert step > 6


def test_what_is_finished_can_be_killed_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    put(tmp_path, "a")
    with crash_at(2, monkeypatch), pytest.raises(Crash):  # just decided
        put(tmp_path, "b")
    assert (tmp_path / folders.PENDING).is_dir()
    for step in range(4):
        with crash_at(step, monkeypatch):
            try:
                folders.finish(tmp_path)
            except Crash:
                continue
    folders.finish(tmp_path)
    assert state(tmp_path) == whole("b")


def test_an_error_while_writing_leaves_what_was_there(tmp_path: Path) -> None:
    for folder in (tmp_path / "new" / "er", tmp_path / "old"):
        if folder.name == "old":
            put(folder, "a")
        with pytest.raises(ValueError, match="in the middle"), folders.replacing(folder, RUN) as new:
            (new / "run.json").write_text("{}")
            raise ValueError("in the middle")
    assert not (tmp_path / "new" / "er").exists()
    assert state(tmp_path / "old") == whole("a")
    assert [p.name for p in (tmp_path / "old").glob(".*")] == []


def test_processes_at_once_leave_one_whole_result(tmp_path: Path) -> None:
    code = (
        "import sys; from pathlib import Path; from tests.storage.test_folders import put\n"
        "for _ in range(15): put(Path('out'), sys.argv[1])\n"
    )
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])}
    writers = [subprocess.Popen([sys.executable, "-c", code, w], cwd=tmp_path, env=environment) for w in "abcd"]
    assert [w.wait() for w in writers] == [0, 0, 0, 0]
    assert state(tmp_path / "out") in [whole(w) for w in "abcd"]
    assert [p.name for p in (tmp_path / "out").glob(".*")] == []


def test_a_folder_of_others_is_refused_by_name(tmp_path: Path) -> None:
    folder = tmp_path / "theirs"
    (folder / "evidence").mkdir(parents=True)
    (folder / "evidence" / "row.csv").write_text("x")
    for kind in (RUN, PLAN):
        with pytest.raises(FairbenchError, match=rf"theirs holds files that are not {kind.what} \(evidence\)"):
            folders.check(folder, kind)
    put(tmp_path / "run", "a")
    with pytest.raises(FairbenchError, match="are not a plan"):
        folders.check(tmp_path / "run", PLAN)
    folders.check(tmp_path / "run", RUN)
    (tmp_path / "run" / "run.json").write_text('{"run_id": 3}')
    with pytest.raises(FairbenchError, match="are not a run"):
        folders.check(tmp_path / "run", RUN)


def test_a_check_leaves_nothing(tmp_path: Path) -> None:
    folders.check(tmp_path / "a" / "b" / "c", RUN)
    assert list(tmp_path.iterdir()) == []


def test_a_file_that_came_meanwhile_is_not_replaced(tmp_path: Path) -> None:
    with pytest.raises(FairbenchError, match=r"metrics\.csv is there already"), folders.replacing(tmp_path, RUN) as new:
        (new / "metrics.csv").write_text("ours")
        (tmp_path / "metrics.csv").write_text("theirs")
    assert state(tmp_path) == {"metrics.csv": "theirs"}


def test_no_link_leads_out_of_the_folder(tmp_path: Path) -> None:
    put(tmp_path / "out", "a")
    for name in folders.files(tmp_path / "out", "sheets/.*"):
        (tmp_path / "out" / name).unlink()
    (tmp_path / "out" / "sheets").rmdir()
    (tmp_path / "pictures").mkdir()
    (tmp_path / "pictures" / "0000-a.png").write_text("theirs")
    (tmp_path / "out" / "sheets").symlink_to(tmp_path / "pictures")
    with pytest.raises(FairbenchError, match="is a link to another folder"):
        put(tmp_path / "out", "b")
    assert state(tmp_path / "pictures") == {"0000-a.png": "theirs"}


@pytest.mark.parametrize("name", ["../theirs.txt", "/etc/passwd", "link/theirs.txt"])
def test_a_list_from_elsewhere_reaches_nothing_outside(tmp_path: Path, name: str) -> None:
    folder = tmp_path / "fetched"
    (folder / folders.PENDING).mkdir(parents=True)
    (tmp_path / "theirs.txt").write_text("x")
    (folder / "link").symlink_to(tmp_path)
    (folder / folders.PENDING / folders.LIST).write_text(json.dumps({"files": [], "stale": [name]}))
    with pytest.raises(StoreError, match="lies outside of the folder"):
        folders.finish(folder)
    assert (tmp_path / "theirs.txt").exists()


def test_a_link_to_a_folder_is_followed_to_what_it_holds(tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(tmp_path / "target")
    folders.check(tmp_path / "link", RUN)
    put(tmp_path / "link", "a")
    assert state(tmp_path / "target") == whole("a")
    assert (tmp_path / "link").is_symlink()


def test_checks_and_failures_of_others_take_no_folder_away(tmp_path: Path) -> None:
    """Two processes look at and fail in a folder that they did not find there, while a third writes to it."""
    targets = [tmp_path / f"runs-{i}" / "out" for i in range(100)]
    over = threading.Event()

    def disturb() -> None:
        for target in targets:
            while not (target / "run.json").exists() and not over.is_set():
                folders.check(target, RUN)
                with suppress(RuntimeError), folders.replacing(target, RUN):
                    raise RuntimeError

    with ThreadPoolExecutor() as pool:
        others = [pool.submit(disturb) for _ in range(2)]
        try:
            for target in targets:
                put(target, "a")
                assert state(target) == whole("a")
        finally:
            over.set()
        for other in others:
            other.result()
