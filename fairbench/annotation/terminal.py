"""What `annotate` prints: what was sampled and where it lies; later the labels and the agreement behind them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

import pyarrow as pa
from rich.console import Console

from fairbench.annotation import words
from fairbench.annotation.record import Annotation
from fairbench.display.numbers import number, percent, span, with_interval
from fairbench.display.plain import say
from fairbench.display.tables import Column, Table, numbers

KEPT_APART: Final = (
    "Send annotators nothing else of this folder: sample.parquet and annotation.json say where each picture comes from."
)
YOURS: Final = (
    "A content note, consent and pay are yours to give: the pages say so. Say who the annotators are with --describe."
)
AGREEMENT_NOTE: Final = (
    "Agreement: pairs of answers to one image that are equal. Alpha: Krippendorff's, nominal; 1 is full agreement, 0 "
    "that of chance. In brackets: 95 %, images drawn again. A label is the answer of more than half of those who "
    "answered; unclear: there is none; no label: too few answered."
)
ERRORS_NOTE: Final = (
    "Wrong: the share of an annotator's labels that Dawid and Skene's model holds to be wrong. It is a diagnostic and "
    "changes no label."
)
HIGH_AGREEMENT: Final = 0.9
"""Share of equal pairs from which on a low alpha may come from nearly all images showing one label."""
_OTHERS: Final = {
    words.UNCLEAR: "unclear",
    words.CANNOT_TELL: "cannot\ntell",
    words.NO_PERSON: "no\nperson",
    "": "no\nlabel",
}


def summary(folder: Path, annotation: Annotation, sample: pa.Table, sent: Sequence[Path]) -> dict[str, Any]:
    """Return what was sampled, as plain data."""
    rows = sample.select(["run_id", "prompt_id", "face_id"]).to_pylist()
    per_prompt = Counter((row["run_id"], row["prompt_id"]) for row in rows)
    return {
        "folder": str(folder),
        "annotation": annotation.id,
        "runs": [run.model_dump() for run in annotation.runs],
        "images": len(rows),
        "prompts": len(per_prompt),
        "fewer": sum(n < annotation.design.per_prompt for n in per_prompt.values()),
        "faceless": sum(row["face_id"] is None for row in rows),
        "attributes": {name: list(labels) for name, labels in annotation.attributes.items()},
        "design": annotation.design.model_dump(),
        "seed": annotation.seed,
        "annotators": annotation.annotators.model_dump(),
        "files": [str(path) for path in sent],
        "note": words.NOTE,
    }


def show_annotated(result: dict[str, Any], console: Console) -> None:
    """Print what was sampled, and what to do next."""
    runs, design, people = len(result["runs"]), result["design"], result["annotators"]["number"]
    strata = f", by strata of the {design['stratify']} that was read" if design["stratify"] else ""
    say(
        console,
        f"{result['images']} images of {result['prompts']} prompts and {runs} run{'s' * (runs > 1)}, drawn at random "
        f"within each prompt{strata} (seed {result['seed']}); {result['faceless']} of them without a counted face.",
        "bold",
    )
    if result["fewer"]:
        say(console, f"{result['fewer']} prompts have fewer than {design['per_prompt']} images: all of them are taken.")
    say(console, f"Asked: {', '.join(result['attributes'])}, of {people} annotator{'s' * (people > 1)}.")
    say(console, "\n".join(result["files"]), wrap=False)
    say(console, f"{KEPT_APART} {YOURS}")
    say(console, f"Then: fairbench annotate --collect {result['folder']} FILE...", wrap=False)
    say(console, words.NOTE, "dim")


def show_collected(folder: Path, result: dict[str, Any], console: Console) -> None:
    """Print the labels' outcomes, the agreement, and each annotator's share of it."""
    _agreement(result).show(console)
    console.print()
    _annotators(result).show(console)
    for attribute in result["attributes"]:
        if not attribute["reliable"]:
            say(console, _warning(attribute), "bold")
        if attribute["differs"]:
            name, differs = attribute["attribute"], attribute["differs"]
            say(console, f"{name}: Dawid and Skene's model gives {differs} of {result['images']} images another label.")
    described = result["annotators_described"]
    say(console, f"Annotators: {described or 'not described; say who they are with --describe'}")
    say(console, f"{words.TARGET} {words.ERRORS}")
    say(console, words.NOTE, "dim")
    say(console, f"Written: {folder / 'labels.parquet'}", wrap=False)
    say(console, f"Next: fairbench calibrate --from {folder}", wrap=False)


def _agreement(result: dict[str, Any]) -> Table:
    people = len(result["annotators"])
    title = f"{result['images']} images · {people} annotator{'s' * (people > 1)}"
    columns = [Column("attribute"), *numbers("agreement", "alpha", "labelled", *_OTHERS.values())]
    table = Table(columns, title, AGREEMENT_NOTE)
    for each in result["attributes"]:
        found, outcomes = each["reliability"], each["outcomes"]
        other = [outcomes.get(word, 0) for word in _OTHERS]
        agreement = with_interval(found["agreement"], found["agreement_low"], found["agreement_high"], 2)
        alpha = with_interval(found["alpha"], found["low"], found["high"], 2)
        counts = [sum(outcomes.values()) - sum(other), *other]
        table.add(each["attribute"], agreement, alpha, *map(str, counts))
    return table


def _annotators(result: dict[str, Any]) -> Table:
    wrong = [f"wrong:\n{each['attribute']}" for each in result["attributes"]]
    columns = [Column("annotator"), *numbers("answered", "skipped", "open", "cannot tell", *wrong)]
    table = Table(columns, note=ERRORS_NOTE)
    for each in result["annotators"]:
        name, answered, skipped = each["annotator"], each["answered"], each["skipped"]
        errors = [percent(attribute["errors"][name]) for attribute in result["attributes"]]
        left = result["images"] - answered - skipped
        table.add(name, str(answered), str(skipped), str(left), str(each["cannot_tell"]), *errors)
    return table


def _warning(attribute: dict[str, Any]) -> str:
    found, name = attribute["reliability"], attribute["attribute"]
    if found["alpha"] is None:
        why = "only one answer occurs" if found["images"] else "no image has two answers"
        return f"{name}: there is no alpha, because {why}."
    limits = span(found["low"], found["high"], 2).replace(" ", " to ")
    shown = f"{name}: alpha is {number(found['alpha'], 2)} ({limits}), below {number(words.MIN_ALPHA, 2)}"
    if found["agreement"] >= HIGH_AGREEMENT:
        return (
            f"{shown}, and yet {percent(found['agreement'], 0)} of the pairs of answers are equal: nearly all images "
            "show one answer, so that chance alone would agree as often. Look at the few that people differ on."
        )
    return (
        f"{shown}: these people do not agree enough for conclusions; look at the pictures that they differ on, and "
        "make the question clearer or the labels fewer."
    )
