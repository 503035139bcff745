"""Language model: the shares it would give to the groups, from its own log-probabilities: no labeller, no pixels.

If the neutral prompt is a mixture of the groups, p(x | neutral) = sum over g of P(g) p(x | g), and no image fits two
groups, then for x drawn under the prompt of g, log p(x | neutral) - log p(x | g) = log P(g). Its mean over such x,
*summed* over tokens, estimates log P(g | neutral), at guidance 1, temperature 1 and without truncation. Where the
prompt of g draws other images than the neutral one does of g, the mean is lower, by the Kullback-Leibler divergence
between the two. A loss that all groups share cancels when the shares are scaled to sum to 1.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.special import softmax

from fairbench.audit.draws import FAILED, Draws
from fairbench.audit.estimates import Estimate, mean
from fairbench.audit.groups import Attribute
from fairbench.display.progress import Progress, blocks
from fairbench.metrics._rd import relative_diversity
from fairbench.protocols import TokenModel
from fairbench.stats.estimands import Floats, IntArray, shares

OVERLAP = 1.5
"""How far from 1 the unscaled shares may sum: 1 where groups do not overlap, K where their prompts do not differ."""
_RESAMPLES = 500
_Z_95 = 1.96


@dataclass(frozen=True, slots=True)
class LogProbBias:
    """One attribute. rd: mean over prompts of the RD of the estimated shares, this list; its interval is from
    redrawing images, so a premise that does not hold is not in it. floor: what the error of the shares alone makes of
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
    model: TokenModel, neutral_texts: Sequence[str], draws: Draws, attribute: str, block_size: int, progress: Progress
) -> tuple[Floats, Floats]:
    """Return log p(x | neutral prompt) and log p(x | its own prompt), summed over tokens, both (P, K, n).

    NaN for an image that failed. neutral_texts: (P,).
    """
    tokens = draws.tokens[attribute]
    prompts, classes, count, length = tokens.shape
    images = tokens.reshape(-1, length)
    own = [text for texts in draws.texts[attribute] for text in texts for _ in range(count)]
    neutral = [text for text in neutral_texts for _ in range(classes * count)]
    usable = np.flatnonzero(images[:, 0] != FAILED)
    sums = np.full((2, len(images)), np.nan)
    with progress.stage(f"log-probs, {attribute}", 2 * len(usable)) as bar:
        for side, texts in enumerate((neutral, own)):
            for block in blocks(usable, block_size, bar):
                token_log_probs = model.log_probs([texts[i] for i in block], images[block])
                sums[side, block] = token_log_probs.sum(axis=1, dtype=np.float64)
    under_neutral, under_own = sums.reshape(2, prompts, classes, count)
    return under_neutral, under_own


def bias(
    neutral: Floats, own: Floats, length: int, attribute: Attribute, texts: Sequence[str], counts: IntArray, seed: int
) -> LogProbBias:
    """Estimate shares from the summed log-probabilities (P, K, n) of `log_probs`.

    length: tokens per image. texts: the neutral prompts, (P,). counts: labelled faces (P, K). Prompts with a group
    without a usable image are left out.
    """
    log_ratios = neutral - own
    usable = (~np.isnan(log_ratios)).sum(axis=2).min(axis=1) > 0
    ratios = log_ratios[usable]
    log_shares = np.nanmean(ratios, axis=2)
    estimated = softmax(log_shares, axis=1)
    rd, error, floor = _rd(ratios, log_shares, np.random.default_rng([seed, 4]))
    largest_rd = 2 / len(attribute.labels)
    labelled = shares(counts[usable])
    has_face = ~np.isnan(labelled).any(axis=1)
    per_token = np.nanmean(neutral[usable], axis=2) / length
    sums = np.exp(log_shares).sum(axis=1) if usable.any() else np.array([math.nan])
    low, median, high = (float(q) for q in np.quantile(sums, [0.25, 0.5, 0.75]))
    return LogProbBias(
        attribute.name,
        images=int((~np.isnan(ratios)).sum()),
        rd=Estimate(rd, max(rd - _Z_95 * error, 0.0), min(rd + _Z_95 * error, largest_rd), int(usable.sum())),
        floor=floor,
        closure=median,
        closure_quartiles=(low, high),
        labelled_rd=_mean_or_none(relative_diversity(labelled[has_face])),
        distance=_mean_or_none(np.abs(estimated - labelled)[has_face].sum(axis=1) / 2),
        per_token={label: mean(per_token[:, k]) for k, label in enumerate(attribute.labels)},
        shares={
            text: dict(zip(attribute.labels, row.tolist(), strict=True))
            for text, row in zip(itertools.compress(texts, usable), estimated, strict=True)
        },
    )


def _rd(ratios: Floats, log_shares: Floats, rng: np.random.Generator) -> tuple[float, float, float]:
    """Return the task mean of RD, its standard error, and the RD that the error alone makes of equal shares."""
    if not len(ratios):
        return math.nan, math.nan, math.nan
    samples = ratios.shape[2]
    redrawn_rd, equal_rd = np.empty(_RESAMPLES), np.empty(_RESAMPLES)
    # A redrawn mean of n has (n - 1)/n of the variance that it stands for.
    widening = math.sqrt(samples / max(samples - 1, 1))
    for i in range(_RESAMPLES):
        indices = rng.integers(samples, size=ratios.shape)
        error = (_means(np.take_along_axis(ratios, indices, axis=2), log_shares) - log_shares) * widening
        redrawn_rd[i] = _mean_rd(log_shares + error)
        equal_rd[i] = _mean_rd(error)  # the same error around equal shares
    return _mean_rd(log_shares), float(redrawn_rd.std(ddof=1)), float(np.quantile(equal_rd, 0.95))


def _mean_rd(log_shares: Floats) -> float:
    return float(relative_diversity(softmax(log_shares, axis=1)).mean())


def _means(redrawn: Floats, otherwise: Floats) -> Floats:
    """Return the means over the last axis, NaN left out; `otherwise` where a redraw holds only images that failed."""
    usable = ~np.isnan(redrawn)
    n = usable.sum(axis=-1)
    total = np.where(usable, redrawn, 0.0).sum(axis=-1)
    return np.where(n > 0, total / np.maximum(n, 1), otherwise)


def _mean_or_none(values: NDArray[np.floating]) -> float | None:
    return float(values.mean()) if len(values) else None
