"""Errors that a user can fix: one sentence, exit code 2, no traceback."""

from __future__ import annotations

import errno
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


class FairbenchError(Exception):
    """An error that the user can fix. Its message is one sentence that names the file, the field and the fix."""

    exit_code = 2


class CardError(FairbenchError):
    """A card (task, model, labeller) or a manifest is wrong."""


class WeightsError(FairbenchError):
    """Weights are absent, cannot be fetched, or do not have the declared sha256."""


class ImageError(FairbenchError):
    """An image file or its bytes cannot be decoded."""


class PluginError(FairbenchError):
    """A plug-in is broken: it cannot be imported, raises, or does not keep the contract of its kind."""


class StoreError(FairbenchError):
    """The store cannot be read or written."""


class MissingExtra(FairbenchError):
    """An optional package is not installed."""

    def __init__(self, what: str, extra: str) -> None:
        super().__init__(f"{what} needs an optional package: run pip install 'fairbench-umm[{extra}]'.")


class Interrupted(BaseException):
    """The user pressed Ctrl-C. No `except Exception` or `except SystemExit` around a plug-in takes it for a failure.

    It is no KeyboardInterrupt, which the command line's library answers by itself with exit code 1.
    """


class OutOfMemory(Exception):
    """The device ran out of memory in `ImageModel.generate`: the run halves the block and goes on."""


def one_line(err: BaseException) -> str:
    """Return an exception in one line: its type and the first 300 characters of its message."""
    try:
        message = str(err)[:3000]
    except Exception:  # noqa: BLE001 - a plug-in's exception may fail in this, too
        message = ""
    text = " ".join(message.split())[:300].rstrip(".")
    return f"{type(err).__name__}: {text}" if text else type(err).__name__


@contextmanager
def storage_errors(path: Path) -> Iterator[None]:
    """Raise the operating system's write errors as a StoreError, in one sentence that names the path and the fix."""
    try:
        yield
    except OSError as err:
        if err.errno is None:  # a library's own error that only derives from OSError
            raise
        fixes = {
            errno.ENOSPC: "no space is left on its disk: free some, then run the same command again",
            errno.EDQUOT: "the disk quota is used up: free some, then run the same command again",
            errno.EROFS: "it lies on a read-only file system: name a folder that can be written",
            errno.EACCES: "permission is denied: name a folder that can be written",
            errno.EPERM: "the operation is not permitted: name a folder that can be written",
            errno.EEXIST: "a part of that path is a file, not a folder: name another place",
            errno.ENOTDIR: "a part of that path is a file, not a folder: name another place",
            errno.ENAMETOOLONG: "the name is too long: name another place",
        }
        fix = fixes.get(err.errno, f"the system says {err.strerror or err}: name another place")
        raise StoreError(f"Cannot write {path}: {fix}. What was finished before is kept.") from err
