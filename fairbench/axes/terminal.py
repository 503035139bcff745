"""What the commands on axes and captions print."""

from __future__ import annotations

from pathlib import Path

from rich.console import Console

from fairbench.axes.captioned import NOTE, Captioned
from fairbench.axes.file import AxesFile
from fairbench.axes.findings import LEVEL, Finding
from fairbench.axes.reading import CAUTION, AxesRead
from fairbench.display.numbers import number, p_value, with_interval
from fairbench.display.plain import fitted, line, say
from fairbench.display.tables import Column, Table, numbers
from fairbench.stats import gaffke
from fairbench.stats.intervals import SCOPES, Interval, Scope

MOST_THINGS = 8
_SELF_JUDGED = "the model was asked about pictures that it made itself."


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


def show_read(result: AxesRead, folder: Path, console: Console) -> None:
    """Print what a run's pictures show of frozen axes."""
    title = f"Axes in {line(result.run)} · {line(result.task)} · asked: {line(result.labeller)}"
    note = (
        "share: of the pictures with an answer, mean over prompts, this list [95 %]. no answer: unclear, or none of "
        "the options. uneven: concentration (0 even, 1 one answer) within prompts / of all together. q: of what is "
        f"expected, adjusted for {sum(each.untested is None for each in result.findings)} tested axes "
        f"(Benjamini-Hochberg); found where q <= {number(LEVEL, 2)}. same: whatever the prompt; even: all answers "
        "equally often in every prompt."
    )
    columns = [Column("axis", wraps=True), Column("answer", wraps=True), *numbers("share", "no\nanswer", "uneven")]
    table = Table([*columns, Column("expected"), *numbers("q"), Column("finding")], title, note, grouped=True)
    for each in result.findings:
        for k, answer in enumerate(each.answers):
            share = answer.share["this list"]
            cells = [answer.answer, with_interval(share.estimate, share.low, share.high, 2)]
            table.add("" if k else each.axis.name, *cells, *(() if k else _of_axis(each)))
    table.show(console)
    left_out = f"; {result.without_pixels} images have no pixels" if result.without_pixels else ""
    say(console, f"{result.pictures} pictures were asked about{left_out}. {_found(result)}")
    for each in result.findings:
        if each.untested is not None:
            say(console, f"{each.axis.name} is not tested: {each.untested}.")
    if result.unread:
        examples = ", ".join(f"'{fitted(answer, 0, 40)}'" for answer in result.unread[:3])
        say(console, f"Answers that name no option: {examples}.")
    frozen = result.axes.frozen
    if frozen is not None:
        say(console, f"Axes reviewed by {line(frozen.reviewed_by)}, sha256 {frozen.sha256[:12]}.")
    if result.self_judged:
        say(console, _SELF_JUDGED, lead="note: ")
    say(console, CAUTION)
    say(console, NOTE, "dim")
    say(console, f"result in {folder}; a labeller of each axis, for `annotate`, in its labellers/", wrap=False)


def _of_axis(each: Finding) -> tuple[str, ...]:
    """Return the cells that an axis has once: without an answer, uneven, expected, q, finding."""
    without = (each.unclear + each.unread) / each.pictures
    uneven = f"{number(each.in_prompt.estimate, 2)} / {number(each.together, 2)}"
    expected = each.axis.expected if isinstance(each.axis.expected, str) else "stated"
    q = p_value(each.q) if each.untested is None else ""
    return number(without, 2), uneven if each.counts.any() else "", expected, q, each.verdict


def _found(result: AxesRead) -> str:
    found = [each.axis.name for each in result.findings if each.found]
    return f"Found: {', '.join(found)}." if found else "Nothing was found."


def show_captions(result: Captioned, folder: Path, console: Console) -> None:
    """Print what captions say."""
    found = result.measures
    title = f"What captions say: {line(result.run)} · {line(result.task)} · captions: {line(result.captioned_by)}"
    note = (
        "hallucination: 1 - the part of all things named by prompt or caption that both name. missed: the caption "
        "names nothing that the prompt asks for. subject unnamed: the same of the subject alone. Brackets: 95 %, for "
        f"other prompts from {gaffke.FEWEST} prompts on."
    )
    table = Table([Column("measure", wraps=True), *numbers(*SCOPES)], title, note)
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
    if result.self_judged:
        say(console, _SELF_JUDGED, lead="note: ")
    say(console, NOTE, "dim")
    say(console, f"result in {folder}", wrap=False)


def _both(intervals: dict[Scope, Interval]) -> tuple[str, str]:
    first, second = (with_interval(i.estimate, i.low, i.high, 2) for i in intervals.values())
    return first, second
