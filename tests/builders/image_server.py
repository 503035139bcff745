"""A local HTTP server that speaks the dialects of image servers, and answers 400 to any field that a dialect lacks.

What each dialect has is written here once more, from the servers' documentation, and not taken from fairbench.
"""

from __future__ import annotations

import base64
import contextlib
import io
import json
import re
import socket
import struct
import threading
import time
import zlib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Self

import numpy as np
from PIL import Image

_ENGINE = (
    "prompt model n size response_format negative_prompt num_inference_steps guidance_scale true_cfg_scale seed "
    "generator_device flow_shift"
)
_OPENAI = "prompt model n size quality background moderation output_format"
FIELDS = {
    "vllm-omni": f"{_ENGINE} extra_params bot_task system_prompt use_system_prompt lora",
    "sglang": f"{_ENGINE} width height max_sequence_length diffusers_kwargs enhance_prompt",
    "openai": _OPENAI,
    "azure": _OPENAI,
    "litellm": f"{_OPENAI} response_format seed",
    "gemini": "contents generationConfig",
}
GEMINI = {
    "generationConfig": "responseModalities imageConfig seed",
    "imageConfig": "aspectRatio imageSize personGeneration",
}
KEY_HEADERS = {"azure": "api-key", "gemini": "x-goog-api-key"}
MODEL = "org/model-1"


def with_comment(data: bytes, comment: str) -> bytes:
    """Return a PNG with a text chunk behind its header."""
    text = b"Comment\x00" + comment.encode()
    chunk = struct.pack(">I", len(text)) + b"tEXt" + text + struct.pack(">I", zlib.crc32(b"tEXt" + text))
    return data[:33] + chunk + data[33:]


def png(prompt: str, seed: int, size: tuple[int, int] = (64, 64)) -> bytes:
    """Return a mannequin as a PNG that no encoder of ours would write: a text chunk, slow compression."""
    from fairbench.phantom.renderer import RACES, render

    rng = np.random.default_rng([seed % 2**63, zlib.crc32(prompt.encode())])
    pixels = render("male" if rng.random() < 0.7 else "female", RACES[rng.integers(4)], rng)
    picture = Image.fromarray(pixels)
    out = io.BytesIO()
    (picture if size == picture.size else picture.resize(size)).save(out, "PNG", compress_level=9)
    return with_comment(out.getvalue(), str(seed))


@dataclass(frozen=True)
class Reply:
    """An answer. body: plain data, sent as JSON, or bytes. cut: the connection is reset after so many bytes."""

    body: Any = None
    status: int = 200
    headers: Mapping[str, str] = field(default_factory=dict)
    delay: float = 0.0
    cut: int | None = None


Behaviour = Callable[[int, dict[str, Any]], "Reply | None"]


