"""An ablation of BPO of our own: the ratio of probabilities, tolerated up to a threshold."""

from __future__ import annotations

import torch

from fairbench.training.losses.pairs import differences, exact

THRESHOLD = 0.01
"""Nats per token. Over 576 tokens, a gap of 0.01 a token is a 317-fold odds."""


def loss(mean: torch.Tensor, beta: float = 1.0, threshold: float = THRESHOLD) -> torch.Tensor:
    """Return the mean over all pairs of beta max(0, |log p_i - log p_j| - threshold). mean: (prompts, K)."""
    return beta * (differences(exact(mean)).abs() - threshold).clamp(min=0).mean()
