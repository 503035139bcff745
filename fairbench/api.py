"""The functions of `import fairbench`. The commands call the same ones.

Paths may be given as text. What a user can fix raises FairbenchError, in one sentence; notices are logged as warnings.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

from fairbench import registry
from fairbench.cards import catalog
from fairbench.errors import FairbenchError
from fairbench.runs.result import Run
from fairbench.storage import paths

if TYPE_CHECKING:
    from numpy.typing import ArrayLike

    from fairbench.calibration.result import Calibration
    from fairbench.comparison.result import Comparison
    from fairbench.display.progress import Progress
    from fairbench.measure.interval import Interval
    from fairbench.runs.pipeline import Outcome
    from fairbench.runs.spec import RunSettings, RunSpec
    from fairbench.stats.intervals import Scope
    from fairbench.storage.store import Store

PathLike: TypeAlias = str | os.PathLike[str]
DTYPES = ("float32", "bfloat16", "float16")


def run(
    model: PathLike | Callable[..., Any] = "phantom",
    *,
    name: str | None = None,
    version: int | None = None,
    task: PathLike | None = None,
    method: str = "none",
    labeller: PathLike | None = None,
    images_per_prompt: int | None = None,
    limit_prompts: int | None = None,
    scorers: str | Sequence[str] | None = None,
    metrics: str | Sequence[str] | None = None,
    seed: int = 0,
    store: PathLike | None = None,
    out: PathLike | None = None,
    device: str = "auto",
    dtype: str | None = None,
    batch_size: int | None = None,
    shard: str | None = None,
    leaderboard: PathLike | None = None,
    sheets: bool = True,
    strict: bool = False,
    near_copies: bool = False,
    plugins: Sequence[PathLike] = (),
    progress: bool = True,
) -> Run:
    """Generate images, label the faces, measure bias. Stopped and started again, it goes on where it was.

    The arguments are the options of `fairbench run`; None takes the card's value. model: a card's name or file, a model
    folder, ADAPTER:TARGET, FILE.py:FUNCTION, or a function `draw(prompt: str, seed: int)` that returns a PIL image, an
    array of height x width x 3 (uint8, or floats from 0 to 1) or None (refused); called so, `draw(prompts, seeds)`
    returns a list. name, version: of a function; its images are stored under them, so raise the version whenever it
    draws otherwise. Without them they are stored under a key of this process. plugins: files that register plug-ins,
    beside those of FAIRBENCH_PLUGINS. scorers, metrics: names, or a text with commas. shard: "i/N" makes every N-th
    block; there are no results before a call without it. store: None is FAIRBENCH_STORE, else runs/store. out: the run
    folder; None is runs/<run>. strict: raise, after all is written, for notices that matter. Images that cannot be read
    count as failed; a notice names them.

    Raises FairbenchError.
    """
    from fairbench.runs import spec

    shown, opened = start(progress), open_store(store)
    registry.load_files(plugins)
    settings = run_settings(
        model=_model(model, name, version),
        task=task,
        method=method,
        labeller=labeller,
        images_per_prompt=images_per_prompt,
        limit_prompts=limit_prompts,
        scorers=scorers,
        metrics=metrics,
        seed=seed,
        device=device,
        dtype=dtype,
        batch_size=batch_size,
        shard=shard,
        near_copies=near_copies,
    )
    run_spec = spec.make(settings, shown)
    folder, outcome = execute(run_spec, opened, shown, _path(out), _path(leaderboard), sheets=sheets)
    if strict:
        refuse_notices(outcome, folder)
    return Run(folder, opened.root)


def _model(model: PathLike | Callable[..., Any], name: str | None, version: int | None) -> PathLike:
    """Return what a model is called on the command line. Raises FairbenchError."""
    if isinstance(model, str | os.PathLike):
        if name is not None or version is not None:
            raise FairbenchError("name and version are those of a function: leave them out for any other model.")
        return model
    from fairbench.adapters import callable as functions

    return functions.offer(model, name, version)


def load(folder: PathLike, *, store: PathLike | None = None) -> Run:
    """Read a finished run from its folder. store: where its images are, for `Run.picture`.

    Raises FairbenchError where the folder holds no run.
    """
    finished = Run(folder, _path(store))
    _ = finished.id  # a folder without a run is named now
    return finished


def compare(
    *runs: Run | PathLike, alpha: float = 0.05, select: bool | None = None, out: PathLike | None = None
) -> Comparison:
    """Compare finished runs with the first of them, prompt by prompt, or two labellers of the same images.

    alpha: the level of each family of tests, in (0, 0.5). select: choose the best run on half of the prompts and judge
    it on the rest; None: with three runs or more. out: a folder to write compare.json, compare.csv and the picture to.

    Raises FairbenchError for runs that do not compare.
    """
    from fairbench.comparison.compare import compare as compare_runs
    from fairbench.comparison.result import Comparison

    folders = [each.folder if isinstance(each, Run) else paths.expand(os.fspath(each)) for each in runs]
    comparison = Comparison(compare_runs(folders, alpha, select))
    if out is not None:
        comparison.write(out)
    return comparison


def calibrate(
    labeller: PathLike,
    images: PathLike,
    out: PathLike,
    *,
    domain: str = "photographs",
    allow_implausible: bool = False,
    store: PathLike | None = None,
    device: str = "auto",
    plugins: Sequence[PathLike] = (),
    progress: bool = True,
) -> Calibration:
    """Measure a labeller's errors on labelled images: how often it reads each true cell as which.

    images: a CSV with the columns path, one per attribute, and optionally person and sha256. out: the calibration file,
    a .json that the labeller's card can name. domain: the kind of image. allow_implausible: accept a cell that is read
    as another more often than as itself. plugins: files that register plug-ins, beside those of FAIRBENCH_PLUGINS.

    Raises FairbenchError.
    """
    import shlex

    from fairbench.calibration import count, files, manifest
    from fairbench.calibration.result import Calibration
    from fairbench.labelling.labeller import LabelSpace
    from fairbench.runs.device import pick_device

    shown, name, domain = start(progress), os.fspath(labeller), domain.strip()
    registry.load_files(plugins)
    loaded, manifest_file, file = catalog.load_labeller(name), paths.expand(os.fspath(images)), _path(out)
    assert file is not None
    files.check(file, domain)
    arguments = ["--labeller", name, "--images", os.fspath(images), "--domain", domain]
    arguments += ["--allow-implausible"] if allow_implausible else []
    command = shlex.join(["fairbench", "calibrate", *arguments])
    labelled, where = manifest.read(manifest_file, LabelSpace(loaded.card), shown), pick_device(device)
    counted = count.calibrate(labelled, loaded, open_store(store), shown, domain=domain, command=command, device=where)
    counted = files.write(counted, file, manifest_file, allow_implausible=allow_implausible)
    return Calibration(counted, file, loaded.path)


def interval(
    counts: ArrayLike, metric: str = "concentration", *, scope: Scope = "these prompts", seed: int = 0
) -> Interval:
    """Return the mean of a metric over prompts with its 95 % interval, and how that was computed.

    counts: (P, K) or (K,), for each prompt the faces of each declared class. metric: `concentration`, or the name of a
    metric of class shares, such as `rd`; most of these have a chance floor, and the interval is then of their expected
    value at these face counts. scope: whether these prompts are all that is asked about ("these prompts"), or stand for
    others ("prompts like these"). seed: of the resampling.

    Raises ValueError for anything but counts, FairbenchError for an unknown metric.

    >>> import fairbench
    >>> value, low, high, *_ = fairbench.interval([[30, 10], [5, 5], [12, 8]], "concentration")
    >>> f"{value:.3f} [{low:.3f}, {high:.3f}]"
    '0.036 [-0.098, 0.170]'
    """
    from fairbench.measure import interval as measure_interval

    return measure_interval.interval(counts, metric, scope, seed)


def list_models() -> list[str]:
    """Return the names of all model cards, those of FAIRBENCH_PATH included."""
    return list(catalog.find("models"))


def list_tasks() -> list[str]:
    """Return the names of all tasks, those of FAIRBENCH_PATH and of plug-ins included."""
    return list(catalog.find("tasks"))


def list_labellers() -> list[str]:
    """Return the names of all labeller cards, those of FAIRBENCH_PATH included."""
    return list(catalog.find("labellers"))


def list_metrics() -> list[str]:
    """Return the names of all metrics of class shares, plug-ins included."""
    return registry.names("metrics")


def list_methods() -> list[str]:
    """Return the names of all mitigation methods, plug-ins included."""
    return registry.names("methods")


def list_scorers() -> list[str]:
    """Return the names of all image scorers, plug-ins included."""
    return registry.names("scorers")


# --- what the commands share ---


def start(progress: bool) -> Progress:
    """Set what libraries read when they are imported; return what shows progress on stderr or in a notebook, if any."""
    from rich.console import Console

    from fairbench import threads
    from fairbench.display.progress import reporter

    threads.prepare()
    return reporter(Console(stderr=True), quiet=not progress)


def open_store(store: PathLike | None, *, look_only: bool = False) -> Store:
    """Open the store of images and labels: the one named, else FAIRBENCH_STORE, else runs/store."""
    from fairbench.storage.store import Store

    return Store(
        paths.expand(os.fspath(store or os.environ.get("FAIRBENCH_STORE") or "runs/store")), look_only=look_only
    )


def run_settings(**options: Any) -> RunSettings:
    """Return the settings of a run from the arguments of `run`. Raises FairbenchError for what no run can have."""
    from fairbench.runs.spec import RunSettings

    for name in ("images_per_prompt", "limit_prompts", "batch_size"):
        value = options[name]
        if value is not None and (isinstance(value, bool) or not isinstance(value, int) or value < 1):
            raise FairbenchError(f"{name} is {value!r}: give a whole number of at least 1, or leave it out.")
    if isinstance(options["seed"], bool) or not isinstance(options["seed"], int) or options["seed"] < 0:
        raise FairbenchError(f"seed is {options['seed']!r}: give a whole number of at least 0.")
    if options["dtype"] not in {None, *DTYPES}:
        raise FairbenchError(f"--dtype {options['dtype']}: name {', '.join(DTYPES[:-1])} or {DTYPES[-1]}.")
    for name in ("model", "task", "labeller"):
        options[name] = None if options[name] is None else os.fspath(options[name])
    for name in ("scorers", "metrics"):
        options[name] = None if options[name] is None else _names(options[name])
    options["shard"] = None if options["shard"] is None else _shard(options["shard"])
    return RunSettings(**options)


def _names(names: str | Sequence[str]) -> tuple[str, ...]:
    """Return names from a sequence or a text with commas; "none" is no name."""
    words = names.split(",") if isinstance(names, str) else names
    given = tuple(name.strip() for name in words if name.strip())
    return () if given == ("none",) else given


def _shard(text: str) -> tuple[int, int]:
    match = re.fullmatch(r"(\d{1,6})/(\d{1,6})", text)
    if not match or not int(match[1]) < int(match[2]):
        raise FairbenchError(f"--shard {text}: write i/N with i from 0 to N - 1, as in 0/2 and 1/2.")
    return int(match[1]), int(match[2])


def _path(name: PathLike | None) -> Path | None:
    return None if name is None else paths.expand(os.fspath(name))


def execute(
    run_spec: RunSpec, store: Store, progress: Progress, out: Path | None, board: Path | None, *, sheets: bool
) -> tuple[Path, Outcome]:
    """Do a run and write its folder and its row of a leaderboard; return the folder. Of a shard, write nothing."""
    from fairbench.leaderboard import board as leaderboard_board
    from fairbench.leaderboard import evidence, row
    from fairbench.runs import files, pipeline

    folder = out or Path("runs") / files.default_name(run_spec)
    if run_spec.settings.shard is None:  # what could fail at the end fails now, before hours of work
        files.prepare(folder, store.root)
    if board is not None and board.exists():
        leaderboard_board.read(board)
    outcome = pipeline.run(run_spec, store, progress)
    if outcome.metrics is None:
        return folder, outcome
    if out is None:  # a block that did not fit into memory may have changed the spec
        folder = Path("runs") / files.default_name(outcome.spec)
    files.write(outcome, store, folder, sheets=sheets)
    if board is not None:
        row.add_run(board, evidence.open_run(folder))
    return folder, outcome


def refuse_notices(outcome: Outcome, folder: Path) -> None:
    """Raise FairbenchError, after everything is written, for the notices that `--strict` counts."""
    notices = outcome.notices.strict
    if notices:
        codes = ", ".join(f"{notice.code} ({notice.count})" for notice in notices)
        raise FairbenchError(f"--strict: {codes}; {folder / 'notices.csv'} says what each means and how to fix it.")
