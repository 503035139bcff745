"""An ablation of BPO of our own: the difference of log-odds, tolerated up to a threshold."""

from __future__ import annotations

import torch

from fairbench.training.losses.own_log_ratio_hinge import THRESHOLD
from fairbench.training.losses.pairs import differences, log_odds


def loss(mean: torch.Tensor, beta: float = 1.0, threshold: float = THRESHOLD) -> torch.Tensor:
    """Return the mean over pairs of beta max(0, |D| - threshold), D a difference of log-odds. mean: (prompts, K)."""
    return beta * (differences(log_odds(mean)).abs() - threshold).clamp(min=0).mean()
