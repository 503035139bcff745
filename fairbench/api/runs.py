"""The functions of `import fairbench` for runs: do one, read one, compare some; and calibrate a labeller."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fairbench import registry
from fairbench.api.shared import (
    PathLike,
    execute,
    folders_of,
    name_of,
    open_store,
    path_of,
    refuse_notices,
    start,
    write_page,
)
from fairbench.errors import FairbenchError
from fairbench.runs.arguments import run_settings
from fairbench.runs.result import Run

if TYPE_CHECKING:
    from fairbench.calibration.result import Calibration
    from fairbench.comparison.result import Comparison


def run(
    model: PathLike | Callable[..., Any] | None = None,
    *,
    name: str | None = None,
    version: int | None = None,
    task: PathLike | None = None,
    method: str = "none",
    system_prompt: str | None = None,
    labeller: PathLike | None = None,
    labels: PathLike | None = None,
    calibration: PathLike | None = None,
    images_per_prompt: int | None = None,
    limit_prompts: int | None = None,
    scorers: str | Sequence[str] | None = None,
    scorer_reference: PathLike | None = None,
    metrics: str | Sequence[str] | None = None,
    seed: int = 0,
    store: PathLike | None = None,
    out: PathLike | None = None,
    device: str = "auto",
    dtype: str | None = None,
    batch_size: int | None = None,
    compile: bool = False,  # noqa: A002 - the option's name
    shard: str | None = None,
    leaderboard: PathLike | None = None,
    sheets: bool = True,
    report: bool = False,
    strict: bool = False,
    near_copies: bool = False,
    price: float | None = None,
    max_cost: float | None = None,
    executor: str = "local",
    workers: int | None = None,
    gpus_per_worker: float | None = None,
    cpus_per_worker: int | None = None,
    address: str | None = None,
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
        system_prompt: Text before each prompt, or its .txt or .md file; "none"; "irrelevant:FILE"; None: the model's.
        labeller: Name or card file.
        labels: A CSV of labels that were made elsewhere; `labeller` then declares its attributes and classes.
        calibration: A calibration file; None is the one that the labeller's card names.
        images_per_prompt: From 1 to 20,000.
        limit_prompts: Only the first so many prompts.
        scorers: Names or YAML files, or a text with commas; "none" for none.
        scorer_reference: Folder of a run of reference pictures, scored by the same scorers, to hold groups against.
        metrics: Names, or a text with commas; None computes all.
        seed: The same for models that are compared.
        store: Where images and labels are kept; None is FAIRBENCH_STORE, else runs/store.
        out: The run folder; None is a folder in runs.
        device: auto, cpu, cuda, cuda:N or mps.
        dtype: float32, bfloat16 or float16.
        batch_size: Images per block.
        compile: Let torch compile what draws image tokens: slow at first, then faster on a GPU. Models janus and emu3.
        shard: "i/N" makes every N-th block; there are no results before a call without it.
        leaderboard: A CSV to add the run's row to.
        sheets: Write a contact sheet per prompt.
        report: Write the run's page, index.html in its folder.
        strict: Raise, after all is written, for notices that matter.
        near_copies: Look for images of a folder that look alike.
        price: US dollars for an image of a served model; None is the card's.
        max_cost: US dollars that the images of a served model may cost; a run that would cost more is refused.
        executor: "local", or "ray": on several workers, GPUs or machines.
        workers: Of Ray; None: as many as there is room for.
        gpus_per_worker: Of Ray; a share below 1 is possible; None: 1 where the device is cuda, else 0.
        cpus_per_worker: CPUs, and threads, of each worker; None: 1 beside GPUs, else all, divided.
        address: Of a running Ray cluster; None is RAY_ADDRESS, else workers on this machine.
        plugins: Files that register plug-ins, beside those of FAIRBENCH_PLUGINS.
        progress: Show how far it is, on stderr or in the notebook.

    Returns:
        The finished run.

    Raises:
        FairbenchError: For whatever the caller can fix, in one sentence.
    """
    return _run(**locals())


def _run(
    *,
    model: PathLike | Callable[..., Any] | None,
    name: str | None,
    version: int | None,
    store: PathLike | None,
    out: PathLike | None,
    leaderboard: PathLike | None,
    sheets: bool,
    report: bool,
    strict: bool,
    executor: str,
    workers: int | None,
    gpus_per_worker: float | None,
    cpus_per_worker: int | None,
    address: str | None,
    plugins: Sequence[PathLike],
    progress: bool,
    **settings: Any,
) -> Run:
    """Do a run. settings: the arguments that are the run's own, all but its model."""
    from fairbench.executors.executor import distribution
    from fairbench.runs import spec

    shown, opened = start(progress), open_store(store)
    distribute = distribution(executor, workers, gpus_per_worker, cpus_per_worker, address)
    registry.load_files(plugins)
    run_spec = spec.make(run_settings(model=_model(model, name, version), **settings), shown)
    folder, outcome = execute(
        run_spec, opened, shown, path_of(out), path_of(leaderboard), sheets=sheets, distribute=distribute
    )
    run = Run(folder, opened.root)
    if outcome.metrics is not None:
        write_page(run, shown, wanted=report)
    if strict:
        refuse_notices(outcome, folder)
    return run


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
    finished = Run(folder, name_of(store))
    _ = finished.id  # a folder without a run is named now
    return finished


