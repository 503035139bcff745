"""An audit from end to end: a run's images, then each component of the model that made them."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from fairbench.audit import counterfactual, draws, groups, logprob, probe, tokens, transparency, understanding
from fairbench.audit.counterfactual import Flips
from fairbench.audit.draws import GroupImages
from fairbench.audit.estimates import Estimate, Skipped
from fairbench.audit.generation import Generated, generated, rd_of_subjects
from fairbench.audit.images import Codes, ProbeImages, label_codes, probe_images
from fairbench.audit.logprob import LogProbBias
from fairbench.audit.probe import AttributeProbe
from fairbench.audit.tokens import Divergences
from fairbench.audit.transparency import Passage
from fairbench.audit.understanding import CONDITIONS, Answers
from fairbench.display.progress import Progress
from fairbench.errors import FairbenchError, MissingExtra
from fairbench.measure.counts import Counts
from fairbench.protocols import EmbeddingModel, UnderstandingModel
from fairbench.runs import pipeline
from fairbench.runs.spec import RunSpec
from fairbench.storage.store import Store
from fairbench.types import RgbImage

MIN_IMAGES_PER_PROMPT = 4
MAX_DECODED_PER_GROUP = 2
"""Images of every prompt and group that are decoded and labelled."""


@dataclass(frozen=True, slots=True)
class Encoder:
    """Vision encoder: a probe per attribute."""

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

    attribute: the labeller's name for the attribute that the questions ask for, male or female; None where it has none.
    """

    answers: list[Answers]
    alignment: dict[str, Estimate | None]
    flips: list[Flips]
    attribute: str | None


@dataclass(frozen=True, slots=True)
class Audit:
    """All results of an audit. probe_images: where they come from and how many there are."""

    plan: RunSpec
    probe_images: str
    generation: list[Generated]
    encoder: Encoder | Skipped
    tokenizer: list[Passage] | Skipped
    language: LanguageModel
    understanding: Understanding | Skipped


def audit(spec: RunSpec, manifest: Path | None, samples: int, store: Store, progress: Progress) -> Audit:
    """Audit a run's model. samples: answers per question. Raises FairbenchError for what the user can fix."""
    draws.need_tokens(spec)
    if len(spec.requests) // len(spec.prompts) < MIN_IMAGES_PER_PROMPT:
        raise FairbenchError(
            "An audit compares halves of a prompt's images: give --images-per-prompt, at least "
            f"{MIN_IMAGES_PER_PROMPT}."
        )
    try:
        return _audit(spec, manifest, samples, store, progress)
    except RuntimeError as err:
        if type(err).__name__ != "OutOfMemoryError":  # torch's, which is not imported here
            raise
        raise FairbenchError(
            f"{spec.ctx.device} ran out of memory: run it again with a --batch-size below {spec.ctx.block_size}."
        ) from err


def _audit(spec: RunSpec, manifest: Path | None, samples: int, store: Store, progress: Progress) -> Audit:
    attributes = groups.attributes(spec.labeller.card)
    probes = probe_images(manifest, spec.labeller, attributes, spec.settings.seed, progress)
    outcome = pipeline.run(spec, store, progress)
    if outcome.counts is None:
        raise FairbenchError("An audit needs a whole run, not a shard of it.")
    spec, counts = outcome.spec, outcome.counts
    language, pictures = _language(spec, counts, progress)
    return Audit(
        spec,
        probes.reason if isinstance(probes, Skipped) else f"{len(probes.images)} images, {probes.source}",
        [generated(counts, a, spec.settings.seed) for a in attributes],
        probes if isinstance(probes, Skipped) else _encoder(spec, probes, progress),
        probes if isinstance(probes, Skipped) else _tokenizer(spec, probes, progress),
        language,
        _understanding(spec, counts, pictures, samples, progress),
    )


def _encoder(spec: RunSpec, probes: ProbeImages, progress: Progress) -> Encoder | Skipped:
    model: Any = spec.adapter
    if not isinstance(model, EmbeddingModel):
        return Skipped(f"the adapter {spec.card.adapter!r} has no vision encoder (protocol EmbeddingModel)")
    try:
        import sklearn  # noqa: F401
    except ImportError:
        return Skipped(str(MissingExtra("The probe of the vision encoder", "audit")).rstrip("."))
    parts = []
    with progress.stage("vision encoder", len(probes.images)) as bar:
        for block in probes.blocks(spec.ctx.block_size):
            parts.append(model.embed(block))
            bar.advance(len(block))
    embeddings, seed = np.concatenate(parts), spec.settings.seed
    attributes = [a for a in groups.attributes(spec.labeller.card) if a.name in probes.codes]
    results = [probe.probe(embeddings, probes.codes[a.name], a, seed) for a in attributes]
    return Encoder(
        [result for result in results if isinstance(result, AttributeProbe)],
        [result.reason for result in results if isinstance(result, Skipped)],
    )


