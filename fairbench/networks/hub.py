"""The Hugging Face hub, and servers in general: an answer within five seconds, or one sentence that says what to do."""

from __future__ import annotations

import fnmatch
import functools
import logging
import os
import queue
import textwrap
import threading
import urllib.error
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Final, TypeVar

from fairbench.errors import WeightsError

log = logging.getLogger(__name__)
ANSWER_SECONDS: Final = 5.0
"""Seconds that a server may take to answer at all."""
_SAY_AFTER: Final = 1.0
_BUSY: Final = (429, 500, 502, 503, 504)
_UNREACHABLE: Final = frozenset(
    {"TimeoutError", "TimeoutException", "NetworkError", "RemoteProtocolError", "ConnectionError", "ProxyError"}
)
"""Names of the exceptions, of several libraries, that mean that there was no connection or no answer."""
OFF: Final = "downloads are off (FAIRBENCH_OFFLINE or HF_HUB_OFFLINE)"
T = TypeVar("T")


class NoAnswer(WeightsError):
    """The server is silent, busy or cannot be reached: what is on this machine may do."""


def offline() -> bool:
    """Whether the user forbade downloads (FAIRBENCH_OFFLINE or HF_HUB_OFFLINE)."""
    values = (os.environ.get(name, "").lower() for name in ("FAIRBENCH_OFFLINE", "HF_HUB_OFFLINE"))
    return any(value in {"1", "true", "yes", "on"} for value in values)


def unless_offline(how: str) -> str:
    """Return in words how files that are not on this machine arrive: `how`, or that downloads are off."""
    return OFF if offline() else how


@contextmanager
def without_downloads() -> Iterator[None]:
    """Turn downloads off for a while."""
    before = os.environ.get("FAIRBENCH_OFFLINE")
    os.environ["FAIRBENCH_OFFLINE"] = "1"
    try:
        yield
    finally:
        if before is None:
            del os.environ["FAIRBENCH_OFFLINE"]
        else:
            os.environ["FAIRBENCH_OFFLINE"] = before


def answer(ask: Callable[[], T], server: str) -> T:
    """Return what `ask` returns; raise TimeoutError where that takes longer than ANSWER_SECONDS.

    A line on stderr says that the server is being waited for. `ask` runs in a thread of its own, since no time limit
    of a socket covers looking up the server's name.
    """
    answers: queue.Queue[tuple[bool, Any]] = queue.Queue()

    def run() -> None:
        try:
            answers.put((True, ask()))
        except Exception as err:  # noqa: BLE001 - raised again by the thread that waits
            answers.put((False, err))

    threading.Thread(target=run, daemon=True).start()
    try:
        done, value = answers.get(timeout=_SAY_AFTER)
    except queue.Empty:
        log.warning("Waiting for %s, %.0f s at most ...", server, ANSWER_SECONDS)
        try:
            done, value = answers.get(timeout=ANSWER_SECONDS - _SAY_AFTER)
        except queue.Empty:
            raise TimeoutError(f"{server} did not answer within {ANSWER_SECONDS:.0f} s") from None
    if done:
        return value  # type: ignore[no-any-return]
    raise value


def commit(repo: str, revision: str | None) -> str:
    """Ask the hub for the commit of a repository. Raises WeightsError, NoAnswer among them, within ANSWER_SECONDS."""
    commit_or_error = _commit_once(repo, revision)
    if isinstance(commit_or_error, WeightsError):
        raise commit_or_error
    return commit_or_error


@functools.cache
def _commit_once(repo: str, revision: str | None) -> str | WeightsError:
    # Asked once per process: a silent server would otherwise be waited for at every step.
    from huggingface_hub import HfApi, constants

    try:
        ask = functools.partial(HfApi().model_info, repo, revision=revision, timeout=ANSWER_SECONDS)
        info = answer(ask, constants.ENDPOINT)
    except Exception as err:  # noqa: BLE001 - whatever the library raises becomes one sentence
        return problem(err, repo, revision)
    return str(info.sha)


