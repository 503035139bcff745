"""What objectives that draw or label images need of a balanced set, and what they read from it."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from fairbench.errors import CardError, FairbenchError
from fairbench.labelling.labeller import Labeller
from fairbench.synthesis.balanced import Balanced


def need_source_prompts(data: Balanced, why: str) -> None:
    """Raise CardError for a row without the prompt that it was made from. why: what needs it."""
    if lacking := next((row for row in data.rows if not row.source_prompt), None):
        raise CardError(
            f"{lacking.where or lacking.image}: {why}, and the source_prompt is empty: fill that column in."
        )


def need_labels(data: Balanced, labeller: Labeller, fix: str) -> None:
    """Raise FairbenchError where the labeller does not give the set's attributes their labels, in this order."""
    labels: dict[str, tuple[str, ...]] = dict(labeller.declared.labels)
    for name, of_set in data.attributes.items():
        if not set(of_set) <= set(labels.get(name, ())):
            raise FairbenchError(
                f"The balanced set has {name} with the labels {', '.join(of_set)}, and the labeller "
                f"{labeller.card.name} gives it {', '.join(labels.get(name, ())) or 'none'}: {fix}."
            )


def label_indices(data: Balanced) -> NDArray[np.int64]:
    """Return the index of each attribute's label in each group, (K, attributes)."""
    labels = list(data.attributes.values())
    return np.array([[of.index(label) for of, label in zip(labels, g, strict=True)] for g in data.groups])
