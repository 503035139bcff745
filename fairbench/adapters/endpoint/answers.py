"""What a server's answer means: an image, a refusal, a failure, something to ask again, or an error of the card."""

from __future__ import annotations

import binascii
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from email.utils import parsedate_to_datetime
from typing import Any, Final

from fairbench.adapters.endpoint.params import EndpointParams
from fairbench.errors import CardError, FairbenchError
from fairbench.storage.spool import Response

POLICY_CODES: Final = frozenset({"moderationblocked", "contentpolicyviolation", "contentfilter"})
"""Error codes of a policy refusal, in lower case and without `_`."""
POLICY_REASONS: Final = frozenset(
    {"SAFETY", "BLOCKLIST", "PROHIBITED_CONTENT", "RECITATION", "SPII"}
    | {"IMAGE_SAFETY", "IMAGE_PROHIBITED_CONTENT", "IMAGE_RECITATION"}
)
"""Gemini's block and finish reasons that name a policy; NO_IMAGE, IMAGE_OTHER, OTHER and STOP do not."""
OUT_OF_CREDIT: Final = "insufficientquota"
MAX_TEXT: Final = 2000
"""Characters that are kept of what a server writes."""
_QUOTED: Final = 300
_AGAIN: Final = frozenset({408, 425, 429})


@dataclass(frozen=True, slots=True)
class Answer:
    """An HTTP answer as it came. body: None where it was too large to be read."""

    status: int
    headers: Mapping[str, str]
    body: bytes | None


@dataclass(frozen=True, slots=True)
class Link:
    """An image that has to be fetched from a URL."""

    url: str
    notes: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Again:
    """Nothing that could be stored; ask again. wait: seconds that the server asks for. billed: it may have drawn."""

    reason: str
    wait: float | None = None
    billed: bool = False


def read(params: EndpointParams, who: str, answer: Answer, prompt: str) -> Response | Link | Again:
    """Return what an answer means. who: the server, as sentences name it.

    Raises CardError where the card asks for what the server does not do, FairbenchError for a key or credit that is
    not accepted.
    """
    if 300 <= answer.status < 400:
        raise CardError(
            f"{who} redirects to {answer.headers.get('location', 'nowhere')!r:.200}, which is never followed: write "
            "the final address as base_url."
        )
    content = _json(answer.body)
    if answer.status >= 400:
        return _error(params, who, answer, content)
    if answer.body is None:
        return Response("failed", error="the answer is larger than any image may be")
    if not isinstance(content, dict):
        return Again("it sent what is no JSON", billed=True)
    if params.server.name == "gemini":
        return _gemini(params, content)
    return _openai(params, content, prompt)


def _json(body: bytes | None) -> Any:
    try:
        return json.loads(body or b"")
    except (ValueError, RecursionError):
        return None


def _error(params: EndpointParams, who: str, answer: Answer, content: Any) -> Response | Again:
    codes, message = _codes_and_message(content)
    message = message or (answer.body or b"").decode(errors="replace").strip()
    said = " ".join(message.split())[:_QUOTED] or "it gives no reason"
    plain = {code.lower().replace("_", "") for code in codes}
    code = next((c for c in codes if c.lower().replace("_", "") in POLICY_CODES), None)
    status = answer.status
    if code is None and status in (400, 422):
        code = next((text for text in params.refusal_texts if text.lower() in message.lower()), None)
    if code is not None and status < 500:
        return Response("refused", error=f"{code}: {message}"[:MAX_TEXT])
    if OUT_OF_CREDIT in plain:
        raise FairbenchError(f"{who} has no credit left ({said}): top it up, then run the same command again.")
    if status in _AGAIN or status >= 500:
        return Again(f"it answers {status} ({said})", _retry_after(answer.headers))
    if status in (401, 403):
        variable = params.key_variable
        fix = f"check the key in {variable}" if variable else "name the variable with its key as key_variable"
        raise FairbenchError(f"{who} does not let us in ({status}: {said}): {fix}.")
    if status == 404:
        raise CardError(f"{who} has no such address or model ({said}): check the address and `model`.")
    shown = f"{status} {codes[0]}" if codes else str(status)
    raise CardError(f"{who} refuses the request ({shown}: {said}): fix `sampling` in the card, or the prompt.")


