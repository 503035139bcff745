"""How long and how fast a training goes."""

from __future__ import annotations

import math
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Schedule:
    """Steps and learning rates. rate: the highest learning rate. warm_up: share of the steps in which it is reached.

    floor: the rate at the end, as a share of the highest. clip: the largest norm of the gradient.
    save_every, log_every: in steps.
    """

    steps: int
    rate: float
    warm_up: float = 0.03
    floor: float = 0.0
    weight_decay: float = 0.01
    betas: tuple[float, float] = (0.9, 0.99)
    clip: float = 1.0
    save_every: int = 200
    log_every: int = 10

    def rate_at(self, step: int) -> float:
        """Return the learning rate of a step: linear warm-up, then a cosine."""
        warm_up_steps = max(1, round(self.warm_up * self.steps))
        if step < warm_up_steps:
            return self.rate * (step + 1) / warm_up_steps
        progress = (step - warm_up_steps) / max(1, self.steps - warm_up_steps)
        return self.rate * (self.floor + (1 - self.floor) * 0.5 * (1 + math.cos(math.pi * progress)))
