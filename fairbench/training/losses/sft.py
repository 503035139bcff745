"""Supervised fine-tuning: the mean negative log-probability of a token."""

from __future__ import annotations

import torch

from fairbench.training.losses.pairs import exact


def loss(mean: torch.Tensor) -> torch.Tensor:
    """Return minus the mean of mean token log-probabilities of any shape. Range [0, inf)."""
    return -exact(mean).mean()
