"""The released trainer's `bpo_v2`: lift the less probable group of a pair that lies too far apart."""

from __future__ import annotations

import torch
from torch.nn.functional import logsigmoid

from fairbench.training.losses.pairs import THRESHOLD, differences, exact, half_sigmoid, of_less_probable


def loss(mean: torch.Tensor, beta: float = 1.0, threshold: float = THRESHOLD) -> torch.Tensor:
    """Return the mean over all pairs of beta (-log sigmoid(log p)) of the less probable group, 0 for a close pair.

    A pair is close where |sigmoid(log p_i - log p_j) - 1/2| <= threshold. mean: (prompts, K). Range [0, inf); it jumps
    at the threshold, and its gradient is 0 where all pairs are close.
    """
    log_p = exact(mean)
    gaps = half_sigmoid(differences(log_p))
    return beta * of_less_probable(-logsigmoid(log_p), gaps, threshold).mean()
