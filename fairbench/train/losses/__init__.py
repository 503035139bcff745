"""What training minimises, one formula a file.

Each is a function of mean token log-probabilities: a tensor (prompts, K), K groups of images under the same neutral
prompt, or (rows, 1) for losses that compare nothing. It computes in float32 (float64 stays) and returns a scalar.
"""

from __future__ import annotations

import functools
from collections.abc import Callable

import torch

from fairbench.errors import FairbenchError
from fairbench.registry import suggest
from fairbench.train.losses import (
    bpo,
    log_odds_threshold,
    log_ratio_squared,
    log_ratio_threshold,
    sft,
    sigmoid_squared,
)  # fmt: skip

Loss = Callable[[torch.Tensor], torch.Tensor]
BALANCING = {
    "bpo": bpo.loss,
    "sigmoid-squared": sigmoid_squared.loss,
    "log-ratio-threshold": log_ratio_threshold.loss,
    "log-odds-threshold": log_odds_threshold.loss,
    "log-ratio-squared": log_ratio_squared.loss,
}
"""As published, and its ablations: all are 0 where every group is equally probable."""


def balancing(name: str, beta: float) -> Loss:
    """Return a balancing loss. Raises FairbenchError for a name that there is not."""
    if name not in BALANCING:
        raise FairbenchError(f"There is no loss {name!r}{suggest(name, BALANCING)}.")
    return functools.partial(BALANCING[name], beta=beta)


__all__ = ["BALANCING", "Loss", "balancing", "sft"]
