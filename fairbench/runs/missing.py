"""What has to be done before a run can begin: told by a dry run, without the network and without loading the model."""

from __future__ import annotations

from collections.abc import Iterator

from fairbench.cards.cards import HubModel
from fairbench.errors import FairbenchError
from fairbench.labelling.labeller import Labeller
from fairbench.networks import hub, weights
from fairbench.protocols import SaysWhatIsMissing
from fairbench.runs.spec import RunSpec


def missing(spec: RunSpec) -> list[str]:
    """Return a sentence for each thing that is missing; an empty list where the run can begin."""
    return [*_of_model(spec), *_of_labeller(spec)]


def _of_model(spec: RunSpec) -> Iterator[str]:
    card = spec.card
    size = f", about {card.disk_gb:g} GiB" if card.disk_gb else ""
    for name, model in (("weights", card.weights), ("text model", card.text_model)):
        if model is not None and weights.local_folder(model, spec.ctx.base_dir) is None:
            yield f"{name}: {_absent(model, size)}"
    if isinstance(spec.adapter, SaysWhatIsMissing):
        yield from spec.adapter.missing()


def _absent(model: HubModel, size: str) -> str:
    if model.path:
        return f"there is no folder {model.path}"
    return f"{model.repo} is not on this machine; {hub.unless_offline(f'the first run downloads it{size}')}"


def _of_labeller(spec: RunSpec) -> Iterator[str]:
    lacks = of_labeller(spec.labeller)
    if lacks is not None:
        problem, downloadable = lacks
        how = f"; {hub.unless_offline('the first run downloads it')}" if downloadable else ""
        yield f"labeller {spec.labeller.card.name}: {problem}{how}"


def of_labeller(labeller: Labeller) -> tuple[str, bool] | None:
    """Return why a labeller cannot be loaded now, and whether a run would download what it lacks; None where it can."""
    with hub.without_downloads():
        try:
            labeller.load()
        except FairbenchError as err:
            problem, downloadable, _ = str(err).partition(f" and {hub.OFF}")
            return problem, bool(downloadable)
    return None
