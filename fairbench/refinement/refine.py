"""Refines the instruction of method `fair-cot`: rewrite, draw, label, tell the text model what came out, and again.

Images and labels go through the ordinary stages into the run store, answers into the text models' cache, under seeds of
their own: the noise of an evaluation is never drawn here. All of it depends on the settings alone, so that a stopped
command goes on where it was.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import fairbench
from fairbench import keys, registry
from fairbench.cards import catalog
from fairbench.display.progress import Progress
from fairbench.errors import FairbenchError
from fairbench.measure.counts import Counts, count
from fairbench.methods import fair_cot
from fairbench.methods.fair_cot import Chain, Round
from fairbench.networks import textmodel
from fairbench.networks.textmodel import CachedText
from fairbench.protocols import MethodContext, PromptSample, PromptSource
from fairbench.refinement import feedback
from fairbench.runs import images, spec
from fairbench.runs.arguments import RunSettings
from fairbench.runs.drawing import drawn_and_labelled
from fairbench.runs.pipeline import with_smaller_blocks
from fairbench.runs.spec import RunSpec
from fairbench.stats.intervals import concentration_interval
from fairbench.storage import folders, provenance
from fairbench.storage.store import Store
from fairbench.synthesis.confirm import attributes_of
from fairbench.types import ImageRequest

VERSION: Final = 1
"""Raised whenever the same settings give another instruction."""
METHOD: Final = "refine"
MAX_GROUPS: Final = 32
"""Groups whose shares an instruction can list."""


@dataclass(frozen=True, slots=True)
class RefineSettings:
    """Settings of a refinement. base: the instruction of the first round; tolerance: of concentration's upper limit."""

    run: RunSettings
    groups: str
    rounds: int
    tolerance: float
    base: str


@dataclass(frozen=True)
class Refinement:
    """All that is needed to do it. attributes: of the groups, with their labels; samples: of every prompt."""

    settings: RefineSettings
    plan: RunSpec
    attributes: dict[str, tuple[str, ...]]
    samples: list[PromptSample]
    text_model: CachedText

    @property
    def identity(self) -> str:
        """Hex id of what can change the instruction."""
        settings, plan = self.settings, self.plan
        declared = {
            "version": VERSION,
            "method": fair_cot.FairCot.version,
            "images_key": plan.image_key,
            "labels_key": plan.labels_key,
            "face_policy": plan.labeller.card.face_policy.model_dump(),
            "text_model": self.text_model.identity(),
            "attributes": self.attributes,
            "prompts": [[p.text, p.subject] for p in plan.prompts],
            "samples": [s.seed for s in self.samples],
            "base": settings.base,
            "rounds": settings.rounds,
            "tolerance": settings.tolerance,
        }
        return keys.digest("refinement", declared).hex()


def refine(settings: RefineSettings, store: Store, out: Path, progress: Progress) -> Chain:
    """Return the frozen instruction of these settings, from `out` where it is there, else refined and written there.

    Raises FairbenchError: options that do not fit, a file of other settings, a model that writes no text, and where no
    round showed enough faces.
    """
    folders.check_file(out, "an instruction that `fairbench refine` wrote", _is_ours)
    refinement = make(settings, progress)
    if out.exists() and out.stat().st_size:
        held = fair_cot.read(out)
        if held.identity != refinement.identity:
            raise FairbenchError(f"--out {out} holds an instruction of other settings: name a new file.")
        return held
    identity = refinement.identity  # of what was asked for, whatever memory made of it
    while True:
        try:
            rounds, instructions = _rounds(refinement, store, progress)
            break
        except images.BlockTooLarge:
            smaller = dataclasses.replace(settings, run=with_smaller_blocks(refinement.plan))
            refinement = make(smaller, progress)
    return fair_cot.write(out, _chain(refinement, identity, rounds, instructions))


def make(settings: RefineSettings, progress: Progress) -> Refinement:
    """Resolve all settings. Raises FairbenchError for whatever the user got wrong."""
    run = settings.run
    if issubclass(registry.resolve("adapters", catalog.load_model(run.model).card.adapter), PromptSource):
        raise FairbenchError(f"--model {run.model} makes no images: name a model that does, and that writes text.")
    if settings.base.count("{prompt}") != 1:
        raise FairbenchError("--instruction must hold {prompt} exactly once.")
    plan = spec.make(dataclasses.replace(run, scorers=()))
    if (subject := fair_cot.named(settings.base, (p.subject for p in plan.prompts))) is not None:
        raise FairbenchError(f"--instruction names {subject!r}, which the task asks about: ask without examples of it.")
    text_model = textmodel.of_card(plan.card, plan.adapter, plan.ctx, plan.image_key, progress)
    if text_model is None:
        raise FairbenchError(
            f"--model {run.model} writes no text and its card names no text_model: add one to the card, or name "
            "another model."
        )
    attributes = attributes_of(settings.groups, plan.labeller)
    if (groups := math.prod(map(len, attributes.values()))) > MAX_GROUPS:
        raise FairbenchError(f"--groups {settings.groups}: {groups} groups are too many to list; name fewer.")
    samples = [
        # A stream of its own: the same in every round, so that rounds differ by what was asked.
        PromptSample(p, index, keys.sample_seed(keys.digest("refinement", [p.neutral_id]), index, run.seed))
        for p in plan.prompts
        for index in range(run.images_per_prompt or plan.card.images_per_prompt)
    ]
    return Refinement(settings, plan, attributes, samples, text_model)


