"""What a calibration says of its labeller: as plain data, and as tables."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console

from fairbench.display.labels import expanded
from fairbench.display.note import LABEL_NOTE
from fairbench.display.numbers import number, with_interval
from fairbench.display.plain import say
from fairbench.display.tables import Column, Table, numbers
from fairbench.labelling.confusion import NO_PERSON, Calibration
from fairbench.stats import conditioning
from fairbench.stats.bounds import share_interval

CAPTION = (
    "no face: of the persons, those whose image gives no label. Read right: of the other persons, those of whom every "
    "attribute is read right. Accuracy: the same for one attribute, as this manifest mixes the cells. In brackets: "
    "Jeffreys' 95 % interval. Without a column `person`, every image counts as another person."
)


def summary(calibration: Calibration, file: Path, card: Path | None) -> dict[str, Any]:
    """Return what `show` prints, as plain data; a share of nothing is None. card: the labeller card's file."""
    people = len(calibration.cells)
    return {
        "file": str(file),
        "labeller": calibration.labeller,
        "labeller_id": calibration.labeller_id,
        "domain": calibration.domain,
        "persons": int(calibration.counts[:people].sum()),
        "cells": [_cell(calibration, i) for i in range(len(calibration.rows))],
        "attributes": [_attribute(calibration, name) for name in calibration.attributes],
        "correction": _correction(calibration),
        "card": None if card is None else str(card),
        "card_line": f"calibration: {_relative(file, card)}",
        "notes": calibration.notes,
        "note": LABEL_NOTE,
    }


def _cell(calibration: Calibration, row: int) -> dict[str, Any]:
    counts, shows_nobody = calibration.counts[row], calibration.rows[row] == NO_PERSON
    total, missed = int(counts.sum()), int(counts[-1])
    true = None if shows_nobody else dict(zip(calibration.attributes, calibration.rows[row], strict=True))
    right = None if shows_nobody else _share(int(counts[row]), total - missed)
    return {"true": true, "n": total, "no_face": _share(missed, total), "read_right": right}


def _attribute(calibration: Calibration, name: str) -> dict[str, Any]:
    faces = calibration.counts[: len(calibration.cells), :-1]
    label = np.array(calibration.cells)[:, calibration.attributes.index(name)]
    right = faces[label[:, None] == label].sum()
    return {"attribute": name, **_share(int(right), int(faces.sum()))}


def _share(part: int, whole: int) -> dict[str, Any]:
    low, high = share_interval(np.array([part, whole - part]))
    limits = {"low": float(low[0]), "high": float(high[0])} if whole else {"low": None, "high": None}
    return {"count": part, "of": whole, "share": part / whole if whole else None, **limits}


def _correction(calibration: Calibration) -> dict[str, Any]:
    """Return whether this table can correct a run: all attributes together, and each alone, by its margin."""
    alone = calibration.attributes if len(calibration.attributes) > 1 else ()
    return {**_possible(calibration), "alone": {name: _possible(calibration.margin([name])) for name in alone}}


def _possible(calibration: Calibration) -> dict[str, Any]:
    """Return the verdict on a table, by the check that a run makes before it looks at its counts."""
    verdict = conditioning.check(calibration.counts)
    return {
        "possible": verdict.reason is None,
        "reason": verdict.reason,
        "smallest_row": verdict.images,
        "condition": verdict.condition if math.isfinite(verdict.condition) else None,
        "certainty": verdict.certainty if math.isfinite(verdict.certainty) else None,
    }


def show(calibration: Calibration, file: Path, card: Path | None, console: Console) -> None:
    """Print the tables, what they allow, and what to do next."""
    result = summary(calibration, file, card)
    _cells(result).show(console)
    console.print()
    _attributes(result).show(console)
    correction = result["correction"]
    say(console, f"correction: {_correction_words(correction)}")
    for name, alone in correction["alone"].items() if not correction["possible"] else ():
        say(console, f"correction of {name} alone: {_correction_words(alone)}")
    say(console, calibration.notes)
    say(console, LABEL_NOTE, "dim")
    next_step = (
        f"Written: {file}\nTo correct runs on such images ({calibration.domain}): fairbench run --calibration {file}\n"
        f"or, for all runs, in the labeller's card {card or calibration.labeller} the line\n{result['card_line']}"
    )
    say(console, next_step, wrap=False)


def _cells(result: dict[str, Any]) -> Table:
    title = f"{result['labeller']} on {result['domain']} · {result['persons']} persons"
    table = Table([Column("truth"), *numbers("persons", "no face", "read right")], title)
    for cell in result["cells"]:
        name = " ".join(cell["true"].values()) if cell["true"] else f"{NO_PERSON[0]} (images)"
        right = "" if cell["read_right"] is None else _words(cell["read_right"])
        table.add(name, str(cell["n"]), _words(cell["no_face"]), right)
    return table


def _attributes(result: dict[str, Any]) -> Table:
    labels = expanded(label for cell in result["cells"] if cell["true"] for label in cell["true"].values())
    table = Table([Column("attribute"), *numbers("persons read", "accuracy")], note=f"{CAPTION} {labels}".rstrip())
    for row in result["attributes"]:
        table.add(row["attribute"], str(row["of"]), _words(row))
    return table


def _words(share: dict[str, Any]) -> str:
    return with_interval(share["share"], share["low"], share["high"])


def _correction_words(verdict: dict[str, Any]) -> str:
    if verdict["reason"]:
        return f"not possible with this table: {verdict['reason']}."
    rows, condition = verdict["smallest_row"], number(verdict["condition"], 2)
    few = f"; intervals are marked, as the smallest row holds {rows} images" if rows < conditioning.FEW_IMAGES else ""
    at_most = f"condition number {condition} (at most {conditioning.MAX_CONDITION:g} is allowed)"
    if verdict["certainty"] is None:
        # The rule of three: what 95 % of samples without an event exclude.
        unseen = f"no misreading was counted, which with {rows} images in the smallest row leaves up to {3 / rows:.0%}"
        return f"possible: {at_most}; {unseen}{few}."
    return (
        f"possible: {at_most}, smallest singular value {number(verdict['certainty'], 1)} standard errors from 0 "
        f"(at least {conditioning.MIN_CERTAINTY:g} are needed){few}."
    )


def _relative(file: Path, card: Path | None) -> Path:
    """Return the file as the card has to name it: relative to the card's folder where it lies in it."""
    file, folder = file.resolve(), None if card is None else card.resolve().parent
    return file.relative_to(folder) if folder is not None and file.is_relative_to(folder) else file
