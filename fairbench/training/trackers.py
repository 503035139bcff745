"""Experiment trackers: what a training logs also goes to TensorBoard, W&B, trackio or MLflow, through accelerate.

A resumed training goes on in the same run of a tracker. The folder of its state keeps the name of that run, and up to
which step it was given each figure: what a stopped training logged after its last state is not sent again.
"""

from __future__ import annotations

import contextlib
import json
import logging
import secrets
import sys
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, Final

from fairbench.display.plain import line
from fairbench.errors import FairbenchError
from fairbench.registry import suggest
from fairbench.storage import atomic

BOARD: Final = "tensorboard"
"""Name of the tracker that writes files into a folder of the same name beside the adapter."""
NAMES: Final = (BOARD, "wandb", "trackio", "mlflow")
"""accelerate's name of each, which is its package's name, too."""
PROJECT: Final = "fairbench"
"""Project of W&B and trackio, experiment of MLflow."""
FILE: Final = "tracking.json"
log = logging.getLogger(__name__)


def chosen(names: Iterable[str] | None) -> tuple[str, ...]:
    """Return the trackers to use. None: TensorBoard where it is installed; "none" alone: no tracker.

    Raises FairbenchError for a name that is unknown, or whose package is not installed.
    """
    from accelerate.tracking import get_available_trackers

    installed = {str(name) for name in get_available_trackers()}
    if names is None:
        if BOARD not in installed:
            log.warning("TensorBoard is not installed (extra `train`): figures go to metrics.jsonl alone.")
        return tuple({BOARD} & installed)
    names = tuple(dict.fromkeys(names))
    if names == ("none",):
        return ()
    if not names or "none" in names:
        raise FairbenchError(f"--track: name {', '.join(NAMES)}, or `none` alone.")
    for name in names:
        if name not in NAMES:
            raise FairbenchError(f"--track: there is no tracker {name!r}{suggest(name, (*NAMES, 'none'))}.")
        if name not in installed:
            raise FairbenchError(f"--track {name} needs a package that is not installed: run pip install {name}.")
    return names


class Trackers:
    """The trackers of one training. A tracker that fails on the way is left out from then on; the training goes on."""

    def __init__(
        self,
        names: Iterable[str],
        out: Path,
        state: Path,
        start: int,
        last: Mapping[str, int],
        config: Mapping[str, Any],
    ) -> None:
        """Start the trackers, or go on with the runs of a stopped training.

        out: the adapter's folder. state: that of its state. start: the step to go on from. last: the last step at which
        a stopped training logged each figure. config: settings to show beside the run. Raises FairbenchError for a
        tracker that cannot be started.
        """
        self._file, stored = state / FILE, _read(state / FILE)
        self._trackers: dict[str, Any] = {}
        self._sent: dict[str, Mapping[str, int]] = {}
        for name in names:
            entry = stored.get(name)
            if entry is None:
                entry = {"run": secrets.token_hex(4), "sent": {}}
                if name != BOARD:  # which itself removes the steps from `start` on
                    stored[name] = entry
            else:
                entry["sent"] = {f: max(last.get(f, -1), entry["sent"].get(f, -1)) for f in {*last, *entry["sent"]}}
            try:
                with _speaking(f"--track {name}: it cannot be started"):
                    self._trackers[name] = tracker = _start(name, entry["run"], out, start, config)
                    if name == "mlflow":  # which names its runs itself
                        entry["run"] = tracker.tracker.info.run_id
            except FairbenchError:
                self.close()  # those that were started
                raise
            self._sent[name] = entry["sent"]
        if stored:
            atomic.write_text(self._file, json.dumps(stored) + "\n")

    def add(self, step: int, figures: Mapping[str, float | None]) -> None:
        """Send the figures that have a value and that the tracker was not given before."""
        for name, tracker in list(self._trackers.items()):
            sent = self._sent[name]
            new = {f: value for f, value in figures.items() if value is not None and step > sent.get(f, -1)}
            if new:
                self._try(name, lambda tracker=tracker, new=new: tracker.log(new, step=step))

    def close(self) -> None:
        """Send what is held back, and end the trackers' runs."""
        for name, tracker in list(self._trackers.items()):
            self._try(name, tracker.finish)

    def _try(self, name: str, action: Any) -> None:
        try:
            with contextlib.redirect_stdout(sys.stderr):
                action()
        except Exception as err:  # noqa: BLE001 - a tracker's own errors: network, disk, its service
            log.warning("The tracker %s failed and is left out from here on: %s", name, line(err))
            del self._trackers[name]


def _read(path: Path) -> dict[str, Any]:
    if not path.exists():
        return {}
    try:
        stored = json.loads(path.read_text(encoding="utf-8"))
        return {
            name: {"run": str(e["run"]), "sent": {f: int(s) for f, s in e["sent"].items()}}
            for name, e in stored.items()
        }
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as err:
        raise FairbenchError(
            f"{path} cannot be read ({type(err).__name__}): remove it, and trackers begin new runs."
        ) from err


@contextlib.contextmanager
def _speaking(what: str) -> Iterator[None]:
    """Keep what a tracker prints off the standard output, which holds results, and say its errors in one sentence."""
    try:
        with contextlib.redirect_stdout(sys.stderr):
            yield
    except Exception as err:
        raise FairbenchError(f"{what} ({type(err).__name__}: {line(err)}).") from err


def _start(name: str, run: str, out: Path, start: int, config: Mapping[str, Any]) -> Any:
    """Return a started tracker of accelerate. run: name of the tracker's run, which is gone on with if it exists."""
    from accelerate.tracking import LOGGER_TYPE_TO_CLASS

    title = line(out.name)
    options: dict[str, dict[str, Any]] = {
        BOARD: {"run_name": BOARD, "logging_dir": str(out), "purge_step": start},
        "wandb": {"run_name": PROJECT, "id": run, "name": title, "resume": "allow"},
        "trackio": {"run_name": PROJECT, "name": f"{title}-{run}", "resume": "allow"},
        "mlflow": {"experiment_name": PROJECT, "run_name": title, "run_id": run if len(run) == 32 else None},
    }
    tracker = LOGGER_TYPE_TO_CLASS[name](**options[name])
    tracker.start()
    if name != BOARD:  # accelerate would write TensorBoard's into a folder that is named after the time
        tracker.store_init_configuration(dict(config))
    return tracker
