"""Supervised fine-tuning: images of every group as the continuation of their neutral prompts."""

from __future__ import annotations

from typing import Any, ClassVar

import torch

from fairbench.protocols import Trainable
from fairbench.training import batches, losses, output
from fairbench.training.objectives.base import Figures, Objective, Part, Setup

NOT_TRAINABLE = (
    "cannot be fine-tuned: training needs an adapter that holds the network itself (protocol Trainable; janus and "
    "emu3 do), and a card that names `weights` and `lora_targets`"
)


def images(setup: Setup) -> batches.Images:
    """Return the set's images: row i under its neutral prompt, R + i under the one that it was made from."""
    model, data = setup.model, setup.job.data
    # Encoded by one process, once: the others wait, then read what it wrote.
    path = setup.cache(f"tokens-{output.digest(data, setup.job.base, model.image_reading())}.npy")
    with setup.accelerator.main_process_first():
        tokens = batches.image_tokens(model, data, path, setup.progress)
    prompts = [row.prompt for row in data.rows] + [row.source_prompt for row in data.rows]
    return batches.Images(model, prompts, tokens)


class Sft(Objective):
    """The mean negative log-probability of image tokens under the neutral prompt."""

    needs: ClassVar[type] = Trainable
    lacks: ClassVar[str] = NOT_TRAINABLE.replace("janus and emu3 do", "janus, emu3 and diffusers do")
    figures = ("log_prob",)

    def __init__(self, setup: Setup) -> None:
        self._images = images(setup)
        self.module = self._images.module

    def loss(self, module: Any, part: Part) -> tuple[torch.Tensor, Figures]:
        """Return the loss, and the mean log-probability of a token."""
        mean = self._images.mean_log_probs(module, part.rows[:, 0])
        return losses.sft(mean), {"log_prob": mean.detach()}
