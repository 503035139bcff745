"""What the words of a system prompt do, beside those of a text of the same length that has nothing to do with people.

Any text before a prompt moves what is drawn. So a run under a system prompt is held against its control, the same model
under an irrelevant text: the difference of the two is what the words themselves do.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from fairbench.comparison.effects import effects
from fairbench.comparison.margins import Margins
from fairbench.comparison.sides import Side
from fairbench.comparison.verdicts import CONCENTRATION, Row, judged
from fairbench.display.labels import spaced
from fairbench.display.numbers import number, p_value, with_interval
from fairbench.runs.system_prompt import irrelevant


@dataclass(frozen=True, slots=True)
class Wrappers:
    """Runs of one model that differ in the system prompt. rows: run minus control, of the primary attributes on this
    list, Holm-adjusted over all of them. controls: letters of the controls. words: letter -> words of its text, None
    for the text that the model's card or code has.
    """

    rows: list[Row]
    controls: list[str]
    words: dict[str, int | None]


def of(sides: Sequence[Side], margins: Margins, alpha: float) -> Wrappers | None:
    """Return what the system prompts do; None where the runs are not of one model under several of them."""
    if len({(side.run.record.method, _model(side)) for side in sides}) > 1 or _model(sides[0]) is None:
        return None
    texts = {side.letter: _text(side) for side in sides}
    if len(set(texts.values())) < len(sides):
        return None
    words = {letter: None if text is None else len(text.split()) for letter, text in texts.items()}
    controls = [side for side in sides if _is_irrelevant(texts[side.letter])]
    rows: list[Row] = []
    for side in sides:
        if side in controls or texts[side.letter] == "":
            continue
        control = _control_of(words[side.letter], controls, words)
        if control is not None:
            pairs = effects(control, side, margins, alpha)[0]
            rows += [r for r in pairs if r.primary and (r.estimand, r.scope) == (CONCENTRATION, "this list")]
    return Wrappers(judged(rows, alpha), [side.letter for side in controls], words)


def sentences(wrappers: Wrappers) -> Iterator[str]:
    """Yield what may be said: each run against its control, or that there is none."""
    own = [letter for letter, words in wrappers.words.items() if letter not in wrappers.controls and words != 0]
    for letter in own:
        rows = [row for row in wrappers.rows if row.run == letter]
        if not rows:
            yield (
                f"System prompt of {letter}: any text of its length may do the same; a run under --system-prompt "
                "irrelevant:FILE, of as many words, would tell."
            )
            continue
        control = rows[0].baseline
        values = (f"{spaced(r.attribute)} {_value(r)}" for r in rows)
        pair = f"{letter} - {control}{_lengths(wrappers, letter, control)}"
        yield f"System prompt of {letter}, its own words alone ({pair}): {'; '.join(values)}."


def _value(row: Row) -> str:
    tested = "" if math.isnan(row.p_adjusted) else f", p {p_value(row.p_adjusted)}"
    return f"{with_interval(row.effect, row.low, row.high) or number(row.effect)}{tested}"


def _lengths(wrappers: Wrappers, letter: str, control: str) -> str:
    ours, theirs = wrappers.words[letter], wrappers.words[control]
    if ours is None:
        return f"; the control has {theirs} words, how many {letter} has the card does not say"
    return f"; both {ours} words" if ours == theirs else f"; {ours} and {theirs} words"


def _model(side: Side) -> str | None:
    """Return how the run's model was named, without its system prompt; None where the run does not say."""
    settings = side.run.record.settings
    return None if settings is None else settings.model


def _text(side: Side) -> str | None:
    """Return the text before each prompt: "" for none, None for one that only the model's own code knows."""
    settings = side.run.record.settings
    if settings is not None and settings.system_prompt is not None:
        return settings.system_prompt
    declared = side.run.record.model.sampling.get("system_prompt")
    return declared if isinstance(declared, str) else None


def _is_irrelevant(text: str | None) -> bool:
    return bool(text) and text == irrelevant(len(str(text).split()))


def _control_of(words: int | None, controls: Sequence[Side], of: dict[str, int | None]) -> Side | None:
    """Return the control of as many words; where there is but one, that one."""
    same = [side for side in controls if of[side.letter] == words]
    return same[0] if same else controls[0] if len(controls) == 1 else None
