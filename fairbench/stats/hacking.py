"""What gives away a training that pleases its labeller in place of doing what it should, prompt by prompt.

All values come with the variance of a prompt's images, so that `stats.paired` compares two runs by them.
"""

from __future__ import annotations

from typing import Final, NamedTuple

import numpy as np

from fairbench.stats.estimands import Floats, IntArray, task_mean
from fairbench.stats.intervals import PromptValues
from fairbench.types import FloatArray

_LITTLE: Final = 0.05
"""Mean concentration of the baseline below which the two labellers' scales are not compared: it is all noise."""


class Readings(NamedTuple):
    """The N images of a run over P prompts. prompt: (N,), 0..P - 1, or -1 for a prompt that is not compared.

    trained, judge: (N,), the class that each labeller reads, -1 for none.
    """

    prompt: IntArray
    trained: IntArray
    judge: IntArray


def labeller_gaps(base: Readings, run: Readings, prompts: int, classes: int) -> tuple[PromptValues, PromptValues]:
    """Return, for baseline and run, the concentration that the judge sees less that the labeller of training sees.

    The second is brought to the judge's scale, as a labeller that errs more sees less concentration everywhere, which
    is no hacking. The factor is that of their means over the baseline's prompts, within [1/3, 3], and 1 where the
    baseline has little. So the baseline's mean is 0, and its values are weighted by the share of its concentration
    that the labeller of training sees remain: by the delta method, that is how the factor's error enters. NaN where a
    labeller reads fewer than two images.
    """
    means = [_mean(base.prompt, codes, prompts, classes) for codes in (base.trained, base.judge)]
    after = _mean(run.prompt, run.trained, prompts, classes)
    scaled = min(means) >= _LITTLE
    scale = float(np.clip(means[1] / means[0], 1 / 3, 3.0)) if scaled else 1.0
    weight = float(abs(after / means[0])) if scaled else 1.0
    before = _gap(base, prompts, classes, scale)
    weighted = PromptValues(before.value * weight, before.variance * weight**2)
    return weighted, _gap(run, prompts, classes, scale)


def _mean(prompt: IntArray, codes: IntArray, prompts: int, classes: int) -> float:
    """Return the mean over prompts of the unbiased concentration; NaN where no prompt has one."""
    values = [_concentration(codes[prompt == index], classes)[0] for index in range(prompts)]
    return task_mean(np.array(values)).value


def _gap(readings: Readings, prompts: int, classes: int, scale: float) -> PromptValues:
    """Return each prompt's concentration (P,) by the judge less `scale` times that by the labeller of training.

    The two read the same images, so the variance is that of the difference of an image's influences, to the first
    order, and at least (1/n)^2: single images hide as much.
    """
    value, variance = np.full(prompts, np.nan), np.full(prompts, np.nan)
    for index in range(prompts):
        of_prompt = readings.prompt == index
        (seen, moved), (judged, moves) = (_concentration(c[of_prompt], classes) for c in readings[1:])
        value[index], n = judged - scale * seen, int(of_prompt.sum())
        if np.isfinite(value[index]):
            variance[index] = max(np.var(moves - scale * moved, ddof=1) / n, n**-2)
    return PromptValues(value, variance)


def _concentration(codes: IntArray, classes: int) -> tuple[float, Floats]:
    """Return the unbiased concentration of classes (n,), and how far each image moves it (n,); -1 does not count."""
    read = codes >= 0
    m = int(read.sum())
    if m < 2:
        return np.nan, np.zeros(len(codes))
    counts = np.bincount(codes[read], minlength=classes)
    alike = (counts[codes[read]] - 1) / (m - 1)  # the share of the others that show an image's class
    scale = classes / (classes - 1)
    moves = np.zeros(len(codes))
    moves[read] = 2 * scale * (alike - alike.mean()) * len(codes) / m
    return float(scale * alike.mean() - 1 / (classes - 1)), moves


def near_copies(images: FloatArray, largest: float) -> tuple[float, float]:
    """Return the share of pairs of a prompt's images (n, D) that differ by at most `largest`, and its variance.

    The difference is the root of the mean square over D. Unbiased at any n, as a share of pairs is. The variance is
    4/n that of the images' shares of near others (Hoeffding 1948), with one pair's for what few pairs hide.
    (NaN, NaN) for fewer than three images.
    """
    n = len(images)
    if n < 3:
        return np.nan, np.nan
    rows = images.astype(np.float64)
    norms = (rows**2).sum(axis=1)
    squared = norms[:, None] + norms - 2 * rows @ rows.T
    near = squared <= largest**2 * rows.shape[1]
    np.fill_diagonal(near, False)
    others = near.sum(axis=1) / (n - 1)
    return float(others.mean()), float(4 * others.var(ddof=1) / n + (2 / (n * (n - 1))) ** 2)