def download_size(repo: str, revision: str | None, patterns: Sequence[str]) -> int:
    """Return the bytes of a repository's files that match, once one of them may be read.

    Raises WeightsError where the hub does not answer within ANSWER_SECONDS, or refuses.
    """
    from huggingface_hub import HfApi, constants, get_hf_file_metadata, hf_hub_url

    def ask() -> int:
        info = HfApi().model_info(repo, revision=revision, files_metadata=True, timeout=ANSWER_SECONDS)
        sizes = {f.rfilename: f.size or 0 for f in info.siblings or []}
        files = [file for file in sizes if any(fnmatch.fnmatch(file, pattern) for pattern in patterns)]
        if not files:
            raise WeightsError(f"The model {repo} holds none of the files that are needed ({', '.join(patterns)}).")
        # The list is public; files of a gated repository are not.
        url = hf_hub_url(repo, files[0], revision=revision, endpoint=constants.ENDPOINT)
        get_hf_file_metadata(url, timeout=ANSWER_SECONDS, retry_on_errors=False)
        return sum(sizes[file] for file in files)

    try:
        return answer(ask, constants.ENDPOINT)
    except WeightsError:
        raise
    except Exception as err:
        raise problem(err, repo, revision) from err


def complete_here(repo: str, revision: str | None) -> bool:
    """Whether the hub's list of a commit's files is on this machine, so that a copy can be checked for completeness."""
    from huggingface_hub import get_cached_repo_tree
    from huggingface_hub.errors import CachedRepoTreeNotFoundError

    try:
        return revision is not None and bool(get_cached_repo_tree(repo, revision=revision))
    except (CachedRepoTreeNotFoundError, OSError, ValueError):
        return False


def problem(err: BaseException, repo: str, revision: str | None = None, file: str | None = None) -> WeightsError:
    """Turn what huggingface_hub raised into one sentence that says what to do."""
    from huggingface_hub import constants, errors, get_token

    server, status = constants.ENDPOINT, getattr(getattr(err, "response", None), "status_code", None)
    what = f"{file} of {repo}" if file else f"The model {repo}"
    page = f"{server}/{repo}"
    login = "log in with `hf auth login` (or set HF_TOKEN)"
    kind: type[WeightsError] = WeightsError
    if isinstance(err, errors.GatedRepoError) or status == 403:
        who = "with the account of your token" if get_token() else f"and {login}"
        fix = f"access must be granted first: open {page}, accept its licence {who}, and run the same command again"
    elif isinstance(err, errors.RevisionNotFoundError):
        fix = f"it has no revision {revision}: fix `revision` (its commits are at {page}/commits)"
    elif isinstance(err, errors.EntryNotFoundError) and status == 404:
        fix = f"there is no such file: fix `file` (its files are at {page}/tree/{revision or 'main'})"
    elif isinstance(err, errors.RepositoryNotFoundError) or status == 404 or (status == 401 and not get_token()):
        fix = f"{server} shows no such repository: fix its name, or, if it is private, {login}"
    elif status == 401:
        fix = f"{server} refuses the token: {login} with a valid one, or remove it with `hf auth logout`"
    elif status in _BUSY or unreachable(err):
        kind = NoAnswer
        busy = "takes no more requests for now (429)" if status == 429 else f"is out of order for now ({status})"
        state = busy if status else f"cannot be reached ({first_line(err)})"
        extra = f" or {login} for a higher limit," if status == 429 else " check the network or proxy,"
        fix = (
            f"{server} {state}: try again later,{extra} name a mirror in HF_ENDPOINT, or set HF_HUB_OFFLINE=1 to use "
            "what is on this machine"
        )
    else:
        fix = f"it could not be downloaded ({first_line(err)}): fetch it by other means and give a local folder"
    return kind(f"{what} cannot be fetched: {fix}.")


def url_problem(err: BaseException) -> str:
    """Return why a file could not be fetched from a url, in a few words."""
    status = err.code if isinstance(err, urllib.error.HTTPError) else None
    if status in (401, 403):
        return f"the server asks for a login or a licence (status {status})"
    if status in (404, 410):
        return f"the file is not there any more (status {status})"
    if status in _BUSY:
        return f"the server is busy or out of order (status {status}): try again later"
    return first_line(err) if status is None else f"status {status}"


def unreachable(err: BaseException) -> bool:
    """Whether an error of one of several libraries means that there was no connection or no answer."""
    return any(cls.__name__ in _UNREACHABLE for cls in type(err).__mro__)


def first_line(err: BaseException) -> str:
    """Return the first line of an error's message, at most 200 characters."""
    first = (str(err).strip().splitlines() or [type(err).__name__])[0]
    return textwrap.shorten(first, 200, placeholder=" ...")