def _tokenizer(spec: RunSpec, probes: ProbeImages, progress: Progress) -> list[Passage] | Skipped:
    attributes = [a for a in groups.attributes(spec.labeller.card) if a.name in probes.codes]
    before: dict[str, list[Codes]] = {a.name: [] for a in attributes}
    after: dict[str, list[Codes]] = {a.name: [] for a in attributes}
    with progress.stage("image tokenizer", 3 * len(probes.images)) as bar:
        try:
            for block in probes.blocks(spec.ctx.block_size):
                decoded = [image for row in spec.adapter.encode(block) for image in spec.adapter.decode(row[None])]
                bar.advance(len(block))
                for images, parts in ((block, before), (decoded, after)):
                    for name, block_codes in label_codes(spec.labeller, images, attributes, bar).items():
                        parts[name].append(block_codes)
        except FloatingPointError as err:
            return Skipped(str(err))
    families = sum(len(a.labels) for a in attributes)
    codes = {a.name: (np.concatenate(before[a.name]), np.concatenate(after[a.name])) for a in attributes}
    return [transparency.passage(a, probes.codes[a.name], *codes[a.name], families) for a in attributes]


def _language(spec: RunSpec, counts: Counts, progress: Progress) -> tuple[LanguageModel, GroupImages]:
    """Return the results on the image tokens, and images of attribute-specified prompts drawn as in a run."""
    attributes = groups.attributes(spec.labeller.card)
    seed, labeller = spec.settings.seed, spec.labeller
    per_group = len(spec.requests) // len(spec.prompts) // 2
    decoded_per_group = min(MAX_DECODED_PER_GROUP, per_group)
    neutral = draws.neutral_tokens(spec, progress)
    drawn = draws.group_draws(spec, spec.adapter, attributes, per_group, progress, "group tokens")
    pictures = draws.decoded(spec.adapter, drawn, decoded_per_group, labeller, progress)
    divergences: list[Divergences] = []
    for a in attributes:
        divergences += tokens.divergences(neutral, drawn.tokens[a.name], counts.of((a.name,)), a, seed)
    # Log-probabilities belong to the unguided distribution, from which a guided draw is no draw.
    model, following = draws.unguided(spec), pictures.following
    if model is not spec.adapter:
        drawn = draws.group_draws(spec, model, attributes, per_group, progress, "unguided tokens")
        following = draws.decoded(model, drawn, decoded_per_group, labeller, progress).following
    texts = [p.text for p in spec.prompts]
    biases = []
    for a in attributes:
        log_probs = logprob.log_probs(model, texts, drawn, a.name, spec.ctx.block_size, progress)
        length = drawn.tokens[a.name].shape[-1]
        biases.append(logprob.bias(*log_probs, length, a, texts, counts.of((a.name,)), seed))
    return LanguageModel(following, divergences, biases), pictures


def _understanding(
    spec: RunSpec, counts: Counts, pictures: GroupImages, samples: int, progress: Progress
) -> Understanding | Skipped:
    attributes = groups.attributes(spec.labeller.card)
    model: Any = spec.adapter
    if not isinstance(model, UnderstandingModel):
        return Skipped(f"the adapter {spec.card.adapter!r} answers no questions (protocol UnderstandingModel)")
    block_size, seed = spec.ctx.block_size, spec.settings.seed
    subjects = list(dict.fromkeys(p.subject for p in spec.prompts))
    gender = next((a.name for a in attributes if set(a.labels) == {"male", "female"}), None)
    rds = None if gender is None else rd_of_subjects(counts.of((gender,)), spec.prompts, subjects)
    if rds is not None and np.isnan(rds).all():
        rds = None
    answers, alignment = [], {}
    try:
        for condition, image in zip(CONDITIONS, (_white_image(pictures), None), strict=True):
            table = understanding.ask(model, subjects, image, samples, seed, block_size, progress)
            answers.append(understanding.summary(condition, subjects, table, seed))
            alignment[condition] = rds if rds is None else understanding.alignment_gap(rds, understanding.gaps(table))
        flips = [f for a in attributes for f in counterfactual.flips(model, pictures, a, block_size, progress)]
    except FloatingPointError as err:
        return Skipped(str(err))
    return Understanding(answers, alignment, flips, gender)


def _white_image(pictures: GroupImages) -> RgbImage:
    """Return a white image of the size that the model draws."""
    drawn = next((i for images in pictures.images.values() for i in images if i is not None), None)
    return np.full((384, 384, 3) if drawn is None else drawn.shape, 255, dtype=np.uint8)
