"""Questions to a served model in the form of OpenAI's `/v1/chat/completions`, which vLLM, SGLang and services speak."""

from __future__ import annotations

import base64
import functools
import os
import threading
from collections.abc import Callable, Sequence
from typing import Any, Final, Literal

from pydantic import Field, model_validator

from fairbench.errors import CardError
from fairbench.protocols import TRANSPORT, Params
from fairbench.serving import secret, transport
from fairbench.serving.answers import Again, Refusal, content_of
from fairbench.serving.pace import Budget, Pace
from fairbench.serving.patience import Patience
from fairbench.serving.side_by_side import side_by_side
from fairbench.storage import pixels
from fairbench.types import RgbImage

PATH: Final = "chat/completions"
_FILTERED: Final = ("content_filter", "refusal")
_RESERVED: Final = ("model", "messages", "n", "stream", "seed", "temperature", "top_p")
Variable = r"^[A-Z][A-Z0-9_]{0,63}$"


class ChatParams(Params):
    """A served model that understands images. The key covers model, revision and `extra`; the address is no part of it.

    limit_field: the request field that holds the largest number of tokens; newer services call it
    max_completion_tokens. seeded: whether each question's own seed is sent. price_per_question, max_cost: US dollars.
    """

    model: str = Field(min_length=1, max_length=200, description="the name that the server knows it by")
    revision: str | None = Field(None, description="commit of the weights that you have the server load; null: unknown")
    extra: dict[str, Any] = Field(default_factory=dict, description="further fields of the body, sent as they are")
    limit_field: Literal["max_tokens", "max_completion_tokens"] = "max_tokens"
    greedy: bool = Field(True, description="whether `temperature: 0` is sent; some services refuse it")
    seeded: bool = False
    base_url: str | None = Field(None, json_schema_extra=TRANSPORT)
    url_variable: str | None = Field(None, pattern=Variable, json_schema_extra=TRANSPORT)
    key_variable: str | None = Field(None, json_schema_extra=TRANSPORT)
    key_header: Literal["authorization", "api-key"] = Field("authorization", json_schema_extra=TRANSPORT)
    concurrency: int = Field(4, ge=1, le=64, description="requests in flight", json_schema_extra=TRANSPORT)
    requests_per_minute: float | None = Field(None, gt=0, json_schema_extra=TRANSPORT)
    timeout: float = Field(120, gt=0, le=86_400, description="seconds for one answer", json_schema_extra=TRANSPORT)
    attempts: int = Field(5, ge=1, le=20, json_schema_extra=TRANSPORT)
    price_per_question: float | None = Field(None, ge=0, json_schema_extra=TRANSPORT)
    max_cost: float | None = Field(None, ge=0, json_schema_extra=TRANSPORT)

    @model_validator(mode="after")
    def _no_secret_is_shown(self) -> ChatParams:
        # Checked here, since the error of a single field repeats its value, which may be a key in the wrong place.
        if self.base_url is not None:
            try:
                transport.check_address(self.base_url)
            except ValueError as err:
                raise ValueError(f"base_url: {err}") from None
        if self.key_variable is not None and not secret.is_variable(self.key_variable):
            raise ValueError("key_variable: it is the name of an environment variable, in capitals, and never a key")
        clash = next((f for f in self.extra if f in (*_RESERVED, self.limit_field)), None)
        if clash is not None:
            raise ValueError(f"extra: {clash!r} is set for each request; remove it")
        key = next(secret.named_in(self.extra), None)
        if key is not None:
            raise ValueError(f"extra: {key!r} looks like a key, which no card may hold; name key_variable")
        if self.max_cost is not None and self.price_per_question is None:
            raise ValueError("max_cost: nobody can add up what a question costs; give price_per_question")
        return self


