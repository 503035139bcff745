"""BPO without the logarithm: the variant that the released trainer calls `bpo`."""

from __future__ import annotations

import torch

from fairbench.training.losses.pairs import differences, half_sigmoid, log_odds


def loss(mean: torch.Tensor, beta: float = 1.0) -> torch.Tensor:
    """Return the mean over all pairs of beta (sigmoid(D) - 1/2)^2. mean: (prompts, K). Range [0, beta / 4]."""
    return beta * (half_sigmoid(differences(log_odds(mean))) ** 2).mean()
