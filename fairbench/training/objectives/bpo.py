"""Balanced preference optimisation: images of every group of a prompt are to be equally probable."""

from __future__ import annotations

from typing import Any, ClassVar

import torch

from fairbench.protocols import Trainable
from fairbench.training import losses
from fairbench.training.job import Job
from fairbench.training.objectives.base import Figures, Objective, Part, Setup
from fairbench.training.objectives.sft import images


class Bpo(Objective):
    """A balancing loss of the mean token log-probabilities of K images, one of each group, under one neutral prompt.

    With a target t the loss is of mean log p - log(K t) / N, N tokens per image: it is least where whole images of the
    groups are as probable as their target shares. At equal shares that is the published loss.
    """

    needs: ClassVar[type] = Trainable
    lacks: ClassVar[str] = (
        "has no likelihood of image tokens, one after another (protocol Trainable; janus and emu3 do), which train bpo "
        "balances: use train sft"
    )
    figures = ("log_prob", "gap")

    @classmethod
    def check(cls, job: Job) -> None:
        """Raise FairbenchError for an unknown loss."""
        losses.balancing(job.settings.loss, job.settings.beta)

    def __init__(self, setup: Setup) -> None:
        self._images = images(setup)
        self.module = self._images.module
        self._loss_of = losses.balancing(setup.job.settings.loss, setup.job.settings.beta)
        self._target = setup.job.target
        self._tokens_per_image = self._images.tokens_per_image

    def loss(self, module: Any, part: Part) -> tuple[torch.Tensor, Figures]:
        """Return the loss, the mean log-probability of a token, and its largest difference between groups."""
        mean = self._images.mean_log_probs(module, part.rows.reshape(-1)).reshape(part.rows.shape)
        gap = mean.max(dim=1).values - mean.min(dim=1).values
        asked = mean
        if self._target is not None:
            shares = torch.from_numpy(self._target[part.rows[:, 0]]).to(mean)
            asked = mean - (shares * shares.shape[1]).log() / self._tokens_per_image
        return self._loss_of(asked), {"log_prob": mean.detach().mean(dim=1), "gap": gap.detach()}
