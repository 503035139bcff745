"""A store in an object store: the same shards, found by listing and fetched once; damage and refusals in words."""

from __future__ import annotations

import logging
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

import pyarrow as pa
import pytest

from fairbench.errors import StoreError
from fairbench.notices import collecting
from fairbench.storage import cache, clouds
from fairbench.storage.files import Files
from fairbench.storage.opening import files_of
from fairbench.storage.spool import Response, Spool
from fairbench.storage.store import Store
from tests.builders.object_stores import ENVIRONMENT, SECRET, ObjectStore, Relay
from tests.storage.test_store import rows

pytestmark = pytest.mark.xdist_group("object-store")
SERVERS = ("moto_store", "rclone_store")
REMOVING = ("moto_store", pytest.param("rclone_store", marks=pytest.mark.long))
"""Of slow tests: rclone takes two seconds for a removal, see `eventually`."""


@pytest.fixture(autouse=True)
def _credentials(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in ENVIRONMENT.items():
        monkeypatch.setenv(name, value)


@pytest.fixture(params=SERVERS)
def server(request: pytest.FixtureRequest) -> ObjectStore:
    store: ObjectStore = request.getfixturevalue(request.param)
    return store


@pytest.fixture
def url(server: ObjectStore, tmp_path: Path) -> str:
    """The URL of a store of this test's own."""
    return server.url(f"tests/{tmp_path.name}-{server.name}")


def eventually(check: Callable[[], bool]) -> None:
    """Wait until something holds: rclone loses sight of a folder for a second after a removal in it."""
    until = time.monotonic() + 20
    while not check():
        assert time.monotonic() < until
        time.sleep(0.2)


@pytest.fixture(params=["folder", *REMOVING])
def files(request: pytest.FixtureRequest, tmp_path: Path) -> Files:
    if request.param == "folder":
        return files_of(tmp_path / "store")
    server: ObjectStore = request.getfixturevalue(request.param)
    return files_of(server.url(f"files/{tmp_path.name}-{server.name}"))


def test_files_do_the_same_everywhere(files: Files) -> None:
    folder = files.root / "images" / "k"
    first, second, deeper = folder / "part-1.parquet", folder / "part-2.parquet", folder / "below" / "x"
    assert files.list(folder) == [] and files.read(first) is None
    assert files.open(first) is None and not files.exists(first)
    files.put(second, b"two")
    files.put(first, memoryview(b"first"))
    files.put(deeper, b"", durable=False)
    assert [(e.path, e.size) for e in files.list(folder)] == [(first, 5), (second, 3)]
    assert [e.path for e in files.list(files.root, deep=True)] == [deeper, first, second]
    assert files.read(first) == b"first" and files.exists(first) and files.read(deeper) == b""
    for fresh in (False, True, False):
        opened = files.open(first, fresh=fresh)
        assert opened is not None and opened.read() == b"first"
    files.remove(first)
    files.remove(first)
    assert not files.exists(first) and files.open(first) is None
    eventually(lambda: [e.path for e in files.list(folder)] == [second])
    target = files.root / "damaged" / "two"
    files.move(second, target)
    files.move(second, target)
    assert files.read(target) == b"two"
    eventually(lambda: files.list(folder) == [])


def test_a_store_holds_the_same_shards_as_a_folder(url: str, tmp_path: Path) -> None:
    stores = [Store(url), Store(tmp_path)]
    for store in stores:
        assert store.write("faces", "k", rows()) is None
        for names in ((b"a", b"b"), (b"c",), (b"a", b"b")):
            store.write("faces", "k", rows(*names))
    remote, local = ([path.name for path in store.shards("faces", "k")] for store in stores)
    assert remote == local and len(remote) == 2
    tables = [pa.concat_tables(t for _, t in Store(name).scan("faces", "k")) for name in (url, tmp_path)]
    assert tables[0].equals(tables[1])
    with pytest.raises(StoreError, match="written by a newer fairbench"):
        stores[0].files.put(stores[0].root / "fairbench-store.json", b'{"layout": 99}')
        Store(url)


def test_a_shard_is_fetched_once_whoever_reads_it(
    moto_store: ObjectStore, tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    url = moto_store.url(tmp_path.name)
    path = Store(url).write("faces", "k", rows(b"a", b"b"))
    assert path is not None

    def fetched() -> int:
        with caplog.at_level(logging.INFO, logger="werkzeug"):
            caplog.clear()
            for _ in range(2):  # a store is a process's
                store = Store(url)
                for _ in range(3):
                    assert len(store.ids("faces", "k")) == 2
        return sum("GET" in r.getMessage() and path.name in r.getMessage() for r in caplog.records)

    assert fetched() == 0, "what was put is kept"
    monkeypatch.setenv("FAIRBENCH_CACHE", str(tmp_path / "other machine"))
    assert fetched() == 1
    monkeypatch.setenv(cache.SIZE, "0")
    assert fetched() == 6


def test_a_listing_of_more_than_a_page_is_whole(
    server: ObjectStore, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    prefix = f"pages/{tmp_path.name}"
    server.fill(f"{prefix}/labels/k", 1100)
    store = Store(server.url(prefix))
    with caplog.at_level(logging.INFO, logger="werkzeug"):
        shards = store.shards("labels", "k")
    assert [path.name for path in shards] == [f"part-{number:032x}.parquet" for number in range(1100)]
    assert len(store.files.list(store.root, deep=True)) == 1100
    if server.name == "moto":
        assert sum("continuation-token" in record.getMessage() for record in caplog.records) == 2


@pytest.mark.parametrize("server", REMOVING, indirect=True)
def test_a_damaged_object_is_named_and_set_aside_and_its_neighbours_stay(url: str) -> None:
    store = Store(url)
    store.write("faces", "k", rows(b"a"))
    path = store.write("faces", "k", rows(b"b"))
    assert path is not None
    whole = store.files.read(path)
    assert whole is not None
    store.files.put(path, whole[:-3] + b"X" + whole[-2:])
    with collecting() as noticed:
        assert len(Store(url, look_only=True).ids("faces", "k")) == 1
    assert [n.code for n in noticed] == ["damaged-shard"]
    assert len(store.shards("faces", "k")) == 2, "a look moves nothing"
    reader = Store(url)
    with collecting() as noticed:
        assert len(reader.ids("faces", "k")) == 1
    assert reader.damaged == [path] and "moved to s3://bucket/" in next(iter(noticed)).text
    assert len(store.files.list(store.root / "damaged")) == 1
    assert reader.write("faces", "k", rows(b"b")) == path, "its rows are made again"
    eventually(lambda: len(Store(url).ids("faces", "k")) == 2)


def test_a_damaged_copy_is_fetched_again_and_nothing_is_set_aside(url: str) -> None:
    path = Store(url).write("faces", "k", rows(b"a"))
    assert path is not None
    (copy,) = (cache.paths.cache_dir() / "shards").glob("*/*")
    copy.write_bytes(copy.read_bytes()[:-1])
    for _ in range(2):
        store = Store(url)
        with collecting() as noticed:
            assert len(store.ids("faces", "k")) == 1
        assert not noticed and not store.damaged
        assert store.files.exists(path)


@pytest.mark.parametrize("server", REMOVING, indirect=True)
def test_responses_of_a_served_model_are_kept_until_their_shard_is_written(url: str) -> None:
    files, ids = Store(url).files, [bytes([number]) * 16 for number in range(3)]
    spool = Spool(files, "k")
    for image_id in ids:
        spool.put(image_id, Response("ok", b"bytes\nof " + image_id, seconds=1.5, notes={"a": "b"}))
    again = Spool(Store(url).files, "k")
    assert again.ids() == set(ids)
    assert again.get(ids[1]) == Response("ok", b"bytes\nof " + ids[1], seconds=1.5, notes={"a": "b"})

    def forgotten() -> bool:
        again.forget(ids[:2])  # once more with rclone, which may not see the second: as the next run does
        return again.ids() == {ids[2]}

    eventually(forgotten)
    assert again.get(ids[0]) is None


def test_two_writers_at_once_lose_nothing(url: str) -> None:
    def write(number: int) -> None:
        store = Store(url)
        for shared in range(5):
            store.write("faces", "k", rows(f"shared {shared}".encode()))
            store.write("faces", "k", rows(f"{number} {shared}".encode()))

    with ThreadPoolExecutor(2) as pool:
        list(pool.map(write, range(2)))
    assert len(Store(url).shards("faces", "k")) == len(Store(url).ids("faces", "k")) == 15


WRITER = """
import sys
from fairbench.storage.store import Store
from tests.storage.test_store import rows
store = Store(sys.argv[1])
for number in range(4):
    store.write("faces", "k", rows(f"{number}".encode()))
"""


@pytest.mark.parametrize("server", REMOVING, indirect=True)
def test_a_writer_killed_in_the_middle_of_a_put_leaves_whole_shards_only(server: ObjectStore, tmp_path: Path) -> None:
    prefix = f"killed/{tmp_path.name}"
    relay = Relay(server.address, rb"PUT /bucket/\S*/faces/k/part-", skip=2)
    with relay.running() as address:
        writer = subprocess.Popen([sys.executable, "-c", WRITER, server.url(prefix, address=address)], env=os.environ)
        assert relay.stopped.wait(60)
        writer.send_signal(signal.SIGKILL)
        assert writer.wait(60) == -signal.SIGKILL
    store = Store(server.url(prefix))
    assert len(store.ids("faces", "k")) == len(store.shards("faces", "k")) == 2 and not store.damaged
    for number in range(4):  # going on
        store.write("faces", "k", rows(f"{number}".encode()))
    assert len(Store(server.url(prefix)).ids("faces", "k")) == 4


def test_what_is_wrong_is_one_sentence(
    rclone_store: ObjectStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def said(url: str) -> str:
        with pytest.raises(StoreError) as error:
            Store(url).write("faces", "k", rows(b"a"))
        sentence = str(error.value)
        assert SECRET not in sentence and "\n" not in sentence and sentence.endswith(".")
        return sentence

    assert "There is no bucket s3://absent" in said(rclone_store.url("x", bucket="absent"))
    for url in (f"s3://key:{SECRET}@bucket/x", "s3://key@bucket/x", f"abfs://c:{SECRET}@account/x"):
        assert "a URL is no place for keys" in said(url)
    assert "a URL is no place for keys" in said(f"abfs://c@account/x?client_secret={SECRET}")
    assert "begins with s3, gs or abfs" in said("ftp://host/x")
    assert "begins with s3, gs or abfs" in said("file:///tmp/x")
    assert "names no bucket" in said("s3://")
    assert "Unexpected query parameter" in said("s3://bucket/x?colour=red")
    assert "give it as text" in said(os.fspath(Path("s3://bucket/x")))
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "nobody")
    assert "access is refused" in said(rclone_store.url("x"))
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.delenv(name)
    assert "set credentials (AWS_ACCESS_KEY_ID" in said(rclone_store.url("x"))
    monkeypatch.setenv(cache.SIZE, "many")
    assert "name a size in GB" in said(rclone_store.url("x"))


class _ReadOnly(BaseHTTPRequestHandler):
    """An empty bucket that may be looked into and not written to."""

    def _answer(self, status: int, body: bytes = b"") -> None:
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def do_HEAD(self) -> None:
        self._answer(200 if self.path.count("/") == 1 else 404)

    def do_GET(self) -> None:
        self._answer(200, b"<ListBucketResult><KeyCount>0</KeyCount></ListBucketResult>")

    def do_PUT(self) -> None:
        self.rfile.read(int(self.headers["Content-Length"]))
        self._answer(403, b"<Error><Code>AccessDenied</Code><Message>no</Message></Error>")

    def log_message(self, *args: Any) -> None: ...


def test_a_bucket_that_may_only_be_read_is_read_and_a_write_says_so() -> None:
    with ThreadingHTTPServer(("127.0.0.1", 0), _ReadOnly) as stub:
        Thread(target=stub.serve_forever, daemon=True).start()
        read_only = ObjectStore("stub", f"127.0.0.1:{stub.server_address[1]}", lambda prefix, count: None)
        store = Store(read_only.url("x"))
        assert store.ids("faces", "k") == {}
        with pytest.raises(StoreError, match=r"access is refused \(ACCESS_DENIED\).* list, read, write and delete"):
            store.write("faces", "k", rows(b"a"))
        stub.shutdown()


@pytest.mark.parametrize(
    ("said", "sentence"),
    [  # as pyarrow 26 says it
        ("AWS Error NETWORK_CONNECTION during HeadObject operation: curlCode: 7", "the server cannot be reached"),
        ("AWS Error NO_SUCH_BUCKET during CreateMultipartUpload operation: The", "there is no such bucket"),
        ("When resolving region for bucket 'b': Bucket 'b' not found", "there is no such bucket"),
        ("AWS Error UNKNOWN (HTTP status 411) during PutObject operation", "the server reports an error"),
        ("AWS Error INVALID_ACCESS_KEY_ID during ListObjectsV2 operation: The", "access is refused"),
    ],
)
def test_what_a_server_says_becomes_what_to_do(said: str, sentence: str) -> None:
    with pytest.raises(StoreError, match=f"^s3://b/x: {sentence}"), clouds.sentences("s3://b/x"):
        raise OSError(said)


@pytest.mark.long  # six seconds of tries
def test_a_server_that_is_not_there_is_one_sentence() -> None:
    with pytest.raises(StoreError, match="the server cannot be reached"):
        Store("s3://bucket/x?endpoint_override=127.0.0.1%3A1&scheme=http&region=us-east-1")
