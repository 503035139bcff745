"""The understanding control: the answer to an image is its neutral occupation, and nothing about the person."""

from __future__ import annotations

from typing import Any, ClassVar

import torch

from fairbench.errors import FairbenchError
from fairbench.protocols import TrainableAnswers
from fairbench.training import batches, losses
from fairbench.training.capability import CAPTION_QUESTION
from fairbench.training.job import Job
from fairbench.training.objectives.base import Figures, Objective, Part, Setup

CAPTION = "a photo of the face of a {subject}"


class I2t(Objective):
    """The mean negative log-probability of the words of a caption with the neutral occupation."""

    needs: ClassVar[type] = TrainableAnswers
    lacks: ClassVar[str] = (
        "answers no questions (protocol TrainableAnswers), which is what train i2t teaches: use sft or bpo"
    )
    figures = ("log_prob",)

    @classmethod
    def check(cls, job: Job) -> None:
        """Raise FairbenchError for a target: every image is asked about."""
        if job.settings.target is not None:
            raise FairbenchError("--target: train i2t balances nothing; leave it out.")

    def __init__(self, setup: Setup) -> None:
        rows = setup.job.data.rows
        captions = [CAPTION.replace("{subject}", row.subject) for row in rows]
        exchanges = [
            batches.Exchange(row.image, CAPTION_QUESTION, text) for row, text in zip(rows, captions, strict=True)
        ]
        self._answers = batches.Answers(setup.model, exchanges)
        self.module = self._answers.module

    def loss(self, module: Any, part: Part) -> tuple[torch.Tensor, Figures]:
        """Return the loss, and the mean log-probability of a word."""
        mean = self._answers.mean_log_probs(module, part.rows[:, 0])
        return losses.sft(mean), {"log_prob": mean.detach()}
