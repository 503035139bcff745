"""What becomes of each answer of a server."""

from __future__ import annotations

import base64
import io
import json
import struct
import time
import zlib
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from typing import Any

import pytest
from PIL import Image

from fairbench.adapters.endpoint import answers
from fairbench.adapters.endpoint.params import EndpointParams
from fairbench.errors import CardError, FairbenchError
from fairbench.serving import patience
from fairbench.serving.answers import Answer
from tests.builders.endpoints import adapter, requests, sampling
from tests.builders.image_server import ImageServer, Reply, png, serving


@pytest.fixture(autouse=True)
def _no_patience(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(patience, "FIRST_WAIT", 0.01)


BASE64 = base64.b64encode(png("x", 1)).decode()


def image(**fields: Any) -> dict[str, Any]:
    return {"data": [{"b64_json": BASE64, **fields}]}


def gemini(reason: str, *parts: dict[str, Any]) -> Reply:
    return Reply({"candidates": [{"content": {"parts": list(parts)}, "finishReason": reason}]})


def gemini_block(reason: str) -> Reply:
    return Reply({"promptFeedback": {"blockReason": reason}})


INLINE = {"inlineData": {"mimeType": "image/png", "data": BASE64}}
BLOCKED = {"error": {"type": "image_generation_user_error", "code": "moderation_blocked", "message": "violence"}}


def refusal(code: str, **inner: Any) -> Reply:
    return Reply({"error": {"code": code, "message": "m", **inner}}, 400)


MEANINGS: dict[str, tuple[str, Reply, str, str | None]] = {
    "openai-moderation": ("openai", Reply(BLOCKED, 400), "refused", "moderation_blocked: violence"),
    "relay": ("litellm", refusal("content_policy_violation"), "refused", "content_policy_violation: m"),
    "azure": ("azure", refusal("contentFilter"), "refused", "contentFilter: m"),
    "azure-inner": ("azure", refusal("x", inner_error={"code": "content_filter"}), "refused", "content_filter: m"),
    "by-words": ("vllm-omni", Reply({"detail": "By the GUARDRAIL"}, 400), "refused", "guardrail: By the GUARDRAIL"),
    "prompt": ("gemini", gemini_block("PROHIBITED_CONTENT"), "refused", "PROHIBITED_CONTENT: no image"),
    "prompt-other": ("gemini", gemini_block("OTHER"), "failed", "OTHER: no image"),
    "safety": ("gemini", gemini("IMAGE_SAFETY"), "refused", "IMAGE_SAFETY: no image"),
    "recitation": ("gemini", gemini("IMAGE_RECITATION"), "refused", "IMAGE_RECITATION: no image"),
    "no-image": ("gemini", gemini("NO_IMAGE"), "failed", "NO_IMAGE: no image"),
    "words": ("gemini", gemini("STOP", {"text": "I"}, {"text": "rather not."}), "failed", "STOP: I rather not."),
    "draft": ("gemini", gemini("STOP", {"thought": True, **INLINE}, INLINE), "ok", None),
    "two-parts": ("gemini", gemini("STOP", INLINE, INLINE), "failed", "2 images for a request of one"),
    "none": ("openai", Reply({"data": []}), "failed", "no image, and no reason"),
    "two": ("openai", Reply({"data": 2 * image()["data"]}), "failed", "2 images for a request of one"),
    "empty": ("openai", Reply({"data": [{}]}), "failed", "neither b64_json nor url in the answer"),
    "data-url": ("openai", Reply({"data": [{"url": f"data:image/png;base64,{BASE64}"}]}), "ok", None),
}


@pytest.mark.parametrize(("dialect", "reply", "status", "error"), MEANINGS.values(), ids=MEANINGS)
def test_what_an_answer_means(dialect: str, reply: Reply, status: str, error: str | None) -> None:
    with serving(dialect, lambda number, body: reply) as server:
        (result,) = adapter(server, refusal_texts=["guardrail"]).generate(requests(1))
        assert (result.status, result.error) == (status, error)
        assert len(server.requests) == 1


def test_an_answer_in_words_is_a_refusal_where_the_card_says_so() -> None:
    with serving("gemini", lambda number, body: gemini("STOP", {"text": "No."})) as server:
        (result,) = adapter(server, text_answer="refused").generate(requests(1))
        assert (result.status, result.error) == ("refused", "STOP: No.")


@pytest.mark.parametrize(
    ("data", "error"),
    [
        (BASE64[:-7], "the image's base64 is damaged"),
        (base64.b64encode(png("x", 1)[:900]).decode(), "the file that the server sent is damaged or truncated"),
        (base64.b64encode(b"<html>sorry</html>").decode(), "the file that the server sent is not an image"),
        ("not base64!", "the image's base64 is damaged"),
        (BASE64[:100] + "!!!!" + BASE64[104:], "the image's base64 is damaged"),
        (BASE64[:100] + "\n" + BASE64[100:], "the image's base64 is damaged"),
    ],
)
def test_a_damaged_image_has_failed_with_its_reason(data: str, error: str) -> None:
    with serving("openai", lambda number, body: Reply({"data": [{"b64_json": data}]})) as server:
        (result,) = adapter(server).generate(requests(1))
        assert result.status == "failed" and str(result.error).startswith(error)


def test_an_image_of_too_many_pixels_has_failed() -> None:
    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    head = chunk(b"IHDR", struct.pack(">IIBBBBB", 60_000, 60_000, 8, 2, 0, 0, 0))
    bomb = b"\x89PNG\r\n\x1a\n" + head + chunk(b"IDAT", zlib.compress(b"")) + chunk(b"IEND", b"")
    reply = Reply({"data": [{"b64_json": base64.b64encode(bomb).decode()}]})
    with serving("openai", lambda number, body: reply) as server:
        (result,) = adapter(server).generate(requests(1))
        assert (result.status, result.error) == (
            "failed",
            "the file that the server sent has too many pixels to be decoded safely",
        )


@pytest.mark.parametrize("kind", ["JPEG", "WEBP"])
def test_other_formats_are_kept_as_they_were_sent(kind: str) -> None:
    out = io.BytesIO()
    Image.open(io.BytesIO(png("x", 1))).save(out, kind)
    reply = Reply({"data": [{"b64_json": base64.b64encode(out.getvalue()).decode()}]})
    with serving("openai", lambda number, body: reply) as server:
        (result,) = adapter(server).generate(requests(1))
        assert result.encoded == out.getvalue() and result.pixels is not None and result.pixels.shape == (64, 64, 3)


@pytest.mark.parametrize(
    ("revised", "noted"), [(None, False), ("a portrait of a nurse", False), ("A young nurse", True)]
)
def test_a_revised_prompt_is_noted_and_an_echo_is_not(revised: str | None, noted: bool) -> None:
    with serving("openai", lambda number, body: Reply(image(revised_prompt=revised))) as server:
        (result,) = adapter(server).generate(requests(1))
        assert result.notes.get("prompt-rewritten") == (revised if noted else None)


@pytest.mark.parametrize(
    "reply",
    [
        Reply({"error": {"message": "slow down"}}, 429),
        Reply({"detail": "busy"}, 503),
        Reply({}, 408),
        Reply({}, 500),
        Reply(b"<html>bad gateway</html>", 502),
        Reply(b'{"data": [', 200),
        Reply(b"[" * 100_000, 200),
        Reply(b"\xff\xfe", 200),
        Reply({"hello": 1}, 200),
        Reply(image(), cut=300),
        Reply(image(), cut=0),
        Reply(image(), delay=3.0),
    ],
    ids=lambda reply: f"{reply.status}-{reply.cut}-{reply.delay}",
)
def test_what_may_pass_is_asked_again_and_the_image_is_then_the_same(reply: Reply) -> None:
    with serving("vllm-omni", lambda number, body: reply if number < 2 else None) as server:
        (result,) = adapter(server, timeout=1.5 if reply.delay else 10).generate(requests(1))
        assert result.status == "ok" and result.encoded == png(requests(1)[0].text, requests(1)[0].seed % 2**31)
        assert len(server.requests) == 3 and server.requests[0] == server.requests[2]


@pytest.mark.parametrize("reply", [Reply({"detail": "busy"}, 503), Reply(b"nothing", 200), Reply(image(), cut=10)])
def test_what_does_not_pass_stops_the_run_and_is_no_result(reply: Reply) -> None:
    with serving("vllm-omni", lambda number, body: reply) as server:
        with pytest.raises(FairbenchError, match=r"gave no image after 3 attempts: .*the same command goes on\.$"):
            adapter(server).generate(requests(1))
        assert len(server.requests) == 3


LASTING: dict[str, tuple[str, Reply, str]] = {
    "bad-size": ("openai", refusal("invalid_value"), r"refuses the request \(400 invalid_value: m\): fix `sampling`"),
    "validation": (
        "vllm-omni",
        Reply({"detail": [{"msg": "too many"}]}, 422),
        r"refuses the request \(422: .*too many",
    ),
    "no-model": ("openai", Reply({"error": {"message": "no such model"}}, 404), "has no such address or model"),
    "bad-key": ("openai", Reply({"error": {"message": "who?"}}, 401), r"does not let us in \(401: who\?\)"),
    "credit": ("openai", Reply({"error": {"code": "insufficient_quota"}}, 429), "has no credit left"),
    "redirect": (
        "openai",
        Reply({}, 307, {"location": "https://x.example"}),
        "redirects to 'https://x.example', which",
    ),
}


@pytest.mark.parametrize(("dialect", "reply", "sentence"), LASTING.values(), ids=LASTING)
def test_an_error_that_will_not_pass_stops_at_once(dialect: str, reply: Reply, sentence: str) -> None:
    with serving(dialect, lambda number, body: reply) as server:
        with pytest.raises(FairbenchError, match=sentence):
            adapter(server).generate(requests(1))
        assert len(server.requests) == 1


@pytest.mark.parametrize("as_date", [False, True])
def test_retry_after_is_honoured(as_date: bool) -> None:
    asked = format_datetime(datetime.now(UTC) + timedelta(seconds=2), usegmt=True) if as_date else "0.8"
    busy = Reply({}, 429, {"retry-after": asked})
    with serving("vllm-omni", lambda number, body: busy if number == 0 else None) as server:
        adapter(server).generate(requests(1))
        assert 0.75 <= server.starts[1] - server.starts[0] < 4


def test_a_server_that_asks_for_hours_stops_the_run() -> None:
    busy = Reply({}, 429, {"retry-after": "7200"})
    said = pytest.raises(FairbenchError, match=r"after 1 attempts: it answers 429 .*asks to wait 7200 s")
    with serving("vllm-omni", lambda number, body: busy) as server, said:
        adapter(server).generate(requests(1))


def test_the_first_image_of_another_size_stops_the_run_and_a_later_one_has_failed() -> None:
    def other(server: ImageServer, first: int) -> Any:
        small = {"data": [{"b64_json": base64.b64encode(png("x", 1, (32, 48))).decode()}]}
        return lambda number, body: Reply(small) if number >= first else None

    with serving("vllm-omni") as server:
        server.behave = other(server, 0)
        with pytest.raises(CardError, match="another size: 32 x 48 pixels, 64 x 64 asked for; write a size"):
            adapter(server).generate(requests(2))
        server.requests.clear()
        server.behave = other(server, 1)
        results = adapter(server).generate(requests(2))
        assert [r.status for r in results] == ["ok", "failed"]


def test_an_unknown_server_and_a_slow_one_cost_no_more_than_their_time() -> None:
    with serving("vllm-omni", lambda number, body: Reply(image(), delay=5)) as server:
        began = time.monotonic()
        with pytest.raises(FairbenchError, match=r"after 2 attempts: no answer within 0\.2 s"):
            adapter(server, timeout=0.2, attempts=2).generate(requests(1))
        assert time.monotonic() - began < 3
    with pytest.raises(FairbenchError, match=r"gives no answer \(it cannot be reached"):
        adapter(server, timeout=1).generate(requests(1))


def leaves(value: Any, where: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """Yield where every part of plain data stands."""
    yield where
    parts = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for name, part in parts:
        yield from leaves(part, (*where, name))


def replaced(value: Any, where: tuple[Any, ...], new: Any) -> Any:
    if not where:
        return new
    changed = value.copy()
    changed[where[0]] = replaced(value[where[0]], where[1:], new)
    return changed


@pytest.mark.parametrize("dialect", ["openai", "gemini", "azure"])
@pytest.mark.parametrize("status", [200, 400, 429])
def test_whatever_stands_in_an_answer_it_is_understood_or_named_and_never_trips(dialect: str, status: int) -> None:
    params = EndpointParams(**sampling(dialect))
    whole = [
        {**image(revised_prompt="x"), **gemini("STOP", INLINE, {"text": "x"}).body},
        {"promptFeedback": {"blockReason": "SAFETY", "blockReasonMessage": "m"}, "candidates": []},
        {"error": {"code": "c", "type": "t", "status": "s", "message": "m", "inner_error": {"code": "d"}}},
        {"detail": [{"msg": "m"}]},
    ]
    seen = set()
    for body in whole:
        for where in leaves(body):
            for new in (None, 7, "", "x", [], [None], {}, {"code": 3}, True, 1.5):
                answer = Answer(status, {"retry-after": "soon"}, json.dumps(replaced(body, where, new)).encode())
                try:
                    seen.add(type(answers.read(params, "the server", answer, "a nurse")).__name__)
                except FairbenchError as err:
                    seen.add(type(err).__name__)
    assert seen <= {"Response", "Link", "Again", "CardError", "FairbenchError"} and seen
