"""An ablation of BPO of our own: the squared difference of log-probabilities, which grows without bound."""

from __future__ import annotations

import torch

from fairbench.training.losses.pairs import differences, exact


def loss(mean: torch.Tensor, beta: float = 1.0) -> torch.Tensor:
    """Return the mean over all pairs of beta (log p_i - log p_j)^2. mean: (prompts, K). Range [0, inf)."""
    return beta * (differences(exact(mean)) ** 2).mean()
