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
    Quiet,
    StoreDir,
    Task,
    Verbose,
    calm_libraries,
    check_dtype,
)
from fairbench.display.plain import echo_json

if TYPE_CHECKING:
    from fairbench.runs.spec import RunSpec

Probe = Annotated[
    Path | None,
    typer.Option("--probe-images", help="CSV of labelled images: path, a column per attribute. "
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
    """Look for the component that carries the bias.

    Probed are the vision encoder, the image tokenizer, the language model and the understanding side.
    """
    from rich.console import Console

    from fairbench.audit import files, run, terminal
    from fairbench.cli.logs import set_up_logging
    from fairbench.display.progress import reporter
    from fairbench.runs import spec
    from fairbench.storage import folders
    from fairbench.storage.store import Store

    console = Console(stderr=True)
    set_up_logging(console, verbose)
    check_dtype(dtype)
    calm_libraries()
    current = spec.make(
        spec.RunSettings(
            model=model, task=task, labeller=labeller, images_per_prompt=images_per_prompt,
            limit_prompts=limit_prompts, scorers=(), seed=seed, device=device, dtype=dtype, batch_size=batch_size,
        )
    )  # fmt: skip
    folders.check(_folder(out, current), folders.AUDIT, store=store)  # better told now than after the work
    found = run.audit(current, probe_images, samples, Store(store), reporter(console, quiet))
    folder = _folder(out, found.plan)
    record = files.write(found, folder)
    if as_json:
        echo_json(record)
    else:
        terminal.show(found, folder, Console())


def _folder(out: Path | None, plan: RunSpec) -> Path:
    """Return the report's folder. A block that did not fit into memory changes the plan, and so the default one."""
    from fairbench.runs.files import default_name

    return out or Path("runs") / f"audit-{default_name(plan)}"
