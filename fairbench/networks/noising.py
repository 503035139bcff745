"""Noise levels of diffusion and flow-matching models: what a network is asked for in training, and steps of sampling.

At a time t an image x (its latents) and Gaussian noise e are mixed to a x + s e. Diffusion has a^2 + s^2 = 1, flow
matching a + s = 1.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch

from fairbench.types import FloatArray

Prediction = Literal["epsilon", "v_prediction", "flow"]


@dataclass(frozen=True)
class Noising:
    """How a model was trained.

    prediction: what its network returns: the noise e, the velocity a e - s x (Salimans and Ho 2022), or the flow e - x
    (Liu et al. 2022). alphas: a^2 at each of T times, (T,); empty for a flow, whose time is T s. times: T. shift: of a
    flow, towards noise (Esser et al. 2024, equation 23).
    """

    prediction: Prediction
    alphas: FloatArray
    times: int
    shift: float = 1.0

    def draw(self, rng: np.random.Generator) -> float:
        """Return a time to train at: each of 0..T-1 equally often, or of a flow T s in (0, T).

        Of a flow, u is the logistic function of a standard normal number, and s = shift u / (1 + (shift - 1) u).
        """
        if self.prediction != "flow":
            return float(rng.integers(self.times))
        u = 1 / (1 + math.exp(-rng.standard_normal()))
        return self.times * self.shift * u / (1 + (self.shift - 1) * u)

    def mix(self, images: torch.Tensor, noise: torch.Tensor, times: torch.Tensor) -> torch.Tensor:
        """Return images with noise of times (rows,)."""
        kept, added = self._parts(times, images)
        return kept * images + added * noise

    def target(self, images: torch.Tensor, noise: torch.Tensor, times: torch.Tensor) -> torch.Tensor:
        """Return what the network is to predict of `mix(images, noise, times)`."""
        if self.prediction == "epsilon":
            return noise
        if self.prediction == "flow":
            return noise - images
        kept, added = self._parts(times, images)
        return kept * noise - added * images

    def _parts(self, times: torch.Tensor, like: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Return a and s of times, (rows, 1, ...)."""
        if self.prediction == "flow":
            added = times.double() / self.times
            kept = 1 - added
        else:
            alphas = torch.from_numpy(self.alphas).to(times.device)[times.long()]
            kept, added = alphas.sqrt(), (1 - alphas).sqrt()
        shape = (-1, *[1] * (like.dim() - 1))
        return kept.to(like).reshape(shape), added.to(like).reshape(shape)


@dataclass(frozen=True, slots=True)
class Step:
    """One step of a deterministic sampler, at a time: the next latents are kept * latents + moved * prediction."""

    time: float
    kept: float
    moved: float


def direct_paths(steps: Sequence[Step]) -> list[float]:
    """Return how far each step's prediction moves the final latents, if later predictions stay as they are."""
    after, paths = 1.0, list[float]()
    for step in reversed(steps):
        paths.append(step.moved * after)
        after *= step.kept
    return paths[::-1]


def sampled(
    predict: Callable[[torch.Tensor, float], torch.Tensor], noise: torch.Tensor, steps: Sequence[Step]
) -> torch.Tensor:
    """Return the final latents, which carry the adjusted gradient of Shen et al. (ICLR 2024, section 4.2).

    The exact gradient is a sum over steps, each with a product of the later steps' Jacobians, which explodes. The
    adjusted one leaves those out: each prediction reaches the end by its direct path alone, and all paths count equally
    (their sign, times the geometric mean of their lengths).
    """
    paths = direct_paths(steps)
    length = math.exp(sum(math.log(abs(path)) for path in paths) / len(paths))
    latents, gradient = noise, torch.zeros_like(noise)
    for step, path in zip(steps, paths, strict=True):
        prediction = predict(latents, step.time)
        fixed = prediction.detach()
        gradient = gradient + math.copysign(length, path) * (prediction - fixed)  # its value is 0
        latents = step.kept * latents + step.moved * fixed
    return latents + gradient
