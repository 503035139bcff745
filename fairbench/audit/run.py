"""An audit from end to end: a run's images, then each component of the model that made them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from fairbench.audit import counterfactual, draws, groups, images, logprob, probe, tokens, transparency, understanding
from fairbench.audit.counterfactual import Flips
from fairbench.audit.draws import Shown
from fairbench.audit.estimates import Estimate, Skipped
from fairbench.audit.generation import Generated, generated, rd_of_subjects
from fairbench.audit.groups import Attribute
from fairbench.audit.images import ProbeImages
from fairbench.audit.logprob import LogProbBias
from fairbench.audit.probe import AttributeProbe
from fairbench.audit.tokens import Divergences
from fairbench.audit.transparency import Passage
from fairbench.audit.understanding import CONDITIONS, Answers
from fairbench.display.progress import Progress
from fairbench.errors import FairbenchError, MissingExtra
from fairbench.measure.counts import Counts
from fairbench.protocols import UnderstandingModel
from fairbench.runs import pipeline
from fairbench.runs.spec import Plan
from fairbench.storage.store import Store
from fairbench.types import RgbImage

LEAST = 4
"""Images a prompt, at least."""
EACH = 2
"""Images of every prompt and group that are decoded and looked at."""


@dataclass(frozen=True, slots=True)
class Encoder:
    """Vision encoder: a probe an attribute."""

    probes: list[AttributeProbe]
    skipped: list[str]


@dataclass(frozen=True, slots=True)
class LanguageModel:
    """following: attribute -> share of the images of attribute-specified prompts that show their group (guidance 1)."""

    following: dict[str, Estimate]
    divergences: list[Divergences]
    log_probs: list[LogProbBias]


@dataclass(frozen=True, slots=True)
class Understanding:
    """alignment: condition -> generation RD of gender minus understanding RD, None where no face has a gender.

    attribute: the one that is asked for, male or female, by the labeller's name for it; None where it has none.
    """

    answers: list[Answers]
    alignment: dict[str, Estimate | None]
    flips: list[Flips]
    attribute: str | None


@dataclass(frozen=True, slots=True)
class Audit:
    """Everything that an audit found. probe_images: where they come from and how many there are."""

    plan: Plan
    probe_images: str
    generation: list[Generated]
    encoder: Encoder | Skipped
    tokenizer: list[Passage] | Skipped
    language: LanguageModel
    understanding: Understanding | Skipped


def audit(plan: Plan, manifest: Path | None, samples: int, store: Store, progress: Progress) -> Audit:
    """Audit the plan's model. samples: answers a question. Raises FairbenchError for what the user can mend."""
    try:
        return _audit(draws.checked(plan), manifest, samples, store, progress)
    except RuntimeError as err:
        if type(err).__name__ != "OutOfMemoryError":  # torch's, which is not imported here
            raise
        raise FairbenchError(
            f"{plan.ctx.device} ran out of memory: run it again with a --batch-size below {plan.ctx.block_size}."
        ) from err


def _audit(plan: Plan, manifest: Path | None, samples: int, store: Store, progress: Progress) -> Audit:
    if len(plan.requests) // len(plan.prompts) < LEAST:
        raise FairbenchError(
            f"An audit compares halves of a prompt's images: give --images-per-prompt, at least {LEAST}."
        )
    wanted = groups.attributes(plan.labeller.card)
    seed = plan.settings.seed
    probed = images.find(manifest, plan.labeller, wanted, seed, progress)
    outcome = pipeline.run(plan, store, progress)
    if outcome.counts is None:
        raise FairbenchError("An audit needs a whole run, not a shard of it.")
    plan, counts = outcome.plan, outcome.counts
    language, shown = _language(plan, wanted, counts, progress)
    return Audit(
        plan,
        probed.reason if isinstance(probed, Skipped) else f"{len(probed.images)} images, {probed.source}",
        [generated(counts, a, seed) for a in wanted],
        probed if isinstance(probed, Skipped) else _encoder(plan, probed, wanted, progress),
        probed if isinstance(probed, Skipped) else _tokenizer(plan, probed, wanted, progress),
        language,
        _understanding(plan, wanted, counts, shown, samples, progress),
    )


def _encoder(plan: Plan, probed: ProbeImages, wanted: Sequence[Attribute], progress: Progress) -> Encoder | Skipped:
    try:
        probe.need_sklearn()
    except MissingExtra as err:
        return Skipped(str(err).rstrip("."))
    with progress.stage("vision encoder", len(probed.images)) as bar:
        parts = []
        for start in range(0, len(probed.images), plan.ctx.block_size):
            parts.append(plan.adapter.embed(probed.images[start : start + plan.ctx.block_size]))
            bar.advance(len(parts[-1]))
        embeddings = np.concatenate(parts)
    found = [
        probe.probe(embeddings, probed.codes[a.name], a, plan.settings.seed) for a in wanted if a.name in probed.codes
    ]
    return Encoder(
        [f for f in found if isinstance(f, AttributeProbe)], [f.reason for f in found if isinstance(f, Skipped)]
    )


