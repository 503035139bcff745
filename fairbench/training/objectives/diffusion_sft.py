"""Supervised fine-tuning of diffusion models: what noise, or which direction, is in noised images of every group."""

from __future__ import annotations

import copy
from typing import Any, ClassVar

import numpy as np
import torch
from numpy.typing import NDArray

from fairbench.protocols import Denoising, DiffusionTrainable
from fairbench.training import batches, output
from fairbench.training.objectives.base import Figures, Objective, Part, Setup
from fairbench.training.objectives.sft import Sft


class NoisedImages:
    """Images with noise: row i is image i modulo their number, under prompt i."""

    def __init__(self, setup: Setup) -> None:
        """Encode the set's images: row i under its neutral prompt, R + i under the one that it was made from."""
        job, model = setup.job, setup.model
        path = setup.cache(f"latents-{output.digest(job.data, job.base, model.image_reading())}.npy")
        self._denoising: Denoising = model.denoising()
        with setup.accelerator.main_process_first():
            self._latents = batches.image_latents(self._denoising, job.data, path, setup.progress)
        self._prompts = [row.prompt for row in job.data.rows] + [row.source_prompt for row in job.data.rows]
        self._seed, self._device = job.settings.seed, setup.accelerator.device
        self.module: torch.nn.Module = self._denoising.module

    def shifted(self, by: int) -> NoisedImages:
        """Return the same images, row i under prompt i + by."""
        shifted = copy.copy(self)
        shifted._prompts = self._prompts[by:]
        return shifted

    def errors(self, module: Any, rows: NDArray[np.int64], part: Part) -> torch.Tensor:
        """Return the mean squared error of each row's prediction, (rows,).

        Noise and time of an example follow from the seed, the step and its position in the step alone. part: the
        examples that the rows belong to, one each.
        """
        noising, noise, times = self._denoising.noising, [], []
        for position in part.positions.tolist():
            rng = np.random.default_rng([self._seed, part.step, position, 5])
            times.append(noising.draw(rng))
            noise.append(rng.standard_normal(self._latents.shape[1:], dtype=np.float32))
        images, noises = (
            torch.from_numpy(array).to(self._device)
            for array in (self._latents[rows % len(self._latents)], np.stack(noise))
        )
        at = torch.tensor(times, device=self._device)
        conditions = self._denoising.conditions([self._prompts[i] for i in rows])
        prediction: torch.Tensor = module(noising.mix(images, noises, at), at, *conditions)
        return (prediction - noising.target(images, noises, at)).square().flatten(1).mean(dim=1)


class DiffusionSft(Objective):
    """The mean squared error of the predicted noise, velocity or flow under the neutral prompt."""

    needs: ClassVar[type] = DiffusionTrainable
    lacks: ClassVar[str] = Sft.lacks

    def __init__(self, setup: Setup) -> None:
        self._images = NoisedImages(setup)
        self.module = self._images.module

    def loss(self, module: Any, part: Part) -> tuple[torch.Tensor, Figures]:
        """Return the loss; there is nothing else to tell."""
        return self._images.errors(module, part.rows[:, 0], part).mean(), {}
