"""HTTP to a server: no redirects, bodies of bounded size and time, URLs of named hosts, keys in one header."""

from __future__ import annotations

import functools
import ipaddress
import logging
import re
import ssl
import time
from collections.abc import Mapping, Sequence
from typing import Any, Final
from urllib.parse import urlsplit

import fairbench
from fairbench.errors import CardError
from fairbench.serving.answers import Again, Answer, Link
from fairbench.serving.secret import Key

MAX_BODY: Final = 96 * 2**20
"""Bytes of one answer: base64 of an uncompressed image of 4096 x 4096 has 67 million."""


def check_address(url: str) -> str:
    """Return a base URL without its last slash.

    Raises ValueError, which never repeats the URL, for what is none or holds a password, a query or a fragment.
    """
    try:
        parts = urlsplit(url)
        port_is_valid = parts.port != 0
    except ValueError as err:
        raise ValueError("this is no URL; write http(s)://HOST:PORT/v1") from err
    if parts.scheme not in ("http", "https") or not parts.hostname or not port_is_valid:
        raise ValueError("an address must begin with http:// or https:// and name a host, as in http://HOST:PORT/v1")
    if "@" in parts.netloc or parts.query or parts.fragment or re.search(r"\s", url):
        raise ValueError(
            "an address may hold no user name, password, query or blank: the key comes from the environment variable "
            "that `key_variable` names"
        )
    return url.rstrip("/")


def is_this_machine(address: str) -> bool:
    """Whether an address is of this machine's loopback interface. A name is not looked up: only localhost is known."""
    host = urlsplit(address).hostname or ""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _host(address: str) -> str:
    """Return an address's host as it stands in the address: that of IPv6 in brackets."""
    host = urlsplit(address).hostname or ""
    return f"[{host}]" if ":" in host else host


@functools.cache
def _certificates() -> ssl.SSLContext:
    """Return the trusted authorities; reading them takes a fifth of a second, once per process."""
    import httpx2

    return httpx2.create_ssl_context()


class Transport:
    """One HTTP client for all threads. Its exceptions never reach a caller: they hold the request and its headers.

    header: the one that carries the key. query: behind the question mark of every URL that gets the key. timeout:
    seconds for one answer. image_hosts: from which an image may be fetched.
    """

    def __init__(
        self,
        address: str,
        key: Key,
        *,
        header: str = "authorization",
        timeout: float,
        concurrency: int,
        query: Mapping[str, str] | None = None,
        image_hosts: Sequence[str] = (),
    ) -> None:
        import httpx2

        for name in ("httpx2", "httpcore2"):  # at lower levels they write URLs, which may be signed
            logging.getLogger(name).setLevel(logging.WARNING)
        self._address, self._key, self._header = address, key, header
        self._timeout, self._query, self._image_hosts = timeout, query, image_hosts
        self._client = httpx2.Client(
            headers={"accept-encoding": "identity", "user-agent": f"fairbench/{fairbench.__version__}"},
            timeout=httpx2.Timeout(timeout, connect=min(30.0, timeout)),
            limits=httpx2.Limits(max_connections=None, max_keepalive_connections=concurrency),
            follow_redirects=False,
            verify=_certificates(),
            # What stays on this machine is shown to no proxy, whatever the environment says.
            mounts={f"all://{_host(address)}": None} if is_this_machine(address) else None,
        )

    def post(self, path: str, body: dict[str, Any]) -> Answer | Again:
        """Send a request."""
        return self._send("POST", f"{self._address}/{path}", json=body, authorised=True)

    def get(self, path: str) -> Answer | Again:
        """Read what the server says of itself."""
        return self._send("GET", f"{self._address}/{path}", authorised=True, seconds=min(30.0, self._timeout))

    def fetch(self, link: Link) -> Answer | Again:
        """Fetch an image from a host that the card lists, without the key. Raises CardError for any other host."""
        try:
            parts = urlsplit(link.url)
            host = (parts.hostname or "") + (f":{parts.port}" if parts.port else "")
        except ValueError:
            parts, host = urlsplit(""), ""
        allowed = {name.lower() for name in self._image_hosts}
        if parts.scheme not in ("http", "https") or "@" in parts.netloc or host.lower() not in allowed:
            shown = host if parts.scheme in ("http", "https") and host else "no web address"
            raise CardError(
                f"The server sent its image as a URL ({shown}), and the card's image_hosts lists "
                f"{', '.join(self._image_hosts) or 'no host'}: add the host, if images may be fetched from it."
            )
        return self._send("GET", link.url, authorised=False)

    def _send(
        self, method: str, url: str, *, authorised: bool, json: Any = None, seconds: float | None = None
    ) -> Answer | Again:
        import httpx2

        limit = seconds or self._timeout
        headers = self._key.header(self._header) if authorised else {}
        query = self._query if authorised else None
        try:
            request = self._client.build_request(
                method, url, json=json, headers=headers, params=query or None, timeout=limit
            )
            began = time.monotonic()
            response = self._client.send(request, stream=True)
            try:
                chunks, size = [], 0
                for chunk in response.iter_raw():
                    chunks.append(chunk)
                    size += len(chunk)
                    if size > MAX_BODY:
                        return Answer(response.status_code, dict(response.headers), None)
                    if time.monotonic() - began > limit:
                        return Again(f"no whole answer within {limit:g} s", billed=True)
            finally:
                response.close()
            body = b"".join(chunks)
            if authorised:  # who was told the key may repeat it; here, so that no frame above holds it
                head = {name: self._key.hide(value) for name, value in response.headers.items()}
                return Answer(response.status_code, head, self._key.hide_bytes(body))
            return Answer(response.status_code, dict(response.headers), body)
        except (httpx2.ConnectTimeout, httpx2.ConnectError, httpx2.ProxyError, httpx2.PoolTimeout) as err:
            return Again(f"it cannot be reached ({self._key.hide(str(err)) or type(err).__name__})")
        except httpx2.TimeoutException:
            return Again(f"no answer within {limit:g} s", billed=True)
        except (httpx2.HTTPError, httpx2.InvalidURL) as err:
            return Again(f"the connection broke off ({type(err).__name__})", billed=True)
