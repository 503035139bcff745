"""`fairbench store ls|du|gc|verify|compact`: what a store holds, and how it takes less room."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from fairbench.cli.options import AsJson, Quiet, StoreDir
from fairbench.display.plain import echo_json

app = typer.Typer(
    help="See, check and tidy up a store of images and labels.\n\n"
    "Whatever is removed from a store is made again by the next run that asks for it.",
    no_args_is_help=True,
    add_completion=False,
)

Stages = Annotated[
    list[str] | None, typer.Option("--stage", help="Only images, faces, labels or scores; may be given again.")
]
Keys = Annotated[
    list[str] | None, typer.Option("--key", help="Only keys that begin with these digits; may be given again.")
]
Models = Annotated[list[str] | None, typer.Option("--model", "-m", help="Only of this model; may be given again.")]
Rows = Annotated[
    bool | None,
    typer.Option(
        "--rows/--no-rows", help="Count rows: every shard is opened. [default: in a folder]", show_default=False
    ),
]
Keep = Annotated[
    list[Path] | None,
    typer.Option("--keep", metavar="RUN", help="Folder of a run, or of many, whose keys stay; may be given again."),
]
OlderThan = Annotated[
    float | None, typer.Option("--older-than", metavar="DAYS", min=0, help="Only if unchanged since.")
]
Damaged = Annotated[bool, typer.Option("--damaged", help="Remove damaged shards that were moved aside.")]
Yes = Annotated[bool, typer.Option("--yes", help="Remove it; without this, only say what would go.")]
ShardMb = Annotated[
    int | None,
    typer.Option("--shard-mb", min=1, max=1024, help="MiB of a merged shard. [default: 64 for images, else 8]"),
]
DEFAULT = "runs/store"


@app.command("ls")
def list_(
    store: StoreDir = DEFAULT,
    stage: Stages = None,
    key: Keys = None,
    model: Models = None,
    rows: Rows = None,
    as_json: AsJson = False,
) -> None:
    """List the keys of a store.

    With the models, methods, tasks and labellers that they are of, where a run has written that down.
    """
    from rich.console import Console

    from fairbench.api.shared import open_store
    from fairbench.upkeep import inventory, terminal

    opened = open_store(store, look_only=True)
    chosen = inventory.Selection(stage or (), key or (), model or ()).of(inventory.read(opened))
    counts = inventory.row_counts(opened, chosen, wanted=rows)
    if as_json:
        echo_json([{**inventory.record(held), "rows": counts.get((held.stage, held.key))} for held in chosen])
    else:
        terminal.show_keys(chosen, counts, Console())


@app.command()
def du(store: StoreDir = DEFAULT, as_json: AsJson = False) -> None:
    """Say how much room a store takes, by stage and model."""
    from rich.console import Console

    from fairbench.api.shared import open_store
    from fairbench.upkeep import inventory, terminal

    groups = list(inventory.usage(inventory.read(open_store(store, look_only=True))))
    if as_json:
        echo_json(groups)
    else:
        terminal.show_usage(groups, Console())


@app.command()
def gc(
    store: StoreDir = DEFAULT,
    keep: Keep = None,
    stage: Stages = None,
    key: Keys = None,
    model: Models = None,
    older_than: OlderThan = None,
    damaged: Damaged = False,
    yes: Yes = False,
    as_json: AsJson = False,
) -> None:
    """Remove what no run needs any more.

    Without --yes it only says what would go. With --keep, all goes that these runs do not refer to; the other options
    narrow that, or name what goes. What changed within the last hour stays, and what the same runs asked for.
    """
    from rich.console import Console

    from fairbench.api.shared import open_store
    from fairbench.cli.logs import start
    from fairbench.upkeep import collection, inventory, terminal

    start()
    opened = open_store(store, look_only=True)
    selection = inventory.Selection(stage or (), key or (), model or ())
    planned = collection.plan(opened, collection.Wanted(selection, keep or (), older_than, damaged))
    if yes:
        planned = collection.remove(opened, planned)
    if as_json:
        echo_json(
            {
                "removed": yes,
                "bytes": planned.bytes,
                "keys": [inventory.record(held) for held in planned.keys],
                "files": len(planned.files),
                "in_use": [inventory.record(held) for held in planned.in_use],
            }
        )
    else:
        terminal.show_plan(planned, Console(), done=yes)


@app.command()
def verify(
    store: StoreDir = DEFAULT,
    stage: Stages = None,
    key: Keys = None,
    model: Models = None,
    as_json: AsJson = False,
    quiet: Quiet = False,
) -> None:
    """Read every shard and name those that are damaged.

    The exit code is 1 then. Nothing is moved: the next run that needs such a shard makes its rows again.
    """
    from rich.console import Console

    from fairbench.api.shared import open_store
    from fairbench.cli.logs import start
    from fairbench.upkeep import checking, inventory, terminal

    progress = start(quiet, silent=True)
    opened = open_store(store, look_only=True)
    chosen = inventory.Selection(stage or (), key or (), model or ()).of(inventory.read(opened))
    shards = sum(len(held.shards) for held in chosen)
    broken = checking.verify(opened, chosen, progress)
    if as_json:
        echo_json({"shards": shards, "bytes": sum(h.bytes for h in chosen), "damaged": [asdict(b) for b in broken]})
    else:
        terminal.show_broken(broken, shards, Console())
    if broken:
        raise typer.Exit(1)


@app.command()
def compact(
    store: StoreDir = DEFAULT,
    stage: Stages = None,
    key: Keys = None,
    model: Models = None,
    shard_mb: ShardMb = None,
    as_json: AsJson = False,
    quiet: Quiet = False,
) -> None:
    """Merge small shards into larger ones.

    The rows stay the same, and so does every result. Runs may go on meanwhile; a kill loses nothing.
    """
    from rich.console import Console

    from fairbench.api.shared import open_store
    from fairbench.cli.logs import start
    from fairbench.upkeep import checking, inventory, terminal

    progress = start(quiet)
    opened = open_store(store)
    chosen = inventory.Selection(stage or (), key or (), model or ()).of(inventory.read(opened))
    compacted = list(checking.compact(opened, chosen, shard_mb and shard_mb << 20, progress))
    if as_json:
        echo_json([asdict(each) for each in compacted])
    else:
        terminal.show_compacted(compacted, Console())
