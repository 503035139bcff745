"""A key stands in one header of one request, and in nothing that is written, printed, logged or raised."""

from __future__ import annotations

import base64
import logging
import pickle
import traceback
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest

import fairbench
from fairbench.errors import FairbenchError
from fairbench.serving import patience, secret
from tests.builders.cli import Cli
from tests.builders.endpoints import KEY, adapter, card_file, requests, run_arguments
from tests.builders.image_server import ImageServer, Reply, png, serving, with_comment

HIDDEN_IN = (KEY, quote(KEY, safe=""), base64.b64encode(KEY.encode()).decode())


@pytest.fixture(autouse=True)
def _key(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(patience, "FIRST_WAIT", 0.01)
    monkeypatch.setenv("TEST_KEY", KEY)


def holds_key(text: str | bytes) -> bool:
    data = text if isinstance(text, bytes) else text.encode()
    return any(form.encode() in data for form in HIDDEN_IN)


def frames_of(error: BaseException) -> str:
    """Return the sentence and the frames of fairbench, with all their variables; a test's own frame holds the key."""
    package = str(Path(fairbench.__file__).parent)
    said = traceback.TracebackException.from_exception(error, capture_locals=True)
    ours = [text for frame, text in zip(said.stack, said.stack.format(), strict=True) if package in frame.filename]
    assert ours
    return "".join([*ours, str(error), repr(error.__cause__), repr(error.__context__)])


def indiscreet(server: ImageServer) -> Any:
    """Return the behaviour of a server that repeats the key wherever it can."""

    def image(**fields: Any) -> Reply:
        return Reply({"data": [{"b64_json": base64.b64encode(png("x", len(server.requests))).decode(), **fields}]})

    def behave(number: int, body: dict[str, Any]) -> Reply | None:
        in_file = base64.b64encode(with_comment(png("x", 1), KEY)).decode()
        replies: dict[int, Reply] = {
            0: Reply({"error": {"code": "moderation_blocked", "message": f"key {KEY} was used"}}, 400),
            1: image(revised_prompt=f"a nurse with {KEY}"),
            2: Reply({"data": [{"b64_json": in_file}]}),
            3: Reply({"data": [{"url": f"{server.origin}/files/{quote(KEY, safe='')}.png"}]}),
            4: Reply({"error": {"message": f"busy, {KEY}"}}, 503, {"x-key": KEY}),
            12: Reply({"error": {"code": KEY, "message": f"bad request with {KEY}"}}, 400),
        }
        return replies.get(number, image())

    return behave


def test_nothing_that_is_written_holds_the_key(tmp_path: Path, cli: Cli) -> None:
    with serving("openai", key=KEY) as server:
        server.behave = indiscreet(server)
        server.models["data"][0]["note"] = f"asked with {KEY}"
        host = server.origin.removeprefix("http://")
        card = card_file(tmp_path, server, key_variable="TEST_KEY", image_hosts=[host])
        shown = [cli(*run_arguments(card, tmp_path), "--dry-run", "-v"), cli(*run_arguments(card, tmp_path), "-v")]
        assert shown[1].code == 2 and "refuses the request (400 [key]: bad request with [key])" in shown[1].err
        shown.append(cli(*run_arguments(card, tmp_path), "-v").succeeded())
        assert {head["authorization"] for head in server.heads} == {f"Bearer {KEY}"}
        shown.append(cli("show", tmp_path / "run", "--full"))
    assert not any(holds_key(r.out) or holds_key(r.err) for r in shown)
    files = [p for p in tmp_path.rglob("*") if p.is_file()]
    assert len(files) > 5 and not [p for p in files if holds_key(p.read_bytes())]
    record = (tmp_path / "run" / "run.json").read_text()
    assert "moderation_blocked: key [key] was used" in record and "a nurse with [key]" in record
    assert "the server wrote the key into the image" in record and "asked with [key]" in record


@pytest.mark.parametrize("level", [logging.DEBUG, logging.INFO])
def test_neither_logs_nor_exceptions_hold_it_not_even_their_frames(
    level: int, caplog: pytest.LogCaptureFixture
) -> None:
    replies: list[Reply] = [
        Reply({"error": {"message": f"what is {KEY}?"}}, 401),
        Reply({"detail": KEY}, 500),
        Reply({}, 302, {"location": f"https://x.example/?k={quote(KEY, safe='')}"}),
        Reply({"error": {"code": "insufficient_quota", "message": KEY}}, 429),
        Reply(b"", cut=0),
    ]
    with caplog.at_level(level), serving("openai") as server:
        for reply in replies:
            server.behave = lambda number, body, reply=reply: reply
            with pytest.raises(FairbenchError) as caught:
                adapter(server, key_variable="TEST_KEY", attempts=2).generate(requests(1))
            assert not holds_key(frames_of(caught.value))
    assert not holds_key(caplog.text)


@pytest.mark.parametrize("value", [f"{KEY}\nX-Injected: 1", f"{KEY} two", "clé-secrète", ""])
def test_what_can_be_no_key_is_refused_and_not_repeated(value: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TEST_KEY", value)
    with pytest.raises(FairbenchError, match="environment variable TEST_KEY") as caught:
        secret.from_environment("TEST_KEY")
    frames = frames_of(caught.value)
    assert not holds_key(frames) and "secrète" not in frames
    assert not holds_key(str(caught.value))


def test_a_key_shows_itself_to_nobody() -> None:
    key = secret.from_environment("TEST_KEY")
    assert not holds_key(f"{key!r} {key} {vars(type(key))}") and not holds_key(pickle.dumps(key))
    assert key.header("x-goog-api-key") == {"x-goog-api-key": KEY}


def test_no_key_goes_to_the_host_of_an_image() -> None:
    with serving("openai", key=KEY) as server, serving("openai") as other:
        heads: list[dict[str, str]] = []
        other.files["/a.png"] = Reply(png("x", 1))
        other.on_get = heads.append
        link = {"data": [{"url": f"{other.origin}/a.png"}]}
        server.behave = lambda number, body: Reply(link)
        host = other.origin.removeprefix("http://")
        (result,) = adapter(server, key_variable="TEST_KEY", image_hosts=[host]).generate(requests(1))
        assert result.status == "ok" and result.encoded == png("x", 1)
        assert len(heads) == 1 and not holds_key(str(heads))
