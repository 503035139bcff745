"""What `fairbench synthesize` says of a balanced set, read from the set itself."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from rich.console import Console

from fairbench.display.note import LABEL_NOTE
from fairbench.display.numbers import with_interval
from fairbench.display.plain import say
from fairbench.display.tables import Column, Table, numbers
from fairbench.synthesis import balanced


def summary(manifest: Path) -> dict[str, Any]:
    """Return the set for machines. Raises CardError for a set that is damaged."""
    images = balanced.read(manifest)
    provenance = images.provenance
    return {
        "out": str(manifest.parent),
        "manifest": str(manifest),
        "set": provenance["set"],
        "digest": images.digest,
        "images": len(images.rows),
        "prompts": len(images.by_prompt()),
        "groups": [list(group) for group in images.groups],
        "left_out": provenance.get("left_out", 0),
        "confirmation": provenance["confirmation"],
        "note": LABEL_NOTE,
    }


def show(manifest: Path, console: Console) -> None:
    """Print how often each group was confirmed, and what the set holds. Raises CardError for a set that is damaged."""
    images = balanced.read(manifest)
    provenance = images.provenance
    if provenance["confirmation"] is not None:
        confirmations(provenance).show(console)
    else:
        unconfirmed = "No labeller has looked at these images: their labels are what you say. --confirm asks one."
        say(console, unconfirmed, "bold")
    prompts = images.by_prompt()
    sizes = {len(members) for groups in prompts.values() for members in groups.values()}
    size = f" x {min(sizes)} each" if len(sizes) == 1 else ""
    left_out = f" ({provenance['left_out']} left out)" if provenance.get("left_out") else ""
    content = f"{len(images.rows)} images: {len(prompts)} prompts x {len(images.groups)} groups{size}"
    say(console, f"{content}, in {manifest.parent}{left_out}", wrap=False)
    say(console, LABEL_NOTE, "dim")


def confirmations(provenance: Mapping[str, Any]) -> Table:
    """Return how many images of each group the labeller confirmed."""
    labeller, model = provenance["labeller"]["name"], provenance.get("model")
    source = provenance["origin"] if model is None else model["name"]
    counted = "your images, each counted once"
    if model is not None:
        counted = "the first images of every prompt, before any was tried again"
    heads = ("images", "con-\nfirmed", "other", "no\nface", "no\nimage")
    columns = [Column("group"), *numbers("share confirmed", "of" if model is None else "of\nfirst", *heads)]
    note = f"Share: of {counted} (Jeffreys' 95 % interval)."
    table = Table(columns, f"{source} · confirmed by {labeller}", note)
    for row in provenance["confirmation"]:
        share = with_interval(row["share"], row["low"], row["high"], 2)
        counts = (str(row[kind]) for kind in ("of", "images", "confirmed", "other", "no_face", "no_image"))
        table.add(" ".join(row["group"]), share, *counts)
    return table
