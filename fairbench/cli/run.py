"""`fairbench run`: from a prompt suite to a table, a run folder and a leaderboard row."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from fairbench.cli.options import (
    AsJson,
    Batch,
    Device,
    Dtype,
    LabellerName,
    Limit,
    Model,
    Plugins,
    Quiet,
    Seed,
    StoreDir,
    Task,
    Verbose,
)
from fairbench.display.plain import echo, echo_json
from fairbench.errors import FairbenchError

if TYPE_CHECKING:
    from fairbench.display.progress import Progress
    from fairbench.runs.pipeline import Outcome
    from fairbench.runs.spec import RunSpec
    from fairbench.storage.store import Store

MethodName = Annotated[str, typer.Option("--method", help="Mitigation method, as NAME or NAME:ARGUMENT.")]
ImagesPerPrompt = Annotated[
    int | None,
    typer.Option("--images-per-prompt", "-n", min=1, max=20000, help="Images per prompt. [default: the card's]"),
]
Scorers = Annotated[
    str | None,
    typer.Option(
        "--scorers",
        help="Comma-separated scorers (clip-score, clip-iqa, inception-score) or YAML files, or none. [default: the "
        "card's]",
    ),
]
Metrics = Annotated[
    str | None,
    typer.Option("--metrics", help="Comma-separated metrics to compute beside rd and concentration. [default: all]"),
]
Out = Annotated[Path | None, typer.Option("--out", help="Run folder. [default: runs/<run>]")]
Shard = Annotated[
    str | None, typer.Option("--shard", help="i/N: make every N-th block; once all are made, leave it out.")
]
Board = Annotated[Path | None, typer.Option("--leaderboard", help="CSV to add this run's row and evidence to.")]
Sheets = Annotated[bool, typer.Option("--sheets/--no-sheets", help="Write a contact sheet per prompt.")]
Strict = Annotated[
    bool, typer.Option("--strict", help="Exit with code 2, after all is written, for notices that matter.")
]
NearCopies = Annotated[bool, typer.Option("--near-copies", help="Report images of a folder that look alike.")]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Say what would be done, and stop.")]


def run(
    ctx: typer.Context,
    model: Model = "phantom",
    task: Task = None,
    method: MethodName = "none",
    labeller: LabellerName = None,
    images_per_prompt: ImagesPerPrompt = None,
    limit_prompts: Limit = None,
    scorers: Scorers = None,
    metrics: Metrics = None,
    seed: Seed = 0,
    store: StoreDir = Path("runs/store"),
    out: Out = None,
    device: Device = "auto",
    dtype: Dtype = None,
    batch_size: Batch = None,
    shard: Shard = None,
    leaderboard: Board = None,
    sheets: Sheets = True,
    strict: Strict = False,
    near_copies: NearCopies = False,
    dry_run: DryRun = False,
    plugins: Plugins = None,
    as_json: AsJson = False,
    quiet: Quiet = False,
    verbose: Verbose = False,
) -> None:
    """Generate images, label the faces, measure bias.

    Stopped and started again, it goes on where it was.
    """
    from fairbench.cli.logs import start
    from fairbench.runs import spec
    from fairbench.storage.store import Store

    progress = start(quiet, verbose)
    settings = spec.RunSettings(
        model=model,
        task=task,
        method=method,
        labeller=labeller,
        images_per_prompt=images_per_prompt,
        limit_prompts=limit_prompts,
        scorers=None if scorers is None else _names(scorers),
        metrics=None if metrics is None else _names(metrics),
        seed=seed,
        device=device,
        dtype=dtype,
        batch_size=batch_size,
        shard=None if shard is None else _shard(shard),
        near_copies=near_copies,
    )
    run_spec = spec.make(settings, progress)
    opened = Store(store, look_only=dry_run)
    if out is not None and not _describes_a_run(ctx):
        from fairbench.runs import files as run_files

        run_files.refuse_guess(out, run_spec)
    if dry_run:
        _preview(run_spec, opened, as_json)
    else:
        folder, outcome = _run(run_spec, opened, progress, out, leaderboard, sheets=sheets, as_json=as_json)
        _report_unreadable(outcome)
        if strict:
            _refuse_notices(outcome, folder)


def _describes_a_run(ctx: typer.Context) -> bool:
    """Whether any option says what to run."""
    options = ("model", "task", "method", "labeller", "images_per_prompt", "limit_prompts", "scorers", "seed")
    sources = {getattr(ctx.get_parameter_source(name), "name", "") for name in options}
    return sources != {"DEFAULT"}


def _names(text: str) -> tuple[str, ...]:
    names = tuple(name.strip() for name in text.split(",") if name.strip())
    return () if names == ("none",) else names


def _shard(text: str) -> tuple[int, int]:
    match = re.fullmatch(r"(\d{1,6})/(\d{1,6})", text)
    if not match or not int(match[1]) < int(match[2]):
        raise FairbenchError(f"--shard {text}: write i/N with i from 0 to N - 1, as in 0/2 and 1/2.")
    return int(match[1]), int(match[2])


def _preview(run_spec: RunSpec, store: Store, as_json: bool) -> None:
    from fairbench.runs import pipeline

    preview = pipeline.preview(run_spec, store)
    if as_json:
        echo_json(preview)
        return
    unknown = "unknown until a first block was made (try -n 1 --limit-prompts 1)"
    disk = f"{'about ' if preview['disk_is_guessed'] else ''}{preview['disk_bytes'] / 1e6:.1f} MB more"
    seconds = unknown if preview["seconds"] is None else f"about {preview['seconds']:.0f} s to generate"
    parts = " x ".join(preview[name] for name in ("model", "method", "task", "labeller"))
    images = (
        f"{preview['images']} images; {preview['images_in_store']} in the store, {preview['images_to_make']} to make"
    )
    echo(f"{parts}: run {preview['run_id']}\n{preview['prompts']} prompts, {images}")
    echo(f"disk: {disk}\ntime: {seconds}")


def _run(
    run_spec: RunSpec,
    store: Store,
    progress: Progress,
    out: Path | None,
    board: Path | None,
    *,
    sheets: bool,
    as_json: bool,
) -> tuple[Path, Outcome]:
    from rich.console import Console

    from fairbench.leaderboard import board as leaderboard_board
    from fairbench.leaderboard import evidence, row
    from fairbench.runs import files as run_files
    from fairbench.runs import pipeline, terminal

    folder = out or Path("runs") / run_files.default_name(run_spec)
    if run_spec.settings.shard is None:  # what could fail at the end fails now, before hours of work
        run_files.prepare(folder, store.root)
    if board is not None and board.exists():
        leaderboard_board.read(board)
    outcome = pipeline.run(run_spec, store, progress)
    if outcome.metrics is None:
        index, count = run_spec.settings.shard or (0, 1)
        echo(f"Shard {index}/{count} is finished: run the plain command, without --shard, when all are.", err=True)
        return folder, outcome
    if out is None:  # a block that did not fit into memory may have changed the spec
        folder = Path("runs") / run_files.default_name(outcome.spec)
    record = run_files.write(outcome, store, folder, sheets=sheets)
    if board is not None:
        row.add_run(board, evidence.open_run(folder))
    if as_json:
        echo_json(terminal.summary(outcome, record, folder))
    else:
        terminal.show(outcome, folder, Console())
    return folder, outcome


def _report_unreadable(outcome: Outcome) -> None:
    """Fail, after everything else is written, where files that the user gave could not be read."""
    reasons = outcome.unreadable
    if reasons:
        shown = "; ".join(reason.rstrip(".") for reason in reasons[:5])
        more = f"; and {len(reasons) - 5} more, listed in run.json" if len(reasons) > 5 else ""
        raise FairbenchError(
            f"{len(reasons)} of {len(outcome.rows)} images could not be read and count as failed: {shown}{more}."
        )


def _refuse_notices(outcome: Outcome, folder: Path) -> None:
    """Fail, after everything else is written, for the notices that `--strict` counts."""
    notices = outcome.notices.strict
    if notices:
        codes = ", ".join(f"{notice.code} ({notice.count})" for notice in notices)
        raise FairbenchError(f"--strict: {codes}; {folder / 'notices.csv'} says what each means and how to fix it.")
