"""scores: one pass of a scorer over the images that it has not seen; then one value over all of them."""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pyarrow as pa
from pydantic import ValidationError

from fairbench import contracts, keys, registry
from fairbench.cards import yamlfile
from fairbench.cards.cards import HubModel, ModelCard, PluginRef
from fairbench.cards.catalog import Loaded
from fairbench.display.progress import Progress, Stage
from fairbench.errors import FairbenchError, ImageError, PluginError, one_line
from fairbench.networks import identity
from fairbench.notices import notice
from fairbench.protocols import Scorer, ScorerSpec
from fairbench.storage import schemas
from fairbench.storage.reading import ImageReader, ImageRow, by_shard
from fairbench.storage.store import Store
from fairbench.types import NO_TEXT, BuildContext, Prompt, RgbImage

BATCH = 32
PARCEL = 256


class Broken:
    """Stands for a scorer that cannot be imported: of its values nothing is known."""

    spec: ClassVar[ScorerSpec] = ScorerSpec("broken", "none", "cannot be imported", values=())
    version: ClassVar[int] = 0


@dataclass(frozen=True)
class RunScorer:
    """A scorer with its key; `reason` where it cannot be had (then there is no key)."""

    name: str
    plugin: Any
    params: Any
    key: str | None
    base_dir: Path | None
    reason: str | None = None
    parts: Mapping[str, Any] = field(default_factory=dict)
    """What its key is the hash of, beside the images' key."""

    def parts_without_task(self) -> list[Mapping[str, Any]]:
        """Return its parts with and without what the task has images compared with, which another task may not have."""
        return [self.parts, {name: part for name, part in self.parts.items() if name != "scored_as"}]


def resolve(target: str, image_key: str, model: Loaded[ModelCard], scored_as: str | None = None) -> RunScorer:
    """Return a scorer by name, with the model card's parameters for it, or by a YAML file of `type` and parameters.

    scored_as: what the task has images compared with instead of their prompts. Raises CardError where the parameters
    are wrong. A plug-in that cannot be had is left out with its reason.
    """
    name, params_in_card, path, base_dir = target, model.card.scorers.get(target, {}), model.path, model.base_dir
    prefix: yamlfile.Loc = ("scorers", target)
    if target.endswith((".yaml", ".yml")):
        path = Path(target).expanduser()
        ref, base_dir = yamlfile.parse(yamlfile.load(path), PluginRef), path.resolve().parent
        name, params_in_card, prefix = ref.type, ref.params, ()
    try:
        plugin = registry.resolve("scorers", name)
    except PluginError as err:  # nothing is known of its values
        return RunScorer(name, Broken, None, None, base_dir, str(err))
    try:
        params = registry.parse_params(plugin, params_in_card)
    except ValidationError as err:
        raise yamlfile.params_error(path, target, err, prefix) from err
    for hub in identity.inside(params, HubModel):
        if hub.repo and hub.revision is None:
            notice("unpinned", f"{name}: no revision of {hub.repo} is named, so its weights may change.")
    try:
        parts = identity.of_plugin(name, plugin, params, base_dir) | ({"scored_as": scored_as} if scored_as else {})
        key = keys.stage_key("scores", parts, image_key)
    except FairbenchError as err:
        return RunScorer(name, plugin, params, None, base_dir, str(err))
    return RunScorer(name, plugin, params, key, base_dir, parts=parts)


def resolve_all(
    targets: Iterable[str], image_key: str, model: Loaded[ModelCard], scored_as: str | None = None
) -> list[RunScorer]:
    """Return scorers. Raises FairbenchError where two have one name, and what `resolve` raises."""
    scorers = [resolve(target, image_key, model, scored_as) for target in dict.fromkeys(targets)]
    name, count = Counter(s.name for s in scorers).most_common(1)[0] if scorers else ("", 0)
    if count > 1:
        raise FairbenchError(f"--scorers names {name} twice: a run has one value of each scorer.")
    return scorers


class Scorers:
    """The scorers of a run, each built once. One that cannot be had, or is broken, is left out with its reason."""

    def __init__(self, scorers: Sequence[RunScorer], ctx: BuildContext) -> None:
        self._scorers, self._ctx = scorers, ctx
        self._built: dict[str, tuple[Scorer | None, str | None]] = {}

    def load(self) -> None:
        """Build all of them, so that what is absent or broken is said before any work."""
        for scorer in self._scorers:
            self.get(scorer)

    def get(self, scorer: RunScorer) -> tuple[Scorer | None, str | None]:
        """Return a scorer, or None and the reason why there is none."""
        if scorer.name not in self._built:
            try:
                self._built[scorer.name] = self._build(scorer), None
            except FairbenchError as err:
                return self.leave_out(scorer, str(err))
        return self._built[scorer.name]

    def leave_out(self, scorer: RunScorer, reason: str) -> tuple[None, str]:
        """Give up on a scorer, with a notice."""
        notice("scorer-left-out", f"{scorer.name} is not measured: {reason}")
        self._built[scorer.name] = None, reason
        return None, reason

    def _build(self, scorer: RunScorer) -> Scorer:
        if scorer.key is None:
            raise FairbenchError(scorer.reason or "it has no key")
        title = registry.title("scorers", scorer.name)
        with contracts.guard(title):
            built: Scorer = scorer.plugin(scorer.params, dataclasses.replace(self._ctx, base_dir=scorer.base_dir))
        if registry.is_third_party("scorers", scorer.name):
            contracts.probe("scorers", title, built)
        return built


