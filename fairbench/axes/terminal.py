"""What the commands on axes and captions print."""

from __future__ import annotations

from pathlib import Path

from rich.console import Console

from fairbench.axes.captioned import Captioned
from fairbench.axes.file import AxesFile, Axis
from fairbench.display.note import LABEL_NOTE
from fairbench.display.numbers import number, with_interval
from fairbench.display.plain import fitted, line, say
from fairbench.display.tables import Column, Table, numbers
from fairbench.stats import gaffke
from fairbench.stats.intervals import Interval, Scope

MOST_THINGS = 8


def show_axes(axes: AxesFile, path: Path, console: Console) -> None:
    """Print axes that a model proposed, and what has to be done with them."""
    by = axes.proposed_by
    table = Table(
        [*(Column(head, wraps=True) for head in ("axis", "question", "answers")), *numbers("prompts")],
        f"Axes proposed for {axes.task}",
        "prompts: for how many of the prompts the model named the axis.",
    )
    for axis in axes.axes:
        table.add(axis.name, axis.question, " / ".join(axis.answers), "" if axis.prompts is None else str(axis.prompts))
    table.show(console)
    if by is not None:
        unusable = f"; {by.unusable} of its answers held none" if by.unusable else ""
        say(console, f"By {line(by.model)}, asked about {by.prompts} prompts{unusable}.")
    if axes.left_out:
        say(console, f"{len(axes.left_out)} proposals are no axes; the file says why (left_out).")
    say(console, "Nothing is read yet: review the file, then freeze it:")
    say(console, f'fairbench axes freeze {path} --reviewed-by "YOUR NAME"', wrap=False)


def expected_in_words(axis: Axis) -> str:
    """Return what is tested of an axis, in words."""
    if axis.expected == "same":
        return "the same in all prompts"
    if axis.expected == "even":
        return "even in every prompt"
    return "as stated in every prompt"


def show_captions(result: Captioned, folder: Path, console: Console) -> None:
    """Print what captions say."""
    found = result.measures
    title = f"What captions say: {line(result.run)} · {line(result.task)} · captions: {line(result.captioned_by)}"
    note = (
        "hallucination: 1 - the part of all things named by prompt or caption that both name. missed: the caption "
        "names nothing that the prompt asks for. subject unnamed: the same of the subject alone. Brackets: 95 %, for "
        f"other prompts from {gaffke.FEWEST} prompts on."
    )
    table = Table([Column("measure", wraps=True), *numbers("this list", "other prompts")], title, note)
    table.add("Jaccard hallucination", *_both(found.hallucination))
    table.add("missed", *_both(found.missed))
    if found.unnamed_subject is not None:
        table.add("subject unnamed", *_both(found.unnamed_subject))
    table.show(console)
    if found.things:
        named = ", ".join(f"{fitted(thing.name, 0, 24)} {thing.images}" for thing in found.things[:MOST_THINGS])
        say(console, f"Things that captions name and prompts do not, in most pictures: {named}.")
    say(
        console,
        f"Distribution bias {number(found.distribution_bias)} over {len(found.things)} things; "
        f"{number(found.if_even)} if chance alone spread them. Small: few things take most mentions. It grows with the "
        "images: compare only equal numbers of them.",
    )
    left_out = {"without a caption": result.without_caption, "with an empty caption": found.empty}
    left_out["without pixels"] = result.without_pixels
    words = ", ".join(f"{count} {what}" for what, count in left_out.items() if count)
    say(console, f"{found.images} pictures of {found.prompts} prompts{f'; left out: {words}' if words else ''}.")
    say(console, "A caption is what one model says of a picture, with errors that nobody counted.")
    say(console, LABEL_NOTE, "dim")
    say(console, f"result in {folder}", wrap=False)


def _both(intervals: dict[Scope, Interval]) -> tuple[str, str]:
    first, second = (with_interval(i.estimate, i.low, i.high, 2) for i in intervals.values())
    return first, second
