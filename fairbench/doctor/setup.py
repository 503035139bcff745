"""What gets a model running on this machine: steps with their commands, and what only a person can do."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from pydantic import ValidationError

from fairbench import registry
from fairbench.cards import catalog, yamlfile
from fairbench.cards.cards import ModelCard
from fairbench.doctor.model import models, of_adapter
from fairbench.networks import weights
from fairbench.workers import making
from fairbench.workers.making import Step
from fairbench.workers.params import WorkerParams
from fairbench.workers.places import Places


@dataclass(frozen=True)
class Plan:
    """steps: what commands do. notes: sentences about what they do not."""

    card: ModelCard
    steps: list[Step]
    notes: list[str]


def plan(target: str) -> Plan:
    """Return what gets a model running. Raises FairbenchError for a broken card."""
    loaded = catalog.load_model(target)
    params = _params(loaded)
    steps: list[Step] = []
    notes = [f"licence: {loaded.card.licence}"]
    if isinstance(params, WorkerParams):
        places = Places(loaded.card, params, loaded.base_dir)
        steps += making.of_worker(places)
        notes += [] if places.environment is None else places.environment.notes
    else:
        for name, model, files in models(loaded):
            if model.repo is not None:
                here = weights.local_folder(model, loaded.base_dir, files) is not None
                steps.append(making.download(name, model, files, done=here))
        notes += [f"{name}: {text}" for name, fine, text in of_adapter(loaded, params) if not fine]
    return Plan(loaded.card, steps, notes)


def first_steps(target: str) -> list[str]:
    """Return what to do before and for a first run, a line each: commands, and after a # what only a person can do.

    Raises FairbenchError for a broken card.
    """
    found = plan(target)
    lines = [f"# {note}" for note in found.notes]
    if not all(step.done for step in found.steps):
        lines.append(f"fairbench setup {target} --do    # without --do it only says what it would do")
    try_it = f"fairbench run --model {target} --limit-prompts 2 -n 2"
    return [*lines, f"fairbench doctor --model {target}", f"{try_it} --dry-run", try_it]


def _params(loaded: catalog.Loaded[ModelCard]) -> Any:
    card = loaded.card
    try:
        return registry.parse_params(registry.resolve("adapters", card.adapter), card.sampling)
    except ValidationError as err:
        raise yamlfile.params_error(loaded.path, f"model {card.name}", err, ("sampling",)) from err
