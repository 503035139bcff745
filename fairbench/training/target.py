"""What shares of the groups a training aims at: equal ones, those that are named, or those of a file per subject."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np

from fairbench.cards import catalog
from fairbench.errors import FairbenchError
from fairbench.synthesis.balanced import Balanced, groups_of
from fairbench.types import FloatArray

_ROUNDING = 1e-6


def shares(text: str, data: Balanced) -> FloatArray:
    """Return the target of every row's prompt, (rows, K), in the order of the set's groups; each row sums to 1.

    text: `LABEL=SHARE` or `ATTRIBUTE=FILE.csv`, separated by commas. Labels that are not named share the rest of their
    attribute equally, attributes that are not named are equal, and attributes are independent. A file has a column
    `subject` and one per label. Raises FairbenchError for what does not fit the set.
    """
    combinations = groups_of(data.attributes)
    if set(data.groups) != set(combinations):
        raise FairbenchError(
            "--target: the balanced set has some combinations of labels and not all, for which shares per attribute "
            "say too little: balance one attribute (--groups)."
        )
    named: dict[str, dict[str, float]] = {attribute: {} for attribute in data.attributes}
    files: dict[str, str] = {}
    for pair in filter(None, (part.strip() for part in text.split(","))):
        name, _, value = (part.strip() for part in pair.partition("="))
        if name in files or any(name in of for of in named.values()):
            raise FairbenchError(f"--target names {name} twice: leave one of them out.")
        if name in data.attributes and value.endswith(".csv"):
            files[name] = value
        else:
            named[_attribute_of(name, pair, data)][name] = _share(value, pair)
    if not files and not any(named.values()):
        raise FairbenchError("--target is empty: name shares, as in --target female=.6.")
    per_attribute = []
    for attribute, labels in data.attributes.items():
        if attribute in files and named[attribute]:
            raise FairbenchError(f"--target names {attribute} by a file and by shares: leave one of them out.")
        if attribute in files:
            per_attribute.append(_of_file(Path(files[attribute]).expanduser(), labels, data))
        else:
            per_attribute.append(np.tile(_filled(attribute, labels, named[attribute]), (len(data.rows), 1)))
    joint = per_attribute[0]
    for margin in per_attribute[1:]:  # the last attribute runs fastest, as in groups_of
        joint = (joint[:, :, None] * margin[:, None, :]).reshape(len(joint), -1)
    return joint[:, [combinations.index(group) for group in data.groups]]


def in_words(text: str) -> str:
    """Return a target without the folders of its files, which say nothing elsewhere."""
    return ",".join(
        f"{name}={Path(value).name if value.endswith('.csv') else value}"
        for name, _, value in (part.strip().partition("=") for part in text.split(",") if part.strip())
    )


def _attribute_of(label: str, pair: str, data: Balanced) -> str:
    found = [attribute for attribute, labels in data.attributes.items() if label in labels]
    if len(found) != 1:
        known = "; ".join(f"{name}: {', '.join(labels)}" for name, labels in data.attributes.items())
        raise FairbenchError(f"--target {pair}: name a label of the balanced set ({known}), or an attribute=FILE.csv.")
    return found[0]


def _share(text: str, pair: str) -> float:
    try:
        share = float(text)
    except ValueError:
        share = -1.0
    if not 0 < share < 1:
        raise FairbenchError(f"--target {pair}: give a share above 0 and below 1, as in female=.6.")
    return share


def _filled(attribute: str, labels: tuple[str, ...], named: Mapping[str, float]) -> FloatArray:
    """Return an attribute's shares, (labels,), those that are not named equal."""
    rest, others = 1 - sum(named.values()), len(labels) - len(named)
    if (others and rest <= _ROUNDING) or (not others and abs(rest) > _ROUNDING):
        raise FairbenchError(
            f"--target: the shares of {attribute} must sum to 1 over {', '.join(labels)}, those that are named leave "
            f"{rest:.3g} to {others} others: change them."
        )
    filled = np.array([named.get(label, rest / max(others, 1)) for label in labels])
    return np.asarray(filled / filled.sum())


def _of_file(path: Path, labels: tuple[str, ...], data: Balanced) -> FloatArray:
    """Return every row's shares, (rows, labels), by its subject."""
    by_subject = catalog.reference_file(str(path), labels)
    if not by_subject:
        raise FairbenchError(f"--target {path}: the file needs a column for each of {', '.join(labels)}, and rows.")
    for row in data.rows:
        if min(by_subject.get(row.subject, (0.0,))) <= 0:
            raise FairbenchError(
                f"--target {path}: the subject {row.subject!r} of the balanced set needs a line of shares above 0."
            )
    return np.array([by_subject[row.subject] for row in data.rows])
