"""What a reader of scores has to know: prompts that a scorer's tokenizer cuts, other languages, images without a value.

Computed from the prompts and the stored scores at the end of every run, so that a resumed run says the same.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Sequence

from fairbench import contracts, registry
from fairbench.measure.scores import Scores
from fairbench.notices import notice
from fairbench.protocols import Scorer
from fairbench.types import NO_TEXT, Prompt

ANY_LANGUAGE = "*"
"""Stands among a scorer's languages if its model reads them all."""


def report_prompts(name: str, scorer: Scorer, prompts: Sequence[Prompt], language: str | None) -> None:
    """Report prompts that a scorer does not read as they are written. language: the task's; None: it has none."""
    texts = [p.text for p in prompts if p.template_id != NO_TEXT]
    if not scorer.spec.needs_prompt or not texts:
        return
    cut = getattr(scorer, "cut", None)
    if cut is not None:
        with contracts.guard(registry.title("scorers", name)):
            too_long = [text for text, is_cut in zip(texts, cut(texts), strict=True) if is_cut]
        if too_long:
            notice(
                "prompt-cut", f"{name} reads {len(too_long)} of {len(texts)} prompts up to its model's context only",
                count=len(too_long), examples=too_long,
            )  # fmt: skip
    languages = getattr(scorer, "languages", None)
    if languages is not None:
        _report_language(name, [str(known).lower() for known in languages], texts, language)


def _report_language(name: str, languages: Sequence[str], texts: Sequence[str], language: str | None) -> None:
    if ANY_LANGUAGE in languages:
        return
    read = " and ".join(languages)
    primary = None if language is None else language.lower().replace("_", "-").split("-")[0]
    if primary is not None and primary not in [known.split("-")[0] for known in languages]:
        notice("language", f"{name} compares with prompts in {language}, but its model was made for {read}")
        return
    # English is what a task says that says nothing: its prompts' letters tell more.
    foreign = [text for text in texts if not is_latin(text)] if primary in (None, "en") else []
    if foreign and all(known.split("-")[0] == "en" for known in languages):
        notice(
            "language", f"{name} compares with {len(foreign)} of {len(texts)} prompts whose letters are not Latin, but "
            f"its model was made for {read}", count=len(foreign), examples=foreign,
        )  # fmt: skip


def is_latin(text: str) -> bool:
    """Whether at least half of a text's letters are Latin; a text without letters is.

    >>> is_latin("a nurse"), is_latin("Krankenschwester für Å"), is_latin("護士"), is_latin("медсестра"), is_latin("1")
    (True, True, False, False, True)
    """
    letters = [character for character in text if character.isalpha()]
    latin = sum(unicodedata.name(letter, "").startswith(("LATIN", "FULLWIDTH LATIN")) for letter in letters)
    return 2 * latin >= len(letters)


def report_failures(name: str, scores: Scores) -> None:
    """Report how many images a scorer has no value of, and why."""
    if scores.errors:
        notice(
            "score-failed", f"{name} has no value for {len(scores.errors)} of {scores.statuses.total()} images",
            count=len(scores.errors), examples=sorted(set(scores.errors)),
        )  # fmt: skip