@dataclass(frozen=True, slots=True)
class _Scored:
    """One image's row: features (D,) where the status is "ok", an error where it is "failed"."""

    row: ImageRow
    status: str
    features: list[float] | None = None
    error: str | None = None


def score(
    store: Store,
    key: str,
    name: str,
    scorer: Scorer,
    rows: Sequence[ImageRow],
    prompts: Mapping[bytes, str],
    progress: Progress,
) -> None:
    """Score the images that the store lacks. `prompts`: neutral prompt id -> text, against which images are scored.

    A rewritten prompt is not what is asked for: alignment is with the task's own prompt, so that methods compare.
    An image on which the scorer raises, or whose values are not finite, is a "failed" row. Raises PluginError where the
    scorer breaks its contract or fails on each of its first images.
    """
    have = store.ids("scores", key)
    todo = by_shard(r for r in rows if r.request.image_id not in have)
    with progress.stage(name, len(todo)) as bar:
        score_rows(store, key, name, scorer, todo, prompts, bar, first=not have)


def score_rows(
    store: Store,
    key: str,
    name: str,
    scorer: Scorer,
    rows: Sequence[ImageRow],
    prompts: Mapping[bytes, str],
    bar: Stage,
    *,
    first: bool,
) -> None:
    """Score these rows as `score` does, whatever the store has of them. first: nothing was scored before."""
    reader = ImageReader(store)
    title = registry.title("scorers", name)
    for start in range(0, len(rows), PARCEL):
        parcel = rows[start : start + PARCEL]
        scored = [_Scored(r, "no_image") for r in parcel if r.status != "ok"]
        bar.advance(len(scored))
        batch: list[_Read] = []
        for row, image in reader.stream([r for r in parcel if r.status == "ok"]):
            if not isinstance(image, ImageError):  # a read error is told by the labels; it is not stored
                batch.append((row, image))
            if len(batch) == BATCH:
                scored += _score(scorer, title, batch, prompts, first)
                batch, first = [], False
            bar.advance(1)
        if batch:
            scored += _score(scorer, title, batch, prompts, first)
            first = False
        store.write("scores", key, _table(name, scored))


def write_failed(store: Store, key: str, name: str, row: ImageRow, reason: str) -> None:
    """Store that an image cannot be scored, where the process that scores it does not live to say so."""
    store.write("scores", key, _table(name, [_Scored(row, "failed", error=reason)]))


def scored_texts(prompts: Sequence[Prompt]) -> dict[bytes, str]:
    """Return what images are scored against, by neutral prompt id."""
    return {p.neutral_id: p.scored_as or p.text for p in prompts}


def scorable(scorer: RunScorer, prompts: Sequence[Prompt], rows: list[ImageRow]) -> list[ImageRow]:
    """Return the images that a scorer can judge: one that compares with the prompt needs a prompt that is a text."""
    if not scorer.plugin.spec.needs_prompt:
        return rows
    named = {p.neutral_id for p in prompts if p.template_id == NO_TEXT}
    return [r for r in rows if r.request.neutral_id not in named]


_Read = tuple[ImageRow, RgbImage]


def _score(
    scorer: Scorer, title: str, batch: Sequence[_Read], prompts: Mapping[bytes, str], first: bool
) -> list[_Scored]:
    """Score a batch. first: nothing was scored before, so that if all fail alike, the scorer is at fault."""
    scored = _features(scorer, title, batch, prompts)
    errors = {s.error for s in scored}
    if first and len(scored) > 1 and None not in errors and len(errors) == 1:
        raise PluginError(f"{title} failed on each of its first {len(scored)} images: {errors.pop()}.")
    return scored


def _features(scorer: Scorer, title: str, batch: Sequence[_Read], prompts: Mapping[bytes, str]) -> list[_Scored]:
    try:
        with contracts.guard(title):
            values = scorer.features([image for _, image in batch], [prompts[r.request.neutral_id] for r, _ in batch])
    except PluginError as err:
        cause = err.__cause__
        if cause is None or isinstance(cause, MemoryError) or "OutOfMemory" in type(cause).__name__:
            raise  # its own sentence, or nothing that an image is to blame for
        if len(batch) == 1:
            return [_Scored(batch[0][0], "failed", error=f"the scorer raised {one_line(cause)}")]
        return [scored for item in batch for scored in _features(scorer, title, [item], prompts)]
    features = contracts.features(title, values, len(batch))
    return [
        _Scored(row, "ok", value.tolist())
        if np.isfinite(value).all()
        else _Scored(row, "failed", error="the scorer's values are not finite numbers")
        for (row, _), value in zip(batch, features, strict=True)
    ]


def _table(name: str, scored: Sequence[_Scored]) -> pa.Table:
    return schemas.build(
        "scores",
        {
            "image_id": [s.row.request.image_id for s in scored],
            "neutral_id": [s.row.request.neutral_id for s in scored],
            "scorer": [name] * len(scored),
            "status": [s.status for s in scored],
            "value": [s.features[0] if s.features is not None and len(s.features) == 1 else None for s in scored],
            "features": [s.features for s in scored],
            "error": [s.error for s in scored],
        },
    )
