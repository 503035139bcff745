"""Which objectives there are: the name of a `fairbench train` command -> its objective, for each kind of model."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from fairbench import registry
from fairbench.errors import CardError
from fairbench.training.job import Job
from fairbench.training.objectives import retained
from fairbench.training.objectives.base import Objective, Setup
from fairbench.training.objectives.bpo import Bpo
from fairbench.training.objectives.dft import Dft
from fairbench.training.objectives.diffusion_sft import DiffusionSft
from fairbench.training.objectives.distill import Distill
from fairbench.training.objectives.grpo import Grpo
from fairbench.training.objectives.i2t import I2t
from fairbench.training.objectives.sft import Sft
from fairbench.training.presets import Kind

OBJECTIVES: Final[Mapping[Kind, tuple[type[Objective], ...]]] = {
    "sft": (Sft, DiffusionSft),
    "bpo": (Bpo,),
    "distill": (Distill,),
    "grpo": (Grpo,),
    "dft": (Dft,),
    "i2t": (I2t,),
}


def check(job: Job) -> None:
    """Raise FairbenchError, before any work, where model, data or settings do not fit the objective."""
    objective = _of(job)
    retained.check(job, registry.resolve("adapters", job.card.card.adapter))
    job.target  # noqa: B018 - refuses what does not fit the set
    objective.check(job)


def further_identity(job: Job) -> dict[str, Any]:
    """Return what a training's result depends on besides its settings, data and model."""
    return _of(job).further_identity(job)


def built(setup: Setup) -> Objective:
    """Return the objective of a training, with its capability data."""
    objective = _of(setup.job)(setup)
    return objective if setup.job.settings.retain is None else retained.Retaining(setup, objective)


def _of(job: Job) -> type[Objective]:
    """Return the objective for the kind of model. Raises CardError where there is none."""
    objectives, card = OBJECTIVES[job.settings.kind], job.card.card
    adapter = registry.resolve("adapters", card.adapter)
    fitting = next((objective for objective in objectives if issubclass(adapter, objective.needs)), None)
    if fitting is None:
        raise CardError(f"The model {card.name} {objectives[0].lacks}.")
    return fitting
