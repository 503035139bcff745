"""Images of a served model: requests in flight side by side, each answer on the disk before anything else is done."""

from __future__ import annotations

import functools
import os
import re
import threading
from collections.abc import Callable, Mapping, Sequence
from typing import Any, ClassVar, Final

from fairbench.adapters.endpoint import dialects
from fairbench.adapters.endpoint.asking import Asker
from fairbench.adapters.endpoint.params import EndpointParams
from fairbench.cards.cards import ModelCard
from fairbench.errors import CardError, FairbenchError, ImageError
from fairbench.serving import secret
from fairbench.serving.pace import Budget
from fairbench.serving.side_by_side import side_by_side
from fairbench.serving.transport import check_address
from fairbench.storage import pixels
from fairbench.storage.spool import Response, Spool
from fairbench.types import BuildContext, ImageRequest, ImageResult

_OTHER_SIZE: Final = "an image of another size"


class EndpointAdapter:
    """Asks a server for one image per request, with the image's own seed where the server takes seeds.

    Image files are kept as they were sent. What the server says of itself is recorded, and stops the run where it
    contradicts the card.
    """

    version: ClassVar[int] = 1
    uses_dtype: ClassVar[bool] = False
    target: ClassVar[str] = "base_url"
    Params: ClassVar[type[EndpointParams]] = EndpointParams

    def __init__(self, card: ModelCard, params: EndpointParams, ctx: BuildContext) -> None:
        """Read neither network nor key yet."""
        self._card, self._params = card, params
        self.on_progress: Callable[[float], None] = lambda share: None
        self.spool: Spool | None = None
        self.max_cost: float | None = None
        self.price_per_image, self.size = params.price_per_image, params.size
        self._size_was_right = params.size is None

    @staticmethod
    def with_system_prompt(sampling: Mapping[str, Any], text: str) -> dict[str, Any] | None:
        """Return the card's `sampling` under another system prompt; None unless the card declares the request's field.

        Servers ignore fields that their model does not use without a word: only who wrote the card knows of it.
        """
        send = sampling.get("send")
        if not isinstance(send, Mapping) or dialects.SYSTEM not in send:
            return None
        return {**sampling, "send": dialects.under_system_prompt(send, text)}

    def takes_system_prompts(self) -> bool:
        """Return whether the card declares the request's field."""
        return dialects.SYSTEM in self._params.send

    def seconds_for(self, images: int, each: float | None) -> float | None:
        """Return the seconds that so many images take. each: of one request, as measured; None: the card's."""
        params = self._params
        each = each or params.expected_seconds
        at_least = images * 60 / params.requests_per_minute if params.requests_per_minute else 0.0
        return None if each is None else max(images * each / params.concurrency, at_least)

    def missing(self) -> list[str]:
        """Return what has to be set before images can be made: the server's address, the key."""
        lacks = []
        for what, ask in (("address", self._address), ("key", self._key)):
            try:
                ask()
            except FairbenchError as err:
                lacks.append(f"{what}: {str(err).rstrip('.')}")
        return lacks

    def reach(self) -> str:
        """Ask the server what it is, and return that in words. Raises FairbenchError where it cannot be reached."""
        self._asker.check_server()
        listed = (self._asker.reported or {}).get("model")
        model = (
            ""
            if listed is None
            else f"; it lists {self._params.model}"
            if listed != "not listed"
            else "; it lists no models"
        )
        return f"{self._address()} answers{model}"

    def effective_settings(self) -> dict[str, Any]:
        """Return the request as it is sent, and what the server said of itself (None where nothing was asked)."""
        params = self._params
        path, body = dialects.request(params, "PROMPT", 0)
        asker: Asker | None = self.__dict__.get("_asker")
        try:
            address = self._address()
        except FairbenchError:
            address = None
        return {
            "server": params.server.model_dump(),
            "address": address,
            "path": path,
            "request": {**body, **({"seed": f"the image's own, {params.seed_bits} bits"} if "seed" in body else {})},
            "seeded": params.seeded,
            "revision": params.revision,
            "reported": None if asker is None else asker.reported,
        }

    def generate(self, requests: Sequence[ImageRequest]) -> list[ImageResult]:
        """Return one result per request, in order; see docs/endpoints.md for what becomes which status.

        Raises FairbenchError, after what is in flight has been kept, where the server cannot be had, contradicts the
        card, or costs more than `max_cost`.
        """
        known = {} if self.spool is None else {r.image_id: self.spool.get(r.image_id) for r in requests}
        if any(known.get(r.image_id) is None for r in requests):
            self._asker.check_server()

        def answer(request: ImageRequest, stop: threading.Event) -> ImageResult:
            response = known.get(request.image_id)
            if response is not None:
                return self._result(response)
            response = self._asker.ask(request, stop)
            if self.spool is not None:
                self.spool.put(request.image_id, response)
            result = self._result(response)
            self._check_size(result)
            return result

        return side_by_side(answer, requests, self._params.concurrency, self.on_progress)

    @functools.cached_property
    def _asker(self) -> Asker:
        budget = Budget(self.price_per_image, self.max_cost)
        return Asker(self._card.name, self._params, self._address(), self._key(), budget)

    def _key(self) -> secret.Key:
        return secret.from_environment(self._params.key_variable)

    def _address(self) -> str:
        """Return the base URL. Raises CardError where there is none."""
        params, name = self._params, self._card.name
        given = os.environ.get(params.url_variable, "").strip() if params.url_variable else ""
        if given:
            try:
                return check_address(given)
            except ValueError as err:
                raise CardError(f"The environment variable {params.url_variable}: {err}.") from None
        if params.base_url is None:
            variable = f", or set the environment variable {params.url_variable} to it" if params.url_variable else ""
            raise CardError(f"Where is {name}'s server? Write --model {name}:http://HOST:PORT/v1{variable}.")
        return check_address(params.base_url)

    def _check_size(self, result: ImageResult) -> None:
        """Stop where the first image has another size than the card declares: all will. A later one has just failed."""
        self._size_was_right = self._size_was_right or result.status == "ok"
        if not self._size_was_right and str(result.error).startswith(_OTHER_SIZE):
            raise CardError(
                f"{self._card.name}: the server sends {result.error}; write a size that it has under `send`."
            )

    def _result(self, response: Response) -> ImageResult:
        if response.data is None:
            return ImageResult(response.status, error=response.error, seconds=response.seconds, notes=response.notes)
        try:
            image = pixels.decode(response.data, "the file that the server sent")
        except ImageError as err:
            problem = re.sub(
                r": (replace or remove it|scale it down)\.$", "", str(err)
            )  # advice for files of one's own
            return ImageResult("failed", error=problem, seconds=response.seconds)
        height, width = image.shape[:2]
        size = self.size
        if size is not None and size != (width, height):
            reason = f"{_OTHER_SIZE}: {width} x {height} pixels, {size[0]} x {size[1]} asked for"
            return ImageResult("failed", error=reason, seconds=response.seconds)
        return ImageResult("ok", image, seconds=response.seconds, notes=response.notes, encoded=response.data)
