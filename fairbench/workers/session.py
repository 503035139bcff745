"""A worker that is kept alive while images are made, started again where it died, and held against its card."""

from __future__ import annotations

import itertools
import os
import shutil
import tempfile
import weakref
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from fairbench.errors import FairbenchError
from fairbench.workers.fairbench_worker import PROTOCOL
from fairbench.workers.places import Places, cache
from fairbench.workers.process import Worker, WorkerDied, WorkerError

KEPT_LOGS: Final = 20
_numbers = itertools.count(1)


class Session:
    """Starts a card's worker on the first call. device: what the recipe is loaded on."""

    def __init__(self, places: Places, device: str) -> None:
        self._places, self._device = places, device
        self._worker: Worker | None = None
        self.report: dict[str, Any] | None = None
        """What the worker said of itself, and what is known of its code and weights; None before it was started."""
        self._folder = Path(tempfile.mkdtemp(prefix="fairbench-worker-"))
        weakref.finalize(self, shutil.rmtree, self._folder, ignore_errors=True)

    def call(self, method: str, params: Mapping[str, Any], seconds: float) -> dict[str, Any]:
        """Return the worker's result. Raises WorkerError, WorkerDied; FairbenchError where it cannot be started."""
        return self._started().call(method, params, seconds)

    def new_file(self, suffix: str) -> Path:
        """Return the path of a file that is not there yet, for an image or an array that travels."""
        return self._folder / f"{next(_numbers)}{suffix}"

    def take(self, path: Path) -> bytes:
        """Return the content of a file that the worker wrote, nothing where it did not, and remove it."""
        try:
            return path.read_bytes()
        except FileNotFoundError:
            return b""
        finally:
            path.unlink(missing_ok=True)

    def close(self) -> None:
        """End the worker."""
        if self._worker is not None:
            self._worker.end()
            self._worker = None

    def _started(self) -> Worker:
        if self._worker is not None and self._worker.alive:
            return self._worker
        self.close()
        places, name = self._places, self._places.card.name
        missing = places.missing()
        if missing:
            raise FairbenchError(f"{name} cannot run yet: {'; '.join(missing)}.")
        checkout, revisions = places.checkout(), places.revisions()
        worker = Worker(places.python, self._folder, _log(name))
        params = {
            "recipe": str(places.recipe.path),
            "repository": "" if places.repository is None else str(places.repository),
            "weights": {name: str(path) for name, path in places.weights().items()},
            "settings": places.params.settings,
            "device": self._device,
        }
        try:
            report = worker.call("initialize", params, places.params.seconds_to_start)
            self._agree(report)
        except BaseException as err:
            worker.end()
            if isinstance(err, WorkerError):
                raise FairbenchError(f"{name} could not be loaded: {err.sentence}{worker.log.quoted()}.") from err
            if isinstance(err, WorkerDied):
                raise FairbenchError(f"{name} could not be loaded: {err}.") from err
            raise
        self.report = {**report, "repository": checkout, "weights": revisions}
        self._worker = worker
        return worker

    def _agree(self, report: Mapping[str, Any]) -> None:
        """Raise FairbenchError where what a worker says of itself contradicts its card."""
        card, params = self._places.card, self._places.params
        if report.get("protocol") != PROTOCOL:
            raise FairbenchError(f"The worker of {card.name} speaks protocol {report.get('protocol')}, not {PROTOCOL}.")
        version = ".".join(str(report.get("python")).split(".")[:2])
        if params.python_version not in (None, version):
            raise FairbenchError(
                f"The worker of {card.name} runs Python {version}, the card declares {params.python_version}: fix "
                "`python`, or `python_version`."
            )
        if params.rows_per_call > 1 and "generate_batch" not in report.get("methods", ()):
            raise FairbenchError(
                f"The recipe of {card.name} has no generate_batch, so that it draws one image per call: set "
                "`rows_per_call` to 1 in the card."
            )


def _log(name: str) -> Path:
    """Return the file for a new worker's log; of older ones the newest are kept."""
    folder = cache() / "logs"
    if folder.is_dir():
        logs = sorted(folder.glob("*.log"), key=lambda path: path.stat().st_mtime, reverse=True)
        for path in logs[KEPT_LOGS:]:
            path.unlink(missing_ok=True)
    return folder / f"{name}-{os.getpid()}-{next(_numbers)}.log"
