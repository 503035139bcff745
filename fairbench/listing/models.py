"""Model cards side by side: by which way in, how large, under which licence, and what was tried."""

from __future__ import annotations

from typing import Any, Final

from rich.console import Console

from fairbench.cards import catalog
from fairbench.display.plain import say
from fairbench.display.tables import Column, Table
from fairbench.errors import FairbenchError

_NOTE: Final = (
    "way in: how images are made (endpoint: a server is asked; worker: in an environment of its own; diffusers and "
    "native: in this process). size: parameters (7B of 14B: active of all; 6B + 4B: of two networks). GiB: device "
    "memory for one block. tried: the strongest check that the card passed: real weights, a tiny checkpoint of the "
    "same classes, a local stand-in of the server, or calls held against the signatures of the official code. "
    "`fairbench show model NAME` says how to get it running."
)


def overview() -> dict[str, dict[str, Any]]:
    """Return name -> what is compared of each model card; of a broken one, only why it is broken."""
    found: dict[str, dict[str, Any]] = {}
    for name in sorted(catalog.find("models")):
        try:
            card = catalog.load_model(name).card
        except FairbenchError as err:
            found[name] = {"broken": str(err)}
            continue
        fields = ("title", "parameters", "memory_gb", "disk_gb", "licence", "verified", "unverified")
        found[name] = {"way_in": card.way_in, **{field: getattr(card, field) for field in fields}}
    return found


def show(console: Console) -> None:
    """Print the overview as a table."""
    heads = ("size", "GiB", "tried", "licence")
    table = Table([Column("model"), Column("way in"), *(Column(head, wraps=True) for head in heads)])
    broken = []
    for name, model in overview().items():
        if "broken" in model:
            broken.append(f"{name}: (broken: {model['broken']})")
            continue
        memory = "" if model["memory_gb"] is None else f"{model['memory_gb']:g}"
        table.add(
            name, model["way_in"], model["parameters"] or "", memory, model["verified"] or "always", model["licence"]
        )
    table.show(console)
    say(console, _NOTE, "dim")
    for sentence in broken:
        say(console, sentence)
