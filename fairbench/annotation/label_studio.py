"""Tasks for Label Studio (https://labelstud.io), and what it exports as JSON."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any
from xml.sax.saxutils import quoteattr

from fairbench.annotation import questions, words
from fairbench.cards.textfile import read_text
from fairbench.errors import CardError

MAX_EXPORT = 1 << 30
"""Bytes of an export, which repeats the images."""
_INSTRUCTION = "Presentation that you perceive in the picture, never anyone's identity. You may skip any picture."


def config(attributes: Mapping[str, Sequence[str]], asked: Mapping[str, str]) -> str:
    """Return the labelling interface: the image, and for each attribute a choice of its labels and other answers.

    asked: see `record.Annotation`.
    """
    parts = ["<View>", f"  <Header value={quoteattr(_INSTRUCTION)}/>", '  <Image name="image" value="$image"/>']
    for name, labels in attributes.items():
        parts.append(f"  <Header value={quoteattr(questions.legend(name, asked))}/>")
        parts.append(f'  <Choices name={quoteattr(name)} toName="image" choice="single" showInline="true">')
        parts += [f"    <Choice value={quoteattr(answer)}/>" for answer in (*labels, *words.ANSWERS)]
        parts.append("  </Choices>")
    return "\n".join([*parts, "</View>", ""])


def tasks(items: Sequence[str], images: Mapping[str, str]) -> str:
    """Return the tasks as JSON. images: item -> its picture as a data URI, the face marked in it."""
    return json.dumps([{"data": {"item": item, "image": images[item]}} for item in items]) + "\n"


def read(path: Path, attributes: Sequence[str]) -> Iterator[tuple[str, str, dict[str, str]]]:
    """Yield (annotator, item, answers) of an export ("JSON"). Raises CardError where it is none."""
    try:
        exported = json.loads(read_text(path, MAX_EXPORT))
    except (ValueError, RecursionError) as err:
        raise CardError(f"{path} is not JSON ({err}): export the project again, as JSON.") from err
    try:
        for task in exported:
            for annotation in task["annotations"]:
                yield (
                    _annotator(annotation["completed_by"]),
                    str(task["data"]["item"]),
                    _answers(annotation, attributes),
                )
    except (AttributeError, IndexError, KeyError, TypeError) as err:
        raise CardError(
            f"{path} is not an export of Label Studio ({type(err).__name__}: {err}): export the project as JSON."
        ) from err


def _annotator(completed_by: Any) -> str:
    """Return a name without personal data: Label Studio's number of the user."""
    return f"user {completed_by['id'] if isinstance(completed_by, dict) else completed_by}"


def _answers(annotation: Mapping[str, Any], attributes: Sequence[str]) -> dict[str, str]:
    if annotation.get("was_cancelled"):
        return dict.fromkeys(attributes, words.SKIPPED)
    chosen = {r["from_name"]: str(r["value"]["choices"][0]) for r in annotation["result"] if r["type"] == "choices"}
    return {name: chosen[name] for name in attributes if name in chosen}