def _codes_and_message(content: Any) -> tuple[list[str], str]:
    """Return the codes and the text of an error: {error: {code, type, message}}, {detail}, {message}, as it may be."""
    error = content.get("error", content) if isinstance(content, dict) else content
    if not isinstance(error, dict):
        return [], error if isinstance(error, str) else ""
    codes = [v for k in ("code", "type", "status") if isinstance(v := error.get(k), str) and v]
    inner: dict[str, Any] = next(
        (error[k] for k in ("innererror", "inner_error") if isinstance(error.get(k), dict)), {}
    )
    codes += [inner["code"]] if isinstance(inner.get("code"), str) else []
    message = error.get("message", error.get("detail"))
    if message is None:
        return codes, ""
    return codes, message if isinstance(message, str) else json.dumps(message)


def _retry_after(headers: Mapping[str, str]) -> float | None:
    """Return the seconds that a server asks to wait, given as a number or a date."""
    value = headers.get("retry-after")
    if value is None:
        return None
    try:
        seconds = float(value)
    except ValueError:
        return _seconds_until(value)
    return seconds if 0 <= seconds < float("inf") else None


def _seconds_until(date: str) -> float | None:
    try:
        when = parsedate_to_datetime(date)
    except ValueError:
        return None
    import datetime

    now = datetime.datetime.now(datetime.UTC)
    return max(0.0, ((when if when.tzinfo else when.replace(tzinfo=datetime.UTC)) - now).total_seconds())


def _openai(params: EndpointParams, content: dict[str, Any], prompt: str) -> Response | Link | Again:
    images = content.get("data")
    if not isinstance(images, list) or not all(isinstance(image, dict) for image in images):
        return Again("it sent JSON without a list of images", billed=True)
    if not images:
        return Response(params.text_answer, error="no image, and no reason")
    if len(images) > 1:
        return Response("failed", error=f"{len(images)} images for a request of one")
    revised = images[0].get("revised_prompt")
    notes = _notes(params)
    if isinstance(revised, str) and revised.strip() and revised != prompt:
        notes["prompt-rewritten"] = revised[:MAX_TEXT]
    encoded, url = images[0].get("b64_json"), images[0].get("url")
    if isinstance(encoded, str) and encoded:
        return decoded(encoded, notes)
    if not isinstance(url, str) or not url:
        return Response("failed", error="neither b64_json nor url in the answer")
    if url.startswith("data:"):
        return decoded(url.partition(",")[2], notes)
    return Link(url, notes)


def _notes(params: EndpointParams) -> dict[str, str]:
    return {} if params.seeded else {"not-reproducible": f"{params.server.name} draws from no seed of ours"}


def decoded(encoded: str, notes: Mapping[str, str]) -> Response:
    """Return the image of a base64 text."""
    try:
        data = binascii.a2b_base64(encoded)
    except (binascii.Error, ValueError) as err:
        return Response("failed", error=f"the image's base64 is damaged ({err})")
    # Letters that base64 does not have are skipped: the length tells, five times faster than looking for them.
    if len(encoded) % 4 or len(data) != len(encoded) // 4 * 3 - encoded[-2:].count("="):
        return Response("failed", error="the image's base64 is damaged (letters that base64 does not have)")
    return Response("ok", data, notes=notes)


def _gemini(params: EndpointParams, content: dict[str, Any]) -> Response | Again:
    candidates = content.get("candidates")
    feedback = content.get("promptFeedback")
    if not candidates and isinstance(feedback, dict) and feedback.get("blockReason"):
        return _withheld(params, str(feedback["blockReason"]), str(feedback.get("blockReasonMessage", "")))
    if not isinstance(candidates, list) or not candidates or not isinstance(candidates[0], dict):
        return Again("it sent JSON without candidates", billed=True)
    parts = list(_parts(candidates[0].get("content")))
    images = [p["inlineData"].get("data") for p in parts if isinstance(p.get("inlineData"), dict)]
    if len(images) == 1 and isinstance(images[0], str):
        return decoded(images[0], _notes(params))
    if len(images) > 1:
        return Response("failed", error=f"{len(images)} images for a request of one")
    words = " ".join(str(p.get("text", "")) for p in parts).strip()
    told = str(candidates[0].get("finishMessage") or words)
    return _withheld(params, str(candidates[0].get("finishReason", "no reason")), told)


def _parts(content: Any) -> Iterator[dict[str, Any]]:
    """Yield the parts of an answer that are meant to be shown: drafts of a thinking model are none."""
    parts = content.get("parts") if isinstance(content, dict) else None
    for part in parts if isinstance(parts, list) else []:
        if isinstance(part, dict) and not part.get("thought"):
            yield part


def _withheld(params: EndpointParams, reason: str, words: str) -> Response:
    error = f"{reason}: {words or 'no image'}"[:MAX_TEXT]
    return Response("refused" if reason in POLICY_REASONS else params.text_answer, error=error)
