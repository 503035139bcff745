"""What a card of a served model declares under `sampling`."""

from __future__ import annotations

import json
import re
from typing import Annotated, Any, Literal

from pydantic import Field, model_validator

from fairbench.adapters.endpoint.dialects import DIALECTS, ServerName
from fairbench.protocols import TRANSPORT, Params
from fairbench.registry import suggest
from fairbench.serving import secret
from fairbench.serving.transport import check_address


class Server(Params):
    """What answers, as you run it.

    version: the release of a server of your own (`pip show`); of Azure the `api-version` that is sent with a request;
    null: nobody can say.
    """

    name: ServerName
    version: str | None = Field(None, pattern=r"^[\w.+-]+$")


class EndpointParams(Params):
    """The image key covers what can change an image: server, model, revision, `send`, `extra`, how seeds are sent."""

    server: Server
    model: str = Field(min_length=1, max_length=200, description="the name that the server knows it by")
    revision: str | None = Field(None, description="commit of the weights that you have the server load; null: unknown")
    send: dict[str, Any] = Field(
        default_factory=dict,
        description="request fields that the server's dialect has, and their values; null: left to the server",
    )
    extra: dict[str, Any] = Field(default_factory=dict, description="further fields of the body, sent as they are")
    seeded: bool = Field(description="whether each request carries its image's own seed, and the server draws from it")
    seed_bits: int = Field(63, ge=16, le=63, description="the lowest bits of our seed that are sent")
    text_answer: Literal["failed", "refused"] = Field(
        "failed", description="status of an answer without an image that names no policy"
    )
    base_url: str | None = Field(None, json_schema_extra=TRANSPORT)
    url_variable: str | None = Field(
        None, description="environment variable that replaces base_url", json_schema_extra=TRANSPORT
    )
    key_variable: str | None = Field(
        None, description="NAME of the environment variable that holds the key", json_schema_extra=TRANSPORT
    )
    key_header: Literal["authorization", "api-key", "x-goog-api-key"] | None = Field(
        None, description="null: the dialect's own", json_schema_extra=TRANSPORT
    )
    concurrency: int = Field(1, ge=1, le=64, description="requests in flight", json_schema_extra=TRANSPORT)
    requests_per_minute: float | None = Field(None, gt=0, json_schema_extra=TRANSPORT)
    timeout: float = Field(600, gt=0, le=86_400, description="seconds for one answer", json_schema_extra=TRANSPORT)
    attempts: int = Field(5, ge=1, le=20, description="of one image, before the run stops", json_schema_extra=TRANSPORT)
    price_per_image: float | None = Field(None, ge=0, description="US dollars", json_schema_extra=TRANSPORT)
    expected_seconds: float | None = Field(
        None, gt=0, description="of one request, before there is one to measure", json_schema_extra=TRANSPORT
    )
    image_hosts: list[Annotated[str, Field(pattern=r"^[A-Za-z0-9.-]+(:\d+)?$")]] = Field(
        default_factory=list,
        description="hosts from which an image may be fetched that is sent as a URL",
        json_schema_extra=TRANSPORT,
    )
    refusal_texts: list[Annotated[str, Field(min_length=3)]] = Field(
        default_factory=list,
        description="words in the message of a 400 or 422 that mean a policy refusal, where no code does",
        json_schema_extra=TRANSPORT,
    )

    @model_validator(mode="after")
    def _no_secret_is_shown(self) -> EndpointParams:
        # Checked here, since the error of a single field repeats its value, which may be a key in the wrong place.
        if self.base_url is not None:
            try:
                check_address(self.base_url)
            except ValueError as err:
                raise ValueError(f"base_url: {err}") from None
        for name in ("url_variable", "key_variable"):
            if not secret.is_variable(getattr(self, name) or "NONE"):
                raise ValueError(f"{name}: it is the name of an environment variable, in capitals, and never a key")
        return self

    @model_validator(mode="after")
    def _dialect_has_it(self) -> EndpointParams:
        name, dialect = self.server.name, DIALECTS[self.server.name]
        for field in self.send:
            if field in dialect.reserved:
                raise ValueError(f"send: {field!r} is set for each request; remove it")
            if field not in dialect.fields:
                known = suggest(field, dialect.fields)
                raise ValueError(f"send: {name} has no field {field!r}{known}; what it has besides goes under `extra`")
        clash = next((f for f in self.extra if f in dialect.reserved or f in self.send), None)
        if clash is not None:
            raise ValueError(f"extra: {clash!r} is sent already; remove it")
        if self.seeded and dialect.seed_bits is None:
            raise ValueError(f"seeded: {name} takes no seed; set it to false")
        if self.seeded and self.seed_bits > (dialect.seed_bits or 0):
            raise ValueError(f"seed_bits: {name} takes seeds of {dialect.seed_bits} bits at most")
        for field in dialect.declared:
            if field not in self.send:
                raise ValueError(f"send: say what {field} is (null: the server's own), since it changes who is drawn")
        key = next(secret.named_in([self.send, self.extra]), None)
        if key is not None:
            raise ValueError(f"send, extra: {key!r} looks like a key, which no card may hold; name key_variable")
        size = self.send.get("size")
        if size is not None and not re.fullmatch(r"[1-9]\d{0,4}x[1-9]\d{0,4}|auto", str(size)):
            raise ValueError("send: size must be WIDTHxHEIGHT, as in 1024x1024")
        try:
            json.dumps([self.send, self.extra], allow_nan=False)
        except (TypeError, ValueError) as err:
            raise ValueError(f"send, extra: {err}; give texts, numbers, truth values, lists and mappings") from err
        return self

    @property
    def size(self) -> tuple[int, int] | None:
        """Width and height that the card declares; None where the server chooses."""
        match = re.fullmatch(r"(\d+)x(\d+)", str(self.send.get("size")))
        return None if match is None else (int(match[1]), int(match[2]))
