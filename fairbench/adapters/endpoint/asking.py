"""Asks a server for images, within a budget, and what it says of itself."""

from __future__ import annotations

import dataclasses
import json
import threading
import time
from typing import Any, Final

from fairbench.adapters.endpoint import answers, dialects
from fairbench.adapters.endpoint.params import EndpointParams
from fairbench.errors import CardError, FairbenchError
from fairbench.serving.answers import Again, Answer, Link
from fairbench.serving.pace import Budget, Pace
from fairbench.serving.patience import Patience
from fairbench.serving.secret import HIDDEN, Key
from fairbench.serving.transport import Transport
from fairbench.storage.spool import Response
from fairbench.types import ImageRequest

_OWN: Final = ("vllm", "vllm-omni", "sglang")
_REPORTED: Final = 2000


class Asker:
    """Threads may share it. reported: what the server said of itself; None before it was asked."""

    def __init__(self, name: str, params: EndpointParams, address: str, key: Key, budget: Budget) -> None:
        self._params, self._key, self._budget = params, key, budget
        self._who = f"{name}: the server at {address}"
        self._transport = Transport(
            address,
            key,
            header=params.key_header or dialects.DIALECTS[params.server.name].key_header,
            timeout=params.timeout,
            concurrency=params.concurrency,
            query=dialects.query(params),
            image_hosts=params.image_hosts,
        )
        self._patience = Patience(f"{self._who} gave no image", params.attempts, Pace(params.requests_per_minute), key)
        self.reported: dict[str, Any] | None = None

    def ask(self, request: ImageRequest, stop: threading.Event) -> Response:
        """Return the answer to one request. Raises FairbenchError where there is none that could be stored."""
        params, written = self._params, request.system_prompt
        if written is not None:
            params = params.model_copy(update={"send": dialects.under_system_prompt(params.send, written)})
        path, body = dialects.request(params, request.text, request.seed)

        def once() -> Response | Link | Again:
            self._budget.charge()
            began = time.monotonic()
            answer = self._transport.post(path, body)
            seconds = time.monotonic() - began
            meant = answer if isinstance(answer, Again) else self._read(answer, request.text)
            if isinstance(meant, Again) and not meant.billed:
                self._budget.pay_back()
            return dataclasses.replace(meant, seconds=seconds) if isinstance(meant, Response) else meant

        meant: Response | Link = self._patience.ask(once, stop)
        return self._without_key(self._fetched(meant, stop) if isinstance(meant, Link) else meant)

    def check_server(self) -> None:
        """Ask once what the server serves. Raises CardError where that contradicts the card, FairbenchError where it
        cannot be reached or does not let us in; that it says nothing is no error.
        """
        if self.reported is not None:
            return
        answer = self._transport.get(dialects.models_path(self._params))
        if isinstance(answer, Again):
            raise FairbenchError(
                f"{self._who} gives no answer ({answer.reason}): is it running, and is that its address?"
            )
        if answer.status in (401, 403):
            self._read(answer, "")
        self.reported = {"status": answer.status}
        try:
            content = json.loads(answer.body or b"") if answer.status == 200 else None
        except (ValueError, RecursionError):
            content = None
        if isinstance(content, dict):
            self._compare(content)

    def _compare(self, content: dict[str, Any]) -> None:
        params = self._params
        assert self.reported is not None
        models = content.get("data")
        entries = [m for m in models if isinstance(m, dict)] if isinstance(models, list) else []
        ids = [str(m.get("id", "")) for m in entries]
        entry = next((m for m, name in zip(entries, ids, strict=True) if name == params.model), None)
        if params.server.name == "gemini":  # asked for the one model
            entry = content
        own = dialects.DIALECTS[params.server.name].own_server
        if own and ids and entry is None:
            listed = self._key.hide(", ".join(ids[:3]))
            raise CardError(f"{self._who} serves {listed}, and the card says {params.model}: start it with that model.")
        if entry is None:
            self.reported["model"] = "not listed"
            return
        self.reported["model"] = json.loads(self._key.hide(json.dumps(entry))) if len(str(entry)) < _REPORTED else None
        owner, version = str(entry.get("owned_by", "")), entry.get("version", content.get("version"))
        if own and owner in _OWN and owner.partition("-")[0] != params.server.name.partition("-")[0]:
            raise CardError(f"{self._who} is {owner}, and the card says {params.server.name}: use the card for it.")
        if own and version is not None and params.server.version not in (None, str(version)):
            raise CardError(
                f"{self._who} is release {self._key.hide(str(version))[:60]}, and the card says "
                f"{params.server.version}: write the release that you run as server.version."
            )

    def _read(self, answer: Answer, prompt: str) -> Response | Link | Again:
        try:
            return answers.read(self._params, self._who, answer, prompt)
        except FairbenchError as err:
            kind, sentence = type(err), self._key.hide(str(err))
        raise kind(sentence)

    def _fetched(self, link: Link, stop: threading.Event) -> Response:
        def once() -> Response | Again:
            answer = self._transport.fetch(link)
            if isinstance(answer, Again):
                return answer
            if answer.body is None:
                return Response("failed", error="the image is larger than any may be")
            if answer.status != 200:
                return Again(f"the image's URL answers {answer.status}")
            return Response("ok", answer.body, notes=link.notes)

        if HIDDEN in link.url or self._key.occurs_in(link.url.encode()):
            return Response("failed", error="the server wrote the key into the image's URL, which is not fetched")
        fetched = self._patience.ask(once, stop)
        assert isinstance(fetched, Response)
        return fetched

    def _without_key(self, response: Response) -> Response:
        if response.data is not None and self._key.occurs_in(response.data):
            return Response("failed", error="the server wrote the key into the image file, which is not kept")
        notes = {code: self._key.hide(text) for code, text in response.notes.items()}
        error = None if response.error is None else self._key.hide(response.error)
        return dataclasses.replace(response, error=error, notes=notes)
