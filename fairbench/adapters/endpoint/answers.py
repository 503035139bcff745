"""What a server's answer means: an image, a refusal, a failure, something to ask again, or an error of the card."""

from __future__ import annotations

import binascii
from collections.abc import Iterator, Mapping
from typing import Any, Final

from fairbench.adapters.endpoint.params import EndpointParams
from fairbench.serving.answers import MAX_TEXT, Again, Answer, Link, Refusal, content_of
from fairbench.storage.spool import Response

POLICY_REASONS: Final = frozenset(
    {"SAFETY", "BLOCKLIST", "PROHIBITED_CONTENT", "RECITATION", "SPII"}
    | {"IMAGE_SAFETY", "IMAGE_PROHIBITED_CONTENT", "IMAGE_RECITATION"}
)
"""Gemini's block and finish reasons that name a policy; NO_IMAGE, IMAGE_OTHER, OTHER and STOP do not."""


def read(params: EndpointParams, who: str, answer: Answer, prompt: str) -> Response | Link | Again:
    """Return what an answer means. who: the server, as sentences name it.

    Raises CardError where the card asks for what the server does not do, FairbenchError for a key or credit that is
    not accepted.
    """
    content = content_of(who, answer, refusal_texts=params.refusal_texts, key_variable=params.key_variable)
    if isinstance(content, Refusal):
        return Response("refused", error=content.reason)
    if isinstance(content, Again):
        return content
    if answer.body is None:
        return Response("failed", error="the answer is larger than any image may be")
    if not isinstance(content, dict):
        return Again("it sent what is no JSON", billed=True)
    if params.server.name == "gemini":
        return _gemini(params, content)
    return _openai(params, content, prompt)


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
