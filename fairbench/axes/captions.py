"""What captions say that a model's pictures hold besides what was asked, and without it: three measures of Vice et al.

Source: Vice et al., "Quantifying Bias in Text-to-Image Generative Models", 2023 (arXiv 2312.13053), "Try Before You
Bias". Formulas are theirs; the words that count are ours (`words`), and the miss rate is read from captions here, where
theirs asks CLIP: values of the two tools are not comparable.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np

from fairbench.axes.words import things, with_persons
from fairbench.stats.estimands import Floats, IntArray
from fairbench.stats.intervals import SCOPES, Interval, PromptValues, Scope, interval_of, share_of_prompts
from fairbench.stats.object_counts import distribution_bias, even_distribution_bias

_SEED: Final = 20231220


@dataclass(frozen=True, slots=True)
class AskedFor:
    """What a prompt asks for, in English. subject: what it is about, empty where nothing says so."""

    text: str
    subject: str = ""


@dataclass(frozen=True, slots=True)
class Thing:
    """A thing that captions name and their prompts do not; images: whose captions name it."""

    name: str
    images: int


@dataclass(frozen=True, slots=True)
class CaptionMeasures:
    """What captions say of N images of P prompts; intervals are for this list of prompts, and for others.

    hallucination: 1 - |things of the prompt and the caption| / |things of either|, mean over images, then prompts.
    missed: share of the images whose captions name nothing of what the prompt asks for. unnamed_subject: the same of
    the subject alone; None where no prompt has one. distribution_bias: the area of `object_counts`, which has no
    interval: it grows with the images. if_even: the same where chance alone spreads the mentions over the things.
    empty: images whose captions are empty, which count nowhere.
    """

    images: int
    prompts: int
    empty: int
    hallucination: dict[Scope, Interval]
    missed: dict[Scope, Interval]
    unnamed_subject: dict[Scope, Interval] | None
    distribution_bias: float
    if_even: float
    things: list[Thing]


def measures(prompts: Sequence[AskedFor], prompt: IntArray, captions: Sequence[str]) -> CaptionMeasures:
    """Return what captions say. prompt: (N,), the index of each caption's prompt."""
    own_words = [things(p.text) for p in prompts]
    asked = [with_persons(words) for words in own_words]
    subjects = [with_persons(things(p.subject)) for p in prompts]
    mentions: Counter[str] = Counter()
    distances, missed, unnamed = (np.full(len(captions), np.nan) for _ in range(3))
    empty = 0
    for i, (caption, p) in enumerate(zip(captions, prompt.tolist(), strict=True)):
        named = things(caption)
        if not named:
            empty += 1
            continue
        mentions.update(named - own_words[p])
        shown = with_persons(named)
        if asked[p]:
            distances[i], missed[i] = jaccard_distance(asked[p], shown), not asked[p] & shown
        if subjects[p]:
            unnamed[i] = not subjects[p] & shown
    counts = np.array(list(mentions.values()), dtype=np.int64)
    return CaptionMeasures(
        images=len(captions) - empty,
        prompts=len(np.unique(prompt)),
        empty=empty,
        hallucination=_intervals(_means(distances, prompt, len(prompts))),
        missed=_intervals(_shares(missed, prompt, len(prompts))),
        unnamed_subject=None if np.isnan(unnamed).all() else _intervals(_shares(unnamed, prompt, len(prompts))),
        distribution_bias=distribution_bias(counts),
        if_even=even_distribution_bias(int(counts.sum()), len(counts), np.random.default_rng(_SEED)),
        things=[Thing(*each) for each in sorted(mentions.items(), key=lambda item: (-item[1], item[0]))],
    )


def jaccard_distance(asked: frozenset[str], shown: frozenset[str]) -> float:
    """Return 1 - |intersection| / |union|: 0 where what is shown is what was asked for, 1 where they share nothing.

    >>> jaccard_distance(frozenset({"nurse", "person"}), frozenset({"person", "blue", "hat"}))
    0.75
    """
    return 1 - len(asked & shown) / len(asked | shown)


def _means(values: Floats, prompt: IntArray, prompts: int) -> PromptValues:
    """Return the means of numbers in [0, 1] of every prompt, and the variance that drawing its images gives them.

    As for shares, images that are all alike must not have an error of 0: the prompts share one image at either end of
    the range. A prompt of one image has the others' mean variance; where all have one, the largest there can be.
    """
    known = ~np.isnan(values)
    n = np.bincount(prompt[known], minlength=prompts)
    mean = np.where(n > 0, np.bincount(prompt[known], values[known], prompts) / np.maximum(n, 1), np.nan)
    squares = np.bincount(prompt[known], (values[known] - mean[prompt[known]]) ** 2, prompts)
    own = np.where(n > 1, (squares + 0.5 / max(int((n > 0).sum()), 1)) / np.maximum(n - 1, 1), np.nan)
    borrowed = float(np.nanmean(own)) if (n > 1).any() else 0.25
    return PromptValues(mean, np.where(n > 0, np.where(n > 1, own, borrowed) / np.maximum(n, 1), np.nan))


def _shares(values: Floats, prompt: IntArray, prompts: int) -> PromptValues:
    """Return the share of ones among zeros and ones, of every prompt."""
    known = ~np.isnan(values)
    cell = 2 * prompt[known] + values[known].astype(np.int64)
    return share_of_prompts(np.bincount(cell, minlength=2 * prompts).reshape(prompts, 2), 1)


def _intervals(values: PromptValues) -> dict[Scope, Interval]:
    return {scope: interval_of(values, scope, 0.95, 0.0, 1.0) for scope in SCOPES}
