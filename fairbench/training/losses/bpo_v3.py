"""The released trainer's `bpo_v3`: as `bpo_v2`, with closeness judged by log-odds and the plain log-probability."""

from __future__ import annotations

import torch

from fairbench.training.losses.pairs import THRESHOLD, differences, exact, half_sigmoid, log_odds, of_less_probable


def loss(mean: torch.Tensor, beta: float = 1.0, threshold: float = THRESHOLD) -> torch.Tensor:
    """Return the mean over all pairs of beta (-log p) of the less probable group, 0 for a close pair.

    A pair is close where |sigmoid(D) - 1/2| <= threshold, D its difference of log-odds. mean: (prompts, K). Range
    [0, inf); it jumps at the threshold, and its gradient is 0 where all pairs are close.
    """
    gaps = half_sigmoid(differences(log_odds(mean)))
    return beta * of_less_probable(-exact(mean), gaps, threshold).mean()
