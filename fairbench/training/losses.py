"""What training minimises.

Each loss is a function of mean token log-probabilities: a tensor (prompts, K), K groups of images under the same
neutral prompt, or (rows, 1) for losses that compare nothing. It computes in float32 (float64 stays) and returns a
scalar.
"""

from __future__ import annotations

import functools
from collections.abc import Callable

import torch
from torch.nn.functional import logsigmoid

from fairbench.errors import FairbenchError
from fairbench.registry import suggest

Loss = Callable[[torch.Tensor], torch.Tensor]
_MAX_LOG_P = -1e-6
"""The largest log-probability whose odds differ from certainty; above it the gradient is 0."""
THRESHOLD = 0.3
"""Of |sigmoid(d) - 1/2|, as released: a pair is close up to |d| = 1.386, an odds of 4 to 1 of a mean token."""
HINGE = 0.01
"""Nats per token that our hinges tolerate. Over 576 tokens, a gap of 0.01 per token is a 317-fold odds."""


def exact(values: torch.Tensor) -> torch.Tensor:
    """Return the values in float32 or better: bfloat16 has no numbers between exp(-1e-3) and 1."""
    return values if values.dtype == torch.float64 else values.float()


def log_odds(log_p: torch.Tensor) -> torch.Tensor:
    """Return log p - log(1 - p). `expm1` keeps 1 - p where p is near 1; where p is near 0, log(1 - p) is near 0."""
    log_p = exact(log_p).clamp(max=_MAX_LOG_P)
    return log_p - torch.log(-torch.expm1(log_p))


def differences(values: torch.Tensor) -> torch.Tensor:
    """Return values[:, i] - values[:, j] of (rows, K) for all K (K - 1) / 2 pairs i < j: (rows, pairs)."""
    first, second = _pairs(values)
    return values[:, first] - values[:, second]


def of_less_probable(values: torch.Tensor, gaps: torch.Tensor, threshold: float) -> torch.Tensor:
    """Return, of values (rows, K), that of each pair's less probable group, and 0 where |gap| <= threshold.

    gaps: (rows, pairs), positive where the first group of a pair is the more probable one.
    """
    first, second = _pairs(values)
    lesser = torch.where(gaps > 0, values[:, second], values[:, first])
    return torch.where(gaps.abs() > threshold, lesser, torch.zeros_like(lesser))


def _pairs(values: torch.Tensor) -> torch.Tensor:
    """Return the indices i < j of all pairs of K groups, (2, pairs)."""
    return torch.triu_indices(values.shape[1], values.shape[1], offset=1, device=values.device)


def half_sigmoid(d: torch.Tensor) -> torch.Tensor:
    """Return sigmoid(d) - 1/2, without the rounding that the difference has near 0."""
    return 0.5 * torch.tanh(0.5 * d)


def sft(mean: torch.Tensor) -> torch.Tensor:
    """Supervised fine-tuning: the mean negative log-probability of a token.

    Return minus the mean of mean token log-probabilities of any shape. Range [0, inf).
    """
    return -exact(mean).mean()


def bpo(mean: torch.Tensor, beta: float = 1.0) -> torch.Tensor:
    """Balanced preference optimisation, as published: Liu et al., NeurIPS 2025 (arXiv 2502.03429).

    The released trainer calls it `bpo_v1`. Return the mean over all pairs of beta log(1 + (sigmoid(D) - 1/2)^2), D a
    difference of log-odds.

    mean: (prompts, K). Range [0, beta log 1.25]: about beta D^2 / 16 near 0, and flat where |D| is large. What it
    balances is the probability of a *mean token*, not the share of a group.
    """
    return beta * torch.log1p(half_sigmoid(differences(log_odds(mean))) ** 2).mean()


def sigmoid_squared(mean: torch.Tensor, beta: float = 1.0) -> torch.Tensor:
    """BPO without the logarithm: the variant that the released trainer calls `bpo`.

    Return the mean over all pairs of beta (sigmoid(D) - 1/2)^2. mean: (prompts, K). Range [0, beta / 4].
    """
    return beta * (half_sigmoid(differences(log_odds(mean))) ** 2).mean()


def bpo_v2(mean: torch.Tensor, beta: float = 1.0, threshold: float = THRESHOLD) -> torch.Tensor:
    """The released trainer's `bpo_v2`: lift the less probable group of a pair that lies too far apart.

    Return the mean over all pairs of beta (-log sigmoid(log p)) of the less probable group, 0 for a close pair.

    A pair is close where |sigmoid(log p_i - log p_j) - 1/2| <= threshold. mean: (prompts, K). Range [0, inf); it jumps
    at the threshold, and its gradient is 0 where all pairs are close.
    """
    log_p = exact(mean)
    gaps = half_sigmoid(differences(log_p))
    return beta * of_less_probable(-logsigmoid(log_p), gaps, threshold).mean()


def bpo_v3(mean: torch.Tensor, beta: float = 1.0, threshold: float = THRESHOLD) -> torch.Tensor:
    """The released trainer's `bpo_v3`: as `bpo_v2`, with closeness judged by log-odds and the plain log-probability.

    Return the mean over all pairs of beta (-log p) of the less probable group, 0 for a close pair.

    A pair is close where |sigmoid(D) - 1/2| <= threshold, D its difference of log-odds. mean: (prompts, K). Range
    [0, inf); it jumps at the threshold, and its gradient is 0 where all pairs are close.
    """
    gaps = half_sigmoid(differences(log_odds(mean)))
    return beta * of_less_probable(-exact(mean), gaps, threshold).mean()


def own_log_ratio_hinge(mean: torch.Tensor, beta: float = 1.0, threshold: float = HINGE) -> torch.Tensor:
    """An ablation of BPO of our own: the ratio of probabilities, tolerated up to a threshold.

    Return the mean over all pairs of beta max(0, |log p_i - log p_j| - threshold). mean: (prompts, K).
    """
    return beta * (differences(exact(mean)).abs() - threshold).clamp(min=0).mean()


def own_log_odds_hinge(mean: torch.Tensor, beta: float = 1.0, threshold: float = HINGE) -> torch.Tensor:
    """An ablation of BPO of our own: the difference of log-odds, tolerated up to a threshold.

    Return the mean over pairs of beta max(0, |D| - threshold), D a difference of log-odds. mean: (prompts, K).
    """
    return beta * (differences(log_odds(mean)).abs() - threshold).clamp(min=0).mean()


def own_log_ratio_squared(mean: torch.Tensor, beta: float = 1.0) -> torch.Tensor:
    """An ablation of BPO of our own: the squared difference of log-probabilities, which grows without bound.

    Return the mean over all pairs of beta (log p_i - log p_j)^2. mean: (prompts, K). Range [0, inf).
    """
    return beta * (differences(exact(mean)) ** 2).mean()


BALANCING = {
    "bpo": bpo,
    "sigmoid-squared": sigmoid_squared,
    "bpo-v2": bpo_v2,
    "bpo-v3": bpo_v3,
    "own-log-ratio-hinge": own_log_ratio_hinge,
    "own-log-odds-hinge": own_log_odds_hinge,
    "own-log-ratio-squared": own_log_ratio_squared,
}
"""As published; the variants that its authors released; our own (`own-`). 0 where every group is equally probable."""


def balancing(name: str, beta: float) -> Loss:
    """Return a balancing loss. Raises FairbenchError for an unknown name."""
    if name not in BALANCING:
        raise FairbenchError(f"There is no loss {name!r}{suggest(name, BALANCING)}.")
    return functools.partial(BALANCING[name], beta=beta)
