"""What a comparison prints: of runs, what may be said of them; of two labellers, how they agree."""

from __future__ import annotations

from pathlib import Path

from rich.console import Console

from fairbench.comparison import terminal_full, terminal_hacking, terminal_labellers, terminal_short
from fairbench.comparison.compare import Result, RunComparison
from fairbench.comparison.sides import Side
from fairbench.display.note import label_note
from fairbench.display.numbers import whole
from fairbench.display.plain import say


def show(result: Result, folder: Path | None, console: Console, *, full: bool = False, hints: bool = True) -> None:
    """Print the result and where its files are, if anywhere.

    full: every effect of the primary attributes. hints: say where the effects are that are not printed.
    """
    for side in result.sides:
        say(console, _side(side))
    note = label_note(*(side.read_by for side in result.sides))
    if isinstance(result, RunComparison):
        terminal_short.show(result, console)
        if result.hacking is not None:
            terminal_hacking.show(result.hacking, result.sides[0].letter, result.alpha, console)
        if full:
            terminal_full.show(result, console)
        more = "Single gaps and other attributes: compare.csv." if full else "Everything: --full, and compare.csv."
        more = more if hints else ""
        say(console, " ".join(filter(None, (note, terminal_short.abbreviations(result), more))), "dim")
    else:
        terminal_labellers.show(result, console)
        say(console, note, "dim")
    if folder is not None:
        say(console, f"written to {folder}", wrap=False)


def _side(side: Side) -> str:
    """Return which run a letter stands for, and what it rests on."""
    counts, labeller = side.run.counts, side.run.record.labeller.name
    faces = f"{whole(int(counts.with_face.sum()))} faces in {whole(int(counts.images.sum()))} images"
    quota = " (quota)" if side.quota else ""
    return f"{side.letter}: {side.name}{quota}, labelled by {labeller}; {faces}; run {side.run.run_id[:8]}"
