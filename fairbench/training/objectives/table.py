"""Which objectives there are: the name of a `fairbench train` command -> its objective."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from fairbench import registry
from fairbench.errors import CardError
from fairbench.training.job import Job
from fairbench.training.objectives import retained
from fairbench.training.objectives.base import Objective, Setup
from fairbench.training.objectives.bpo import Bpo
from fairbench.training.objectives.distill import Distill
from fairbench.training.objectives.grpo import Grpo
from fairbench.training.objectives.i2t import I2t
from fairbench.training.objectives.sft import Sft
from fairbench.training.presets import Kind

OBJECTIVES: Final[Mapping[Kind, type[Objective]]] = {
    "sft": Sft,
    "bpo": Bpo,
    "distill": Distill,
    "grpo": Grpo,
    "i2t": I2t,
}


def check(job: Job) -> None:
    """Raise FairbenchError, before any work, where model, data or settings do not fit the objective."""
    objective, card = OBJECTIVES[job.settings.kind], job.card.card
    adapter = registry.resolve("adapters", card.adapter)
    if not issubclass(adapter, objective.needs):
        raise CardError(f"The model {card.name} {objective.lacks}.")
    retained.check(job, adapter)
    job.target  # noqa: B018 - refuses what does not fit the set
    objective.check(job)


def built(setup: Setup) -> Objective:
    """Return the objective of a training, with its capability data."""
    objective = OBJECTIVES[setup.job.settings.kind](setup)
    return objective if setup.job.settings.retain is None else retained.Retaining(setup, objective)
