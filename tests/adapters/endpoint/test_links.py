"""Images that are sent as URLs: only from hosts that the card lists, and never further."""

from __future__ import annotations

import pytest

from fairbench.errors import CardError, FairbenchError
from fairbench.serving import patience, transport
from tests.builders.endpoints import adapter, requests
from tests.builders.image_server import ImageServer, Reply, png, serving


@pytest.fixture(autouse=True)
def _no_patience(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(patience, "FIRST_WAIT", 0.01)


def send_url(server: ImageServer, url: str) -> None:
    server.behave = lambda number, body: Reply({"data": [{"url": url}]})


def host(server: ImageServer) -> str:
    return server.origin.removeprefix("http://")


@pytest.mark.parametrize(
    "url",
    [
        "http://169.254.169.254/latest/meta-data",
        "http://127.0.0.1:1/a.png",
        "https://listed.example.evil.example/a.png",
        "https://listed.example@evil.example/a.png",
        "https://listed.example:8443/a.png",
        "https://evil.example/listed.example",
        "file:///etc/passwd",
        "gopher://listed.example/a",
        "ftp://listed.example/a.png",
        "//listed.example/a.png",
        "listed.example/a.png",
        "http://[::1]/a.png",
        "http://[broken/a.png",
        "https://listed.example\\@evil.example/a.png",
    ],
)
def test_a_url_of_another_host_stops_the_run_before_anything_is_fetched(url: str) -> None:
    with serving("openai") as server:
        send_url(server, url)
        with pytest.raises(CardError, match=r"image_hosts lists listed\.example: add the host"):
            adapter(server, image_hosts=["listed.example"]).generate(requests(1))
        assert [method for method, _ in server.seen] == ["GET", "POST"]  # /models, and the request


def test_a_listed_host_is_asked_again_but_the_image_is_not_paid_twice() -> None:
    with serving("openai") as server:
        send_url(server, f"{server.origin}/a.png")
        server.files["/a.png"] = Reply({}, 503)
        with pytest.raises(FairbenchError, match=r"after 3 attempts: the image's URL answers 503"):
            adapter(server, image_hosts=[host(server)]).generate(requests(1))
        assert len(server.requests) == 1 and server.seen.count(("GET", "/a.png")) == 3
        server.files["/a.png"] = Reply(png("x", 1))
        (result,) = adapter(server, image_hosts=[host(server)]).generate(requests(1))
        assert result.encoded == png("x", 1)


def test_the_host_of_an_image_may_not_lead_elsewhere() -> None:
    with serving("openai") as server, serving("openai") as inner:
        inner.files["/secret.png"] = Reply(png("x", 1))
        send_url(server, f"{server.origin}/a.png")
        server.files["/a.png"] = Reply({}, 302, {"location": f"{inner.origin}/secret.png"})
        with pytest.raises(FairbenchError, match="the image's URL answers 302"):
            adapter(server, image_hosts=[host(server)], attempts=1).generate(requests(1))
        assert inner.seen == []


def test_what_is_larger_than_any_image_is_not_read_to_its_end(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(transport, "MAX_BODY", 100_000)
    with serving("openai", lambda number, body: Reply(b"x" * 300_000)) as server:
        (result,) = adapter(server).generate(requests(1))
        assert (result.status, result.error) == ("failed", "the answer is larger than any image may be")
        send_url(server, f"{server.origin}/a.png")
        server.files["/a.png"] = Reply(b"x" * 300_000)
        (result,) = adapter(server, image_hosts=[host(server)]).generate(requests(1))
        assert (result.status, result.error) == ("failed", "the image is larger than any may be")


def test_a_compressed_body_is_not_unpacked() -> None:
    import gzip

    packed = Reply(gzip.compress(b"0" * 10_000_000), headers={"content-encoding": "gzip"})
    with (
        serving("openai", lambda number, body: packed) as server,
        pytest.raises(FairbenchError, match="it sent what is no JSON"),
    ):
        adapter(server).generate(requests(1))
