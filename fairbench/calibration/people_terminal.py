"""What `calibrate --from` prints: per attribute, four estimates of one number, and what to think of them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from rich.console import Console

from fairbench.annotation import words
from fairbench.calibration.people import RunPeople
from fairbench.display.labels import expanded, spaced
from fairbench.display.numbers import number, span
from fairbench.display.plain import say
from fairbench.display.tables import Cell, Column, Table, numbers
from fairbench.runs import people
from fairbench.runs.people import CONCENTRATION, UNDECIDED, Labelled, People

_ROWS: Final = (
    (people.PEOPLE, "by people"),
    (people.LOWEST, "  undecided, lowest"),
    (people.HIGHEST, "  undecided, highest"),
    (people.LOCAL, "local table"),
    (people.ALONE, "people alone"),
    (people.READ, "as read"),
)
NOTE: Final = (
    "Concentration of the classes, 0 where they are equal and 1 where one stands alone: the mean over the prompts of "
    "this list. by people, to be quoted: the labels, with the labeller's readings of all images as a prediction that "
    "the labels correct, whatever its errors. undecided: if all images that people cannot decide on belonged to the "
    "smallest, or to the largest groups. local table: the labeller's errors counted on the labels; tighter only if "
    "they do not depend on the prompt. people alone: the labelled images. as read: by the labeller, not corrected."
)

ONE_ANNOTATOR: Final = (
    "One annotator: their own errors are in every label, and the intervals do not hold them. Nor are they wide enough "
    "for how much such errors vary: where 3 % of the answers are wrong, they hold what the same person would say of "
    "all images in .90 of simulated studies, at 6 % in .86."
)


def show(results: Sequence[RunPeople], console: Console) -> None:
    """Print the results of each run, then what holds for all of them."""
    for result in results:
        _show_run(result, console)
    said = results[0].people
    who = f"Annotators: {said.who}. " if said.who else ""
    say(console, f"{who}{words.TARGET} {words.ERRORS}")
    if said.annotators == 1:
        say(console, ONE_ANNOTATOR, "bold")
    say(console, words.NOTE, "dim")
    for result in results:
        say(console, f"Written: {result.folder / people.FILE}, {result.folder / people.TABLE}", wrap=False)
        if result.calibration is not None:
            say(console, f"To correct this run by its local table: --calibration {result.calibration}", wrap=False)


def _show_run(result: RunPeople, console: Console) -> None:
    said = result.people
    strata = f", drawn by strata of {said.stratify} as read" if said.stratify else ""
    title = f"{result.name}: {said.images} labelled images{strata}"
    table = Table([Column("attribute"), Column("concentration"), *numbers("value", "95 % interval", "prompts")], title)
    table.grouped = True
    for name in said.attributes:
        _add(table, said, name)
    labels = expanded(label for labelled in said.attributes.values() for label in labelled.classes)
    table.note = f"{NOTE} {labels}".rstrip()
    table.show(console)
    console.print()
    shares = _shares(said)
    if shares.rows:
        shares.show(console)
        console.print()
    for name, labelled in said.attributes.items():
        for sentence in _sentences(name, labelled, said):
            say(console, sentence, "bold" if labelled.flagged else "")
    if result.no_calibration:
        say(console, f"No calibration of these images is written: {result.no_calibration}.")


def _add(table: Table, said: People, name: str) -> None:
    labelled = said.attributes[name]
    heading = f"{spaced(name)}\n{len(labelled.classes)} classes"
    if table.rows:
        table.section()
    for estimate, label in _ROWS:
        each = said.find(CONCENTRATION, estimate, name)
        if each is not None:
            limits = span(each.ci_low, each.ci_high)
            table.add(Cell(heading), label, number(each.value), limits, str(each.n_prompts))
            heading = ""


def _shares(said: People) -> Table:
    """Return the shares of the classes of single attributes, means over prompts."""
    table = Table([Column("attribute"), Column("share"), *numbers("by people", "95 % interval")], grouped=True)
    for name, labelled in said.attributes.items():
        if " " in spaced(name):  # a cross: people.csv has its shares
            continue
        heading = name
        metrics = [(f"share[{label}]", label) for label in labelled.classes] + [(UNDECIDED, "undecided")]
        for metric, label in metrics:
            each = said.find(metric, people.PEOPLE, name)
            if each is not None and each.value is not None and (metric != UNDECIDED or _undecided(labelled)):
                table.add(heading, label, number(each.value), span(each.ci_low, each.ci_high))
                heading = ""
    return table


def _undecided(labelled: Labelled) -> int:
    return labelled.outcomes.get(words.UNCLEAR, 0) + labelled.outcomes.get(words.CANNOT_TELL, 0)


def _sentences(name: str, labelled: Labelled, said: People) -> list[str]:
    """Say what the labels leave open, and whether both corrections agree."""
    sentences, called = [], spaced(name)
    counts = [(words.CANNOT_TELL, "cannot tell"), (words.UNCLEAR, "no majority"), (words.NO_PERSON, "show nobody")]
    left = [f"{labelled.outcomes[key]} {text}" for key, text in counts if labelled.outcomes.get(key)]
    left += [f"{labelled.unanswered} without a label"] if labelled.unanswered else []
    if left:
        sentences.append(f"{called}: of {said.images} images, {', '.join(left)}: they are in no class.")
    by_people = said.find(CONCENTRATION, people.PEOPLE, name)
    local = said.find(CONCENTRATION, people.LOCAL, name)
    if by_people is not None and by_people.reason:
        sentences.append(f"{called}: no estimate by people: {by_people.reason}.")
    if local is not None and local.reason:
        sentences.append(f"{called}: no local table: {local.reason}.")
    if labelled.flagged and labelled.difference is not None and labelled.difference_error:
        ratio = abs(labelled.difference) / labelled.difference_error
        off = number(labelled.difference, sign=True)
        sentences.append(
            f"{called}: the labeller's errors depend on the prompt: by people is {off} from the local table, "
            f"{number(ratio, 1)} standard errors: corrections by one table are wrong here."
        )
    return sentences
