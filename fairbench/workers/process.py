"""The process that holds a foreign model: started, asked, and ended, with its log."""

from __future__ import annotations

import contextlib
import json
import os
import selectors
import signal
import subprocess
import threading
import time
import weakref
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import IO, Any, Final

from fairbench.errors import FairbenchError, storage_errors
from fairbench.storage import atomic

CHILD: Final = Path(__file__).with_name("fairbench_worker.py")
MAX_ANSWER: Final = 2**20
"""Bytes of one answer; images and arrays travel as files."""
LOG_BYTES: Final = 4 * 2**20
"""A log of this size is put aside, in place of the one before it: two such files hold what a worker wrote last."""
_TAIL: Final = 4000
_QUOTED: Final = 300
_CHUNK: Final = 2**16
_NOT_PASSED: Final = (
    "PYTHONPATH",
    "PYTHONHOME",
    "PYTHONSTARTUP",
    "PYTHONUSERBASE",
    "VIRTUAL_ENV",
    "__PYVENV_LAUNCHER__",
)


class WorkerDied(Exception):
    """The process ended, hung, or wrote what is no answer. Its message has the end of its log."""


class WorkerError(Exception):
    """The worker answered a request with an error."""

    def __init__(self, code: int, message: str) -> None:
        super().__init__(message)
        self.code, self.sentence = code, message.rstrip(".")


class Worker:
    """A process of the worker's own interpreter, in a process group of its own."""

    def __init__(self, python: Path, folder: Path, log: Path) -> None:
        """Start it, with `folder` as its working folder. Raises FairbenchError where it cannot be started."""
        if os.name != "posix":
            raise FairbenchError("Models in environments of their own need Linux or macOS: use another way in.")
        requests_from, self._requests = os.pipe()
        self._answers, answers_to = os.pipe()
        self._received, self._count = b"", 0
        command = [str(python), "-u", str(CHILD), str(requests_from), str(answers_to), str(folder)]
        try:
            self._process = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                pass_fds=(requests_from, answers_to),
                start_new_session=True,
                cwd=folder,
                env=_environment(python),
            )
        except OSError as err:
            for descriptor in (self._requests, self._answers):
                os.close(descriptor)
            raise FairbenchError(f"{python} cannot be started ({err.strerror}): fix `python` in the card.") from err
        finally:
            os.close(requests_from)
            os.close(answers_to)
        self.log = _Log(log)
        assert self._process.stdout is not None
        threading.Thread(target=self.log.drain, args=(self._process.stdout,), daemon=True).start()
        self._end = weakref.finalize(self, _end, self._process, (self._requests, self._answers))

    @property
    def alive(self) -> bool:
        """Whether it was not ended, and did not end by itself."""
        return self._end.alive and self._process.poll() is None

    def call(self, method: str, params: Mapping[str, Any], seconds: float) -> dict[str, Any]:
        """Return the result of a request. Raises WorkerError, or WorkerDied, after which the process has ended."""
        self._count += 1
        request = {"jsonrpc": "2.0", "id": self._count, "method": method, "params": params}
        try:
            _write(self._requests, (json.dumps(request, allow_nan=False) + "\n").encode())
            answer = self._answer(method, time.monotonic() + seconds, seconds)
        except BrokenPipeError:
            raise self._died(self._how_it_ended()) from None
        except BaseException:  # an answer that comes after an interruption would be taken for the next one
            self.end()
            raise
        if "error" in answer:
            raise WorkerError(int(answer["error"]["code"]), str(answer["error"]["message"]))
        result: dict[str, Any] = answer["result"]
        return result

    def end(self) -> None:
        """End the process and all that it started."""
        self._end()

    def _answer(self, method: str, deadline: float, seconds: float) -> dict[str, Any]:
        line = self._line(deadline)
        if line is None:
            raise self._died(f"did not answer {method!r} within {seconds:g} s and was ended")
        try:
            answer = json.loads(line)
            is_ours = answer["jsonrpc"] == "2.0" and answer["id"] == self._count
            is_ours = is_ours and (
                isinstance(answer.get("result"), dict) or {"code", "message"} <= set(answer["error"])
            )
        except (ValueError, KeyError, TypeError):
            is_ours = False
        if not is_ours:
            raise self._died(f"wrote what is no answer ({line[:80].decode('utf-8', 'replace')!r})")
        return answer  # type: ignore[no-any-return]

    def _line(self, deadline: float) -> bytes | None:
        """Return the next line that it writes, None where none comes in time. Raises WorkerDied."""
        with selectors.DefaultSelector() as selector:
            selector.register(self._answers, selectors.EVENT_READ)
            while b"\n" not in self._received:
                left = deadline - time.monotonic()
                if left <= 0:
                    return None
                # Something that it started may hold the pipe open after it has ended: look at the process, too.
                if not selector.select(min(left, 0.5)):
                    if self._process.poll() is not None:
                        raise self._died(self._how_it_ended())
                    continue
                chunk = os.read(self._answers, _CHUNK)
                if not chunk:
                    raise self._died(self._how_it_ended())
                self._received += chunk
                if len(self._received) > MAX_ANSWER:
                    raise self._died(f"wrote an answer of more than {MAX_ANSWER} bytes")
        line, _, self._received = self._received.partition(b"\n")
        return line

    def _how_it_ended(self) -> str:
        try:
            code = self._process.wait(5)
        except subprocess.TimeoutExpired:
            return "closed its connection"
        if code < 0:
            return f"was ended by {signal.Signals(-code).name}"
        return f"ended by itself, with exit code {code}"

    def _died(self, how: str) -> WorkerDied:
        self.end()
        return WorkerDied(f"the worker {how}{self.log.quoted()}")


