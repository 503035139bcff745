"""The file of axes: proposed by a text model or written by people, reviewed, and frozen before anything reads images.

`freeze` hashes what the file says, not its bytes: comments may change afterwards, an axis may not. What nobody reviewed
is not read.
"""

from __future__ import annotations

import hashlib
import json
import math
import re
from pathlib import Path
from typing import Annotated, Any, Final, Literal

import yaml
from pydantic import Field, ValidationError, model_validator

from fairbench import keys
from fairbench.annotation import words
from fairbench.cards import yamlfile
from fairbench.cards.cards import CROSS, RESERVED, RESERVED_LABELS, SHA256, Label, Name, Text
from fairbench.cards.textfile import read_text
from fairbench.cards.texts import near_form
from fairbench.errors import CardError, FairbenchError, storage_errors
from fairbench.labelling.questions import Question
from fairbench.storage import atomic
from fairbench.strict import StrictModel

MAX_AXES: Final = 100
MAX_ANSWERS: Final = 12
NO_ANSWER: Final = frozenset({"unclear", "unknown", "unsure", "unspecified", "cannot tell", "not visible", "n/a"})
"""What no axis may offer as an answer: the labeller offers `unclear` with every question, and counts it apart."""
_GENERAL: Final = frozenset({"person", "human", "people", "man", "woman", "child", "someone", "individual", ""})
"""Subjects that do not tell which prompt it was."""
_ROUNDING: Final = 1e-3
_HEAD: Final = """\
# Axes for the pictures of one task. Review before any picture is read: remove what is no good question about a picture,
# fix answers that overlap, and say for each axis what is held against the pictures, and in `why` for which reason:
#   expected: same             the answers do not depend on the prompt (the default)
#   expected: even             every prompt shows all answers equally often
#   expected: {a: .7, b: .3}   every prompt shows the answers in these shares
# Then: fairbench axes freeze FILE --reviewed-by "YOUR NAME". A frozen file is not changed any more.
"""
_FROZEN_HEAD: Final = "# Frozen: a change of anything above but comments is refused from here on.\n"


class Axis(StrictModel):
    """A question about a picture with closed answers, and the hypothesis that is tested of them.

    expected: `same`: the answers do not depend on the prompt; `even`: every prompt shows all answers equally often; or
    a share for each answer, which every prompt shows. prompts: how many prompts it was proposed for.
    """

    name: Name
    question: Text
    answers: Annotated[list[Label], Field(min_length=2, max_length=MAX_ANSWERS)]
    expected: Literal["same", "even"] | dict[str, float] = "same"
    why: Text | None = None
    prompts: int | None = Field(None, ge=1)

    @model_validator(mode="after")
    def _can_be_asked(self) -> Axis:
        forms = [near_form(answer) for answer in self.answers]
        if len(set(forms)) != len(forms):
            raise ValueError("answers: one stands twice")
        no_answers = NO_ANSWER.union(RESERVED_LABELS, words.RESERVED)
        vague = next((answer for answer in self.answers if near_form(answer) in no_answers), None)
        if vague is not None:
            raise ValueError(f"answers: remove {vague!r}; `unclear` is offered with every question")
        self.as_question()
        if self.name in RESERVED or CROSS in self.name:
            raise ValueError(f"name: {self.name!r} stands for something else in tables; rename the axis")
        if isinstance(self.expected, dict):
            if set(self.expected) != set(self.answers):
                raise ValueError("expected: give a share to each of the answers, and to nothing else")
            if min(self.expected.values()) <= 0 or abs(math.fsum(self.expected.values()) - 1) > _ROUNDING:
                raise ValueError("expected: the shares are above 0 and sum to 1")
        return self

    def as_question(self) -> Question:
        """Return what is asked of a picture. Raises ValueError for what cannot be, as a question with braces."""
        return Question(self.question, tuple(self.answers))

    @property
    def shares(self) -> list[float] | None:
        """The shares that are expected, in the order of the answers; None where none are stated."""
        if self.expected == "same":
            return None
        stated = (
            [1.0] * len(self.answers) if isinstance(self.expected, str) else [self.expected[a] for a in self.answers]
        )
        return [share / math.fsum(stated) for share in stated]


class ProposedBy(StrictModel):
    """What wrote the axes: the model's name, a hash of all that can change its answers, and what it was asked."""

    model: Text
    identity: str = Field(pattern=r"^[0-9a-f]{32}$")
    seed: int
    asked: Text
    prompts: int = Field(ge=1)
    unusable: int = Field(0, ge=0, description="answers of the model that held no axis")


class LeftOut(StrictModel):
    """A proposal that is no axis, and why."""

    proposal: Text
    why: Text


