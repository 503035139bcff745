"""The columns of a label table: which are attributes, and which classes each of them has.

The classes come from a labeller card, or from columns of probabilities. Where neither declares them they are those that
occur, in alphabetical order; a notice then says which classes were assumed.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

from fairbench.cards.cards import NAME, RESERVED, RESERVED_LABELS, AttributeSpec, LabellerCard
from fairbench.cards.csvfile import Columns, edit_distance, read_header, separator_hint
from fairbench.errors import CardError
from fairbench.notices import notice

KNOWN: Final = ("image", "prompt", "prompt_id", "sample", "face", "status", "model")
_ALIASES: Final = {
    "path": "image",
    "file": "image",
    "image_id": "image",
    "sample_index": "sample",
    "face_index": "face",
}
_ASIDE: Final = (
    "run_id",
    "item",
    "face_id",
    "stratum",
    "stratum_images",
    "stratum_sampled",
    "inclusion_probability",
    "annotator",
    "seed",
    "subject",
    "category",
    "text",
    "error",
)
"""Columns of fairbench's own tables that say nothing of a face: they are never attributes."""
_WITHOUT_CLASS: Final = ("", "unclear", "cannot tell", *RESERVED_LABELS, "no_face", "no_person")
MAX_CLASSES: Final = 20
"""Values of a column whose classes nobody declared: a column with more is no attribute."""
_PROBABILITY: Final = re.compile(r"(?P<attribute>[^\[\]]+)\[(?P<label>.+)\]")
_Cells = Sequence[tuple[int, Mapping[str, str]]]


@dataclass(frozen=True, slots=True)
class LabelColumns:
    """The attributes of a label table.

    given: those that the table has labels of, in the card's order, else in that of the columns. classes: of each of
    them. with_probabilities: those whose classes have a column each. attributes: what a labeller card declares of
    them, derived attributes included. known: what `read_csv` is told.
    """

    path: Path
    known: Columns
    given: tuple[str, ...]
    with_probabilities: frozenset[str]
    classes: Mapping[str, tuple[str, ...]]
    attributes: Mapping[str, AttributeSpec]

    def with_classes(self, cells: _Cells) -> LabelColumns:
        """Return the same with the classes that occur, for the attributes of which nothing declares them."""
        assumed = {name: _occurring(self.path, name, cells) for name in self.given if name not in self.classes}
        if not assumed:
            return self
        words = [f"{name} has {len(labels)} ({', '.join(labels)})" for name, labels in assumed.items()]
        text = f"{self.path} declares no classes, so those that occur were taken: {'; '.join(words)}."
        notice("assumed-classes", text, count=len(assumed))
        classes = {name: self.classes.get(name) or assumed[name] for name in self.given}
        specs = {name: AttributeSpec(labels=list(classes[name])) for name in self.given}
        return replace(self, classes=classes, attributes=specs)


def of_file(path: Path, card: LabellerCard | None) -> LabelColumns:
    """Return the columns of a table, without classes where nothing declares them. Raises CardError."""
    declared = {} if card is None else {name.casefold(): name for name in card.attributes}
    header = [_canonical(name, declared) for name in read_header(path)]
    if not {"image", "prompt", "prompt_id"} & set(header):
        hint = separator_hint(header)
        raise CardError(
            f"{path}, line 1: nothing says which images the labels are of; add a column image or prompt{hint}."
        )
    parts = {name: match for name in header if (match := _PROBABILITY.fullmatch(name))}
    probabilities: dict[str, list[str]] = {}
    for match in parts.values():
        probabilities.setdefault(match["attribute"], []).append(match["label"])
    plain = [name for name in header if name and name not in (*KNOWN, *_ASIDE) and name not in parts]
    names = list(dict.fromkeys([*plain, *probabilities]))
    columns = _of_columns(path, names, probabilities) if card is None else _of_card(path, names, probabilities, card)
    optional = [*KNOWN, *_ASIDE, *columns.given, *(n for n, m in parts.items() if m["attribute"] in columns.given)]
    return replace(columns, known=Columns((), optional, aliases=_ALIASES))


def _canonical(name: str, declared: Mapping[str, str]) -> str:
    """Return what a column is called here, in whichever case it is written; classes keep theirs.

    declared: a card's attributes by their names in small letters.
    """
    if (match := _PROBABILITY.fullmatch(name)) is not None:
        return f"{_canonical(match['attribute'], declared)}[{match['label']}]"
    folded = name.casefold()
    return declared.get(folded) or _ALIASES.get(folded) or (name if declared and folded not in KNOWN else folded)


