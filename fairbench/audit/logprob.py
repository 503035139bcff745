"""Language model: how it would share out the groups, from its own log-probabilities: no labeller, no pixels.

If the neutral prompt is a mixture of the groups, p(x | neutral) = sum over g of P(g) p(x | g), and no image fits two
groups, then for x drawn under the prompt of g, log p(x | neutral) - log p(x | g) = log P(g). Its mean over such x,
*summed* over tokens, estimates log P(g | neutral), at guidance 1, temperature 1 and without truncation. Where the
prompt of g draws other images than the neutral one does of g, the mean is lower, by the Kullback-Leibler divergence
between the two. What all groups lose alike cancels when the shares are scaled to sum to 1.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.special import softmax

from fairbench.audit.draws import FAILED, Draws
from fairbench.audit.estimates import Estimate, mean
from fairbench.audit.groups import Attribute
from fairbench.display.progress import Progress
from fairbench.metrics.rd import relative_diversity as rd
from fairbench.protocols import TokenModel
from fairbench.stats.estimands import Floats, IntArray, shares
from fairbench.types import Prompt

OVERLAP = 1.5
"""The unscaled shares of groups that do not overlap sum to 1; of groups that the prompts do not tell apart, to K."""
_RESAMPLES = 500


@dataclass(frozen=True, slots=True)
class LogProbBias:
    """One attribute. rd: mean over prompts of the RD of the estimated shares, these prompts; its interval is from
    redrawing images, so what the premise gets wrong is not in it. floor: what the error of the shares alone makes of
    equal ones. closure: the median over prompts of the sum of the unscaled shares, 1 where the premise holds;
    closure_quartiles: how far prompts differ in it. shares: prompt -> label -> share.

    labelled_rd: the same mean from the labels of the neutral images; distance: mean over prompts of half the sum of
    |estimated - labelled share|; None where no face was found. per_token: label -> mean log-probability of a token
    under the neutral prompt, over prompts: what BPO balances.
    """

    attribute: str
    images: int
    rd: Estimate
    floor: float
    closure: float
    closure_quartiles: tuple[float, float]
    labelled_rd: float | None
    distance: float | None
    per_token: dict[str, Estimate]
    shares: dict[str, dict[str, float]]


def log_probs(
    model: TokenModel, neutral_texts: Sequence[str], draws: Draws, attribute: str, block: int, progress: Progress
) -> tuple[Floats, Floats]:
    """Return log p(x | neutral prompt) and log p(x | its own prompt), summed over tokens, both (P, K, n).

    NaN for an image that failed. neutral_texts: (P,).
    """
    tokens = draws.tokens[attribute]
    prompts, classes, count, length = tokens.shape
    rows = tokens.reshape(-1, length)
    own = [text for texts in draws.texts[attribute] for text in texts for _ in range(count)]
    plain = [text for text in neutral_texts for _ in range(classes * count)]
    fine = np.flatnonzero(rows[:, 0] != FAILED)
    found = np.full((2, len(rows)), np.nan)
    with progress.stage(f"log-probs, {attribute}", 2 * len(fine)) as bar:
        for side, texts in enumerate((plain, own)):
            for start in range(0, len(fine), block):
                part = fine[start : start + block]
                found[side, part] = model.log_probs([texts[i] for i in part], rows[part]).sum(axis=1, dtype=np.float64)
                bar.advance(len(part))
    both = found.reshape(2, prompts, classes, count)
    return both[0], both[1]


def bias(
    plain: Floats,
    own: Floats,
    length: int,
    attribute: Attribute,
    prompts: Sequence[Prompt],
    counts: IntArray,
    seed: int,
) -> LogProbBias:
    """Estimate shares from summed log-probabilities (P, K, n). length: tokens an image. counts: labelled faces (P, K).

    Prompts with a group of which no image could be used are left out.
    """
    ratio = plain - own
    usable = (~np.isnan(ratio)).sum(axis=2).min(axis=1) > 0
    kept = ratio[usable]
    log_shares = np.nanmean(kept, axis=2)
    estimated = softmax(log_shares, axis=1)
    value, error, floor = _rd(kept, log_shares, np.random.default_rng([seed, 4]))
    labelled = shares(counts[usable])
    faces = ~np.isnan(labelled).any(axis=1)
    per_token = np.nanmean(plain[usable], axis=2) / length
    low, median, high = (
        np.quantile(np.exp(log_shares).sum(axis=1), [0.25, 0.5, 0.75]) if usable.any() else [math.nan] * 3
    )
    names = [p.text for p, use in zip(prompts, usable, strict=True) if use]
    return LogProbBias(
        attribute.name,
        int((~np.isnan(kept)).sum()),
        Estimate(
            value, max(value - 1.96 * error, 0.0), min(value + 1.96 * error, 2 / ratio.shape[1]), int(usable.sum())
        ),
        floor,
        float(median),
        (float(low), float(high)),
        _mean_or_none(rd(labelled[faces])),
        _mean_or_none(np.abs(estimated - labelled)[faces].sum(axis=1) / 2),
        {label: mean(per_token[:, k]) for k, label in enumerate(attribute.labels)},
        {n: dict(zip(attribute.labels, row.tolist(), strict=True)) for n, row in zip(names, estimated, strict=True)},
    )  # fmt: skip


def _rd(ratio: Floats, log_shares: Floats, rng: np.random.Generator) -> tuple[float, float, float]:
    """Return the task mean of RD, its standard error, and the RD that the error alone makes of equal shares."""
    if not len(ratio):
        return math.nan, math.nan, math.nan
    value = float(rd(softmax(log_shares, axis=1)).mean())
    again, nothing = np.empty(_RESAMPLES), np.empty(_RESAMPLES)
    # A redrawn mean of n has (n - 1)/n of the variance that it stands for.
    wider = math.sqrt(ratio.shape[2] / max(ratio.shape[2] - 1, 1))
    for i in range(_RESAMPLES):
        chosen = rng.integers(ratio.shape[2], size=ratio.shape)
        away = (_means(np.take_along_axis(ratio, chosen, axis=2), log_shares) - log_shares) * wider
        again[i] = rd(softmax(log_shares + away, axis=1)).mean()
        nothing[i] = rd(softmax(away, axis=1)).mean()
    return value, float(again.std(ddof=1)), float(np.quantile(nothing, 0.95))


def _means(drawn: Floats, otherwise: Floats) -> Floats:
    """Mean over the last axis, NaN left out; `otherwise` where a redraw hit only images that failed."""
    known = ~np.isnan(drawn)
    n = known.sum(axis=-1)
    total = np.where(known, drawn, 0.0).sum(axis=-1)
    return np.where(n > 0, total / np.maximum(n, 1), otherwise)


def _mean_or_none(values: NDArray[np.floating]) -> float | None:
    return float(values.mean()) if len(values) else None
