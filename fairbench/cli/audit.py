"""`fairbench audit`: which component of a model carries the bias?"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from fairbench.cli.options import (
    AsJson,
    Device,
    Dtype,
    LabellerName,
    Limit,
    Model,
    Plugins,
    Quiet,
    StoreDir,
    Task,
    Verbose,
)
from fairbench.display.plain import echo_json

if TYPE_CHECKING:
    from fairbench.runs.spec import RunSpec

Probe = Annotated[
    Path | None,
    typer.Option(
        "--probe-images",
        help="CSV of labelled images: path, a column per attribute. [default: renders, for a labeller of mannequins]",
    ),
]
ImagesPerPrompt = Annotated[
    int | None,
    typer.Option(
        "--images-per-prompt",
        "-n",
        min=4,
        max=20000,
        help="Images per prompt; half as many where the prompt names a group. [default: the card's]",
    ),
]
Samples = Annotated[int, typer.Option("--samples", min=1, max=10000, help="Answers per question.")]
Seed = Annotated[int, typer.Option("--seed", min=0, help="Seed of all noise.")]
Out = Annotated[Path | None, typer.Option("--out", help="Report folder. [default: runs/audit-<run>]")]
Batch = Annotated[
    int | None, typer.Option("--batch-size", min=1, help="Images or answers per block. [default: the card's]")
]


def audit(
    model: Model = "phantom",
    task: Task = None,
    probe_images: Probe = None,
    labeller: LabellerName = None,
    images_per_prompt: ImagesPerPrompt = None,
    limit_prompts: Limit = None,
    samples: Samples = 50,
    seed: Seed = 0,
    store: StoreDir = "runs/store",
    out: Out = None,
    device: Device = "auto",
    dtype: Dtype = None,
    batch_size: Batch = None,
    plugins: Plugins = None,
    as_json: AsJson = False,
    quiet: Quiet = False,
    verbose: Verbose = False,
) -> None:
    """Look for the component that carries the bias.

    Probed are the vision encoder, the image tokenizer, the language model and the understanding side.
    """
    from rich.console import Console

    from fairbench.audit import files, run, terminal
    from fairbench.cli.logs import start
    from fairbench.runs import spec
    from fairbench.runs.arguments import RunSettings
    from fairbench.storage import folders, kinds
    from fairbench.storage.store import Store

    progress = start(quiet, verbose)
    settings = RunSettings(
        model=model,
        task=task,
        labeller=labeller,
        images_per_prompt=images_per_prompt,
        limit_prompts=limit_prompts,
        scorers=(),
        seed=seed,
        device=device,
        dtype=dtype,
        batch_size=batch_size,
    )
    run_spec = spec.make(settings)
    opened = Store(store)
    folders.check(_folder(out, run_spec), kinds.AUDIT, store=opened.files.folder)  # before the work, not after it
    result = run.audit(run_spec, probe_images, samples, opened, progress)
    folder = _folder(out, result.plan)
    record = files.write(result, folder)
    if as_json:
        echo_json(record)
    else:
        terminal.show(result, folder, Console())


def _folder(out: Path | None, run_spec: RunSpec) -> Path:
    """Return the report's folder. Blocks made smaller to fit into memory change the spec, and so the default folder."""
    from fairbench.runs.files import default_name

    return out or Path("runs") / f"audit-{default_name(run_spec)}"
