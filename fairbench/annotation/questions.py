"""What is asked: the attributes of the runs' labellers, whose labels must be the same for all runs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from fairbench import registry
from fairbench.annotation import words
from fairbench.cards.cards import LabellerCard
from fairbench.errors import FairbenchError
from fairbench.runs.result import Run


def choose(runs: Sequence[Run], names: Sequence[str], option: str = "--attributes") -> dict[str, tuple[str, ...]]:
    """Return attribute -> labels. names: the attributes to ask about; without any, those that the labeller crosses.

    option: where the names come from.

    Raises FairbenchError for an attribute that a labeller lacks or labels otherwise, and for a label that is an answer.
    """
    cards = [run.record.labeller for run in runs]
    asked = list(dict.fromkeys(names)) or _default(cards[0])
    for name in asked:
        for run, card in zip(runs, cards, strict=True):
            if name not in card.attributes:
                known = ", ".join(card.attributes)
                hint = registry.suggest(name, list(card.attributes))
                raise FairbenchError(
                    f"{option} {name}: labeller {card.name} of {run.folder} has no such attribute{hint}; it has "
                    f"{known}."
                )
            if card.attributes[name].labels != cards[0].attributes[name].labels:
                raise FairbenchError(
                    f"{option} {name}: {run.folder} has other labels than {runs[0].folder}; annotate them apart."
                )
        _refuse_reserved(name, cards[0].attributes[name].labels)
    return {name: tuple(cards[0].attributes[name].labels) for name in asked}


def _default(card: LabellerCard) -> list[str]:
    crossed = [name for cross in card.crosses for name in cross]
    return list(dict.fromkeys(crossed)) or [a for a, spec in card.attributes.items() if spec.source is None]


def _refuse_reserved(name: str, labels: Sequence[str]) -> None:
    clash = next((label for label in labels if label in words.RESERVED), None)
    if clash is not None:
        raise FairbenchError(
            f"--attributes {name}: its label {clash!r} is also an answer that names no label; rename it in the card."
        )


def asked(runs: Sequence[Run], names: Sequence[str]) -> dict[str, str]:
    """Return attribute -> the question that labellers ask a model, where all ask the same one: people get it, too."""
    texts = {name: {_text(run.record.labeller, name) for run in runs} for name in names}
    return {name: next(iter(own)) for name, own in texts.items() if len(own) == 1 and "" not in own}


def _text(card: LabellerCard, name: str) -> str:
    """Return what a labeller asks about an attribute; empty where it asks nothing."""
    for ref in card.classifiers:
        of_names = ref.params.get("questions")
        question = of_names.get(name) if isinstance(of_names, Mapping) else None
        if isinstance(question, Mapping) and isinstance(question.get("text"), str):
            return str(question["text"])
    return ""


def legend(attribute: str, asked: Mapping[str, str]) -> str:
    """Return what annotators read above the answers: the question, or what is to be perceived; "race4" is about race.

    >>> legend("race4", {}), legend("hat", {"hat": "Is there a hat?"})
    ('Perceived race', 'Is there a hat?')
    """
    words = attribute.rstrip("0123456789").replace("_", " ").strip() or attribute
    return asked.get(attribute) or f"Perceived {words}"


def codes(attributes: Mapping[str, tuple[str, ...]], attribute: str) -> dict[str, int]:
    """Return the code of each answer to an attribute's question; no person counts as a class, `cannot tell` as none."""
    answers = (*attributes[attribute], words.NO_PERSON, words.CANNOT_TELL)
    return {answer: code for code, answer in enumerate(answers)}