def _rounds(refinement: Refinement, store: Store, progress: Progress) -> tuple[list[Round], list[str]]:
    """Return the rounds up to the first that is flat, or to the last one, and their instructions."""
    settings, classes = refinement.settings, refinement.plan.labeller.classes(list(refinement.attributes))
    rounds: list[Round] = []
    instructions: list[str] = []
    while len(rounds) < settings.rounds and not (rounds and _flat(rounds[-1], settings.tolerance)):
        asked = feedback.instruction(settings.base, rounds, len(classes))
        if asked in instructions:  # a round without any face teaches nothing: the same would come out
            break
        instructions.append(asked)
        rounds.append(_round(refinement, asked, classes, store, progress))
    return rounds, instructions


def _flat(one: Round, tolerance: float) -> bool:
    return one.high is not None and one.high <= tolerance


def _round(refinement: Refinement, asked: str, classes: Sequence[str], store: Store, progress: Progress) -> Round:
    """Rewrite all prompts as asked, draw and label them, and return what was read."""
    plan, samples = refinement.plan, refinement.samples
    ctx = MethodContext(plan.card, plan.settings.seed, refinement.text_model)
    answered = fair_cot.answers(ctx, asked, samples)
    texts = [answer or sample.prompt.text for answer, sample in zip(answered, samples, strict=True)]
    requests = [_request(plan.image_key, sample, text) for sample, text in zip(samples, texts, strict=True)]
    counts = _labelled(plan, requests, store, progress)
    names = list(refinement.attributes)
    faces = counts.of(names).sum(axis=0)
    interval = concentration_interval(counts.data(names), "this list")
    # A prompt without faces would be left out of the mean: what is not seen is not flat.
    limits = (interval.estimate, interval.low, interval.high) if not interval.left_out else (math.nan,) * 3
    value, low, high = (round(float(x), 6) if math.isfinite(x) else None for x in limits)
    shares = {group: round(float(share), 6) for group, share in zip(classes, faces / max(faces.sum(), 1), strict=True)}
    return Round(
        images=int(counts.images.sum()),
        faces=int(faces.sum()),
        unusable=sum(answer is None for answer in answered),
        concentration=value,
        low=low,
        high=high,
        shares=shares,
    )


def _labelled(plan: RunSpec, requests: Sequence[ImageRequest], store: Store, progress: Progress) -> Counts:
    """Draw and label what the store lacks, and return the counts."""
    rows = drawn_and_labelled(plan, requests, METHOD, store, progress)
    prompts = [p.neutral_id for p in plan.prompts]
    return count(store, plan.labeller, plan.faces_key, plan.labels_key, rows, prompts)


def _request(image_key: str, sample: PromptSample, text: str) -> ImageRequest:
    prompt_id, neutral_id = keys.prompt_id(text), sample.prompt.neutral_id
    image_id = keys.image_id(image_key, prompt_id, neutral_id, sample.seed)
    return ImageRequest(image_id, prompt_id, neutral_id, text, sample.sample_index, sample.seed)


def _chain(refinement: Refinement, identity: str, rounds: list[Round], instructions: list[str]) -> Chain:
    """Return the best round's instruction with all that was seen. Raises FairbenchError where none has an estimate."""
    plan, settings = refinement.plan, refinement.settings
    highs = [math.inf if one.high is None else one.high for one in rounds]
    best = highs.index(min(highs))
    if math.isinf(highs[best]):
        raise FairbenchError(
            f"No round of {len(rounds)} showed four faces of every prompt, so nothing can be said of its groups: raise "
            "--images-per-prompt, or look at the images (they are in the store)."
        )
    return Chain(
        **{"fairbench.fair-cot": 1},
        instruction=instructions[best],
        round=best + 1,
        reached=_flat(rounds[best], settings.tolerance),
        tolerance=settings.tolerance,
        rounds=rounds,
        prompts=[p.text for p in plan.prompts],
        subjects=list(dict.fromkeys(p.subject for p in plan.prompts)),
        model=plan.card.name,
        identity=identity,
        provenance=_record(refinement),
    )


def _record(refinement: Refinement) -> dict[str, Any]:
    plan, settings = refinement.plan, refinement.settings
    return {
        "fairbench": fairbench.__version__,
        "base": settings.base,
        "groups": {name: list(labels) for name, labels in refinement.attributes.items()},
        "rounds_at_most": settings.rounds,
        "images_per_prompt": len(refinement.samples) // len(plan.prompts),
        "seed": settings.run.seed,
        "task": {"name": plan.task, "version": plan.task_version},
        "text_model": refinement.text_model.identity(),
        "labeller": {"name": plan.labeller.card.name, "id": plan.labeller.id},
        "keys": {"images": plan.image_key, "labels": plan.labels_key},
        "environment": provenance.environment(plan.ctx.device),
    }


def _is_ours(path: Path) -> bool:
    try:
        fair_cot.read(path)
    except FairbenchError:
        return False
    return True
