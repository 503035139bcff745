"""Language model: how far image tokens under the neutral prompt lie from those under attribute-specified prompts.

Liu et al. 2025 compare token histograms by the Jensen-Shannon divergence (JSD, base 2) and count how often the closest
attribute is the one that the neutral images show most. Finite sets differ even where the prompt is the same, so beside
every divergence is that of two neutral sets of the same size. Whole images are assigned to them at random, because the
tokens of one image depend on each other.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray
from scipy.stats import binom

from fairbench.audit.draws import FAILED, Tokens
from fairbench.audit.estimates import Estimate, mean, share
from fairbench.audit.groups import Attribute
from fairbench.stats.estimands import Floats, IntArray

KINDS: Final = ("histogram", "position-wise")
DEALS = 20
"""How often the neutral images of a prompt are divided into two sets at random."""


@dataclass(frozen=True, slots=True)
class GroupDivergence:
    """Means over prompts. jsd: neutral against the group's prompts. excess: that less the same-prompt null."""

    label: str
    jsd: Estimate
    excess: Estimate


@dataclass(frozen=True, slots=True)
class Divergences:
    """One attribute, one kind of divergence.

    a_side: images in each set. null: mean over prompts of the divergence between two neutral sets; null_high: what one
    division of the neutral images exceeds in one of twenty cases. hits: share of prompts whose closest group is the
    majority of the neutral images (by chance 1/K), over the prompts with a clear majority; the `ambiguous` others, and
    those with too few images, are left out.
    """

    attribute: str
    kind: str
    a_side: int
    null: Estimate
    null_high: float
    groups: list[GroupDivergence]
    hits: Estimate
    chance: float
    ambiguous: int


def jsd(a: IntArray, b: IntArray) -> Floats:
    """Return the Jensen-Shannon divergence in bits, 0 to 1, of counts a and b (..., cells); NaN where one is empty.

    JSD = H((p + q)/2) - (H(p) + H(q))/2 (Lin 1991). It is the square of scipy's `jensenshannon(p, q, base=2)`.

    >>> jsd(np.array([1, 0]), np.array([0, 5])), jsd(np.array([1, 1]), np.array([3, 3]))
    (array(1.), array(0.))
    """
    n, m = a.sum(axis=-1, keepdims=True), b.sum(axis=-1, keepdims=True)
    p, q = a / np.where(n > 0, n, np.nan), b / np.where(m > 0, m, np.nan)
    return np.asarray(np.clip(_entropy((p + q) / 2) - (_entropy(p) + _entropy(q)) / 2, 0.0, 1.0))


def _entropy(p: Floats) -> Floats:
    return np.asarray(-(p * np.log2(np.where(p == 0, 1.0, p))).sum(axis=-1))


def clear_majority(counts: IntArray) -> int | None:
    """Return the largest class of counts (K,), or None where the second is too near.

    Clear means: a one-sided sign test of the largest against the second rejects at the 5 % level. The paper leaves out
    ambiguous prompts without a published rule; this one is ours.
    """
    second, first = (int(v) for v in np.sort(counts)[-2:])
    return int(counts.argmax()) if binom.sf(first - 1, first + second, 0.5) < 0.05 else None


def divergences(neutral: Tokens, drawn: Tokens, counts: IntArray, attribute: Attribute, seed: int) -> list[Divergences]:
    """Return both kinds of divergence of one attribute.

    neutral: (P, m, N), divided into two sets of n at a time; drawn: (P, K, n, N), n at most m/2; counts: (P, K), faces
    of the neutral images by label. Position-wise: the mean over positions of the JSD at that position, which is the JSD
    of pairs (position, token). Images that failed are left out; a prompt with fewer than n/2 images per set is NaN.
    """
    rng = np.random.default_rng([seed, 3])
    tokens_per_position = int(max(neutral.max(), drawn.max())) + 1
    both_kinds = []
    for kind in KINDS:
        # Tokens of different positions are different cells, where a histogram pools them.
        offset = np.arange(neutral.shape[-1]) * (tokens_per_position if kind == "position-wise" else 0)
        prompts = [_of_prompt(a, b, offset, rng) for a, b in zip(neutral, drawn, strict=True)]
        null, to_groups = (np.stack(parts) for parts in zip(*prompts, strict=True))
        both_kinds.append(_summary(attribute, kind, drawn.shape[2], null, to_groups, counts))
    return both_kinds


def _of_prompt(
    neutral: Tokens, drawn: Tokens, offset: NDArray[np.int64], rng: np.random.Generator
) -> tuple[Floats, Floats]:
    """Return the null divergence of every division (DEALS,) and the mean divergence from every group (K,)."""
    classes, n = drawn.shape[:2]
    usable = neutral[neutral[:, 0] != FAILED]
    # As many images per set as the group with the fewest has: one failed image must not cost a group its prompt.
    size = min(len(usable) // 2, int((drawn[:, :, 0] != FAILED).sum(axis=1).min()))
    if size < max(1, n // 2):
        return np.full(DEALS, np.nan), np.full(classes, np.nan)
    images = np.concatenate([usable, drawn.reshape(-1, drawn.shape[-1])])
    # Tokens are numbered anew, 0 to the number of different ones: histograms are that long, not a vocabulary.
    cells = np.unique(images + offset, return_inverse=True)[1].reshape(images.shape)

    def histogram(indices: NDArray[np.int64]) -> NDArray[np.int64]:
        return np.bincount(cells[indices].ravel(), minlength=int(cells.max()) + 1)

    first_of_group = len(usable) + n * np.arange(classes)
    groups = [
        histogram(first + np.flatnonzero(drawn[k, :, 0] != FAILED)[:size]) for k, first in enumerate(first_of_group)
    ]
    null, to_groups = np.empty(DEALS), np.empty((DEALS, classes))
    for deal in range(DEALS):
        order = rng.permutation(len(usable))
        half = histogram(order[:size])
        null[deal] = jsd(half, histogram(order[size : 2 * size]))
        to_groups[deal] = jsd(half, np.stack(groups))
    return null, to_groups.mean(axis=0)


def _summary(attribute: Attribute, kind: str, n: int, null: Floats, to_groups: Floats, counts: IntArray) -> Divergences:
    """Return the means over prompts. null: (P, DEALS). to_groups: (P, K)."""
    null_means = null.mean(axis=1)
    groups = [
        GroupDivergence(label, mean(to_groups[:, k], 0.0, 1.0), mean(to_groups[:, k] - null_means, -1.0, 1.0))
        for k, label in enumerate(attribute.labels)
    ]
    majority = [clear_majority(row) for row in counts]
    clear = [p for p, k in enumerate(majority) if k is not None and not np.isnan(to_groups[p]).any()]
    hits = sum(int(to_groups[p].argmin()) == majority[p] for p in clear)
    # The mean over prompts of each division, and its 95th percentile.
    deals = null[~np.isnan(null_means)].mean(axis=0)
    high = float(np.quantile(deals, 0.95)) if deals.size and not np.isnan(deals).any() else float("nan")
    return Divergences(
        attribute.name,
        kind,
        a_side=n,
        null=mean(null_means, 0.0, 1.0),
        null_high=high,
        groups=groups,
        hits=share(hits, len(clear), design="other prompts"),
        chance=1 / len(attribute.labels),
        ambiguous=len(counts) - len(clear),
    )
