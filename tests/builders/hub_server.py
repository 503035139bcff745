"""A local HTTP server that speaks as much of the Hugging Face hub as a push takes, and keeps every byte it is sent."""

from __future__ import annotations

import base64
import hashlib
import json
import re
import threading
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest
from huggingface_hub import constants

TOKEN = "hf_neverToBeSeenAnywhere0123456789"
Reply = tuple[int, Any]
REPO = r"(?P<repo>[\w.-]+/[\w.-]+)"


class HubServer:
    """files: repository -> path -> content, of what was committed. fail: part of a path -> status and the hub's words.

    bodies: every body received. stored: sha256 -> content that was uploaded apart from the commit (LFS). large: endings
    of files that go there. private: repository -> whether it is.
    """

    def __init__(self, large: tuple[str, ...] = ()) -> None:
        self.large = large
        self.files: dict[str, dict[str, bytes]] = {}
        self.private: dict[str, bool] = {}
        self.fail: dict[str, tuple[int, str]] = {}
        self.stored: dict[str, bytes] = {}
        self.bodies: list[bytes] = []
        self.calls: list[str] = []
        self.tokens: dict[str, str | None] = {}
        self._http = ThreadingHTTPServer(("127.0.0.1", 0), _handler(self))
        self._http.daemon_threads = True

    @property
    def url(self) -> str:
        """Scheme, host and port."""
        return f"http://127.0.0.1:{self._http.server_address[1]}"

    def __enter__(self) -> HubServer:
        threading.Thread(target=self._http.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._http.shutdown()
        self._http.server_close()

    def used_by(self, monkeypatch: pytest.MonkeyPatch, *, token: str | None = TOKEN, xet: bool = True) -> HubServer:
        """Send what goes to the hub here. xet: whether the library may use its newer way to upload."""
        monkeypatch.delenv("HF_HUB_OFFLINE")
        monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
        monkeypatch.setattr(constants, "ENDPOINT", self.url)
        monkeypatch.setattr(constants, "HF_HUB_DISABLE_XET", not xet)
        monkeypatch.setattr(constants, "HF_TOKEN_PATH", "/nowhere/token")
        monkeypatch.delenv("HF_TOKEN", raising=False)
        if token is not None:
            monkeypatch.setenv("HF_TOKEN", token)
        return self

    def received(self) -> list[bytes]:
        """Return all that was received, also with what is base64 in JSON decoded."""
        texts = [text for body in self.bodies for text in re.findall(rb'"([A-Za-z0-9+/]{16,}={0,2})"', body)]
        return [*self.bodies, *(base64.b64decode(text) for text in texts if len(text) % 4 == 0)]

    def answer(self, method: str, path: str, body: bytes) -> Reply:
        """Return status and body of the reply."""
        self.calls.append(f"{method} {path}")
        self.bodies.append(body)
        for part, (status, words) in self.fail.items():
            if part in path:
                return status, {"error": words}
        for wanted, pattern, reply in self._routes():
            match = re.fullmatch(pattern, path)
            if match and method == wanted:
                return reply(body, **match.groupdict())
        return 404, {"error": "Not found"}

    def _routes(self) -> list[tuple[str, str, Callable[..., Reply]]]:
        return [
            ("POST", "/api/repos/create", self._create),
            ("POST", "/api/validate-yaml", lambda body: (200, {"errors": [], "warnings": []})),
            ("GET", rf"/api/datasets/{REPO}(/revision/main)?", self._info),
            ("GET", rf"/api/datasets/{REPO}/tree/main", self._tree),
            ("POST", rf"/api/datasets/{REPO}/preupload/main", self._modes),
            ("POST", rf"/api/datasets/{REPO}/commit/main", self._commit),
            ("POST", rf"/datasets/{REPO}\.git/info/lfs/objects/batch", self._batch),
            ("PUT", r"/lfs/(?P<oid>[0-9a-f]{64})", self._store),
            ("POST", r"/lfs/verify", lambda body: (200, {})),
        ]

    def _create(self, body: bytes) -> Reply:
        asked = json.loads(body)
        repo = f"{asked['organization']}/{asked['name']}"
        url = {"url": f"{self.url}/datasets/{repo}"}
        assert asked["type"] == "dataset"
        if repo in self.files:
            return 409, {"error": "You already created this dataset repo", **url}
        self.files[repo] = {".gitattributes": b"*.parquet filter=lfs\n"}
        self.private[repo] = asked.get("visibility") == "private" or asked.get("private") is True
        return 200, url

    def _info(self, body: bytes, repo: str) -> Reply:
        if repo not in self.files:
            return 404, {"error": "Repository not found"}
        siblings = [{"rfilename": name} for name in self.files[repo]]
        return 200, {"id": repo, "sha": "0" * 40, "private": self.private[repo], "siblings": siblings, "tags": []}

    def _tree(self, body: bytes, repo: str) -> Reply:
        files = self.files[repo].items()
        return 200, [{"type": "file", "path": name, "size": len(data), "oid": _oid(data)} for name, data in files]

    def _modes(self, body: bytes, repo: str) -> Reply:
        modes = []
        for file in json.loads(body)["files"]:
            there = self.files[repo].get(file["path"])
            mode = "lfs" if file["path"].endswith(self.large or ("\0",)) else "regular"
            oid = None if there is None else hashlib.sha256(there).hexdigest() if mode == "lfs" else _oid(there)
            modes.append({"path": file["path"], "uploadMode": mode, "shouldIgnore": False, "oid": oid})
        return 200, {"files": modes}

    def _commit(self, body: bytes, repo: str) -> Reply:
        for line in map(json.loads, body.splitlines()):
            value = line["value"]
            if line["key"] == "file":
                self.files[repo][value["path"]] = base64.b64decode(value["content"])
            elif line["key"] == "lfsFile":
                self.files[repo][value["path"]] = self.stored[value["oid"]]
            elif line["key"] == "deletedFile":
                del self.files[repo][value["path"]]
        return 200, {"commitUrl": f"{self.url}/datasets/{repo}/commit/1", "commitOid": "1" * 40, "pullRequestUrl": None}

    def _batch(self, body: bytes, repo: str) -> Reply:
        objects = []
        for wanted in json.loads(body)["objects"]:
            upload = {"upload": {"href": f"{self.url}/lfs/{wanted['oid']}"}}
            objects.append(wanted if wanted["oid"] in self.stored else {**wanted, "actions": upload})
        return 200, {"transfer": "basic", "objects": objects}

    def _store(self, body: bytes, oid: str) -> Reply:
        assert hashlib.sha256(body).hexdigest() == oid
        self.stored[oid] = body
        return 200, {}


def _oid(data: bytes) -> str:
    """Return git's name of a file's content."""
    return hashlib.sha1(b"blob %d\0" % len(data) + data).hexdigest()


def _handler(server: HubServer) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def _reply(self) -> None:
            if self.headers.get("Transfer-Encoding") == "chunked":
                body = b""
                while size := int(self.rfile.readline(), 16):
                    body += self.rfile.read(size)
                    self.rfile.readline()
                self.rfile.readline()
            else:
                body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            server.tokens[f"{self.command} {self.path}"] = self.headers.get("Authorization")
            status, content = server.answer(self.command, self.path.partition("?")[0], body)
            data = json.dumps(content).encode()
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

        do_GET = do_POST = do_PUT = _reply

        def log_message(self, *_: object) -> None:
            """Print nothing."""

    return Handler
