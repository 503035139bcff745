"""Alone in a folder of a store: others wait, or, in an object store, are refused."""

from __future__ import annotations

import threading
import time
from contextlib import suppress
from pathlib import Path, PurePath, PurePosixPath
from types import SimpleNamespace
from typing import Any

import pytest

from fairbench.errors import StoreError
from fairbench.storage import atomic, exclusive
from fairbench.storage.files import Entry
from fairbench.storage.local import LocalFiles

FOLDER = PurePosixPath("bucket/images/key")


class Objects:
    """What claims need of an object store, in memory."""

    folder = None
    root = PurePosixPath("bucket")

    def __init__(self) -> None:
        self.put_at: dict[PurePath, float] = {}

    def put(self, path: PurePath, data: bytes) -> None:
        assert not data
        self.put_at[path] = time.time()

    def list(self, folder: PurePath) -> list[Entry]:
        return [Entry(path, 0, moment) for path, moment in self.put_at.items() if path.parent == folder]

    def remove(self, path: PurePath) -> None:
        self.put_at.pop(path, None)

    def shown(self, path: PurePath) -> str:
        return f"s3://{path}"


def alone(objects: Any, folder: PurePath = FOLDER) -> Any:
    return exclusive.alone(objects, folder)


def test_of_two_in_an_object_store_the_second_gives_way() -> None:
    objects = Objects()
    with alone(objects):
        with pytest.raises(StoreError, match=r"Another process is at work in s3://bucket/images/key"), alone(objects):
            pass
        with alone(objects, PurePosixPath("bucket/images/other")):
            assert len(objects.put_at) == 2
    assert not objects.put_at
    with alone(objects):
        pass


def test_two_that_come_at_once_are_never_both_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each puts its claim before either looks: none may go on."""
    objects, both = Objects(), threading.Barrier(2)
    refuse = exclusive._refuse_others

    def after_both(*args: Any) -> None:
        both.wait()
        try:
            refuse(*args)
        finally:
            both.wait()

    monkeypatch.setattr(exclusive, "_refuse_others", after_both)
    went_on: list[int] = []

    def enter(number: int) -> None:
        with suppress(StoreError), alone(objects):  # the other one was first, which both may find
            went_on.append(number)

    threads = [threading.Thread(target=enter, args=(number,)) for number in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(went_on) <= 1 and not objects.put_at


def test_the_claim_of_a_killed_process_is_cleared_after_an_hour() -> None:
    objects = Objects()
    killed = PurePosixPath("bucket/claims/images-key/0123")
    objects.put_at[killed] = time.time() - atomic.STALE_SECONDS - 1
    with alone(objects):
        assert killed not in objects.put_at


def test_long_work_renews_its_claim_and_what_slept_stops(monkeypatch: pytest.MonkeyPatch) -> None:
    objects, now = Objects(), SimpleNamespace(monotonic=0.0)
    monkeypatch.setattr(exclusive.time, "monotonic", lambda: now.monotonic)
    with alone(objects) as renew:
        (claim,) = objects.put_at
        objects.put_at[claim] = 0.0
        renew()
        assert objects.put_at[claim] == 0.0  # not yet
        now.monotonic = 700.0
        renew()
        assert objects.put_at[claim] > 0
        now.monotonic = 700.0 + atomic.STALE_SECONDS / 2 + 1
        with pytest.raises(StoreError, match="left alone for too long"):
            renew()


def test_in_a_folder_the_second_waits(tmp_path: Path) -> None:
    files, order = LocalFiles(tmp_path), []

    def second() -> None:
        with exclusive.alone(files, tmp_path / "images" / "key"):
            order.append("second")

    with exclusive.alone(files, tmp_path / "images" / "key"):
        thread = threading.Thread(target=second)
        thread.start()
        thread.join(0.2)
        order.append("first")
    thread.join()
    assert order == ["first", "second"]
