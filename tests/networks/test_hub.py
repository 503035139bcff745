"""What the hub or a server does not give is said in one sentence, with what to do, within five seconds."""

from __future__ import annotations

import hashlib
import json
import logging
import os
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from huggingface_hub import constants

from fairbench.cards.cards import FileWeights, HubModel
from fairbench.errors import WeightsError
from fairbench.networks import hub, weights
from tests.builders.cli import Cli

COMMIT = "0" * 40
DATA = bytes(range(256)) * 20_000
SHA = hashlib.sha256(DATA).hexdigest()


class Server(ThreadingHTTPServer):
    """Answers every request with `status` and `headers`; hangs while `silent`; sends at most `sent` bytes.

    file_status: another status for files than for the list of them.
    """

    status = 200
    headers: dict[str, str] = {}  # noqa: RUF012 - set anew by each test
    silent = False
    sent: int | None = None
    file_status: int | None = None
    stop = threading.Event()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"


class Handler(BaseHTTPRequestHandler):
    server: Server

    def do_GET(self) -> None:
        if self.server.silent:
            self.server.stop.wait(20)
            return
        files = [{"rfilename": "unet/diffusion_pytorch_model.safetensors", "size": 2**31}, {"rfilename": "x.ckpt"}]
        listed = self.path.startswith("/api/models/")
        body = json.dumps({"id": "a/b", "sha": COMMIT, "siblings": files}).encode() if listed else DATA
        self.send_response(self.server.status if listed else self.server.file_status or self.server.status)
        self.send_header("X-Repo-Commit", COMMIT)
        self.send_header("ETag", '"x"')
        for name, value in self.server.headers.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body[: self.server.sent])

    do_HEAD = do_GET

    def log_message(self, *_: Any) -> None:
        """Keep the test's output clean."""


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Server]:
    server = Server(("127.0.0.1", 0), Handler)
    server.stop = threading.Event()
    threading.Thread(target=server.serve_forever, daemon=True).start()
    monkeypatch.delenv("HF_HUB_OFFLINE", raising=False)
    monkeypatch.delenv("HF_TOKEN", raising=False)
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(constants, "ENDPOINT", server.url)
    template = server.url + "/{repo_id}/resolve/{revision}/{filename}"
    monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", template)
    monkeypatch.setattr(constants, "HF_TOKEN_PATH", str(tmp_path / "token"))
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    hub._commit_once.cache_clear()
    yield server
    server.stop.set()
    server.shutdown()
    server.server_close()
    hub._commit_once.cache_clear()


@pytest.mark.parametrize(
    ("status", "code", "words"),
    [
        (401, None, ["shows no such repository", "fix its name", "`hf auth login`", "HF_TOKEN"]),
        (401, "GatedRepo", ["accept its licence", "/a/b", "`hf auth login`", "HF_TOKEN"]),
        (403, "GatedRepo", ["accept its licence", "/a/b"]),
        (403, None, ["access must be granted", "/a/b"]),
        (404, "RepoNotFound", ["shows no such repository", "fix its name"]),
        (404, "RevisionNotFound", [f"has no revision {COMMIT}", "fix `revision`"]),
        (429, None, ["takes no more requests for now (429)", "try again later", "log in", "HF_HUB_OFFLINE=1"]),
        (503, None, ["out of order for now (503)", "try again later", "HF_ENDPOINT", "HF_HUB_OFFLINE=1"]),
    ],
)
def test_each_status_of_the_hub_says_what_to_do(
    server: Server, status: int, code: str | None, words: list[str]
) -> None:
    """All of these were one sentence about connecting to the hub, some after a hundred seconds."""
    server.status, server.headers = status, {"X-Error-Code": code} if code else {}
    began = time.monotonic()
    with pytest.raises(WeightsError) as err:
        weights.model_folder(HubModel(repo="a/b", revision=COMMIT))
    assert time.monotonic() - began < 5
    for word in ("The model a/b cannot be fetched", *words):
        assert word in str(err.value)
    assert "\n" not in str(err.value) and str(err.value).count(". ") == 0
    assert isinstance(err.value, hub.NoAnswer) == (status in (429, 503))


