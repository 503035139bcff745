"""What a text model is asked for axes, how its answers are read, and how those of many prompts become one list."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Final

from pydantic import ValidationError

from fairbench import keys
from fairbench.axes.file import NO_ANSWER, Axis, LeftOut, named_subject
from fairbench.cards.texts import hidden_character, near_form
from fairbench.types import Prompt

PER_PROMPT: Final = 5
"""Axes that one answer is asked for."""
LIMIT: Final = 400
"""Tokens of an answer, at most."""
INSTRUCTION: Final = (
    "A program draws many pictures for one description. Name {count} things that the pictures could always show in the "
    "same way although the description does not ask for it, such as what a person wears or where they are. Write one "
    "line for each, in exactly this form, and nothing else:\n"
    "name | question about one picture | answer / answer / answer\n"
    'The question must not repeat the description, and says only "the person" or "the picture". The answers must '
    "be short, exclude each other and cover most pictures.\n"
    "Example: glasses | Does the person wear glasses? | yes / no\n"
    'The description: "{prompt}"'
)
_MARKS: Final = " \t*`_\"'“”-•"
_MAX_SHOWN: Final = 200
Write = Callable[[Sequence[str], Sequence[int]], list[str]]
"""Questions and a seed for each -> the text model's answers."""


@dataclass(frozen=True, slots=True)
class Line:
    """One proposed axis, as a line of an answer says it; of which prompt."""

    name: str
    question: str
    answers: tuple[str, ...]
    prompt: int


def propose(
    prompts: Sequence[Prompt], write: Write, seed: int, *, per_prompt: int = PER_PROMPT, most: int = 20
) -> tuple[list[Axis], list[LeftOut], int]:
    """Ask for axes once per prompt; return the axes, what was left out and why, and the answers that held none.

    seed: of the answers' randomness. most: axes that are kept, of those that most prompts share.
    """
    questions = [asked(per_prompt, p.text) for p in prompts]
    seeds = [int.from_bytes(keys.digest("axes", [question, seed])[:8], "big") >> 1 for question in questions]
    lines: list[Line] = []
    unusable = 0
    for index, answer in enumerate(write(questions, seeds)):
        own = list(lines_of(answer, index))
        unusable += not own
        lines += own
    axes, left_out = merged(lines, frozenset(p.subject for p in prompts), most)
    return axes, left_out, unusable


def asked(count: int, prompt: str = "{prompt}") -> str:
    """Return what the model is asked for one prompt."""
    return INSTRUCTION.replace("{count}", str(count)).replace("{prompt}", prompt)


def lines_of(answer: str, prompt: int = 0) -> Iterator[Line]:
    """Yield the lines of an answer that have the form asked for; marks of lists and Markdown are taken off.

    >>> [line.answers for line in lines_of("1. **Glasses** | Are there glasses? | Yes / No / unclear")]
    [('yes', 'no')]
    """
    for text in answer.splitlines():
        parts = [part.strip(_MARKS) for part in text.strip().strip("|").split("|")]
        if len(parts) != 3:
            continue
        name = re.sub(r"^\d+[.)]\s*", "", parts[0]).strip(_MARKS)
        answers = [near_form(part.strip(_MARKS + ".")) for part in parts[2].split("/")]
        known = tuple(dict.fromkeys(a for a in answers if a and a not in NO_ANSWER))
        if name and parts[1].endswith("?") and known:
            yield Line(name, " ".join(parts[1].split()), known, prompt)


def merged(lines: Sequence[Line], subjects: frozenset[str], most: int) -> tuple[list[Axis], list[LeftOut]]:
    """Return one axis per name, the name of most prompts first, and the proposals that are none.

    Of several wordings of one name the most frequent stands, of equally frequent ones the first; names are compared
    without case, blanks and punctuation. subjects: of the task, which no question may name.
    """
    groups: dict[str, list[Line]] = {}
    for line in lines:
        groups.setdefault(_slug(line.name), []).append(line)
    found: list[Axis] = []
    left_out: list[LeftOut] = []
    by_prompts = sorted(groups.items(), key=lambda item: -len({line.prompt for line in item[1]}))
    for name, group in by_prompts:
        wordings = Counter((line.question, line.answers) for line in group)
        problems: list[LeftOut] = []
        for (question, answers), _ in wordings.most_common():
            axis = _axis(name, question, answers, len({line.prompt for line in group}), subjects)
            if isinstance(axis, Axis):
                found.append(axis)
                break
            problems.append(LeftOut(proposal=_shown(f"{name} | {question} | {' / '.join(answers)}"), why=axis))
        else:
            left_out += problems[:1]
    late = [LeftOut(proposal=axis.name, why=f"beyond the first {most}") for axis in found[most:]]
    return found[:most], [*left_out, *late]


def _axis(name: str, question: str, answers: Sequence[str], prompts: int, subjects: frozenset[str]) -> Axis | str:
    """Return the axis, or why it is none."""
    try:
        axis = Axis(name=name, question=question, answers=list(answers), prompts=prompts)
    except ValidationError as err:
        first = err.errors()[0]
        where = ".".join(map(str, first["loc"]))
        return f"{where}: {first['msg'].removeprefix('Value error, ')}".removeprefix(": ")
    subject = named_subject(axis, subjects)
    return axis if subject is None else f"it names {subject!r}, which the prompt says"


def _slug(name: str) -> str:
    """Return the name as axes are called: small letters, digits and hyphens."""
    return re.sub(r"[^a-z0-9]+", "-", near_form(name)).strip("-")[:40].strip("-")


def _shown(text: str) -> str:
    """Return what a model wrote, as a file may hold it."""
    return "".join(c for c in text if hidden_character(c) is None)[:_MAX_SHOWN]