def _of_card(
    path: Path, names: Sequence[str], probabilities: Mapping[str, Sequence[str]], card: LabellerCard
) -> LabelColumns:
    """Return the card's attributes that the table has a column of, and those that derive from them."""
    given = tuple(name for name in card.attributes if name in names)
    if not given:
        wanted = " or ".join(name for name, spec in card.attributes.items() if spec.source is None)
        raise CardError(f"{path}, line 1: no column is an attribute of {card.name}; add {wanted}.")
    kept = {name: spec for name, spec in card.attributes.items() if name in given or spec.source in given}
    base = {name: spec for name, spec in kept.items() if spec.source not in kept}
    doubled = next((name for name in given if name not in base), None)
    if doubled is not None:
        source = card.attributes[doubled].source
        raise CardError(f"{path}, line 1, field {doubled}: {card.name} derives it from {source}; leave the column out.")
    attributes = {n: AttributeSpec(labels=s.labels) if n in base else s for n, s in kept.items()}
    classes = {name: tuple(spec.labels) for name, spec in base.items()}
    for name, labels in probabilities.items():
        if name in classes and sorted(labels) != sorted(classes[name]):
            wanted = ", ".join(f"{name}[{label}]" for label in classes[name])
            raise CardError(f"{path}, line 1, field {name}[{labels[0]}]: the columns of {name} have to be {wanted}.")
    return LabelColumns(path, Columns(()), given, frozenset(probabilities) & set(given), classes, attributes)


def _of_columns(path: Path, names: Sequence[str], probabilities: Mapping[str, Sequence[str]]) -> LabelColumns:
    """Return the table's own attributes: every column that is none of the known ones."""
    if not names:
        raise CardError(f"{path}, line 1: there is no column of labels; add one per attribute, such as gender.")
    for name in names:
        near = next((known for known in KNOWN if known != "face" and _near(name, known)), None)
        if near is not None:
            raise CardError(
                f"{path}, line 1, field {name}: there is no such column (did you mean {near!r}?); rename it."
            )
        if not re.fullmatch(NAME, name) or "_x_" in name or name in RESERVED:
            raise CardError(
                f"{path}, line 1, field {name}: this is no name of an attribute (small letters, digits, . _ and -, "
                "without _x_); rename it, or say with --labeller which columns are attributes."
            )
    classes = {name: tuple(labels) for name, labels in probabilities.items()}
    one = next((name for name, labels in classes.items() if len(labels) < 2), None)
    if one is not None:
        raise CardError(
            f"{path}, line 1, field {one}[{classes[one][0]}]: it is the only class; add a column per class."
        )
    specs = {name: AttributeSpec(labels=list(labels)) for name, labels in classes.items()}
    return LabelColumns(path, Columns(()), tuple(names), frozenset(probabilities), classes, specs)


def _near(name: str, known: str) -> bool:
    """Whether a name is a misspelling of a known one, and no plural or compound of its own."""
    return edit_distance(name.casefold(), known, 2 if len(known) >= 6 else 1) <= (2 if len(known) >= 6 else 1)


def _occurring(path: Path, name: str, cells: _Cells) -> tuple[str, ...]:
    """Return the classes that occur in a column, in alphabetical order. Raises CardError where it is no attribute."""
    labels = sorted({row[name] for _, row in cells} - set(_WITHOUT_CLASS))
    declare = "declare the classes with --labeller, or remove the column"
    if len(labels) < 2:
        what = f"all faces are {labels[0]!r}" if labels else "no face has a class"
        raise CardError(f"{path}, field {name}: {what}, so its other classes cannot be known; {declare}.")
    if len(labels) > MAX_CLASSES or all(map(_is_number, labels)):
        what = f"{len(labels)} different values" if len(labels) > MAX_CLASSES else "only numbers"
        raise CardError(f"{path}, field {name}: it holds {what}, which are no classes; {declare}.")
    folded: dict[str, str] = {}
    for label in labels:
        other = folded.setdefault(" ".join(label.casefold().split()), label)
        if other != label:
            raise CardError(
                f"{path}, field {name}: {other!r} and {label!r} differ in their letters' case or blanks alone; "
                "write one of them."
            )
    return tuple(labels)


def _is_number(text: str) -> bool:
    return re.fullmatch(r"[-+]?[0-9]*\.?[0-9]+(e[-+]?[0-9]+)?", text, re.IGNORECASE) is not None


def crosses(attributes: Iterable[str], card: LabellerCard | None) -> list[list[str]]:
    """Return the crosses to count: those of the card whose attributes are here; without one, that of two attributes."""
    names = list(attributes)
    if card is None:
        return [names] if len(names) == 2 else []
    return [cross for cross in card.crosses if set(cross) <= set(names)]
