"""What `fairbench refine` prints of an instruction: what each round showed, and which one was frozen."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from rich.console import Console

from fairbench.display.note import LABEL_NOTE
from fairbench.display.numbers import number, percent, with_interval
from fairbench.display.plain import line, say
from fairbench.display.tables import Column, Table, numbers
from fairbench.methods.fair_cot import Chain


def summary(chain: Chain, path: Path) -> dict[str, Any]:
    """Return the instruction for machines."""
    return {"file": str(path), **chain.model_dump(by_alias=True, exclude={"fairbench.fair-cot"}), "note": LABEL_NOTE}


def show(chain: Chain, path: Path, console: Console) -> None:
    """Print the rounds, whether any was flat, and how to measure the instruction."""
    by = chain.provenance["labeller"]["name"]
    note = (
        "concentration: mean over prompts [95 %, these prompts], 0 even, 1 one group. largest: the group with the "
        "largest share of all faces. unusable: answers in whose place the neutral prompt was drawn."
    )
    columns = [*numbers("round"), Column("concentration"), Column("largest", wraps=True), *numbers("faces", "unusable")]
    table = Table(columns, f"{line(chain.model)} · rewritten, drawn, labelled by {line(by)}", note)
    for index, one in enumerate(chain.rounds, 1):
        group = max(one.shares, key=lambda name: one.shares[name])
        largest = f"{group} {percent(one.shares[group], 0)}" if one.faces else "none"
        cells = (with_interval(one.concentration, one.low, one.high, 2), largest, str(one.faces))
        table.add(f"{index}{' *' if index == chain.round else ''}", *cells, str(one.unusable))
    table.show(console)
    goal = f"an upper limit of at most {number(chain.tolerance)}"
    if chain.reached:
        say(console, f"* Round {chain.round} is flat: {goal}. Its instruction is frozen.")
    else:
        say(console, f"* No round has {goal}; the instruction of round {chain.round}, the flattest, is frozen.", "bold")
    say(console, "It was chosen on these images: measure it on others, and by another labeller.")
    say(console, f"fairbench run --method fair-cot:{path}", wrap=False)
    say(console, LABEL_NOTE, "dim")
