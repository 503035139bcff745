"""What an objective is: examples of a step -> the loss that is lowered. One file of this folder each."""

from __future__ import annotations

import contextlib
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Final

import numpy as np
import torch
from accelerate import Accelerator
from numpy.typing import NDArray

from fairbench.display.progress import Progress
from fairbench.networks import lora
from fairbench.training.job import Job

STATE_DIR: Final = "state"
Figures = Mapping[str, torch.Tensor]
"""Name -> values of examples, (n,), whose mean over a step is logged."""


@dataclass(frozen=True)
class Setup:
    """What an objective is built from. model: the card's plug-in. adapter: peft's model around its network."""

    job: Job
    model: Any
    adapter: Any
    accelerator: Accelerator
    progress: Progress

    def as_base(self) -> contextlib.AbstractContextManager[None]:
        """Let the model compute as if it had no adapter, for as long as this lasts."""
        return lora.without(self.adapter)

    def cache(self, name: str) -> Path:
        """Return where the training keeps what it made once; it is removed when the training has ended."""
        return self.job.out / STATE_DIR / name


@dataclass(frozen=True)
class Part:
    """Examples that one process reads at once.

    rows: indices into the set's rows, (examples, width). step: of the training. positions: of the examples among those
    of the step, (examples,); randomness that belongs to an example follows from its step and position.
    """

    rows: NDArray[np.int64]
    step: int
    positions: NDArray[np.int64]

    def only(self, members: Sequence[int]) -> Part:
        """Return some of the examples."""
        chosen = list(members)
        return Part(self.rows[chosen], self.step, self.positions[chosen])


class Objective(ABC):
    """Minimises one loss. Built as `cls(setup)`.

    needs: the protocol that the model's adapter must offer. lacks: what a model without it is told, after "The model
    NAME". figures: names of what `loss` returns besides. module: what an accelerator wraps; it has one forward, since
    wrappers see gradients of that alone.
    """

    needs: ClassVar[type]
    lacks: ClassVar[str]
    figures: tuple[str, ...] = ()
    module: torch.nn.Module

    @classmethod  # noqa: B027 - most have nothing to refuse
    def check(cls, job: Job) -> None:
        """Raise FairbenchError, before any work, for settings or data that do not fit."""

    @classmethod
    def further_identity(cls, job: Job) -> dict[str, Any]:
        """Return what the result depends on besides settings, data and the model, as plain data."""
        return {}

    @abstractmethod
    def __init__(self, setup: Setup) -> None: ...

    @abstractmethod
    def loss(self, module: Any, part: Part) -> tuple[torch.Tensor, Figures]:
        """Return the mean loss of the examples, and figures. module: `self.module`, as the accelerator wraps it."""
