"""What the functions of `import fairbench` and the commands share: opening the store, doing a run, refusing notices."""

from __future__ import annotations

import logging
import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias

from fairbench.errors import FairbenchError
from fairbench.storage import paths

if TYPE_CHECKING:
    from fairbench.display.progress import Progress
    from fairbench.runs.distributed import Distribute
    from fairbench.runs.pipeline import Outcome
    from fairbench.runs.result import Run
    from fairbench.runs.spec import RunSpec
    from fairbench.storage.store import Store

PathLike: TypeAlias = str | os.PathLike[str]
log = logging.getLogger(__name__)


def start(progress: bool) -> Progress:
    """Set what libraries read when they are imported; return what shows progress on stderr or in a notebook, if any."""
    from rich.console import Console

    from fairbench import threads
    from fairbench.display.progress import reporter

    threads.prepare()
    return reporter(Console(stderr=True), quiet=not progress)


def open_store(store: PathLike | None, *, look_only: bool = False) -> Store:
    """Open the store of images and labels: the one named, else FAIRBENCH_STORE, else runs/store."""
    from fairbench.storage.opening import store_name
    from fairbench.storage.store import Store

    return Store(store_name(store or os.environ.get("FAIRBENCH_STORE") or "runs/store"), look_only=look_only)


def path_of(name: PathLike | None) -> Path | None:
    """Return a path that may be given as text; None for None."""
    return None if name is None else paths.expand(os.fspath(name))


def name_of(store: PathLike | None) -> PathLike | None:
    """Return the name of a store that may be a path or a URL; None for None."""
    from fairbench.storage.opening import store_name

    return None if store is None else store_name(store)


def folders_of(runs: Sequence[Run | PathLike]) -> list[Path]:
    """Return the folders of runs, or of paths to them."""
    return [each.folder if not isinstance(each, str | os.PathLike) else paths.expand(os.fspath(each)) for each in runs]


def execute(
    run_spec: RunSpec,
    store: Store,
    progress: Progress,
    out: Path | None,
    board: Path | None,
    *,
    sheets: bool,
    distribute: Distribute | None = None,
) -> tuple[Path, Outcome]:
    """Do a run and write its folder and its row of a leaderboard; return the folder. Of a shard, write nothing.

    distribute: as of `pipeline.run`.
    """
    from fairbench.leaderboard import board as leaderboard_board
    from fairbench.leaderboard import evidence, row
    from fairbench.runs import files, pipeline, reference_run

    folder = out or Path("runs") / files.default_name(run_spec)
    if run_spec.settings.shard is None:  # what could fail at the end fails now, before hours of work
        files.prepare(folder, store.files.folder)
    if board is not None and board.exists():
        leaderboard_board.read(board)
    reference = None
    if run_spec.settings.scorer_reference is not None:
        reference = reference_run.read(paths.expand(run_spec.settings.scorer_reference), run_spec, store)
    outcome = pipeline.run(run_spec, store, progress, distribute)
    if outcome.metrics is None:
        return folder, outcome
    if out is None:  # a block that did not fit into memory may have changed the spec
        folder = Path("runs") / files.default_name(outcome.spec)
    files.write(outcome, store, folder, sheets=sheets, reference=reference)
    if board is not None:
        row.add_run(board, evidence.open_run(folder))
    return folder, outcome


def write_page(run: Run, progress: Progress, *, wanted: bool) -> Path | None:
    """Write a finished run's page into its folder and return it; None where there is none, and a warning says why.

    What is there already is written again only where something changed, and then even where no page is wanted: a page
    that stands beside other numbers would be false. Whatever goes wrong, the run itself is whole.
    """
    from fairbench.reporting import build

    try:
        return build.refresh(run, progress, wanted=wanted)
    except Exception as err:  # libraries draw the charts and the pictures
        log.debug("the page", exc_info=True)
        log.warning(
            "The run is whole, but its page could not be written (%s): do it again with `fairbench report %s`.",
            str(err).rstrip("."),
            run.folder,
        )
        return None


def refuse_notices(outcome: Outcome, folder: Path) -> None:
    """Raise FairbenchError, after everything is written, for the notices that `--strict` counts."""
    notices = outcome.notices.strict
    if notices:
        codes = ", ".join(f"{notice.code} ({notice.count})" for notice in notices)
        raise FairbenchError(f"--strict: {codes}; {folder / 'notices.csv'} says what each means and how to fix it.")
