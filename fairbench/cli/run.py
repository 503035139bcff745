"""`fairbench run`: from a prompt suite to a table, a run folder and a leaderboard row."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from fairbench.cli import complete
from fairbench.cli.options import (
    BOARD_NAMES,
    AsJson,
    Batch,
    Device,
    Dtype,
    Full,
    LabellerName,
    Limit,
    Plugins,
    Quiet,
    Seed,
    StoreDir,
    Task,
    Verbose,
    model_option,
)
from fairbench.display.plain import echo, echo_json
from fairbench.errors import FairbenchError

if TYPE_CHECKING:
    from fairbench.runs.pipeline import Outcome
    from fairbench.runs.spec import RunSpec
    from fairbench.storage.store import Store

MethodName = Annotated[
    str,
    typer.Option(
        "--method", autocompletion=complete.one("methods"), help="Mitigation method, as NAME or NAME:ARGUMENT."
    ),
]
Model = Annotated[
    str | None,
    model_option("Card name, card file, model folder, or ADAPTER:TARGET. [default: phantom, or none with --labels]"),
]
Labels = Annotated[
    Path | None,
    typer.Option(
        "--labels", help="CSV of labels made elsewhere; --labeller then only declares the attributes and classes."
    ),
]
ImagesPerPrompt = Annotated[
    int | None,
    typer.Option("--images-per-prompt", "-n", min=1, max=20000, help="Images per prompt. [default: the card's]"),
]
Scorers = Annotated[
    str | None,
    typer.Option(
        "--scorers",
        autocompletion=complete.several("scorers"),
        help="Comma-separated scorers (clip-score, clip-iqa, inception-score, siglip-score, vqa-score, pickscore, "
        "clip-variety, inception-variety) or "
        "YAML files, or none. [default: the card's]",
    ),
]
ScorerReference = Annotated[
    Path | None,
    typer.Option(
        "--scorer-reference",
        metavar="RUN",
        help="Run of reference pictures with the same scorers: their own gaps between groups.",
    ),
]
Calibration = Annotated[
    str | None, typer.Option("--calibration", help="Calibration file. [default: the labeller card's]")
]
Metrics = Annotated[
    str | None,
    typer.Option(
        "--metrics",
        autocompletion=complete.several("metrics"),
        help="Comma-separated metrics to compute beside rd and concentration. [default: all]",
    ),
]
SystemPrompt = Annotated[
    str | None,
    typer.Option(
        "--system-prompt",
        metavar="TEXT|FILE|none",
        help="What the model puts before each prompt; irrelevant:FILE is a text on something else of that length. "
        "[default: the model's own]",
    ),
]
Out = Annotated[Path | None, typer.Option("--out", help="Run folder. [default: runs/<run>]")]
Shard = Annotated[
    str | None, typer.Option("--shard", help="i/N: make every N-th block; once all are made, leave it out.")
]
Board = Annotated[Path | None, typer.Option(*BOARD_NAMES, help="CSV to add this run's row and evidence to.")]
Sheets = Annotated[bool, typer.Option("--sheets/--no-sheets", help="Write a contact sheet per prompt.")]
Report = Annotated[bool, typer.Option("--report/--no-report", help="Write the run's page, index.html in its folder.")]
Strict = Annotated[
    bool, typer.Option("--strict", help="Exit with code 2, after all is written, for notices that matter.")
]
NearCopies = Annotated[bool, typer.Option("--near-copies", help="Report images of a folder that look alike.")]
Price = Annotated[
    float | None,
    typer.Option("--price", min=0, help="US dollars for an image of a served model. [default: the card's]"),
]
MaxCost = Annotated[
    float | None, typer.Option("--max-cost", min=0, help="US dollars that the images of a served model may cost.")
]
Executor = Annotated[
    str, typer.Option("--executor", help="local, or ray: on several workers, GPUs or machines (pip install ...[ray]).")
]
Workers = Annotated[
    int | None, typer.Option("--workers", min=1, help="Workers of --executor ray. [default: as many as there is room]")
]
GpusPerWorker = Annotated[
    float | None,
    typer.Option(
        "--gpus-per-worker", min=0, help="GPUs of each worker; a share below 1 is possible. [default: 1 or 0]"
    ),
]
CpusPerWorker = Annotated[
    int | None,
    typer.Option(
        "--cpus-per-worker", min=1, help="CPUs, and threads, of each worker. [default: 1 beside GPUs, or all]"
    ),
]
Address = Annotated[
    str | None,
    typer.Option(
        "--address", help="Running Ray cluster, as HOST:PORT or auto. [default: RAY_ADDRESS, or this machine]"
    ),
]
Compile = Annotated[
    bool, typer.Option("--compile", help="Compile what draws image tokens: slow at first, then faster on a GPU.")
]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Say what would be done, and stop.")]


def run(
    ctx: typer.Context,
    model: Model = None,
    task: Task = None,
    method: MethodName = "none",
    system_prompt: SystemPrompt = None,
    labeller: LabellerName = None,
    labels: Labels = None,
    calibration: Calibration = None,
    images_per_prompt: ImagesPerPrompt = None,
    limit_prompts: Limit = None,
    scorers: Scorers = None,
    scorer_reference: ScorerReference = None,
    metrics: Metrics = None,
    seed: Seed = 0,
    store: StoreDir = "runs/store",
    out: Out = None,
    device: Device = "auto",
    dtype: Dtype = None,
    batch_size: Batch = None,
    compile: Compile = False,  # noqa: A002 - the option's name
    shard: Shard = None,
    leaderboard: Board = None,
    sheets: Sheets = True,
    report: Report = True,
    strict: Strict = False,
    near_copies: NearCopies = False,
    price: Price = None,
    max_cost: MaxCost = None,
    executor: Executor = "local",
    workers: Workers = None,
    gpus_per_worker: GpusPerWorker = None,
    cpus_per_worker: CpusPerWorker = None,
    address: Address = None,
    dry_run: DryRun = False,
    full: Full = False,
    plugins: Plugins = None,
    as_json: AsJson = False,
    quiet: Quiet = False,
    verbose: Verbose = False,
) -> None:
    """Generate images, label the faces, measure bias.

    Stopped and started again, it goes on where it was.
    """
    options = dict(locals())
    from fairbench.api import shared
    from fairbench.cli.logs import start
    from fairbench.cli.results import show_run
    from fairbench.executors.executor import distribution
    from fairbench.runs import files, spec
    from fairbench.runs.arguments import run_settings
    from fairbench.runs.result import Run

    progress = start(quiet, verbose)
    settings = run_settings(**options)
    distribute = distribution(executor, workers, gpus_per_worker, cpus_per_worker, address)
    run_spec = spec.make(settings, progress)
    opened = shared.open_store(store, look_only=dry_run)
    if out is not None and not _describes_a_run(ctx):
        files.refuse_guess(out, run_spec)
    if dry_run:
        folder = out or Path("runs") / files.default_name(run_spec)
        _preview(run_spec, opened, as_json, folder / "index.html" if report and shard is None else None)
        return
    folder, outcome = shared.execute(run_spec, opened, progress, out, leaderboard, sheets=sheets, distribute=distribute)
    if outcome.metrics is None:
        if as_json:
            echo_json({"run_id": outcome.spec.run_id, "shard": shard, "statuses": outcome.statuses})
        echo(f"Shard {shard} is finished: run the plain command, without --shard, when all are.", err=True)
    else:
        show_run(Run(folder), full=full, as_json=as_json)
        page = shared.write_page(Run(folder, opened.root), progress, wanted=report)
        if page is not None:
            echo(f"page: {page}", err=as_json)
    _report_unreadable(outcome)
    if strict:
        shared.refuse_notices(outcome, folder)


def _describes_a_run(ctx: typer.Context) -> bool:
    """Whether any option says what to run."""
    from fairbench.runs.files import OPTIONS

    sources = {getattr(ctx.get_parameter_source(name), "name", "") for name in OPTIONS}
    return sources != {"DEFAULT"}


def _preview(run_spec: RunSpec, store: Store, as_json: bool, page: Path | None) -> None:
    from fairbench.runs import pipeline
    from fairbench.runs.missing import missing

    preview = {**pipeline.preview(run_spec, store), "page": page and str(page), "missing": missing(run_spec)}
    if as_json:
        echo_json(preview)
        return
    unknown = "unknown until a first block was made (try -n 1 --limit-prompts 1)"
    answered = f", {preview['images_answered']} answered already" if preview["images_answered"] else ""
    disk = f"{'about ' if preview['disk_is_guessed'] else ''}{preview['disk_bytes'] / 1e6:.1f} MB more"
    seconds = unknown if preview["seconds"] is None else f"about {preview['seconds']:.0f} s to generate"
    parts = " x ".join(preview[name] for name in ("model", "method", "task", "labeller"))
    images = (
        f"{preview['images']} images; {preview['images_in_store']} in the store, {preview['images_to_make']} to make"
    )
    echo(f"{parts}: run {preview['run_id']}\n{preview['prompts']} prompts, {images}{answered}")
    echo(f"disk: {disk}\ntime: {seconds}")
    if preview["served"]:
        cost = preview["cost"]
        echo(f"cost: {'unknown (name it with --price)' if cost is None else f'about ${cost:,.2f}'}")
    if preview["questions"]:
        cost = preview["questions_cost"]
        price = "" if cost is None else f", about ${cost:,.2f}"
        echo(f"questions: at most {preview['questions']:,} of the labeller, if each image shows one face{price}")
    if page is not None:
        echo(f"page: {page}, once it is done (--no-report leaves it out)")
    for sentence in preview["missing"]:
        echo(f"missing: {sentence}")


def _report_unreadable(outcome: Outcome) -> None:
    """Fail, after everything else is written, where files that the user gave could not be read."""
    reasons = outcome.unreadable
    if reasons:
        shown = "; ".join(reason.rstrip(".") for reason in reasons[:5])
        more = f"; and {len(reasons) - 5} more, listed in run.json" if len(reasons) > 5 else ""
        raise FairbenchError(
            f"{len(reasons)} of {len(outcome.rows)} images could not be read and count as failed: {shown}{more}."
        )
