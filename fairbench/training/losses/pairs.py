"""What the balancing losses share: log-odds that stay finite, and all unordered pairs of groups."""

from __future__ import annotations

import torch

_NEAREST = -1e-6
"""The largest log-probability whose odds are told apart from certainty; above it the gradient is 0."""

THRESHOLD = 0.3
"""Of |sigmoid(d) - 1/2|, as released: a pair is close up to |d| = 1.386, an odds of 4 to 1 of a mean token."""


def exact(values: torch.Tensor) -> torch.Tensor:
    """Return the values in float32 or better: bfloat16 has no numbers between exp(-1e-3) and 1."""
    return values if values.dtype == torch.float64 else values.float()


def log_odds(log_p: torch.Tensor) -> torch.Tensor:
    """Return log p - log(1 - p). `expm1` keeps 1 - p where p is near 1; where p is near 0, log(1 - p) is near 0."""
    log_p = exact(log_p).clamp(max=_NEAREST)
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
