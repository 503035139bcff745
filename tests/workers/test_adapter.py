"""The adapter `worker`: images, seeds, statuses, and what a misbehaving worker costs."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from fairbench import registry
from fairbench.adapters.worker import LOST_IN_A_ROW, WorkerAdapter
from fairbench.cards import catalog
from fairbench.cards.cards import HubModel
from fairbench.errors import CardError, FairbenchError
from fairbench.notices import collecting
from fairbench.types import BuildContext, ImageRequest, ImageResult
from fairbench.workers import process
from tests.builders.cli import Cli
from tests.builders.workers import ended, write_card

Make = Callable[..., WorkerAdapter]


@pytest.fixture
def make(tmp_path: Path) -> Any:
    """Build the adapter of a stub's card; its worker is ended after the test."""
    made: list[WorkerAdapter] = []

    def build(recipe: str = "stub", **sampling: Any) -> WorkerAdapter:
        loaded = catalog.load_model(str(write_card(tmp_path, recipe, **sampling)))
        params = registry.parse_params(WorkerAdapter, loaded.card.sampling)
        made.append(WorkerAdapter(loaded.card, params, BuildContext(base_dir=tmp_path)))  # type: ignore[arg-type]
        return made[-1]

    yield build
    for adapter in made:
        adapter.close()


def requests(*texts: str, seeds: Sequence[int] | None = None) -> list[ImageRequest]:
    numbers = range(1, len(texts) + 1) if seeds is None else seeds
    return [ImageRequest(b"i%d" % i, b"p", b"n", t, i, i) for i, t in zip(numbers, texts, strict=True)]


def colours(results: Sequence[ImageResult]) -> list[tuple[int, ...] | None]:
    return [None if r.pixels is None else tuple(int(c) for c in r.pixels[0, 0]) for r in results]


def expected(seed: int) -> tuple[int, ...]:
    """What the stub draws: the first numbers of Python's own generator from the image's seed."""
    import random

    generator = random.Random(seed)
    return tuple(int(256 * generator.random()) for _ in range(3))


def test_images_depend_on_their_own_seed_alone(make: Make) -> None:
    seeds = [2**63 - 1, 7, 2**32 + 7]
    adapter = make()
    together = adapter.generate(requests("a", "b", "c", seeds=seeds))
    assert colours(together) == [expected(s) for s in seeds]
    assert together[0].pixels is not None and together[0].pixels.shape == (8, 16, 3)
    turned = [adapter.generate(requests(t, seeds=[s]))[0] for t, s in zip("cba", reversed(seeds), strict=True)]
    assert colours(turned) == colours(together)[::-1]
    assert colours(make().generate(requests("b", seeds=seeds[1:2]))) == [expected(7)]  # another process


def test_what_is_printed_is_in_the_log_and_no_answer(make: Make, capfd: pytest.CaptureFixture[str]) -> None:
    adapter = make()
    assert colours(adapter.generate(requests("print this", "and this"))) == [expected(1), expected(2)]
    assert capfd.readouterr() == ("", "")
    text = logged()
    assert {"noise on stdout", "noise of a subprocess", "noise on descriptor 1"} <= set(text.splitlines())
    assert "loading on cpu from nowhere with []" in text


def logged() -> str:
    """What the workers of this test wrote."""
    logs = Path(os.environ["FAIRBENCH_CACHE"]) / "workers" / "logs"
    return "".join(path.read_text() for path in logs.glob("*.log"))


def test_a_refusal_and_an_error_are_that_images_own(make: Make) -> None:
    results = make().generate(requests("refuse", "raise", "draw"))
    assert [(r.status, r.error) for r in results] == [
        ("refused", "I would rather talk about it"),
        ("failed", "the model raised ValueError: a bad prompt"),
        ("ok", None),
    ]
    assert "Traceback" in logged() and "do_raise" in logged()


def test_a_worker_that_crashes_is_started_again_and_its_image_drawn(make: Make, tmp_path: Path) -> None:
    adapter = make(settings={"once": str(tmp_path / "once")})
    with collecting() as notices:
        results = adapter.generate(requests("a", "crashonce", "c"))
    assert colours(results) == [expected(1), expected(2), expected(3)]
    (restarted,) = [n for n in notices if n.code == "worker-restarted"]
    assert "was ended by SIGSEGV" in restarted.text and "loading on cpu" in restarted.text


@pytest.mark.parametrize(
    ("act", "reason"),
    [
        ("crash", "was ended by SIGSEGV"),
        ("leave", "ended by itself, with exit code 0"),
        ("babble", "wrote what is no answer ('Downloading: 100%')"),
        ("flood", "wrote an answer of more than 1048576 bytes"),
    ],
)
def test_an_image_that_ends_the_worker_twice_has_failed_and_the_others_are_drawn(
    make: Make, act: str, reason: str
) -> None:
    results = make().generate(requests("a", act, "c"))
    assert [r.status for r in results] == ["ok", "failed", "ok"]
    assert reason in str(results[1].error)
    assert colours(results)[2] == expected(3)


def test_a_worker_that_only_dies_stops_the_run(make: Make) -> None:
    with pytest.raises(FairbenchError, match=r"stub: 3 images in a row each ended the worker: the worker was ended by"):
        make().generate(requests(*["crash"] * (LOST_IN_A_ROW + 2)))


def test_a_hanging_worker_is_ended_with_all_that_it_started(make: Make, tmp_path: Path) -> None:
    pids = tmp_path / "pids"
    adapter = make(settings={"pids": str(pids)}, seconds_per_image=0.5)
    start = time.monotonic()
    results = adapter.generate(requests("hang", "b"))
    assert time.monotonic() - start < 20
    assert [r.status for r in results] == ["failed", "ok"]
    assert "did not answer 'generate' within 0.5 s" in str(results[0].error)
    started = [int(pid) for pid in pids.read_text().split()]
    assert len(set(started)) == 5  # tried twice, then started for the next image
    assert all(ended(pid) for pid in set(started[:-1]))
    adapter.close()
    assert ended(started[-1])


