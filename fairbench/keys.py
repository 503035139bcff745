"""Stable ids and keys. A change of anything here changes every stored id: tests compare them with golden hashes.

A *key* names the folder of a stage's results and covers all that can change them: a stage's version, its plug-ins with
their versions and result-affecting parameters, and the key of the stage before. It never covers the task, limits,
counts, or the device, so that work is shared between runs and extended, not repeated.
"""

from __future__ import annotations

import hashlib
import json
import unicodedata
from collections.abc import Mapping
from typing import Any

STAGE_VERSIONS: Mapping[str, int] = {"images": 1, "faces": 1, "labels": 1, "scores": 1, "metrics": 2}
"""One version per stage: a change of the label code must never discard images."""

_METRICS = (
    "attribute-following distance-to-reference entropy js-uniform kl-uniform l2-softmax mad majority-share mmdt-gap "
    "no-face-rate rd rd-normalised spd tv-score tv-uniform"
)
METRICS_OF_RUN_ID: Mapping[str, int] = dict.fromkeys(_METRICS.split(), 1)
"""The metrics and versions that every run id is hashed with. It is frozen: if it were kept up to date, one more metric
would rename all runs. The versions in use stand beside the run id, in run.json and in every row."""


def canonical(value: Any) -> str:
    """Serialise plain data in one way only (sorted keys, no spaces, no NaN); bytes as hex."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False, default=_plain)


def _plain(value: Any) -> Any:
    if isinstance(value, bytes):
        return value.hex()
    if isinstance(value, Mapping):
        return dict(value)
    if isinstance(value, tuple | set | frozenset):
        return sorted(value) if isinstance(value, set | frozenset) else list(value)
    raise TypeError(f"{type(value).__name__} cannot be part of a key")


def digest(kind: str, value: Any) -> bytes:
    """Return 16 bytes of BLAKE2b over `kind` and the canonical form of `value`; the same on every machine."""
    return hashlib.blake2b(canonical(value).encode(), digest_size=16, person=kind.encode()[:16]).digest()


def prompt_id(text: str) -> bytes:
    """Return the id of a prompt, from its composed Unicode form: tasks with the same prompt share its images."""
    return digest("prompt", unicodedata.normalize("NFC", text))


def sample_seed(neutral_id: bytes, sample_index: int, run_seed: int) -> int:
    """Return the seed (63 bits) of one image: the same for every model, method, batch, process and order."""
    return int.from_bytes(digest("seed", [neutral_id, sample_index, run_seed])[:8], "big") >> 1


def image_id(image_key: str, prompt: bytes, neutral: bytes, seed: int) -> bytes:
    """Return the id of a generated image."""
    return digest("image", [image_key, prompt, neutral, seed])


def file_image_id(image_key: str, prompt: bytes, sample_index: int, sha256: str) -> bytes:
    """Return the id of an image that exists already: by content, so that a changed file is a new image."""
    return digest("file", [image_key, prompt, sample_index, sha256])


def face_id(faces_key: str, image: bytes, index: int) -> bytes:
    """Return the id of the index-th face that one detector setting finds in an image."""
    return digest("face", [faces_key, image, index])


def stage_key(stage: str, parts: Mapping[str, Any], before: str | None = None) -> str:
    """Return the key (32 hex digits) of a stage's results, from its parts and the key of the stage before."""
    return digest("key-" + stage, {"version": STAGE_VERSIONS[stage], "parts": parts, "before": before}).hex()


def run_id(settings: Mapping[str, Any]) -> str:
    """Return the id (32 hex digits) of a run: the declared settings that can change its numbers."""
    return digest("run", settings).hex()
