"""Lets a text model name several people with their probabilities, and draws one of them for each sample."""

from __future__ import annotations

import re
from collections.abc import Sequence

import numpy as np

from fairbench.errors import FairbenchError
from fairbench.methods.common import PromptMethod, ask, index_at, instead_of_subject, or_neutral, stream
from fairbench.protocols import MethodContext, PromptSample

NAME = "verbalized-sampling"
INSTRUCTION = (
    'Name {count} different people whom this prompt could show: "{prompt}". Write one line for each: its probability, '
    'a colon, and the person in a few words that end in "{subject}".'
)
_LINE = re.compile(  # list mark, number of the line, probability, colon, article, person; with Markdown or quotes
    r'[\s*•-]*(?:\d+[.)]\s+)?[\s*]*(\d+(?:\.\d+)?|\.\d+)\s*(%?)[\s*]*:[\s*"“]*(?:an?\s+)?(\S.*?)[\s*."”]*',
    re.IGNORECASE,
)


class VerbalizedSampling(PromptMethod):
    """Asks for five people (`:COUNT` for another number) with probabilities, and draws one: verbalized sampling.

    Source: Zhang et al., "Verbalized Sampling: How to Mitigate Mode Collapse and Unlock LLM Diversity", 2025 (arXiv
    2510.01171); the use for people in images, and the wording, are ours. Every sample asks anew, so
    that samples stay independent of each other. An answer without a line such as "0.2: a female Asian nurse" (its
    subject named) leaves that sample the neutral prompt, and is counted in a warning.
    """

    def __init__(self, argument: str | None) -> None:
        if not re.fullmatch(r"[1-9]\d?", argument or "5") or argument == "1":
            raise FairbenchError(f"--method {NAME}:{argument}: give the number of people to ask for, 2 to 99.")
        self._count = argument or "5"

    def rewrite(self, prompts: Sequence[PromptSample], ctx: MethodContext) -> list[str]:
        """Return the prompt of the drawn person for each sample. Raises FairbenchError where there is no text model."""
        instruction = INSTRUCTION.replace("{count}", self._count)
        texts = [(p.prompt.subject, p.prompt.text) for p in prompts]
        questions = [instruction.replace("{subject}", subject).replace("{prompt}", text) for subject, text in texts]
        answers = ask(ctx, NAME, questions, prompts)
        return or_neutral(ctx, NAME, [_drawn(a, p) for a, p in zip(answers, prompts, strict=True)], prompts)


def parse(answer: str, subject: str) -> list[tuple[float, str]]:
    """Return (probability, person) of every line that gives both and names the subject; other lines are skipped.

    Probabilities lie in (0, 1] and need not sum to 1; an article before the person is dropped.

    >>> parse("Of course!\\n0.2: a female Asian nurse\\n2. **35%**: An old nurse.", "nurse")
    [(0.2, 'female Asian nurse'), (0.35, 'old nurse')]
    """
    people = []
    for line in answer.splitlines():
        match = _LINE.fullmatch(line)
        if match and subject.casefold() in match[3].casefold():
            share = float(match[1]) / (100 if match[2] else 1)
            if 0 < share <= 1:
                people.append((share, match[3]))
    return people


def _drawn(answer: str, sample: PromptSample) -> str | None:
    people = parse(answer, sample.prompt.subject)
    if not people:
        return None
    shares = [share for share, _ in people]
    position = stream(sample.seed, f"{NAME}: which").random() * np.cumsum(shares)[-1]  # they need not sum to 1
    return instead_of_subject(sample.prompt, people[index_at(shares, position)][1])
