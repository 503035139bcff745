"""`fairbench audit`: which component of a model carries the bias?"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from fairbench.cli.options import (
    AsJson,
    Device,
    Dtype,
    LabellerName,
    Limit,
    Model,
    Quiet,
    StoreDir,
    Task,
    Verbose,
    calm_libraries,
    check_dtype,
)
from fairbench.display.plain import echo
from fairbench.errors import FairbenchError

Probe = Annotated[
    Path | None,
    typer.Option("--probe-images", help="CSV of labelled images: column image, a column an attribute. "
                 "[default: renders, where the labeller reads mannequins]"),
]  # fmt: skip
Count = Annotated[
    int | None,
    typer.Option("--images-per-prompt", "-n", min=4, max=20000, help="Half as many a group. [default: the card's]"),
]
Samples = Annotated[int, typer.Option("--samples", min=1, max=10000, help="Answers a question.")]
Seed = Annotated[int, typer.Option("--seed", min=0, help="Seed of all noise.")]
Out = Annotated[Path | None, typer.Option("--out", help="Report folder. [default: runs/audit-<run>]")]
Batch = Annotated[
    int | None, typer.Option("--batch-size", min=1, help="Images or answers a block. [default: the card's]")
]


def audit(
    model: Model = "phantom",
    task: Task = None,
    probe_images: Probe = None,
    labeller: LabellerName = None,
    images_per_prompt: Count = None,
    limit_prompts: Limit = None,
    samples: Samples = 50,
    seed: Seed = 0,
    store: StoreDir = Path("runs/store"),
    out: Out = None,
    device: Device = "auto",
    dtype: Dtype = None,
    batch_size: Batch = None,
    as_json: AsJson = False,
    quiet: Quiet = False,
    verbose: Verbose = False,
) -> None:
    """Look for the component that carries the bias: vision encoder, image tokenizer, language model, understanding."""
    from rich.console import Console

    from fairbench.audit import run
    from fairbench.cli.progress import reporter, set_up_logging
    from fairbench.report import audit_files, audit_terminal, rundir
    from fairbench.stages import plan
    from fairbench.store import Store

    console = Console(stderr=True)
    set_up_logging(console, verbose)
    check_dtype(dtype)
    calm_libraries()
    current = plan.make(
        plan.RunSettings(
            model=model, task=task, labeller=labeller, images_per_prompt=images_per_prompt,
            limit_prompts=limit_prompts, scorers=(), seed=seed, device=device, dtype=dtype, batch_size=batch_size,
        )
    )  # fmt: skip
    if out is not None and out.exists() and not out.is_dir():  # better told now than after the work
        raise FairbenchError(f"--out {out} is a file: name a folder.")
    found = run.audit(current, probe_images, samples, Store(store), reporter(console, quiet))
    folder = out or Path("runs") / f"audit-{rundir.default_name(found.plan)}"
    record = audit_files.write(found, folder)
    if as_json:
        echo(json.dumps(record, indent=2))
    else:
        audit_terminal.show(found, folder, Console())
