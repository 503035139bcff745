"""Balanced preference optimisation, as published: Liu et al., NeurIPS 2025 (arXiv 2502.03429); released as `bpo_v1`."""

from __future__ import annotations

import torch

from fairbench.training.losses.pairs import differences, half_sigmoid, log_odds


def loss(mean: torch.Tensor, beta: float = 1.0) -> torch.Tensor:
    """Return the mean over all pairs of beta log(1 + (sigmoid(D) - 1/2)^2), D a difference of log-odds.

    mean: (prompts, K). Range [0, beta log 1.25]: about beta D^2 / 16 near 0, and flat where |D| is large. What it
    balances is the probability of a *mean token*, not the share of a group.
    """
    return beta * torch.log1p(half_sigmoid(differences(log_odds(mean))) ** 2).mean()