class ImageServer:
    """behave: number of the request and its body -> a reply in place of the usual one. key: what must be sent.

    requests: the bodies of all requests for images; heads: their headers; most_at_once: of requests in flight.
    """

    def __init__(self, dialect: str, behave: Behaviour | None = None, *, key: str | None = None) -> None:
        self.dialect, self.behave, self.key, self.model = dialect, behave, key, MODEL
        self.requests: list[dict[str, Any]] = []
        self.heads: list[dict[str, str]] = []
        self.starts: list[float] = []
        self.finished = 0
        self.most_at_once = self._now = 0
        self.models: Any = {"object": "list", "data": [{"id": MODEL, "object": "model", "owned_by": self._owner}]}
        self.delay = 0.0
        self.files: dict[str, Reply] = {}
        self.on_get: Callable[[dict[str, str]], None] = lambda head: None
        self.seen: list[tuple[str, str]] = []
        self._lock = threading.Lock()
        self._http = ThreadingHTTPServer(("127.0.0.1", 0), _handler(self))
        self._http.daemon_threads = True

    @property
    def _owner(self) -> str:
        return {"vllm-omni": "vllm", "sglang": "sglang"}.get(self.dialect, "system")

    @property
    def origin(self) -> str:
        """Scheme, host and port."""
        return f"http://127.0.0.1:{self._http.server_address[1]}"

    @property
    def url(self) -> str:
        """The base URL for a card."""
        return self.origin + {"azure": "/openai/v1", "gemini": "/v1beta"}.get(self.dialect, "/v1")

    @property
    def path(self) -> str:
        """Where requests are taken."""
        if self.dialect == "gemini":
            return f"/v1beta/models/{MODEL.replace('/', '%2F')}:generateContent"
        return ("/openai/v1" if self.dialect == "azure" else "/v1") + "/images/generations"

    def __enter__(self) -> Self:
        threading.Thread(target=self._http.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._http.shutdown()
        self.close()

    def close(self) -> None:
        """Give the port back."""
        self._http.server_close()

    def answer(self, path: str, head: Mapping[str, str], body: Any) -> Reply:
        """Return the reply to a POST."""
        name = KEY_HEADERS.get(self.dialect, "authorization")
        expected = None if self.key is None else (f"Bearer {self.key}" if name == "authorization" else self.key)
        if expected is not None and head.get(name) != expected:
            return Reply({"error": {"message": f"Incorrect key: {head.get(name)}", "code": "invalid_api_key"}}, 401)
        if path.partition("?")[0] != self.path:
            return Reply({"detail": "Not Found"}, 404)
        with self._lock:
            number = len(self.requests)
            self.requests.append(body)
            self.heads.append({k.lower(): v for k, v in head.items()})
            self.starts.append(time.monotonic())
            self._now += 1
            self.most_at_once = max(self.most_at_once, self._now)
        try:
            reply = self.behave(number, body) if self.behave else None
            if reply is None:
                problem = self.problem(body)
                reply = Reply({"detail": problem}, 400) if problem else Reply(self.usual(body, number))
            time.sleep(self.delay + reply.delay)
            return reply
        finally:
            with self._lock:
                self._now -= 1
                self.finished += 1

    def problem(self, body: dict[str, Any]) -> str | None:
        """Return what is wrong with a request, None where nothing is."""
        unknown = set(body) - set(FIELDS[self.dialect].split())
        if self.dialect == "gemini":
            config = body.get("generationConfig", {})
            unknown |= set(config) - set(GEMINI["generationConfig"].split())
            unknown |= set(config.get("imageConfig", {})) - set(GEMINI["imageConfig"].split())
            if config.get("responseModalities") != ["IMAGE"]:
                return "responseModalities"
            return (
                f"unknown fields {sorted(unknown)}" if unknown else _out_of_range(config.get("seed", 0), 0, 2**31 - 1)
            )
        if unknown:
            return f"unknown fields {sorted(unknown)}"
        if body.get("model") != self.model:
            return f"Model mismatch: {body.get('model')} but server is running {self.model}"
        if body.get("n") != 1 or not re.fullmatch(r"\d+x\d+|auto", body.get("size", "auto")):
            return "n or size"
        if self.dialect == "vllm-omni" and body.get("response_format") not in (None, "b64_json", "file"):
            return "response_format"
        lowest = -(2**63) if self.dialect == "vllm-omni" else 0
        steps = body.get("num_inference_steps", 50)
        return _out_of_range(body.get("seed", 0), lowest, 2**63 - 1) or _out_of_range(steps, 1, 200)

    def drawn(self, body: dict[str, Any], number: int) -> bytes:
        """Return the image file for a request. An unseeded service draws anew each time; SGLang from seed 42."""
        if self.dialect == "gemini":
            prompt, seed = body["contents"][0]["parts"][0]["text"], body["generationConfig"].get("seed")
        else:
            prompt, seed = body["prompt"], body.get("seed")
        if seed is None:
            seed = 42 if self.dialect == "sglang" else number
        width, height = map(int, str(body.get("size", "64x64")).replace("auto", "64x64").split("x"))
        return png(prompt, seed, (width, height))

    def usual(self, body: dict[str, Any], number: int) -> Any:
        """Return the answer that holds the image."""
        data = base64.b64encode(self.drawn(body, number)).decode()
        if self.dialect == "gemini":
            parts = [{"inlineData": {"mimeType": "image/png", "data": data}}]
            return {"candidates": [{"content": {"parts": parts, "role": "model"}, "finishReason": "STOP"}]}
        image: dict[str, Any] = {"b64_json": data}
        if self.dialect == "vllm-omni":
            image |= {"url": None, "revised_prompt": None}
        if self.dialect == "sglang":
            image |= {"revised_prompt": body["prompt"]}
            if body.get("response_format") != "b64_json":
                image = {"url": f"{self.origin}/files/0.png"}
        return {"created": 1, "data": [image]}


def _out_of_range(value: Any, low: int, high: int) -> str | None:
    good = isinstance(value, int) and low <= value <= high
    return None if good else f"{value!r} is not in [{low}, {high}]"


def _handler(server: ImageServer) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            server.seen.append(("GET", self.path))
            server.on_get({k.lower(): v for k, v in self.headers.items()})
            if self.path in server.files:
                self._send(server.files[self.path])
            elif "/models" in self.path:
                self._send(server.models if isinstance(server.models, Reply) else Reply(server.models))
            else:
                self._send(Reply({"detail": "Not Found"}, 404))

        def do_POST(self) -> None:
            server.seen.append(("POST", self.path))
            body = json.loads(self.rfile.read(int(self.headers["content-length"])))
            self._send(server.answer(self.path, {k.lower(): v for k, v in self.headers.items()}, body))

        def _send(self, reply: Reply) -> None:
            data = reply.body if isinstance(reply.body, bytes) else json.dumps(reply.body).encode()
            with contextlib.suppress(ConnectionError):  # the client may have been killed
                self.send_response(reply.status)
                for name, value in {"content-length": str(len(data)), **reply.headers}.items():
                    self.send_header(name, value)
                self.end_headers()
                self.wfile.write(data if reply.cut is None else data[: reply.cut])
                self.wfile.flush()
                if reply.cut is not None:
                    # A reset, not an orderly end.
                    self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                    self.close_connection = True

        def log_message(self, *_: Any) -> None:
            """Print nothing."""

    return Handler


@contextlib.contextmanager
def serving(dialect: str, behave: Behaviour | None = None, **options: Any) -> Iterator[ImageServer]:
    """Run a server while the block lasts."""
    with ImageServer(dialect, behave, **options) as server:
        yield server