class ChatModel:
    """A served model that answers questions about images or in text alone. Reads neither network nor key when made."""

    def __init__(self, name: str, params: ChatParams) -> None:
        self._name, self._params = name, params
        self._budget = Budget(params.price_per_question, params.max_cost, "max_cost")
        self.on_progress: Callable[[float], None] = lambda share: None

    @property
    def address(self) -> str:
        """The base URL. Raises CardError where there is none."""
        params = self._params
        given = os.environ.get(params.url_variable, "").strip() if params.url_variable else ""
        if not given and params.base_url is None:
            variable = f", or set the environment variable {params.url_variable}" if params.url_variable else ""
            raise CardError(f"Where is {self._name}'s server? Write base_url into its card{variable}.")
        try:
            return transport.check_address(given or str(params.base_url))
        except ValueError as err:
            raise CardError(f"The environment variable {params.url_variable}: {err}.") from None

    @property
    def sends_to(self) -> str | None:
        """The address where questions and images go; None where that is this machine itself."""
        return None if transport.is_this_machine(self.address) else self.address

    def refuse_missing(self) -> None:
        """Raise CardError where there is no address, FairbenchError where there is no key. Asks nothing."""
        _ = self.address
        secret.from_environment(self._params.key_variable)

    @functools.cached_property
    def _connection(self) -> tuple[transport.Transport, Patience]:
        params, address = self._params, self.address
        key = secret.from_environment(params.key_variable)
        client = transport.Transport(
            address, key, header=params.key_header, timeout=params.timeout, concurrency=params.concurrency
        )
        patience = Patience(f"{self._who} gave no answer", params.attempts, Pace(params.requests_per_minute), key)
        return client, patience

    @property
    def _who(self) -> str:
        return f"{self._name}: the server at {self.address}"

    def answer(
        self,
        questions: Sequence[str],
        images: Sequence[RgbImage | None],
        seeds: Sequence[int] | None = None,
        *,
        temperature: float = 1.0,
        top_p: float = 1.0,
        limit: int = 32,
    ) -> list[str]:
        """Return one answer per question, in order; "" where the server's policy refuses one, or it says nothing.

        images: None for a question in text alone. seeds: one per question; None takes the most probable tokens.
        Raises FairbenchError where the server cannot be had or costs more than `max_cost`.
        """
        params = self._params
        client, patience = self._connection

        def one(item: tuple[int, str, RgbImage | None], stop: threading.Event) -> str:
            index, question, image = item
            body: dict[str, Any] = {
                "model": params.model,
                "messages": [{"role": "user", "content": _content(question, image)}],
                params.limit_field: limit,
                **params.extra,
            }
            if seeds is None:
                body |= {"temperature": 0} if params.greedy else {}
            else:
                body |= {"temperature": temperature, "top_p": top_p}
                body |= {"seed": seeds[index] & 0x7FFF_FFFF} if params.seeded else {}

            def once() -> str | Again:
                self._budget.charge()
                answer = client.post(PATH, body)
                meant = answer if isinstance(answer, Again) else self._read(answer)
                if isinstance(meant, Again) and not meant.billed:
                    self._budget.pay_back()
                return meant

            text: str = patience.ask(once, stop)
            return text

        rows = [(i, q, image) for i, (q, image) in enumerate(zip(questions, images, strict=True))]
        return side_by_side(one, rows, params.concurrency, self.on_progress)

    def _read(self, answer: Any) -> str | Again:
        key = self._params.key_variable
        content = content_of(self._who, answer, key_variable=key, fix="fix `extra`, or what else the card sends")
        if isinstance(content, Again):
            return content
        if isinstance(content, Refusal):
            return ""
        choices = content.get("choices") if isinstance(content, dict) else None
        if not isinstance(choices, list) or not choices or not isinstance(choices[0], dict):
            return Again("it sent no JSON with choices", billed=True)
        message = choices[0].get("message")
        if not isinstance(message, dict):
            return Again("it sent a choice without a message", billed=True)
        if message.get("refusal") or choices[0].get("finish_reason") in _FILTERED:
            return ""
        said = message.get("content")
        return said.strip() if isinstance(said, str) else ""


def _content(question: str, image: RgbImage | None) -> Any:
    """Return a message's content: the image before the question, as models are taught; text alone is plain text."""
    if image is None:
        return question
    url = "data:image/png;base64," + base64.b64encode(pixels.encode(image)).decode("ascii")
    return [{"type": "image_url", "image_url": {"url": url}}, {"type": "text", "text": question}]
