"""The functions of `import fairbench`. The commands call the same ones.

Paths may be given as text. What a user can fix raises FairbenchError, in one sentence; notices are logged as warnings.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

from fairbench import registry
from fairbench.cards import catalog
from fairbench.errors import FairbenchError
from fairbench.runs.arguments import run_settings as run_settings
from fairbench.runs.result import Run
from fairbench.storage import paths

if TYPE_CHECKING:
    from fairbench.calibration.result import Calibration, PeopleEstimates
    from fairbench.comparison.result import Comparison
    from fairbench.display.progress import Progress
    from fairbench.runs.pipeline import Outcome
    from fairbench.runs.spec import RunSpec
    from fairbench.storage.store import Store

PathLike: TypeAlias = str | os.PathLike[str]


def run(
    model: PathLike | Callable[..., Any] | None = None,
    *,
    name: str | None = None,
    version: int | None = None,
    task: PathLike | None = None,
    method: str = "none",
    labeller: PathLike | None = None,
    labels: PathLike | None = None,
    calibration: PathLike | None = None,
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
    price: float | None = None,
    max_cost: float | None = None,
    plugins: Sequence[PathLike] = (),
    progress: bool = True,
) -> Run:
    """Generate images, label the faces, measure bias. Stopped and started again, it goes on where it was.

    The arguments are the options of `fairbench run`; None takes the card's value. Images that cannot be read count as
    failed; a notice names them.

    Args:
        model: A card's name or file, a model folder, ADAPTER:TARGET, FILE.py:FUNCTION, or a function
            `draw(prompt: str, seed: int)` that returns a PIL image, an array (height, width, 3) of uint8 or of floats
            from 0 to 1, or None (refused); called so, `draw(prompts, seeds)` returns a list. None is phantom, or with
            `labels` nothing that makes images.
        name: Of a function: its images are stored under name and version; without them, under a key of this process.
        version: Of a function: raise it whenever the function draws otherwise.
        task: A prompt suite: name or folder.
        method: A mitigation: NAME or NAME:ARGUMENT.
        labeller: Name or card file.
        labels: A CSV of labels that were made elsewhere; `labeller` then declares its attributes and classes.
        calibration: A calibration file; None is the one that the labeller's card names.
        images_per_prompt: From 1 to 20,000.
        limit_prompts: Only the first so many prompts.
        scorers: Names or YAML files, or a text with commas; "none" for none.
        metrics: Names, or a text with commas; None computes all.
        seed: The same for models that are compared.
        store: Where images and labels are kept; None is FAIRBENCH_STORE, else runs/store.
        out: The run folder; None is a folder in runs.
        device: auto, cpu, cuda, cuda:N or mps.
        dtype: float32, bfloat16 or float16.
        batch_size: Images per block.
        shard: "i/N" makes every N-th block; there are no results before a call without it.
        leaderboard: A CSV to add the run's row to.
        sheets: Write a contact sheet per prompt.
        strict: Raise, after all is written, for notices that matter.
        near_copies: Look for images of a folder that look alike.
        price: US dollars for an image of a served model; None is the card's.
        max_cost: US dollars that the images of a served model may cost; a run that would cost more is refused.
        plugins: Files that register plug-ins, beside those of FAIRBENCH_PLUGINS.
        progress: Show how far it is, on stderr or in the notebook.

    Returns:
        The finished run.

    Raises:
        FairbenchError: For whatever the caller can fix, in one sentence.
    """
    from fairbench.runs import spec

    shown, opened = start(progress), open_store(store)
    registry.load_files(plugins)
    settings = run_settings(
        model=_model(model, name, version),
        task=task,
        method=method,
        labeller=labeller,
        labels=labels,
        calibration=calibration,
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
        price=price,
        max_cost=max_cost,
    )
    run_spec = spec.make(settings, shown)
    folder, outcome = execute(run_spec, opened, shown, _path(out), _path(leaderboard), sheets=sheets)
    if strict:
        refuse_notices(outcome, folder)
    return Run(folder, opened.root)


def _model(model: PathLike | Callable[..., Any] | None, name: str | None, version: int | None) -> PathLike | None:
    """Return what a model is called on the command line. Raises FairbenchError."""
    if model is None or isinstance(model, str | os.PathLike):
        if name is not None or version is not None:
            raise FairbenchError("name and version are those of a function: leave them out for any other model.")
        return model
    from fairbench.adapters import callable as functions

    return functions.offer(model, name, version)


def load(folder: PathLike, *, store: PathLike | None = None) -> Run:
    """Read a finished run from its folder.

    Args:
        folder: The run folder.
        store: Where its images are, for `Run.picture`; None looks where the run was made.

    Returns:
        The run.

    Raises:
        FairbenchError: Where the folder holds no run.
    """
    finished = Run(folder, _path(store))
    _ = finished.id  # a folder without a run is named now
    return finished


def compare(
    *runs: Run | PathLike,
    alpha: float = 0.05,
    select: bool | None = None,
    registered: PathLike | None = None,
    rd_margins: bool = False,
    out: PathLike | None = None,
) -> Comparison:
    """Compare finished runs with the first of them, prompt by prompt, or two labellers of the same images.

    Args:
        *runs: Two or more runs or run folders; the first is the baseline.
        alpha: The level of each family of tests, in (0, 0.5).
        select: Choose the best run on half of the prompts and judge it on the rest; None: with three runs or more.
        registered: A file of `fairbench plan --register` that the comparison is held against.
        rd_margins: Test RD for equivalence, too, against the task's margins for it.
        out: A folder to write compare.json, compare.csv and the picture to.

    Returns:
        The comparison.

    Raises:
        FairbenchError: For runs that do not compare.
    """
    from fairbench.comparison.compare import compare as compare_runs
    from fairbench.comparison.result import Comparison

    folders = [each.folder if isinstance(each, Run) else paths.expand(os.fspath(each)) for each in runs]
    comparison = Comparison(compare_runs(folders, alpha, select, _path(registered), rd_margins=rd_margins))
    if out is not None:
        comparison.write(out)
    return comparison


def calibrate(
    labeller: PathLike,
    images: PathLike,
    out: PathLike,
    *,
    domain: str | None = None,
    run: Run | PathLike | None = None,
    allow_implausible: bool = False,
    store: PathLike | None = None,
    device: str = "auto",
    plugins: Sequence[PathLike] = (),
    progress: bool = True,
) -> Calibration:
    """Measure a labeller's errors on labelled images: how often it reads each true cell as which.

    Args:
        labeller: Name or card file.
        images: A CSV with the columns path, one per attribute, and optionally person and sha256.
        out: The calibration file, a .json that the labeller's card can name.
        domain: The kind of image: photographs, renders, drawings, "generated by MODEL [at REVISION]", or other words.
            Runs of other images than these get a range, not a value.
        run: The run of which these are images, in place of `domain`.
        allow_implausible: Accept a cell that is read as another more often than as itself.
        store: Where faces and labels are kept; None is FAIRBENCH_STORE, else runs/store.
        device: auto, cpu, cuda, cuda:N or mps.
        plugins: Files that register plug-ins, beside those of FAIRBENCH_PLUGINS.
        progress: Show how far it is, on stderr or in the notebook.

    Returns:
        The calibration.

    Raises:
        FairbenchError: For whatever the caller can fix, in one sentence.
    """
    import shlex

    from fairbench.calibration import count, files, manifest, own
    from fairbench.calibration.result import Calibration
    from fairbench.labelling.labeller import LabelSpace
    from fairbench.runs.device import pick_device

    shown, name = start(progress), os.fspath(labeller)
    registry.load_files(plugins)
    loaded, manifest_file, file = catalog.load_labeller(name), paths.expand(os.fspath(images)), _path(out)
    assert file is not None
    if domain is not None and run is not None:
        raise FairbenchError("--domain and --run both say what these images are: give one of the two.")
    own_folder = run.folder if isinstance(run, Run) else _path(run)
    own_images = None if own_folder is None else own.RunImages(own_folder)
    words = (domain or "").strip() if own_images is None else own_images.domain.words
    files.check(file, words)
    arguments = ["--labeller", name, "--images", os.fspath(images)]
    arguments += ["--domain", words] if own_folder is None else ["--run", str(own_folder)]
    arguments += ["--allow-implausible"] if allow_implausible else []
    command = shlex.join(["fairbench", "calibrate", *arguments])
    labelled = manifest.read(manifest_file, LabelSpace(loaded.card), shown, derived=own_images is not None)
    if own_images is not None:
        own_images.refuse_others(labelled)
    of_run = "" if own_images is None else own_images.domain.images
    where, opened = pick_device(device), open_store(store)
    counted = count.calibrate(
        labelled, loaded, opened, shown, domain=words, run_images=of_run, command=command, device=where
    )
    counted = files.write(counted, file, manifest_file, allow_implausible=allow_implausible)
    return Calibration(counted, file, loaded.path)


def calibrate_from(folder: PathLike, *, progress: bool = True) -> PeopleEstimates:
    """Compute what labels by people say of the runs that were annotated, and write it into their folders.

    Args:
        folder: What `fairbench annotate` has written and its --collect has filled.
        progress: Show how far it is, on stderr or in the notebook.

    Returns:
        The estimates of each run.

    Raises:
        FairbenchError: For whatever the caller can fix, in one sentence.
    """
    from fairbench.calibration import people
    from fairbench.calibration.result import PeopleEstimates

    annotation = _path(folder)
    assert annotation is not None
    return PeopleEstimates(people.estimate(annotation, start(progress)))


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