def compare(
    *runs: Run | PathLike,
    alpha: float = 0.05,
    select: bool | None = None,
    registered: PathLike | None = None,
    rd_margins: bool = False,
    forms: Sequence[str] | None = None,
    audit_hacking: bool = False,
    out: PathLike | None = None,
) -> Comparison:
    """Compare finished runs with the first of them, prompt by prompt, or two labellers of the same images.

    Args:
        *runs: Two or more runs or run folders; the first is the baseline.
        alpha: The level of each family of tests, in (0, 0.5).
        select: Choose the best run on half of the prompts and judge it on the rest; None: with three runs or more.
        registered: A file of `fairbench plan --register` that the comparison is held against.
        rd_margins: Test RD for equivalence, too, against the task's margins for it.
        forms: Of each run the grammatical form whose prompts are compared, "" for a run without forms; prompts are then
            paired by concept, as are those of runs without a prompt in common.
        audit_hacking: Hold the labeller of training, the first run's, against a judge: all runs are named as both read
            them.
        out: A folder to write compare.json, compare.csv and the picture to.

    Returns:
        The comparison.

    Raises:
        FairbenchError: For runs that do not compare.
    """
    from fairbench.comparison.compare import compare as compare_runs
    from fairbench.comparison.result import Comparison

    folders, against = folders_of(runs), path_of(registered)
    result = compare_runs(
        folders, alpha, select, against, rd_margins=rd_margins, forms=forms, audit_hacking=audit_hacking
    )
    comparison = Comparison(result)
    if out is not None:
        comparison.write(out)
    return comparison


def report(
    *runs: Run | PathLike,
    out: PathLike | None = None,
    with_images: bool = False,
    progress: bool = False,
) -> Path:
    """Write a page of a finished run, or of several side by side: verdict, charts, pictures, tables, evidence.

    It works from disk and from any web server, and loads nothing from elsewhere.

    Args:
        *runs: One or more runs or run folders; and folders of audits, each shown beside the runs of its model.
        out: The folder of the pages; None: that of the run itself, or runs/report for several and beside an audit.
        with_images: Include pictures of `folder:`, which may show real people.
        progress: Show how far it is, on stderr or in the notebook.

    Returns:
        The path of the first page, index.html.

    Raises:
        FairbenchError: For a folder that holds something else, for runs without a result, or one that is named twice.
    """
    from fairbench.reporting import audits, build

    loaded: list[Run] = []
    found: list[Path] = []
    for each, folder in zip(runs, folders_of(runs), strict=True):
        if not isinstance(each, Run) and audits.is_audit(folder):
            found.append(folder)
        else:
            loaded.append(each if isinstance(each, Run) else load(each))
    if not loaded:
        raise FairbenchError("Name the runs to report on: fairbench.report(run, ...).")
    own = len(loaded) == 1 and not found
    chosen = path_of(out) or (loaded[0].folder if own else Path("runs/report"))
    return build.write(loaded, chosen, start(progress), with_images=with_images, audit_folders=found)


def export(
    run: Run | PathLike,
    *,
    to: str,
    out: PathLike | None = None,
    with_images: bool = False,
    progress: bool = False,
) -> Path | str:
    """Write a finished run for papers, READMEs and other tools.

    Args:
        run: A run or its folder.
        to: latex, markdown, images, dossier, hf-dataset, hub-results or hub:OWNER/NAME.
        out: The folder to write; None is RUN-FORMAT, beside the run.
        with_images: Include pictures, also those of `folder:`, which may show real people.
        progress: Show how far it is, on stderr or in the notebook.

    Returns:
        The path of the file to look at first, or the address.

    Raises:
        FairbenchError: For an unknown format, a folder that holds something else, or pictures that are gone.
    """
    from fairbench.exporting import export as exporting

    loaded = run if isinstance(run, Run) else load(run)
    return exporting.export(loaded, to, path_of(out), start(progress), with_images=with_images)


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
    from fairbench.calibration import command
    from fairbench.calibration.result import Calibration

    shown = start(progress)
    registry.load_files(plugins)
    of_run = run.folder if isinstance(run, Run) else path_of(run)
    found, file, card = command.calibrate(
        os.fspath(labeller),
        os.fspath(images),
        os.fspath(out),
        open_store(store),
        shown,
        domain=domain,
        run=of_run,
        allow_implausible=allow_implausible,
        device=device,
    )
    return Calibration(found, file, card)