def test_a_slow_start_is_no_hang(make: Make) -> None:
    adapter = make(settings={"seconds_to_load": 1.0}, seconds_per_image=0.5)
    assert [r.status for r in adapter.generate(requests("a"))] == ["ok"]
    with pytest.raises(
        FairbenchError, match=r"stub could not be loaded: the worker did not answer 'initialize' within"
    ):
        make(settings={"seconds_to_load": 60}, seconds_to_start=0.5).generate(requests("a"))


def test_a_model_that_cannot_be_loaded_stops_the_run_with_its_own_words(make: Make) -> None:
    with pytest.raises(
        FairbenchError, match=r"could not be loaded: RuntimeError: no kernel image is available; its log"
    ):
        make(settings={"fails_to_load": True}).generate(requests("a"))


def test_a_huge_log_is_bounded_and_its_end_quoted(make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(process, "LOG_BYTES", 2**20)
    results = make().generate(requests("shout and crash", "b"))
    assert [r.status for r in results] == ["failed", "ok"]
    assert str(results[0].error).endswith("the last words")
    logs = Path(os.environ["FAIRBENCH_CACHE"]) / "workers" / "logs"
    sizes = [path.stat().st_size for path in logs.glob("*.log")]
    assert max(sizes) <= 2**20 and "the last words" in logged()


def test_an_image_of_another_size_stops_the_run(make: Make) -> None:
    with pytest.raises(FairbenchError, match=r"drew an image of 17 x 8 pixels, its card declares 16 x 8: fix `width`"):
        make("wrong_size").generate(requests("a"))


def test_out_of_memory_fails_that_image(make: Make) -> None:
    results = make().generate(requests("memory", "b"))
    assert [r.status for r in results] == ["failed", "ok"]
    assert results[0].error == "the model raised OutOfMemoryError: CUDA out of memory. Tried to allocate 2.00 GiB"


def test_numpy_and_torch_are_seeded_too_and_numpy_with_what_it_takes(make: Make) -> None:
    import torch

    adapter, seed = make("libraries"), 5 * 2**32 + 11
    (one,) = adapter.generate(requests("a", seeds=[seed]))
    torch.manual_seed(seed)
    drawn = (int(np.random.RandomState(11).randint(256)), int(torch.randint(256, (1,))), expected(seed)[0])
    # The libraries were imported by the first image itself: it was drawn again once they had been seeded.
    assert colours([one]) == [drawn]
    assert colours(adapter.generate(requests("b", "a", seeds=[1, seed]))[1:]) == [drawn]


def test_a_batch_has_always_the_cards_rows_and_no_image_depends_on_another(make: Make) -> None:
    adapter = make("batch", rows_per_call=4)
    together = adapter.generate(requests(*"abcdef"))
    assert colours(together) == [expected(i) for i in range(1, 7)]
    alone = [adapter.generate([request])[0] for request in reversed(requests(*"abcdef"))]
    assert colours(alone) == colours(together)[::-1]


@pytest.mark.parametrize(
    ("prompt", "status", "reason"),
    [
        ("refuse", "refused", "I would rather not"),
        ("share", "failed", "drew from the shared generator of random: use one per image"),
        ("numpy", "failed", "drew from the shared generator of numpy: use one per image"),
        ("too few", "failed", "generate_batch returned 3 images where 4 were asked for"),
    ],
)
def test_what_goes_wrong_in_a_batch_is_one_images_own(make: Make, prompt: str, status: str, reason: str) -> None:
    results = make("batch", rows_per_call=4).generate(requests("a", prompt, "c"))
    assert [r.status for r in results] == ["ok", status, "ok"]
    assert reason in str(results[1].error)
    assert colours(results)[::2] == [expected(1), expected(3)]


def test_a_batch_without_memory_or_without_a_recipe_for_it_names_the_cards_field(make: Make) -> None:
    with pytest.raises(FairbenchError, match=r"ran out of memory with 4 images per call: lower `rows_per_call`"):
        make("batch", rows_per_call=4).generate(requests("a", "memory"))
    with pytest.raises(FairbenchError, match=r"has no generate_batch, .* set `rows_per_call` to 1"):
        make(rows_per_call=2).generate(requests("a"))


def test_a_card_with_weights_in_the_wrong_place_is_refused(tmp_path: Path) -> None:
    card = catalog.load_model(str(write_card(tmp_path))).card.model_copy(update={"weights": HubModel(repo="a/b")})
    params = registry.parse_params(WorkerAdapter, card.sampling)
    with pytest.raises(CardError, match=r"has `weights`: those of a worker stand in `sampling.weights`"):
        WorkerAdapter(card, params, BuildContext(base_dir=tmp_path))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("fields", "problem"),
    [
        ({"repository": {"url": "https://example.org/a"}}, "`url` needs `commit`"),
        ({"repository": {"commit": "0" * 40}}, "give either `url`"),
        ({"settings": {"steps": float("nan")}}, "plain data"),
        ({"python_version": "3.7"}, "python_version"),
        ({"width": None}, "width"),
        ({"weights": {"w": {"repo": "a/b", "path": "c"}}}, "give either `repo`"),
    ],
)
def test_a_card_that_cannot_be_meant_is_refused(cli: Cli, tmp_path: Path, fields: dict[str, Any], problem: str) -> None:
    refused = cli("run", "--model", write_card(tmp_path, **fields), "--dry-run")
    assert refused.code == 2 and problem in refused.err and "stub.yaml, line" in refused.err
