"""URLs of object stores, and in one sentence each what may be wrong with them."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final
from urllib.parse import SplitResult, parse_qsl, urlsplit

import pyarrow as pa

from fairbench.errors import StoreError

_SCHEMES: Final = ("s3", "gs", "gcs", "abfs", "abfss")
_SECRET: Final = re.compile(r"secret|token|password|key|^sig$", re.IGNORECASE)
_AWS: Final = re.compile(r"AWS Error (\w+)")
_REFUSED: Final = re.compile(
    "ACCESS_DENIED|INVALID_ACCESS_KEY_ID|SIGNATURE|TOKEN|UNRECOGNIZED_CLIENT|NOT_SIGNED_UP|AUTH|FORBIDDEN|credential"
    "|HTTP status 40[013]"  # without keys, the answer to a HEAD is 400 and no word
)
_UNREACHED: Final = re.compile(
    "NETWORK_CONNECTION|TIMEOUT|SLOW_DOWN|SERVICE_UNAVAILABLE|resolve|connect", re.IGNORECASE
)
_NO_BUCKET: Final = re.compile("NO_SUCH_BUCKET|Bucket '.*' not found")


def checked(url: str) -> SplitResult:
    """Return a URL's parts. Raises StoreError for another scheme, and where the URL holds a secret, not showing it."""
    try:
        parts = urlsplit(url)
    except ValueError as err:
        raise StoreError(f"--store is no URL ({err}): write s3://BUCKET/PREFIX.") from err
    user, at, _ = parts.netloc.rpartition("@")
    if parts.scheme not in _SCHEMES:
        raise StoreError(f"--store {parts.scheme}://...: give a folder, or a URL that begins with s3, gs or abfs.")
    is_name = parts.scheme.startswith("abfs") or user == "anonymous"  # Azure's container stands there
    if (at and (":" in user or not is_name)) or any(_SECRET.search(name) for name, _ in parse_qsl(parts.query)):
        raise StoreError(
            f"--store {parts.scheme}://...: a URL is no place for keys, as it is shown and kept; leave them out and "
            "set them as the cloud's own tools read them (AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or a profile)."
        )
    return parts


@contextmanager
def sentences(shown: str) -> Iterator[None]:
    """Raise what pyarrow raises as a StoreError that says what to do."""
    try:
        yield
    except (OSError, pa.ArrowException, TypeError) as err:
        raise StoreError(f"{shown}: {_reason(err)}.") from err


def _reason(err: Exception) -> str:
    said = " ".join(str(err).split()).split(" (Request ID")[0].rstrip(".")
    code = match[1] if (match := _AWS.search(said)) else ""
    if isinstance(err, pa.ArrowNotImplementedError):
        return f"this pyarrow was built without it ({said}): install another, or name another store"
    if isinstance(err, pa.ArrowInvalid | TypeError):
        return f"it is not a URL of a store ({said}): fix it"
    if _NO_BUCKET.search(said):
        return "there is no such bucket: make it, or fix the name in --store"
    if _REFUSED.search(said):
        return (
            f"access is refused ({code or said}): set credentials (AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or a "
            "profile) that may list, read, write and delete there"
        )
    if _UNREACHED.search(said):
        return (
            f"the server cannot be reached ({code or said}): check the network and endpoint_override, then run "
            "the same command again; what was finished before is kept"
        )
    return f"the server reports an error ({said[:300]}): fix it, then run the same command again"
