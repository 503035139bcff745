"""annotation.json: what was sampled from which runs, and what is asked about it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from pydantic import Field, ValidationError

import fairbench
from fairbench import keys
from fairbench.annotation import words
from fairbench.cards import yamlfile
from fairbench.errors import FairbenchError
from fairbench.storage import folders, jsonfile
from fairbench.strict import StrictModel

FILE: Final = "annotation.json"


class AnnotatedRun(StrictModel):
    """A run whose images were sampled. folder: where it was then, as seen from the annotation's folder."""

    id: str
    folder: str


class Design(StrictModel):
    """How images were drawn: so many of each prompt of each run. stratify: the attribute whose reading makes strata."""

    per_prompt: int
    stratify: str | None


class Annotators(StrictModel):
    """How many people annotate, and who they are, in the words of whoever runs it."""

    number: int
    described: str


class Annotation(StrictModel):
    """The content of annotation.json. id: a hash of the sample and of what is asked. attributes: name -> labels.

    asked: attribute -> the question in words, where the labeller asks one.
    """

    note: str
    fairbench: str
    id: str
    runs: tuple[AnnotatedRun, ...]
    seed: int
    design: Design
    attributes: dict[str, tuple[str, ...]]
    annotators: Annotators
    asked: dict[str, str] = Field(default_factory=dict)

    def json_text(self) -> str:
        """Return the text of annotation.json."""
        return json.dumps(self.model_dump(), indent=2) + "\n"

    def described(self, who: str) -> Annotation:
        """Return the same with other words for who the annotators are."""
        return self.model_copy(update={"annotators": self.annotators.model_copy(update={"described": who})})

    def answers(self, attribute: str) -> tuple[str, ...]:
        """Return all answers to an attribute's question: its labels, then those that name none."""
        return (*self.attributes[attribute], *words.ANSWERS)


def make(
    runs: tuple[AnnotatedRun, ...],
    seed: int,
    design: Design,
    attributes: Mapping[str, tuple[str, ...]],
    annotators: Annotators,
    items: list[str],
    asked: Mapping[str, str] | None = None,
) -> Annotation:
    """Return the record of a sample. items: the ids of the sampled images. asked: see `Annotation`."""
    identity: dict[str, Any] = {"items": items, "attributes": {a: list(labels) for a, labels in attributes.items()}}
    identity |= {"asked": dict(asked)} if asked else {}
    return Annotation(
        note=words.NOTE,
        fairbench=fairbench.__version__,
        id=keys.digest("annotation", identity).hex(),
        runs=runs,
        seed=seed,
        design=design,
        attributes=dict(attributes),
        annotators=annotators,
        asked=dict(asked or {}),
    )


def read(folder: Path) -> Annotation:
    """Read annotation.json. Raises FairbenchError that names the file, the field and the fix."""
    folders.finish(folder)
    path = folder / FILE
    place = "name a folder that `fairbench annotate --out` has written"
    content = jsonfile.read(path, unreadable=place, broken="restore the file")
    try:
        return Annotation.model_validate(content)
    except ValidationError as err:
        first = yamlfile.problems(yamlfile.YamlFile(path, content), err)[0]
        raise FairbenchError(f"{path}, field {first.field}: {first.message}; restore the file.") from err
