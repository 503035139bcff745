"""Runs of a served model: what is stored, what a kill costs, what is said before and afterwards."""

from __future__ import annotations

import base64
import json
import os
import random
import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from fairbench import keys
from fairbench.errors import FairbenchError
from fairbench.notices import collecting
from fairbench.serving import patience
from fairbench.storage.local import LocalFiles
from fairbench.storage.spool import Response, Spool
from fairbench.storage.store import Store
from tests.builders.cli import Cli
from tests.builders.endpoints import UNSEEDED, adapter, card_file, make_images, requests, run_arguments
from tests.builders.image_server import ImageServer, Reply, png, serving, with_comment
from tests.builders.processes import Process, start

IMAGES = 12


@pytest.fixture(autouse=True)
def _no_patience(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(patience, "FIRST_WAIT", 0.01)


def stored(folder: Path) -> dict[bytes, tuple[str, str | None, bytes | None]]:
    """Return image id -> status, sha256 and file of all images of the store."""
    store = Store(folder / "store")
    (key,) = {p.parent.name for p in (folder / "store" / "images").glob("*/*.parquet")}
    rows = {}
    for _, table in store.scan("images", key):
        for row in table.to_pylist():
            assert row["image_id"] not in rows, "an image is stored twice"
            rows[row["image_id"]] = (row["status"], row["sha256"], row["image"]["bytes"])
    return rows


def notices(folder: Path) -> dict[str, int]:
    return {n["code"]: n["count"] for n in json.loads((folder / "run" / "run.json").read_text())["notices"]}


@pytest.mark.parametrize("dialect", ["vllm-omni", "openai", "gemini"])
def test_a_run_from_end_to_end(dialect: str, tmp_path: Path, cli: Cli) -> None:
    with serving(dialect) as server:
        cli(*run_arguments(card_file(tmp_path, server, concurrency=3), tmp_path)).succeeded()
        assert len(server.requests) == IMAGES and server.most_at_once <= 3
        rows = stored(tmp_path)
        files = {data for _, _, data in rows.values()}
        assert files == {server.drawn(body, number) for number, body in enumerate(server.requests)}
        assert not list((tmp_path / "store" / "spool").glob("*/*"))
        assert ("not-reproducible" in notices(tmp_path)) == (dialect in UNSEEDED)
        assert "server-repeats" not in notices(tmp_path)
        cli(*run_arguments(card_file(tmp_path, server), tmp_path)).succeeded()
        assert len(server.requests) == IMAGES  # by prompt and index, from the store
    record = json.loads((tmp_path / "run" / "run.json").read_text())
    assert record["effective_settings"]["address"] == server.url


def test_what_the_server_said_of_itself_is_recorded(tmp_path: Path, cli: Cli) -> None:
    with serving("sglang") as server:
        server.models["data"][0]["dit_precision"] = "bf16"
        cli(*run_arguments(card_file(tmp_path, server), tmp_path)).succeeded()
    record = json.loads((tmp_path / "run" / "run.json").read_text())
    assert record["effective_settings"]["reported"]["model"]["dit_precision"] == "bf16"
    assert record["effective_settings"]["request"]["size"] == "64x64"


def test_a_proxy_that_keeps_a_cache_is_noticed_by_pixels_whatever_the_files_say(tmp_path: Path, cli: Cli) -> None:
    def behave(number: int, body: dict[str, Any]) -> Reply | None:
        same = with_comment(png(body["prompt"], 7), f"a file of its own for seed {body['seed']}")
        return Reply({"data": [{"b64_json": base64.b64encode(same).decode()}]})

    with serving("vllm-omni", behave) as server:
        result = cli(*run_arguments(card_file(tmp_path, server), tmp_path, "--strict"))
        assert result.code == 2 and "--strict: server-repeats (10)" in result.err
    assert len({sha for _, sha, _ in stored(tmp_path).values()}) == IMAGES


Start = Callable[[Path, str], Process]


def kill_and_resume(begin: Start, folder: Path, server: ImageServer, kills: int, count: int, concurrency: int) -> None:
    """Kill a process at random moments, then let it finish; the server's count says what was lost."""
    chance, struck = random.Random(0), 0
    for _ in range(kills):
        goal = len(server.requests) + chance.randint(1, 2 + 2 * concurrency)
        process = begin(folder, server.url)
        until = time.monotonic() + 120
        while len(server.requests) < goal and process.process.is_alive() and time.monotonic() < until:
            time.sleep(0.002)
        time.sleep(chance.uniform(0, 0.08))
        process.process.kill()
        struck += process.wait() == -signal.SIGKILL
    assert struck == kills, "it was over before it was killed: ask for more images"
    assert begin(folder, server.url).wait() == 0
    assert count <= len(server.requests) <= count + kills * concurrency
    with serving("vllm-omni") as other:
        assert begin(folder / "whole", other.url).wait() == 0
        assert len(other.requests) == count
    assert stored(folder) == stored(folder / "whole")


@pytest.mark.long
def test_kills_lose_the_requests_in_flight_at_most(tmp_path: Path) -> None:
    def begin(folder: Path, url: str) -> Process:
        folder.mkdir(exist_ok=True)
        return start(folder, folder / "store", url, 48, 3, program=make_images)

    with serving("vllm-omni") as server:
        server.delay = 0.03
        kill_and_resume(begin, tmp_path, server, kills=4, count=48, concurrency=3)


@pytest.mark.long
def test_an_interrupt_does_not_wait_for_a_slow_server(tmp_path: Path) -> None:
    with serving("vllm-omni") as server:
        server.delay = 60
        process = start(tmp_path, *run_arguments(card_file(tmp_path, server, concurrency=2), tmp_path, "--quiet"))
        until = time.monotonic() + 120
        while len(server.requests) < 2 and time.monotonic() < until:
            time.sleep(0.01)
        os.kill(process.process.pid or 0, signal.SIGINT)
        interrupted = time.monotonic()
        assert process.wait() == 130 and "Interrupted. Finished work is kept" in process.err
        assert time.monotonic() - interrupted < 20


@pytest.mark.long
def test_twenty_kills_of_the_whole_command_at_random_moments(tmp_path: Path) -> None:
    def begin(folder: Path, url: str) -> Process:
        folder.mkdir(exist_ok=True)
        card = card_file(folder, server, base_url=url, concurrency=4, block_size=8)
        return start(folder, *run_arguments(card, folder, "--quiet"), "-n", 150)

    with serving("vllm-omni") as server:
        server.delay = 0.05
        kill_and_resume(begin, tmp_path, server, kills=20, count=300, concurrency=4)
    for name in ("metrics.csv", "prompts.csv"):
        assert (tmp_path / "run" / name).read_bytes() == (tmp_path / "whole" / "run" / name).read_bytes()


def test_each_answer_is_on_the_disk_before_the_next_request_of_its_thread(tmp_path: Path) -> None:
    spool = Spool(LocalFiles(tmp_path), "k")
    on_disk: list[int] = []

    def behave(number: int, body: dict[str, Any]) -> Reply | None:
        on_disk.append(len(spool.ids()))
        return Reply({"detail": "no"}, 418) if number == 3 else None

    with serving("vllm-omni", behave) as server:
        model = adapter(server)
        model.spool = spool
        with pytest.raises(FairbenchError, match="refuses the request"):
            model.generate(requests(6))
        assert on_disk == [0, 1, 2, 3]  # and the first three stay, though their block failed
        server.behave = None
        model = adapter(server)
        model.spool = spool
        results = model.generate(requests(6))
        assert [r.status for r in results] == ["ok"] * 6
        assert len(server.requests) == 4 + 3
        assert results[0].encoded == png(requests(1)[0].text, requests(1)[0].seed % 2**31)


def test_a_damaged_answer_on_the_disk_is_asked_for_again(tmp_path: Path) -> None:
    spool, image_id = Spool(LocalFiles(tmp_path), "k"), keys.digest("image", 1)
    kept = Response("ok", b"bytes\nwith a line", seconds=2.5, notes={"prompt-rewritten": "x"})
    spool.put(image_id, kept)
    assert spool.get(image_id) == kept
    path = tmp_path / "spool" / "k" / image_id.hex()
    whole = path.read_bytes()
    for length in range(len(whole)):  # a kill came while it was written: a request in flight
        path.write_bytes(whole[:length])
        with collecting() as said:
            assert spool.get(image_id) is None and not said
    path.write_bytes(whole[:-1] + b"X")
    with collecting() as said:
        assert spool.get(image_id) is None
    assert [n.code for n in said] == ["damaged-shard"]


def test_an_error_of_one_request_keeps_the_others(tmp_path: Path, cli: Cli) -> None:
    with serving("vllm-omni", lambda n, body: Reply({"detail": "no"}, 400) if n == 9 else None) as server:
        card = card_file(tmp_path, server, concurrency=2)
        result = cli(*run_arguments(card, tmp_path))
        assert result.code == 2 and "refuses the request (400: no): fix `sampling`" in result.err
        server.behave = None
        cli(*run_arguments(card, tmp_path)).succeeded()
        assert len(server.requests) == IMAGES + 1


def test_a_dry_run_needs_neither_network_nor_key(tmp_path: Path, cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("NO_SUCH_KEY", raising=False)
    with serving("openai") as server:
        fields = {"concurrency": 2, "requests_per_minute": 30, "expected_seconds": 3, "price_per_image": 0.04}
        card = card_file(tmp_path, server, key_variable="NO_SUCH_KEY", **fields)
    shown = cli(*run_arguments(card, tmp_path), "--dry-run").succeeded().out
    assert "cost: about $0.48" in shown
    assert "time: about 24 s" in shown  # 12 images, 30 a minute: slower than 3 s each, two at once
    assert "missing: key: Set the environment variable NO_SUCH_KEY" in shown
    plan = cli(*run_arguments(card, tmp_path), "--dry-run", "--json", "--price", 1).json()
    assert plan["cost"] == 12 and plan["disk_bytes"] == 12 * 1.5 * 64 * 64
    assert server.seen == [] and not (tmp_path / "store").exists()


def test_what_was_answered_is_neither_asked_nor_paid_again(tmp_path: Path, cli: Cli) -> None:
    with serving("vllm-omni", lambda n, body: Reply({"detail": "no"}, 400) if n == 3 else None) as server:
        card = card_file(tmp_path, server, price_per_image=1)
        assert cli(*run_arguments(card, tmp_path)).code == 2
    shown = cli(*run_arguments(card, tmp_path), "--dry-run").succeeded().out
    assert "0 in the store, 12 to make, 3 answered already" in shown and "cost: about $9.00" in shown


def test_max_cost_refuses_before_and_stops_while_a_run_costs_more(tmp_path: Path, cli: Cli) -> None:
    card_only = tmp_path
    with serving("vllm-omni") as server:
        card = card_file(card_only, server, price_per_image=0.5)
        result = cli(*run_arguments(card, tmp_path), "--max-cost", 5.99)
        assert result.code == 2 and "12 images would cost about $6.00" in result.err and not server.requests
        # A time-out may have been billed: it counts, and the last image is not asked for.
        server.behave = lambda n, body: Reply(b"garbage") if n == 2 else None
        result = cli(*run_arguments(card, tmp_path), "--max-cost", 6)
        assert result.code == 2 and "--max-cost 6 is reached: about $6.00 were spent" in result.err
        assert len(server.requests) == IMAGES
        cli(*run_arguments(card, tmp_path), "--max-cost", 0.5).succeeded()
        assert len(server.requests) == IMAGES + 1
    unpriced = card_file(card_only, server)
    result = cli(*run_arguments(unpriced, tmp_path), "-n", 7, "--max-cost", 5)
    assert result.code == 2 and "nothing says what an image of served costs; give --price" in result.err
    result = cli("run", "--model", "phantom", "--max-cost", 5, "--store", tmp_path / "store")
    assert result.code == 2 and "--max-cost 5: nothing says what an image of phantom costs" in result.err


def test_a_shipped_card_is_aimed_at_a_server_without_being_edited(
    tmp_path: Path, cli: Cli, monkeypatch: pytest.MonkeyPatch
) -> None:
    with serving("vllm-omni") as server:
        card = card_file(tmp_path, server, base_url=None, url_variable="TEST_URL")
        (tmp_path / "models").mkdir()
        card.rename(tmp_path / "models" / "served.yaml")
        monkeypatch.setenv("FAIRBENCH_PATH", str(tmp_path))
        more = ("--limit-prompts", 1, "-n", 2, "--scorers", "none", "--no-sheets", "--store", tmp_path / "store")
        result = cli("run", "--model", "served", *more, "--out", tmp_path / "a")
        assert result.code == 2 and "Where is served's server?" in result.err and "TEST_URL" in result.err
        cli("run", "--model", f"served:{server.url}", *more, "--out", tmp_path / "a").succeeded()
        monkeypatch.setenv("TEST_URL", server.url + "/")
        cli("run", "--model", "served", *more, "--out", tmp_path / "b").succeeded()
        assert len(server.requests) == 2  # one key, wherever the server stands
        monkeypatch.setenv("TEST_URL", "http://me:secret@host/v1")
        result = cli("run", "--model", "served", *more, "-n", 3, "--out", tmp_path / "b")
        assert result.code == 2 and "variable TEST_URL: an address may hold no user name" in result.err
        assert "secret" not in result.err
        result = cli("run", "--model", "served:http://me:secret@host/v1", *more, "-n", 3, "--out", tmp_path / "b")
        assert result.code == 2 and "secret" not in result.err
        result = cli("run", "--model", "phantom:http://host/v1", *more)
        assert result.code == 2 and "phantom takes nothing behind its name" in result.err


CONTRADICTIONS: dict[str, tuple[str, dict[str, Any], dict[str, Any], str]] = {
    "model": ("vllm-omni", {"id": "org/other"}, {}, "serves org/other, and the card says org/model-1"),
    "server": ("vllm-omni", {"owned_by": "sglang"}, {}, "is sglang, and the card says vllm-omni"),
    "version": ("sglang", {"version": "0.5.1"}, {"version": "0.5.23"}, "is release 0.5.1, and the card says 0.5.23"),
}


@pytest.mark.parametrize(("dialect", "said", "declared", "sentence"), CONTRADICTIONS.values(), ids=CONTRADICTIONS)
def test_a_server_that_contradicts_the_card_stops_the_run(
    dialect: str, said: dict[str, Any], declared: dict[str, Any], sentence: str
) -> None:
    with serving(dialect) as server:
        server.models["data"][0] |= said
        with pytest.raises(FairbenchError, match=sentence):
            adapter(server, server={"name": dialect, **declared}).generate(requests(1))
        assert not server.requests


@pytest.mark.parametrize("answer", [Reply({}, 404), Reply(b"<html>"), Reply({"data": 3}), Reply([]), Reply({}, 500)])
def test_a_server_that_says_nothing_of_itself_contradicts_nothing(answer: Reply) -> None:
    with serving("vllm-omni") as server:
        server.models = answer
        assert adapter(server).generate(requests(1))[0].status == "ok"


def test_requests_per_minute_keep_their_distance() -> None:
    with serving("vllm-omni") as server:
        adapter(server, requests_per_minute=300, concurrency=4).generate(requests(5))
        gaps = [b - a for a, b in zip(server.starts, server.starts[1:], strict=False)]
        assert server.starts[-1] - server.starts[0] > 0.75 and min(gaps) > 0.05
