"""What the answers about a run's pictures say of each axis: shares, how uneven they are, and tests over all axes."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Final

import numpy as np

from fairbench import keys
from fairbench.axes.file import Axis
from fairbench.stats.answer_tests import same_in_all_prompts, stated_in_all_prompts
from fairbench.stats.estimands import IntArray
from fairbench.stats.intervals import SCOPES, Interval, Scope, concentration_interval, interval_of, share_of_prompts
from fairbench.stats.multiplicity import benjamini_hochberg
from fairbench.stats.pooled import pooled_concentration

LEVEL: Final = 0.05
"""False discovery rate over the axes."""
MAX_UNCLEAR: Final = 0.5
"""Share of pictures without an answer above which an axis is not tested: those that have one are then a selection."""


@dataclass(frozen=True, slots=True)
class AnswerShare:
    """The share of an answer among the pictures that have one, mean over prompts. expected: None where none is."""

    answer: str
    expected: float | None
    share: dict[Scope, Interval]


@dataclass(frozen=True, slots=True)
class Finding:
    """What the answers say of one axis.

    counts: (P, K), pictures of each prompt with each answer. unclear, unread: pictures of which the labeller says that
    they do not tell, and whose answer names no option. in_prompt: concentration of the answers within prompts (OpenBias
    calls that context-aware), together: of all answers (context-free); both are 0 on average where all are equally
    likely, so what prompts do with each other is the difference. p: of what is expected; q: the same, adjusted for the
    axes that were tested (Benjamini-Hochberg); NaN, with the reason in `untested`, where nothing was.
    """

    axis: Axis
    counts: IntArray
    unclear: int
    unread: int
    answers: list[AnswerShare]
    in_prompt: Interval
    together: float
    p: float
    untested: str | None
    q: float = math.nan

    @property
    def pictures(self) -> int:
        """Pictures that the axis was asked of."""
        return int(self.counts.sum()) + self.unclear + self.unread

    @property
    def found(self) -> bool:
        """Whether the pictures do not show what is expected, at LEVEL over all axes."""
        return self.q <= LEVEL

    @property
    def verdict(self) -> str:
        """The finding in a word or two."""
        if self.untested is not None:
            return "not tested"
        if not self.found:
            return "not shown"
        return {"same": "prompts differ", "even": "uneven"}.get(str(self.axis.expected), "other shares")


def findings(axes: Sequence[Axis], prompt: IntArray, codes: IntArray, prompts: int, unread: int) -> list[Finding]:
    """Return what was found of each axis.

    prompt: (N,), the prompt of each picture, 0 to prompts - 1. codes: (N, axes), an index among the axis' answers, a
    negative number where there is none; `unread` is that of an answer which names no option. Each axis has random
    numbers of its own: adding one changes no other's p-value.
    """
    found = [_finding(axis, prompt, codes[:, i], prompts, unread) for i, axis in enumerate(axes)]
    adjusted = benjamini_hochberg([each.p for each in found])
    return [replace(each, q=float(q)) for each, q in zip(found, adjusted, strict=True)]


def _finding(axis: Axis, prompt: IntArray, code: IntArray, prompts: int, unread: int) -> Finding:
    size = len(axis.answers)
    answered = code >= 0
    cells = np.bincount(prompt[answered] * size + code[answered], minlength=prompts * size)
    counts = cells.reshape(prompts, size)
    expected = axis.shares
    untested = _untested(counts, len(code), same=expected is None)
    rng = np.random.default_rng(list(keys.digest("axis test", [axis.name, axis.question, axis.answers])))
    p = math.nan
    if untested is None:
        p = same_in_all_prompts(counts, rng) if expected is None else stated_in_all_prompts(counts, expected, rng)
    return Finding(
        axis=axis,
        counts=counts,
        unclear=int((~answered & (code != unread)).sum()),
        unread=int((code == unread).sum()),
        answers=[
            AnswerShare(answer, None if expected is None else expected[k], _share(counts, k))
            for k, answer in enumerate(axis.answers)
        ],
        in_prompt=concentration_interval(counts, "this list"),
        together=float(pooled_concentration(counts).value[0]),
        p=p,
        untested=untested,
    )


def _untested(counts: IntArray, pictures: int, *, same: bool) -> str | None:
    """Return why nothing is tested; None where it is. same: whether prompts are held against each other."""
    answered = int(counts.sum())
    if not answered:
        return "no picture has an answer"
    if answered < (1 - MAX_UNCLEAR) * pictures:
        return "most pictures have no answer"
    if same and (counts.sum(axis=1) > 0).sum() < 2:
        return "one prompt alone has answers"
    if same and (counts.sum(axis=0) > 0).sum() < 2:
        return "all answers are one"
    return None


def _share(counts: IntArray, k: int) -> dict[Scope, Interval]:
    values = share_of_prompts(counts, k)
    return {scope: interval_of(values, scope, 0.95, 0.0, 1.0) for scope in SCOPES}
