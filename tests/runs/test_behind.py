"""Blocks that are written while the next one is made: the same store, errors that surface, nothing lost on the way."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from fairbench import keys
from fairbench.display.progress import Silent
from fairbench.errors import Interrupted, StoreError
from fairbench.notices import collecting, notice
from fairbench.runs import images
from fairbench.runs.behind import Behind
from fairbench.storage.store import Store
from fairbench.types import ImageRequest, ImageResult


def requests(count: int) -> list[ImageRequest]:
    pid = keys.prompt_id("x")
    return [ImageRequest(keys.digest("image", i), pid, pid, "x", i, i) for i in range(count)]


def generate(store: Store, answer: Callable[[Sequence[ImageRequest]], list[ImageResult]], *, behind: bool) -> None:
    class Model:
        def generate(self, block: Sequence[ImageRequest]) -> list[ImageResult]:
            return answer(block)

    settings: dict[str, Any] = {"method": "none", "adapter": "mine", "block_size": 2, "fixed_block": False}
    images.generate(store, "k", requests(7), Model(), **settings, progress=Silent(), behind=behind)


def pictures(block: Sequence[ImageRequest]) -> list[ImageResult]:
    return [ImageResult("ok", np.full((4, 4, 3), request.seed, dtype=np.uint8)) for request in block]


def stored(store: Store) -> set[bytes]:
    return set(store.ids("images", "k"))


def test_the_store_is_the_same(tmp_path: Path) -> None:
    """Shards are named by their content; of two results that differ in their seconds, none could be."""
    for behind in (False, True):
        generate(Store(tmp_path / str(behind)), pictures, behind=behind)
    files = [
        {p.relative_to(tmp_path / b): p.read_bytes() for p in (tmp_path / b).rglob("part-*")} for b in ("False", "True")
    ]
    assert files[0] == files[1] and len(files[0]) == 4


def test_the_next_block_is_made_while_one_is_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store, second_began = Store(tmp_path), threading.Event()
    write, waited = store.write, list[bool]()

    def slow(*given: Any) -> Any:
        waited.append(second_began.wait(30))
        return write(*given)

    def answer(block: Sequence[ImageRequest]) -> list[ImageResult]:
        if block[0].seed >= 2:
            second_began.set()
        return pictures(block)

    monkeypatch.setattr(store, "write", slow)
    generate(store, answer, behind=True)
    assert waited == [True] * 4 and len(stored(store)) == 7


def test_an_error_of_writing_stops_the_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store, made = Store(tmp_path), list[int]()

    def full(*given: Any) -> None:
        raise StoreError("the disk is full")

    def answer(block: Sequence[ImageRequest]) -> list[ImageResult]:
        made.append(block[0].seed)
        return pictures(block)

    monkeypatch.setattr(store, "write", full)
    with pytest.raises(StoreError, match="the disk is full"):
        generate(store, answer, behind=True)
    assert made == [0, 2], "at most one more block was made"


def test_the_last_block_cannot_be_lost_in_silence() -> None:
    def fail() -> None:
        raise StoreError("the disk is full")

    told: list[str] = []
    with pytest.raises(StoreError, match="the disk is full"), Behind(True) as writer:
        writer.do(fail, then=lambda: told.append("done"))
    assert told == []


def test_ctrl_c_costs_the_block_that_is_being_made(tmp_path: Path) -> None:
    def answer(block: Sequence[ImageRequest]) -> list[ImageResult]:
        if block[0].seed == 4:
            raise Interrupted
        return pictures(block)

    store = Store(tmp_path)
    with pytest.raises(Interrupted):
        generate(store, answer, behind=True)
    assert stored(store) == {request.image_id for request in requests(4)}


def test_the_callers_error_comes_first_and_the_other_is_logged(caplog: pytest.LogCaptureFixture) -> None:
    def fail() -> None:
        raise StoreError("the disk is full")

    with pytest.raises(KeyError), Behind(True) as writer:
        writer.do(fail, then=lambda: None)
        raise KeyError("model")
    assert "the block before was not stored either: StoreError: the disk is full" in caplog.text


def test_jobs_stay_in_order_and_their_notices_arrive() -> None:
    done: list[int] = []
    with collecting() as notices, Behind(True) as writer:
        for number in range(5):
            writer.do(lambda n=number: (done.append(n), notice("memory", f"job {n}"))[0], then=lambda: None)
    assert done == [0, 1, 2, 3, 4]
    assert len(notices) == 5