def _tokenizer(
    plan: Plan, probed: ProbeImages, wanted: Sequence[Attribute], progress: Progress
) -> list[Passage] | Skipped:
    shown = [a for a in wanted if a.name in probed.codes]
    adapter, block = plan.adapter, plan.ctx.block_size
    before, after = [], []
    with progress.stage("image tokenizer", 3 * len(probed.images)) as bar:
        try:
            for start in range(0, len(probed.images), block):
                part = probed.images[start : start + block]
                decoded = [image for row in adapter.encode(part) for image in adapter.decode(row[None])]
                bar.advance(len(part))
                before.append(images.labelled(plan.labeller, part, shown, bar))
                after.append(images.labelled(plan.labeller, decoded, shown, bar))
        except FloatingPointError as err:
            return Skipped(str(err))
    families = sum(len(a.labels) for a in shown)
    codes = probed.codes

    def whole(parts: list[dict[str, images.Codes]], name: str) -> images.Codes:
        return np.concatenate([part[name] for part in parts])

    return [
        transparency.passage(a, codes[a.name], whole(before, a.name), whole(after, a.name), families) for a in shown
    ]


def _language(
    plan: Plan, wanted: Sequence[Attribute], counts: Counts, progress: Progress
) -> tuple[LanguageModel, Shown]:
    """Return what the image tokens say, and images of attribute-specified prompts as the model draws them in a run."""
    seed, labeller = plan.settings.seed, plan.labeller
    a_side = len(plan.requests) // len(plan.prompts) // 2
    neutral = draws.neutral(plan, progress)
    drawn = draws.stated(plan, plan.adapter, wanted, a_side, progress, "group tokens")
    shown = draws.show(plan.adapter, drawn, min(EACH, a_side), wanted, labeller, progress)
    found = [
        d for a in wanted for d in tokens.divergences(neutral, drawn.tokens[a.name], counts.of((a.name,)), a, seed)
    ]
    plain, own, following = draws.unguided(plan), drawn, shown.following
    if plain is not plan.adapter:  # a guided draw is no draw from the distribution that log-probabilities speak of
        own = draws.stated(plan, plain, wanted, a_side, progress, "unguided tokens")
        following = draws.show(plain, own, min(EACH, a_side), wanted, labeller, progress).following
    texts = [p.text for p in plan.prompts]
    biases = []
    for a in wanted:
        under, beside = logprob.log_probs(plain, texts, own, a.name, plan.ctx.block_size, progress)
        length = own.tokens[a.name].shape[-1]
        biases.append(logprob.bias(under, beside, length, a, plan.prompts, counts.of((a.name,)), seed))
    return LanguageModel(following, found, biases), shown


def _understanding(
    plan: Plan, wanted: Sequence[Attribute], counts: Counts, shown: Shown, samples: int, progress: Progress
) -> Understanding | Skipped:
    model: Any = plan.adapter
    if not isinstance(model, UnderstandingModel):
        return Skipped(f"the adapter {plan.card.adapter!r} answers no questions (protocol UnderstandingModel)")
    subjects, block, seed = groups.subjects(plan.prompts), plan.ctx.block_size, plan.settings.seed
    gender = next((a for a in wanted if set(a.labels) == {"male", "female"}), None)
    drawn = None if gender is None else rd_of_subjects(counts.of((gender.name,)), plan.prompts, subjects)
    answers, alignment = [], {}
    try:
        for condition, image in zip(CONDITIONS, (_blank(shown), None), strict=True):
            table = understanding.ask(model, subjects, image, samples, seed, block, progress)
            answers.append(understanding.summary(condition, subjects, table, seed))
            known = drawn is not None and not np.isnan(drawn).all()
            alignment[condition] = (
                understanding.alignment_gap(drawn, understanding.gaps(table)) if drawn is not None and known else None
            )
        flips = [f for a in wanted for f in counterfactual.flips(model, shown, a, block, progress)]
    except FloatingPointError as err:
        return Skipped(str(err))
    return Understanding(answers, alignment, flips, None if gender is None else gender.name)


def _blank(shown: Shown) -> RgbImage:
    """Return a white image of the size that the model draws."""
    like = next((i for rows in shown.images.values() for i in rows if i is not None), None)
    return np.full((384, 384, 3) if like is None else like.shape, 255, dtype=np.uint8)
