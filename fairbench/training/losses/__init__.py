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
from fairbench.training.losses import (
    bpo,
    bpo_v2,
    bpo_v3,
    own_log_odds_hinge,
    own_log_ratio_hinge,
    own_log_ratio_squared,
    sft,
    sigmoid_squared,
)

Loss = Callable[[torch.Tensor], torch.Tensor]
BALANCING = {
    "bpo": bpo.loss,
    "sigmoid-squared": sigmoid_squared.loss,
    "bpo-v2": bpo_v2.loss,
    "bpo-v3": bpo_v3.loss,
    "own-log-ratio-hinge": own_log_ratio_hinge.loss,
    "own-log-odds-hinge": own_log_odds_hinge.loss,
    "own-log-ratio-squared": own_log_ratio_squared.loss,
}
"""As published; the variants that its authors released; our own (`own-`). 0 where every group is equally probable."""
RENAMED = {
    "log-ratio-threshold": "own-log-ratio-hinge",
    "log-odds-threshold": "own-log-odds-hinge",
    "log-ratio-squared": "own-log-ratio-squared",
}
"""Names that our own variants had, which looked like those of the released ones."""


def balancing(name: str, beta: float) -> Loss:
    """Return a balancing loss. Raises FairbenchError for a name that there is not."""
    if name not in BALANCING:
        if name in RENAMED:
            raise FairbenchError(
                f"The loss {name!r} is called {RENAMED[name]!r} now: it is our own, and no variant that BPO's authors "
                "released (sigmoid-squared, bpo-v2, bpo-v3)."
            )
        raise FairbenchError(f"There is no loss {name!r}{suggest(name, BALANCING)}.")
    return functools.partial(BALANCING[name], beta=beta)


__all__ = ["BALANCING", "Loss", "balancing", "sft"]
