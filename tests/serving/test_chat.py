"""Questions to a served model, against a local server that speaks the chat form."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from pydantic import ValidationError

from fairbench.errors import CardError, FairbenchError
from fairbench.serving import patience
from fairbench.serving.chat import ChatModel, ChatParams
from tests.builders.chat_server import ChatServer, said
from tests.builders.image_server import MODEL, Reply

KEY = "sk-very-secret-1234567890"


@pytest.fixture(autouse=True)
def _no_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(patience, "FIRST_WAIT", 0.0)


@pytest.fixture
def server() -> Iterator[ChatServer]:
    with ChatServer(lambda question, image: f" {question}! " if image is None else str(int(image[0, 0, 0]))) as running:
        yield running


def model(server: ChatServer, **params: Any) -> ChatModel:
    return ChatModel("judge", ChatParams(model=MODEL, base_url=server.url, **params))


def picture(value: int, shape: tuple[int, int] = (3, 5)) -> np.ndarray:
    return np.full((*shape, 3), value, dtype=np.uint8)


def test_each_question_gets_the_answer_about_its_own_image(server: ChatServer) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (7, 4, 3), dtype=np.uint8)
    images = [picture(i) for i in range(9)] + [noise, None]
    answers = model(server, concurrency=4).answer([f"q{i}" for i in range(11)], images)
    assert answers == [*map(str, range(9)), str(noise[0, 0, 0]), "q10!"]
    sent = dict(server.asked)
    assert np.array_equal(sent["q9"], noise)
    assert sent["q10"] is None


def test_the_most_probable_answer_is_asked_for_unless_there_are_seeds(server: ChatServer) -> None:
    model(server, extra={"stop": ["\n"]}).answer(["a"], [None], limit=5)
    model(server, greedy=False, limit_field="max_completion_tokens").answer(["a"], [None])
    model(server).answer(["a"], [None], [7], temperature=0.5, top_p=0.9)
    model(server, seeded=True).answer(["a"], [None], [2**62 + 3])
    bodies = [{k: v for k, v in b.items() if k not in ("model", "messages")} for b in server.requests]
    assert bodies == [
        {"temperature": 0, "max_tokens": 5, "stop": ["\n"]},
        {"max_completion_tokens": 32},
        {"temperature": 0.5, "top_p": 0.9, "max_tokens": 32},
        {"temperature": 1.0, "top_p": 1.0, "seed": 3, "max_tokens": 32},
    ]


@pytest.mark.parametrize(
    "reply",
    [
        Reply({"error": {"code": "content_policy_violation", "message": "no"}}, 400),
        Reply(said("male", "content_filter")),
        Reply(said(None, refusal="I cannot help")),
        Reply(said(None)),
    ],
)
def test_a_refusal_is_an_empty_answer(reply: Reply) -> None:
    with ChatServer(lambda *_: "", lambda number, body: reply) as server:
        assert model(server).answer(["a"], [None]) == [""]


@pytest.mark.parametrize(
    "reply", [Reply({}, 429), Reply({}, 503), Reply(b"<html>"), Reply({"choices": []}), Reply({"choices": [{}]})]
)
def test_what_is_no_answer_is_asked_for_again_and_then_stops(reply: Reply) -> None:
    with ChatServer(lambda *_: "yes", lambda number, body: None if number == 2 else reply) as server:
        assert model(server, attempts=3).answer(["a"], [None]) == ["yes"]
        with pytest.raises(FairbenchError, match=r"judge: the server at .* gave no answer after 2 attempts: "):
            model(server, attempts=2).answer(["a"], [None])
        assert len(server.requests) == 5


def test_a_key_is_sent_and_never_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("JUDGE_KEY", KEY)
    with ChatServer(lambda *_: "yes", key=KEY) as server:
        assert model(server, key_variable="JUDGE_KEY").answer(["a"], [None]) == ["yes"]
        with pytest.raises(FairbenchError, match=r"401.*key_variable") as wrong:
            model(server).answer(["a"], [None])
        monkeypatch.setenv("JUDGE_KEY", "sk-another-secret-1")
        with pytest.raises(FairbenchError, match=r"check the key in JUDGE_KEY") as echoed:  # the server repeats it
            model(server, key_variable="JUDGE_KEY").answer(["a"], [None])
        assert KEY not in str(wrong.value)
        assert "another" not in str(echoed.value)
        monkeypatch.delenv("JUDGE_KEY")
        with pytest.raises(FairbenchError, match=r"JUDGE_KEY"):
            model(server, key_variable="JUDGE_KEY").answer(["a"], [None])


@pytest.mark.parametrize(
    ("field", "value", "words"),
    [
        ("key_variable", KEY, "never a key"),
        ("extra", {"api_key": KEY}, "looks like a key"),
        ("extra", {"temperature": 1}, "set for each request"),
        ("extra", {"max_tokens": 1}, "set for each request"),
        ("base_url", f"http://user:{KEY}@host/v1", "may hold no user name"),
        ("base_url", "ftp://host", "must begin with http"),
        ("max_cost", 1.0, "price_per_question"),
    ],
)
def test_a_card_that_cannot_be_meant_is_refused_and_shows_no_key(field: str, value: Any, words: str) -> None:
    with pytest.raises(ValidationError, match=words) as refused:
        ChatParams.model_validate({"model": MODEL, field: value})
    assert KEY not in refused.value.errors()[0]["msg"]


def test_what_it_costs_is_limited(server: ChatServer) -> None:
    judge = model(server, price_per_question=0.5, max_cost=2.0, concurrency=1)
    assert len(judge.answer(["a"] * 3, [None] * 3)) == 3
    with pytest.raises(FairbenchError, match=r"max_cost 2 is reached: about \$2\.00"):
        judge.answer(["b"] * 3, [None] * 3)
    assert len(server.requests) == 4


@pytest.mark.parametrize(
    ("address", "stays"),
    [
        ("http://127.0.0.1:8000/v1", True),
        ("http://127.8.9.1/v1", True),
        ("http://[::1]:8000/v1", True),
        ("http://localhost:8000/v1", True),
        ("http://LOCALHOST/v1", True),
        ("https://api.openai.com/v1", False),
        ("http://localhost.example.com/v1", False),
        ("http://127.0.0.1.nip.io/v1", False),
        ("http://10.0.0.7:8000/v1", False),
        ("http://0.0.0.0:8000/v1", False),
        ("http://[::ffff:10.0.0.7]/v1", False),
    ],
)
def test_only_the_loopback_interface_is_this_machine(address: str, stays: bool) -> None:
    sends_to = ChatModel("judge", ChatParams(model=MODEL, base_url=address)).sends_to
    assert sends_to == (None if stays else address)


def test_the_address_comes_from_the_card_or_its_variable(server: ChatServer, monkeypatch: pytest.MonkeyPatch) -> None:
    judge = ChatModel("judge", ChatParams(model=MODEL, base_url="http://127.0.0.1:9/v1", url_variable="JUDGE_URL"))
    monkeypatch.setenv("JUDGE_URL", server.url)
    assert judge.answer(["a"], [None]) == ["a!"]
    monkeypatch.setenv("JUDGE_URL", "http://me:pw@host/v1")
    with pytest.raises(CardError, match=r"JUDGE_URL: .*may hold no user name") as refused:
        _ = judge.address
    assert "pw" not in str(refused.value)
    with pytest.raises(CardError, match=r"Where is judge's server\? Write base_url"):
        _ = ChatModel("judge", ChatParams(model=MODEL)).address


def test_no_redirect_and_no_proxy_takes_an_image_elsewhere(monkeypatch: pytest.MonkeyPatch) -> None:
    with ChatServer(lambda *_: "yes") as elsewhere, ChatServer(lambda *_: "yes") as server:
        monkeypatch.setenv("HTTP_PROXY", elsewhere.origin)
        monkeypatch.setenv("http_proxy", elsewhere.origin)
        monkeypatch.setenv("ALL_PROXY", elsewhere.origin)
        assert model(server).answer(["a"], [picture(1)]) == ["yes"]
        assert elsewhere.seen == []
        server.behave = lambda number, body: Reply({}, 307, {"location": elsewhere.url + "/chat/completions"})
        with pytest.raises(CardError, match="redirects to"):
            model(server).answer(["a"], [picture(1)])
        assert elsewhere.seen == []
