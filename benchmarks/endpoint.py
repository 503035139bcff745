"""A served model through `endpoint` against a direct call: milliseconds per image that the adapter adds.

A server in a process of its own answers each request with a noise image of 256 pixels a side, as OpenAI's form has it.
The direct call is a loop over one HTTP connection of Python's own client, which decodes base64 and PNG. The adapter
does that, too, and checks each answer and brings it to the disk (fsync) before the next: most of what it adds is the
disk's, which TMPDIR names. Usage: python benchmarks/endpoint.py [--images 50] [--rounds 5]. Target: at most 10 ms.
"""

from __future__ import annotations

import argparse
import base64
import http.client
import json
import multiprocessing
import tempfile
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import numpy as np
from common import alternate, machine, show_added

from fairbench.adapters.endpoint.adapter import EndpointAdapter
from fairbench.adapters.endpoint.params import EndpointParams
from fairbench.cards.cards import ModelCard
from fairbench.storage import pixels
from fairbench.storage.local import LocalFiles
from fairbench.storage.spool import Spool
from fairbench.types import BuildContext, ImageRequest

TARGET = 10.0
SIDE = 256
MODEL = "noise"


def serve(port: Connection) -> None:
    """Answer every request with one image; tell the port."""
    noise = np.random.default_rng(0).integers(0, 256, (SIDE, SIDE, 3), dtype=np.uint8)
    image = base64.b64encode(pixels.encode(noise)).decode()
    answer = json.dumps({"created": 1, "data": [{"b64_json": image}]}).encode()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        wbufsize = 1 << 20  # head and body in one packet

        def do_GET(self) -> None:
            self._send(json.dumps({"data": [{"id": MODEL}]}).encode())

        def do_POST(self) -> None:
            self.rfile.read(int(self.headers["content-length"]))
            self._send(answer)

        def _send(self, body: bytes) -> None:
            self.send_response(200)
            self.send_header("content-length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: Any) -> None:
            """Print nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    port.send(server.server_address[1])
    server.serve_forever()


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=int, default=50, help="images per round")
    parser.add_argument("--rounds", type=int, default=5)
    args = parser.parse_args()
    ours, theirs = multiprocessing.Pipe()
    server = multiprocessing.get_context("spawn").Process(target=serve, args=(theirs,), daemon=True)
    server.start()
    try:
        measure(args.images, args.rounds, ours.recv())
    finally:
        server.terminate()


def measure(images: int, rounds: int, port: int) -> None:
    """Time both contenders against the server at `port`."""
    connection = http.client.HTTPConnection("127.0.0.1", port)
    names = {"server": {"name": "vllm-omni"}, "model": MODEL, "seeded": True}
    params = EndpointParams(**names, base_url=f"http://127.0.0.1:{port}/v1", send={"size": f"{SIDE}x{SIDE}"})
    adapter = EndpointAdapter(ModelCard(name="noise", title="Noise", adapter="endpoint"), params, BuildContext())
    requests = [ImageRequest(i.to_bytes(16, "big"), b"", b"", "a prompt", i, 2**40 + i) for i in range(images)]
    head = {"content-type": "application/json"}

    def direct() -> None:
        for request in requests:
            body = {"model": MODEL, "prompt": request.text, "n": 1, "size": f"{SIDE}x{SIDE}", "seed": request.seed}
            connection.request("POST", "/v1/images/generations", json.dumps(body), head)
            answer = json.loads(connection.getresponse().read())
            pixels.decode(base64.b64decode(answer["data"][0]["b64_json"]))

    def endpoint() -> None:
        with tempfile.TemporaryDirectory() as folder:
            adapter.spool = Spool(LocalFiles(Path(folder)), "key")
            assert all(result.status == "ok" for result in adapter.generate(requests))

    contenders = {"direct": direct, "endpoint": endpoint}
    print(machine())
    alternate(contenders, 1)
    times = alternate(contenders, rounds)
    show_added(times, "endpoint", images, TARGET)


if __name__ == "__main__":
    main()
