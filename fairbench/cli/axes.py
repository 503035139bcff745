"""`fairbench axes propose|freeze|read|captions`: axes that nobody declared, and what captions say."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from fairbench.cli import complete
from fairbench.cli.options import AsJson, Device, Dtype, NamedTask, Plugins, Quiet, RunFolder, StoreOfRun, task_option
from fairbench.display.plain import echo, echo_json

app = typer.Typer(
    help="Axes that nobody declared: propose, freeze, read.\n\n"
    "A text model proposes them, people review and freeze them, and only then are pictures read.",
    no_args_is_help=True,
    add_completion=False,
)

Writer = Annotated[str, typer.Option("--with", help="text:FOLDER, text:REPO@COMMIT, labeller:NAME, or a model's card.")]
AxesOut = Annotated[Path, typer.Option("--out", help="File for the axes; a new one, or an unfrozen one.")]
AskedPrompts = Annotated[int, typer.Option("--limit-prompts", min=1, help="Prompts that are asked about, spread out.")]
PerPrompt = Annotated[int, typer.Option("--per-prompt", min=1, max=20, help="Axes that each answer is asked for.")]
Most = Annotated[int, typer.Option("--most", min=1, max=100, help="Axes to keep: those of most prompts.")]
Seed = Annotated[int, typer.Option("--seed", min=0, help="Of the answers.")]
AxesFile = Annotated[Path, typer.Argument(metavar="AXES.yaml", help="The file of axes.", show_default=False)]
Reviewer = Annotated[str, typer.Option("--reviewed-by", metavar="NAME", help="Who read and corrected the axes.")]
TaskOfAxes = Annotated[
    str | None, task_option("Where the task of the axes is. [default: under the name that the file says]")
]
FrozenAxes = Annotated[Path, typer.Option("--axes", metavar="AXES.yaml", help="The frozen file of axes.")]
Asked = Annotated[
    str,
    typer.Option("--with", autocompletion=complete.one("labellers"), help="Labeller of the kind vqa: name or card."),
]
AskedForCaptions = Annotated[
    str | None,
    typer.Option(
        "--with", autocompletion=complete.one("labellers"), help="Labeller whose model writes captions, in their place."
    ),
]
CaptionQuestion = Annotated[str, typer.Option("--question", help="What that model is asked about each picture.")]
Pictures = Annotated[
    int | None, typer.Option("--images-per-prompt", "-n", min=1, help="Only the first N of each prompt. [default: all]")
]
ReadOut = Annotated[Path | None, typer.Option("--out", help="Folder of the result. [default: RUN-axes]")]
Captions = Annotated[Path | None, typer.Option("--captions", help="CSV with the columns image and caption.")]
CaptionsOut = Annotated[Path | None, typer.Option("--out", help="Folder of the result. [default: RUN-captions]")]


@app.command()
def propose(
    task: NamedTask,
    writer: Writer,
    out: AxesOut,
    limit_prompts: AskedPrompts = 50,
    per_prompt: PerPrompt = 5,
    most: Most = 20,
    seed: Seed = 0,
    device: Device = "auto",
    dtype: Dtype = None,
    plugins: Plugins = None,
    as_json: AsJson = False,
    quiet: Quiet = False,
) -> None:
    """Have a text model propose axes for a task.

    It sees prompts, never pictures. The file it writes is for you to review.
    """
    from rich.console import Console

    from fairbench.axes import asking, terminal
    from fairbench.cli.logs import start

    proposed = asking.propose(
        task, writer, out, limit_prompts, per_prompt, most, seed, device=device, dtype=dtype, progress=start(quiet)
    )
    if as_json:
        echo_json({"file": str(out), **proposed.model_dump(exclude={"frozen"})})
    else:
        terminal.show_axes(proposed, out, Console())


@app.command()
def freeze(axes: AxesFile, reviewed_by: Reviewer, task: TaskOfAxes = None, as_json: AsJson = False) -> None:
    """Freeze a reviewed file of axes.

    From then on a changed file is refused. Only frozen axes are read in pictures.
    """
    from fairbench.axes import asking
    from fairbench.cli.logs import start

    start()
    frozen = asking.freeze(axes, reviewed_by, task)
    if as_json:
        echo_json({"file": str(axes), **frozen.model_dump()})
    else:
        count = len(frozen.axes)
        echo(f"{axes}: {count} ax{'i' if count == 1 else 'e'}s, frozen with sha256 {frozen.sha256()}")


@app.command()
def read(
    run: RunFolder,
    axes: FrozenAxes,
    labeller: Asked,
    out: ReadOut = None,
    images_per_prompt: Pictures = None,
    store: StoreOfRun = None,
    device: Device = "auto",
    plugins: Plugins = None,
    as_json: AsJson = False,
    quiet: Quiet = False,
) -> None:
    """Read frozen axes in a run's pictures.

    A model that understands pictures answers; tests are adjusted over the axes. Nothing is asked twice.
    """
    from rich.console import Console

    from fairbench.axes import reading, terminal
    from fairbench.cli.logs import start

    progress = start(quiet)
    folder = out or run.with_name(f"{run.name}-axes")
    result = reading.read(
        run, axes, labeller, folder, per_prompt=images_per_prompt, store=store, device=device, progress=progress
    )
    if as_json:
        echo_json(reading.summary(result))
    else:
        terminal.show_read(result, folder, Console())


@app.command()
def captions(
    run: RunFolder,
    captions: Captions = None,
    labeller: AskedForCaptions = None,
    question: CaptionQuestion = "Describe this image.",
    out: CaptionsOut = None,
    images_per_prompt: Pictures = None,
    store: StoreOfRun = None,
    device: Device = "auto",
    plugins: Plugins = None,
    as_json: AsJson = False,
    quiet: Quiet = False,
) -> None:
    """Measure what captions say that nobody asked for.

    Distribution bias, Jaccard hallucination and miss rate (Vice et al. 2023), by English captions of a run's pictures.
    """
    from rich.console import Console

    from fairbench.axes import captioned, terminal
    from fairbench.cli.logs import start

    progress = start(quiet)
    folder = out or run.with_name(f"{run.name}-captions")
    result = captioned.measure(
        run,
        folder,
        captions,
        labeller,
        question,
        per_prompt=images_per_prompt,
        store=store,
        device=device,
        progress=progress,
    )
    if as_json:
        echo_json(captioned.summary(result))
    else:
        terminal.show_captions(result, folder, Console())
