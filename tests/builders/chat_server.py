"""A local server that speaks the chat form: it takes questions about images, and answers 400 to what the form lacks.

What the form has is written here once more, from its documentation, and not taken from fairbench.
"""

from __future__ import annotations

import base64
import io
from collections.abc import Callable
from typing import Any

import numpy as np
from PIL import Image

from fairbench.types import RgbImage
from tests.builders.image_server import MODEL, Behaviour, ImageServer

FIELDS = (
    "model messages max_tokens max_completion_tokens temperature top_p seed n stop logprobs top_logprobs "
    "presence_penalty frequency_penalty response_format user chat_template_kwargs"
)
Answers = Callable[[str, RgbImage | None], str]


class ChatServer(ImageServer):
    """answers: question and image -> what the model says. asked: the questions and images, in the order of arrival."""

    def __init__(self, answers: Answers, behave: Behaviour | None = None, *, key: str | None = None) -> None:
        super().__init__("openai", behave, key=key)
        self._answers = answers
        self.asked: list[tuple[str, RgbImage | None]] = []

    @property
    def path(self) -> str:
        """Where requests are taken."""
        return "/v1/chat/completions"

    def problem(self, body: dict[str, Any]) -> str | None:
        """Return what is wrong with a request, None where nothing is."""
        unknown = set(body) - set(FIELDS.split())
        if unknown:
            return f"unknown fields {sorted(unknown)}"
        if body.get("model") != MODEL:
            return f"The model {body.get('model')} does not exist"
        temperature, limit = body.get("temperature", 1), body.get("max_tokens", body.get("max_completion_tokens"))
        if not 0 <= temperature <= 2 or not isinstance(limit, int) or limit < 1:
            return "temperature or max_tokens"
        try:
            parsed(body)
        except (KeyError, TypeError, ValueError) as err:
            return f"messages: {err}"
        return None

    def usual(self, body: dict[str, Any], number: int) -> Any:
        """Return the answer of the model."""
        question, image = parsed(body)
        self.asked.append((question, image))
        return said(self._answers(question, image))


def said(text: str | None, finish: str = "stop", **message: Any) -> dict[str, Any]:
    """Return a completion. message: further fields of its message."""
    choice = {"index": 0, "message": {"role": "assistant", "content": text, **message}, "finish_reason": finish}
    return {"id": "1", "object": "chat.completion", "created": 1, "model": MODEL, "choices": [choice]}


def parsed(body: dict[str, Any]) -> tuple[str, RgbImage | None]:
    """Return question and image of a request. Raises KeyError, TypeError, ValueError where the form is another."""
    (message,) = body["messages"]
    if message["role"] != "user" or set(message) != {"role", "content"}:
        raise ValueError("one message of the user")
    content = message["content"]
    if isinstance(content, str):
        return content, None
    (picture,) = (part for part in content if part["type"] == "image_url")
    (text,) = (part["text"] for part in content if part["type"] == "text")
    head, _, data = picture["image_url"]["url"].partition(",")
    if head != "data:image/png;base64":
        raise ValueError(f"{head[:40]!r} is no PNG in base64")
    return text, np.asarray(Image.open(io.BytesIO(base64.b64decode(data, validate=True))).convert("RGB"))