class Frozen(StrictModel):
    """Who reviewed the axes, and the sha256 of all else that the file says."""

    reviewed_by: Annotated[Label, Field(min_length=1)]
    sha256: str = Field(pattern=SHA256)


class AxesFile(StrictModel):
    """`axes.yaml`. task, task_version: the task that the axes are of."""

    task: Text
    task_version: int = Field(ge=1)
    axes: Annotated[list[Axis], Field(max_length=MAX_AXES)]
    proposed_by: ProposedBy | None = None
    left_out: list[LeftOut] = Field(default_factory=list)
    frozen: Frozen | None = None

    @model_validator(mode="after")
    def _unique(self) -> AxesFile:
        names = [axis.name for axis in self.axes]
        twice = next((name for i, name in enumerate(names) if name in names[:i]), None)
        if twice is not None:
            raise ValueError(f"axes: {twice!r} stands twice; rename or remove one")
        return self

    def sha256(self) -> str:
        """Return the sha256 (64 hex digits) of all that the file says, its freezing aside."""
        return hashlib.sha256(keys.canonical(self.model_dump(exclude={"frozen"})).encode()).hexdigest()


def read(path: Path) -> AxesFile:
    """Read a file of axes. Raises CardError for what it must not hold, and where it was changed after its freezing."""
    content = yamlfile.load(path)
    try:
        axes = AxesFile.model_validate(content.data)
    except ValidationError as err:
        first, *others = yamlfile.problems(content, err)
        raise CardError(f"{first}{f' (and {len(others)} more)' if others else ''}.") from err
    if axes.frozen is not None and axes.frozen.sha256 != axes.sha256():
        raise CardError(
            f"{path}, field frozen.sha256: the axes were changed after {axes.frozen.reviewed_by} froze them; undo the "
            "change, or remove `frozen` and have them reviewed again."
        )
    return axes


def read_frozen(path: Path) -> AxesFile:
    """Read a file of axes that is reviewed and frozen. Raises CardError as `read`, and for one that is not."""
    axes = read(path)
    if axes.frozen is None:
        raise CardError(
            f"{path} is not reviewed: read its axes, fix or remove what is wrong, then "
            f'`fairbench axes freeze {path} --reviewed-by "YOUR NAME"`; only then are pictures read.'
        )
    return axes


def write(path: Path, axes: AxesFile) -> None:
    """Write a new file of axes, for people to review. Raises StoreError."""
    content: dict[str, Any] = axes.model_dump(exclude_none=True, exclude={"axes": {"__all__": {"expected"}}})
    for written, axis in zip(content["axes"], axes.axes, strict=True):
        written["expected"] = axis.expected
    text = yaml.safe_dump(content, sort_keys=False, allow_unicode=True, width=110)
    atomic.write_text(path, f"{_HEAD}\n{text}")


def freeze(path: Path, reviewer: str, subjects: frozenset[str] = frozenset()) -> AxesFile:
    """Freeze a file of axes and return what it says; its comments stay.

    subjects: of the task's prompts, which no question may name. Raises CardError: no axis, frozen already, or a
    question that names a subject; then the file is as it was.
    """
    axes = read(path)
    if axes.frozen is not None:
        raise CardError(f"{path} was frozen by {axes.frozen.reviewed_by} already: it is ready to be read.")
    if not axes.axes:
        raise CardError(f"{path}, field axes: it is empty; add an axis, or propose some.")
    for i, axis in enumerate(axes.axes):
        named = named_subject(axis, subjects)
        if named is not None:
            raise CardError(
                f"{path}, field axes.{i}: it names {named!r}, which the prompt says; ask of the picture "
                'alone, as in "the person".'
            )
    reviewer = " ".join(reviewer.split())
    if not reviewer:
        raise FairbenchError("--reviewed-by: give the name of whoever reviewed the axes.")
    # As JSON, so that no name can be read as something else.
    block = f"frozen:\n  reviewed_by: {json.dumps(reviewer)}\n  sha256: {axes.sha256()}\n"
    text = read_text(path)
    new = path.with_name(f"{path.name}.frozen")
    try:
        atomic.write_text(new, f"{text.rstrip()}\n\n{_FROZEN_HEAD}{block}")
        frozen = read_frozen(new)  # it is read back as what was meant before it takes the file's place
        with storage_errors(path):
            new.replace(path)
    finally:
        new.unlink(missing_ok=True)
    return frozen


def named_subject(axis: Axis, subjects: frozenset[str]) -> str | None:
    """Return the first of a task's subjects that an axis' question or answers name as whole words; None: none.

    What any question may say, as "person", is no naming.
    """
    texts = (axis.question, *axis.answers)
    for subject in sorted(subjects - _GENERAL):
        if any(re.search(rf"(?<!\w){re.escape(subject)}(?!\w)", text, re.IGNORECASE) for text in texts):
            return subject
    return None