def test_a_token_without_access_is_told_to_ask_for_it(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_TOKEN", "hf_x")
    server.status, server.headers = 403, {"X-Error-Code": "GatedRepo"}
    with pytest.raises(WeightsError, match="accept its licence with the account of your token"):
        weights.model_folder(HubModel(repo="a/b"))
    hub._commit_once.cache_clear()
    server.status = 401
    server.headers = {"X-Error-Message": "Invalid credentials in Authorization header"}
    with pytest.raises(WeightsError, match="refuses the token: log in"):
        weights.model_folder(HubModel(repo="a/b"))


def test_a_silent_hub_is_given_up_after_five_seconds_with_a_line_before(
    server: Server, caplog: pytest.LogCaptureFixture
) -> None:
    server.silent = True
    began = time.monotonic()
    with caplog.at_level(logging.WARNING), pytest.raises(hub.NoAnswer, match=r"cannot be reached.*HF_HUB_OFFLINE=1"):
        weights.model_folder(HubModel(repo="a/b"))
    assert 3 < time.monotonic() - began < 7
    assert f"Waiting for {server.url}, 5 s at most" in caplog.text
    began = time.monotonic()
    assert weights.model_identity(HubModel(repo="a/b"))["revision"] == "unresolved"
    with pytest.raises(hub.NoAnswer):
        weights.model_folder(HubModel(repo="a/b"))
    assert time.monotonic() - began < 1, "a server that was silent is not waited for again"


def test_no_network_at_all(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(constants, "ENDPOINT", "http://127.0.0.1:9")
    with pytest.raises(hub.NoAnswer, match="check the network or proxy"):
        weights.model_folder(HubModel(repo="a/b"))


def test_a_copy_on_this_machine_is_used_where_the_hub_is_out_of_order(
    server: Server, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    folder = tmp_path / "hub" / "models--a--b" / "snapshots" / COMMIT
    folder.mkdir(parents=True)
    server.status = 503
    with caplog.at_level(logging.WARNING):
        assert weights.model_folder(HubModel(repo="a/b", revision=COMMIT)) == folder
    assert "The copy on this machine is used" in caplog.text


def by_url(server: Server) -> FileWeights:
    return FileWeights.model_construct(url=f"{server.url}/w.onnx", sha256=SHA)


def test_a_file_is_fetched_in_pieces(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(weights, "_CHUNK", 1000)
    assert weights.locate(by_url(server)).read_bytes() == DATA


@pytest.mark.parametrize(
    ("status", "words"), [(403, "a login or a licence"), (404, "not there any more"), (503, "try again later")]
)
def test_each_status_of_a_url_is_said(server: Server, status: int, words: str) -> None:
    server.status = status
    with pytest.raises(WeightsError, match=rf"could not be downloaded from .*{words}.*FAIRBENCH_WEIGHTS_DIR"):
        weights.locate(by_url(server))


def test_a_silent_url_is_given_up_and_a_broken_connection_is_said(server: Server) -> None:
    server.sent = len(DATA) // 2
    with pytest.raises(WeightsError, match=rf"broke after {len(DATA) // 2} of {len(DATA)} bytes"):
        weights.locate(by_url(server))
    assert not [p for p in weights.cache_dir().rglob("*") if p.is_file()], "half a file was kept"
    server.silent, began = True, time.monotonic()
    with pytest.raises(WeightsError, match="did not answer within 5 s"):
        weights.locate(by_url(server))
    assert time.monotonic() - began < 7


def test_a_file_on_the_hub_says_what_to_do(server: Server) -> None:
    ref = FileWeights(repo="a/b", file="w.onnx", revision=COMMIT, sha256=SHA)
    server.status, server.headers = 401, {"X-Error-Code": "GatedRepo"}
    with pytest.raises(WeightsError, match="accept its licence"):
        weights.locate(ref)


CARD = """
name: mine
title: Mine
adapter: diffusers
weights: {repo: a/b, revision: "0000000000000000000000000000000000000000"}
licence: x
memory_gb: 0.001
"""


@pytest.fixture
def card(tmp_path: Path) -> Path:
    path = tmp_path / "mine.yaml"
    path.write_text(CARD)
    return path


def test_doctor_tries_access_disk_and_memory(server: Server, card: Path, cli: Cli) -> None:
    found = cli("doctor", "--model", card)
    assert found.code == 0, found.out + found.err
    assert "a/b can be read: 2.0 GiB to download" in found.out
    assert "disk" in found.out and "free at" in found.out and "2.0 GiB needed" in found.out
    assert "memory" in found.out and "(by its card, twice what bfloat16 takes)" in found.out
    assert not (card.parent / "hub").exists(), "something was downloaded"


def test_doctor_says_what_is_too_small(server: Server, card: Path, cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    card.write_text(CARD.replace("0.001", "90000"))
    monkeypatch.setattr("shutil.disk_usage", lambda _: shutil._ntuple_diskusage(10, 9, 1))
    found = cli("doctor", "--model", card)
    assert found.code == 1
    assert "disk                     NO: 0.0 MiB free" in found.out and "name another disk in HF_HOME" in found.out
    assert "memory                   NO:" in found.out and "choose a smaller model or a larger device" in found.out


def test_doctor_tries_a_file_since_lists_of_gated_repositories_are_public(server: Server, card: Path, cli: Cli) -> None:
    server.file_status, server.headers = 401, {"X-Error-Code": "GatedRepo"}
    found = cli("doctor", "--model", card)
    assert found.code == 1
    assert f"NO: The model a/b cannot be fetched: access must be granted first: open {server.url}/a/b" in found.out


def test_doctor_looks_at_a_local_folder(tmp_path: Path, cli: Cli) -> None:
    (tmp_path / "model_index.json").write_text("{}")
    found = cli("doctor", "--model", tmp_path)
    assert found.code == 0 and f"on this machine (0.0 MiB): {tmp_path}" in found.out
    found = cli("doctor", "--model", f"diffusers:{tmp_path}/nowhere")
    assert found.code == 1 and "does not exist: fix the path" in found.out


def test_doctor_gives_up_on_a_silent_hub_in_time(server: Server, tmp_path: Path) -> None:
    """The whole command in a process of its own: one sentence, no traceback."""
    server.silent = True
    env = {**os.environ, "HF_ENDPOINT": server.url, "HF_HOME": str(tmp_path)}
    began = time.monotonic()
    done = subprocess.run(
        [sys.executable, "-m", "fairbench", "doctor", "--model", "diffusers:a/b"],
        env=env,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert time.monotonic() - began < 20, "5 s, and the start of Python on a busy machine"
    assert done.returncode == 1 and "cannot be reached" in done.stdout
    assert "Waiting for" in done.stderr and "Traceback" not in done.stderr
