"""What a server's HTTP answer means: content, a refusal by policy, something to ask again, or an error to be fixed."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from email.utils import parsedate_to_datetime
from typing import Any, Final

from fairbench.errors import CardError, FairbenchError

POLICY_CODES: Final = frozenset({"moderationblocked", "contentpolicyviolation", "contentfilter"})
"""Error codes of a policy refusal, in lower case and without `_`."""
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
    """Nothing that could be stored; ask again. wait: seconds that the server asks for. billed: it may have worked."""

    reason: str
    wait: float | None = None
    billed: bool = False


@dataclass(frozen=True, slots=True)
class Refusal:
    """The server's policy does not let it answer."""

    reason: str


def content_of(
    who: str,
    answer: Answer,
    *,
    refusal_texts: Sequence[str] = (),
    key_variable: str | None = None,
    fix: str = "fix `sampling` in the card, or the prompt",
) -> Any:
    """Return the JSON of an answer, None where it is none, or what its error means: Refusal or Again.

    who: the server, as sentences name it. fix: what helps where the request is refused as it stands. Raises CardError
    where the card asks for what the server does not do, FairbenchError for a key or credit that is not accepted.
    """
    if 300 <= answer.status < 400:
        raise CardError(
            f"{who} redirects to {answer.headers.get('location', 'nowhere')!r:.200}, which is never followed: write "
            "the final address as base_url."
        )
    content = _json(answer.body)
    return content if answer.status < 400 else _error(who, answer, content, refusal_texts, key_variable, fix)


def _json(body: bytes | None) -> Any:
    try:
        return json.loads(body or b"")
    except (ValueError, RecursionError):
        return None


def _error(
    who: str, answer: Answer, content: Any, refusal_texts: Sequence[str], key_variable: str | None, fix: str
) -> Refusal | Again:
    codes, message = _codes_and_message(content)
    message = message or (answer.body or b"").decode(errors="replace").strip()
    said = " ".join(message.split())[:_QUOTED] or "it gives no reason"
    plain = {code.lower().replace("_", "") for code in codes}
    code = next((c for c in codes if c.lower().replace("_", "") in POLICY_CODES), None)
    status = answer.status
    if code is None and status in (400, 422):
        code = next((text for text in refusal_texts if text.lower() in message.lower()), None)
    if code is not None and status < 500:
        return Refusal(f"{code}: {message}"[:MAX_TEXT])
    if OUT_OF_CREDIT in plain:
        raise FairbenchError(f"{who} has no credit left ({said}): top it up, then run the same command again.")
    if status in _AGAIN or status >= 500:
        return Again(f"it answers {status} ({said})", _retry_after(answer.headers))
    if status in (401, 403):
        check = f"check the key in {key_variable}" if key_variable else "name the variable with its key as key_variable"
        raise FairbenchError(f"{who} does not let us in ({status}: {said}): {check}.")
    if status == 404:
        raise CardError(f"{who} has no such address or model ({said}): check the address and `model`.")
    shown = f"{status} {codes[0]}" if codes else str(status)
    raise CardError(f"{who} refuses the request ({shown}: {said}): {fix}.")


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
