"""The images stage: blocks, failures as rows, out of memory, resuming."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pytest

from fairbench import keys
from fairbench.display.progress import Silent
from fairbench.errors import FairbenchError, OutOfMemory
from fairbench.runs import images
from fairbench.storage import reading
from fairbench.storage.store import Store
from fairbench.types import ImageRequest, ImageResult


def requests(count: int) -> list[ImageRequest]:
    pid = keys.prompt_id("x")
    return [ImageRequest(keys.digest("image", i), pid, pid, "x", i, i) for i in range(count)]


def picture(request: ImageRequest) -> ImageResult:
    return ImageResult("ok", np.full((4, 4, 3), request.seed, dtype=np.uint8))


class Model:
    """Answers with a function; remembers the sizes of its blocks."""

    def __init__(self, answer: Callable[[Sequence[ImageRequest]], list[ImageResult]]) -> None:
        self.answer, self.blocks = answer, list[int]()

    def generate(self, block: Sequence[ImageRequest]) -> list[ImageResult]:
        self.blocks.append(len(block))
        return self.answer(block)


def run(store: Store, model: Model, count: int, size: int, fixed: bool = False) -> list[reading.ImageRow]:
    images.generate(
        store,
        "k",
        requests(count),
        model,
        method="none",
        adapter="mine",
        block_size=size,
        fixed_block=fixed,
        progress=Silent(),
    )
    return reading.index(store, "k", requests(count))


def test_blocks_and_extension(tmp_path: Path) -> None:
    model = Model(lambda block: [picture(r) for r in block])
    run(Store(tmp_path), model, 5, 2)
    assert model.blocks == [2, 2, 1]
    rows = run(Store(tmp_path), model, 8, 2)
    assert model.blocks == [2, 2, 1, 2, 1]  # only what is new
    shown = list(reading.ImageReader(Store(tmp_path)).stream(rows))
    assert [r.request.sample_index for r, _ in shown] == list(range(8))
    assert all((pixels == row.request.seed).all() for row, pixels in shown)  # type: ignore[union-attr]


def test_out_of_memory_halves_the_block_and_goes_on(tmp_path: Path) -> None:
    def answer(block: Sequence[ImageRequest]) -> list[ImageResult]:
        if len(block) > 2:
            raise OutOfMemory
        return [picture(r) for r in block]

    model = Model(answer)
    rows = run(Store(tmp_path), model, 6, 8)
    assert [r.status for r in rows] == ["ok"] * 6
    assert model.blocks == [6, 6, 4, 2, 2, 2]  # tried once more first: fragmentation may be all that was wrong


def test_a_single_image_that_does_not_fit_is_a_failed_row(tmp_path: Path) -> None:
    def answer(block: Sequence[ImageRequest]) -> list[ImageResult]:
        if block[0].seed == 1:
            raise OutOfMemory("too big")
        return [picture(r) for r in block]

    rows = run(Store(tmp_path), Model(answer), 3, 1)
    assert [r.status for r in rows] == ["ok", "failed", "ok"]
    assert "out of memory" in str(rows[1].error)


def test_in_reduced_precision_the_caller_plans_again(tmp_path: Path) -> None:
    def answer(block: Sequence[ImageRequest]) -> list[ImageResult]:
        raise OutOfMemory

    with pytest.raises(images.BlockTooLarge):
        run(Store(tmp_path), Model(answer), 4, 4, fixed=True)


def test_one_bad_request_costs_one_image(tmp_path: Path) -> None:
    def answer(block: Sequence[ImageRequest]) -> list[ImageResult]:
        if any(r.seed == 2 for r in block):
            raise ValueError("no such token")
        return [picture(r) for r in block]

    rows = run(Store(tmp_path), Model(answer), 4, 4)
    assert [r.status for r in rows] == ["ok", "ok", "failed", "ok"]
    assert rows[2].error == "the model raised ValueError: no such token"


def test_a_model_that_always_fails_is_reported_and_stores_nothing(tmp_path: Path) -> None:
    def answer(block: Sequence[ImageRequest]) -> list[ImageResult]:
        raise RuntimeError("broken adapter")

    with pytest.raises(
        FairbenchError, match="each of its first 4 images: the model raised RuntimeError: broken adapter"
    ):
        run(Store(tmp_path), Model(answer), 8, 4)
    assert Store(tmp_path).shards("images", "k") == []


def test_blank_and_refused_images_are_rows_with_reasons(tmp_path: Path) -> None:
    def answer(block: Sequence[ImageRequest]) -> list[ImageResult]:
        return [ImageResult("blank", error="safety checker"), ImageResult("refused", error="policy")]

    rows = run(Store(tmp_path), Model(answer), 2, 2)
    assert [(r.status, r.error) for r in rows] == [("blank", "safety checker"), ("refused", "policy")]


def test_a_result_states_its_reason() -> None:
    with pytest.raises(ValueError, match="states its reason"):
        ImageResult("failed")
    with pytest.raises(ValueError, match="an ok result has pixels"):
        ImageResult("ok")


def test_an_adapter_that_returns_too_few_results_is_named(tmp_path: Path) -> None:
    with pytest.raises(FairbenchError, match="returned 1 results for 2 requests"):
        run(Store(tmp_path), Model(lambda block: [picture(block[0])]), 2, 2)