class _Log:
    """What a worker writes to stdout and stderr: in a file, and its end in memory."""

    def __init__(self, path: Path) -> None:
        self.path, self._tail, self._finished = path, b"", threading.Event()
        with storage_errors(path):
            atomic.make_folder(path.parent)
            self._file = path.open("wb")

    def drain(self, stream: IO[bytes]) -> None:
        """Keep what comes, until the last process that may write has ended."""
        with stream:
            while chunk := os.read(stream.fileno(), _CHUNK):
                self._tail = (self._tail + chunk)[-_TAIL:]
                self._keep(chunk)
        self._file.close()
        self._finished.set()

    def _keep(self, chunk: bytes) -> None:
        with contextlib.suppress(OSError):  # a full disk must not stop the worker, whose pipe would fill up
            if self._file.tell() + len(chunk) > LOG_BYTES:
                self.path.replace(self.path.with_suffix(".before.log"))
                self._file.close()
                self._file = self.path.open("wb")
            self._file.write(chunk)
            self._file.flush()

    def quoted(self) -> str:
        """Return the end of a sentence that quotes the last words of the log, once the process has ended."""
        self._finished.wait(1)
        words = " ".join(self._tail.decode("utf-8", "replace").split())
        if not words:
            return f"; it wrote nothing (log: {self.path})"
        beginning = "... " if len(words) > _QUOTED else ""
        return f"; its log {self.path} ends: {beginning}{words[-_QUOTED:]}"


def _environment(python: Path) -> dict[str, str]:
    """Return the variables of the worker: ours, without those that lead to our packages."""
    kept = {name: value for name, value in os.environ.items() if name not in _NOT_PASSED}
    path = os.pathsep.join([str(python.parent), *filter(None, [kept.get("PATH")])])
    return {**kept, "PATH": path, "PYTHONHASHSEED": "0", "PYTHONNOUSERSITE": "1"}


def _write(descriptor: int, data: bytes) -> None:
    while data:
        data = data[os.write(descriptor, data) :]


def _end(process: subprocess.Popen[bytes], descriptors: Sequence[int]) -> None:
    """End a process group. It is ours alone: the process began it."""
    with contextlib.suppress(ProcessLookupError, PermissionError):  # macOS says the latter of a group that has ended
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    for descriptor in descriptors:
        os.close(descriptor)
