"""A run, worked out before anything is done: cards, prompts, requests, keys, and the run's id."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from fairbench import contracts, keys, registry
from fairbench.cards import catalog, yamlfile
from fairbench.cards.cards import HubModel, LabellerCard, ModelCard
from fairbench.display.progress import Progress, Silent
from fairbench.errors import CardError, FairbenchError
from fairbench.labelling import confusion
from fairbench.labelling import domain as image_domain
from fairbench.labelling.confusion import Calibration
from fairbench.labelling.domain import Domain
from fairbench.labelling.labeller import Labeller
from fairbench.measure import series
from fairbench.measure.correction import fingerprint
from fairbench.measure.series import References
from fairbench.methods import lora
from fairbench.networks import identity, textmodel, weights
from fairbench.notices import Notices, collecting, notice
from fairbench.protocols import MethodContext, PromptSource, Served
from fairbench.runs import label_source, mitigation, scores, system_prompt
from fairbench.runs.arguments import RunSettings
from fairbench.runs.device import pick_device
from fairbench.runs.label_source import TableSource
from fairbench.runs.prompts import NO_FILES, ReferenceFiles, in_order, of_task, texts_hash
from fairbench.storage import paths
from fairbench.types import BuildContext, ImageRequest, Prompt

DEFAULT_TASK = "occupations"


@dataclass(frozen=True)
class RunSpec:
    """Everything that is needed to do a run.

    quota: the method fixes how many samples ask for which group, so that face counts are no multinomial sample.
    """

    settings: RunSettings
    card: ModelCard
    method: str
    method_version: int
    task: str
    task_version: int
    adapter: Any
    ctx: BuildContext
    labeller: Labeller
    prompts: list[Prompt]
    requests: list[ImageRequest]
    references: References
    image_key: str
    faces_key: str
    labels_key: str
    scorers: list[scores.RunScorer]
    notices: Notices = field(default_factory=Notices)
    calibration: Calibration | None = None
    no_calibration: str | None = None
    """Why the labeller card's calibration cannot be used."""
    quota: bool = False
    hooks: dict[str, Any] | None = None
    """What the image key holds of a method that hooks the model; None where it does not."""
    reference_files: ReferenceFiles = NO_FILES
    scored_language: str | None = None
    """The language of what scorers compare images with; None without a task."""

    @cached_property
    def declared(self) -> dict[str, Any]:
        """The settings that can change a number."""
        return {
            "model": self.card.name,
            "image_key": self.image_key,
            "method": {"name": self.method, "version": self.method_version},
            "task": {
                "name": self.task,
                "version": self.task_version,
                "prompts": texts_hash(self.prompts),
            },
            "labels_key": self.labels_key,
            "face_policy": identity.of_params(self.labeller.card.face_policy, None),
            "crosses": self.labeller.card.crosses,
            "references": self.references,
            "images": keys.digest("requests", sorted(r.image_id for r in self.requests)).hex(),
            "seed": self.settings.seed,
            "calibration": None if self.calibration is None else fingerprint(self.calibration),
            "scorers": {s.name: s.key for s in self.scorers},
            "metrics": dict(keys.METRICS_OF_RUN_ID),
            "metrics_stage": keys.STAGE_VERSIONS["metrics"],
        }

    @property
    def domain(self) -> Domain:
        """What the run's images are, to be compared with those of a calibration."""
        return image_domain.of_run(self.card, self.declared["images"])

    @cached_property
    def run_id(self) -> str:
        """Id of the run (32 hex digits)."""
        return keys.run_id(self.declared)

    @property
    def fixed_block(self) -> bool:
        """Whether the block size is part of the image key."""
        return self.ctx.reduced_precision and _computes(self.adapter)

    @property
    def without_images(self) -> bool:
        """Whether only labels are here, and no images."""
        return isinstance(self.adapter, TableSource)

    @property
    def work(self) -> list[ImageRequest]:
        """The requests of this process: all, or every N-th block of a shard i/N."""
        if self.settings.shard is None:
            return self.requests
        mine, of = self.settings.shard
        return [r for i, r in enumerate(self.requests) if i // self.ctx.block_size % of == mine]


def make(settings: RunSettings, progress: Progress | None = None) -> RunSpec:
    """Resolve all settings. Raises FairbenchError for whatever the user got wrong.

    Loads no weights, but for a method that asks a text model; `progress` is told of that.
    """
    with collecting() as notices:
        return dataclasses.replace(_make(settings, progress), notices=notices)


def _make(settings: RunSettings, progress: Progress | None) -> RunSpec:
    loaded = catalog.load_model(settings.model)
    method, method_name, card = mitigation.build(
        settings.method, system_prompt.applied(loaded.card, settings.system_prompt)
    )
    device = pick_device(settings.device)
    ctx = BuildContext(
        device=device,
        dtype=settings.dtype or getattr(card.dtype, device.split(":")[0]),
        block_size=settings.batch_size or card.block_size,
        base_dir=loaded.base_dir,
        compile=settings.compile,
    )
    labeller, labeller_card = label_source.labeller_of(settings.labels, settings.labeller, card, device, settings.model)
    calibration, no_calibration = _calibration(labeller_card, labeller, settings.calibration)
    adapter, params = _adapter(card, ctx, loaded.path)
    _set_price(adapter, card, settings.price)
    hooks = mitigation.identity_of(settings.method, method, card, adapter)
    if settings.compile:
        _check_compile(card, adapter, None if hooks is None else method_name)
    image_key = _image_key(card, adapter, params, ctx, hooks)
    if image_domain.of_run(card, "").kind == "given":
        label_source.refuse_sending(labeller, card, adapter)
    label_source.notices_of_judges(labeller, card, settings.model)
    scorer_names = card.scorers if settings.scorers is None else settings.scorers
    label_source.give_table(labeller, adapter, [*scorer_names])
    own_images = isinstance(adapter, PromptSource)
    source = adapter if own_images else None
    task_name = settings.task or card.default_task or (None if own_images else DEFAULT_TASK)
    title = registry.title("adapters", card.adapter)
    asked = of_task(task_name, source, title, labeller.declared)
    labeller = label_source.with_faces(labeller, asked.card, labeller_card, device)
    prompts = asked.prompts[: settings.limit_prompts]
    if own_images:
        if method_name != "none":
            raise FairbenchError("--method acts before images are made; these images exist already.")
        with contracts.guard(title):
            requests = in_order(adapter.requests(image_key, settings.images_per_prompt), prompts)
    else:
        mitigation.check_system_prompts(settings.method, method, card, adapter)
        limit = getattr(method, "answer_tokens", None)
        text_model = textmodel.of_card(card, adapter, ctx, image_key, progress or Silent(), limit)
        method_ctx = MethodContext(card, settings.seed, text_model)
        mitigation.wrap(settings.method, method, adapter, method_ctx)
        requests = mitigation.requests(settings, prompts, image_key, method, method_ctx)
    partly = (settings.limit_prompts or settings.images_per_prompt) is not None
    label_source.assign(labeller, adapter, card.name, requests, prompts, partly=partly)
    faces_key = labeller.faces_key(image_key)
    labels_key = labeller.labels_key(faces_key)
    series.usable(settings.metrics)  # a broken one is named before any work
    scored_as = None if asked.card is None else asked.card.scored_as
    scorers = scores.resolve_all(scorer_names, image_key, loaded, scored_as)
    quota = bool(getattr(method, "quota", False))
    _notices(card, params, method_name, quota)
    return RunSpec(
        settings=settings,
        card=card,
        method=method_name,
        method_version=type(method).version,
        hooks=hooks,
        task=asked.task,
        task_version=asked.version,
        adapter=adapter,
        ctx=ctx,
        labeller=labeller,
        prompts=prompts,
        requests=requests,
        references=asked.references,
        reference_files=asked.reference_files,
        image_key=image_key,
        faces_key=faces_key,
        labels_key=labels_key,
        scorers=scorers,
        calibration=calibration,
        no_calibration=no_calibration,
        quota=quota,
        scored_language=None if asked.card is None else "en" if scored_as else asked.card.language,
    )


def _set_price(adapter: Any, card: ModelCard, price: float | None) -> None:
    if price is None:
        return
    if not isinstance(adapter, Served):
        raise FairbenchError(f"--price: {card.name} is no served model; leave the option out.")
    adapter.price_per_image = price


def _calibration(
    loaded: catalog.Loaded[LabellerCard], labeller: Labeller, given: str | None
) -> tuple[Calibration | None, str | None]:
    """Return the labeller's calibration, and why it cannot be used where it was made with another labeller.

    given: the file that is used in place of the card's; that it cannot be used is an error.
    """
    calibration = confusion.of_labeller(loaded, None if given is None else paths.expand(given))
    if calibration is None:
        return None, None
    where = given or str(loaded.card.calibration)
    confusion.notice_few_images(calibration, where)
    try:
        confusion.check_labeller(calibration, labeller, where)
    except CardError as err:
        if given is not None:
            raise
        return calibration, str(err)
    return calibration, None


def _adapter(card: ModelCard, ctx: BuildContext, path: Path | None) -> tuple[Any, Any]:
    plugin = registry.resolve("adapters", card.adapter)
    try:
        params = registry.parse_params(plugin, card.sampling)
    except ValidationError as err:
        raise yamlfile.params_error(path, f"model {card.name}", err, ("sampling",)) from err
    with contracts.guard(registry.title("adapters", card.adapter)):
        return plugin(card, params, ctx), params


def _computes(adapter: Any) -> bool:
    """Whether an adapter computes in the run's dtype; readers and renderers say `uses_dtype = False`."""
    return bool(getattr(adapter, "uses_dtype", True))


def _image_key(
    card: ModelCard, adapter: Any, params: Any, ctx: BuildContext, hooks: dict[str, Any] | None = None
) -> str:
    parts = identity.of_plugin(card.adapter, adapter, params, ctx.base_dir)
    parts["weights"] = None if card.weights is None else weights.model_identity(card.weights, ctx.base_dir)
    if card.lora is not None:
        folder = (ctx.base_dir or Path.cwd()) / Path(card.lora).expanduser()
        parts["lora"] = lora.identity(folder, adapter, parts["weights"])
    if hooks is not None:
        parts["method"] = hooks
    if _computes(adapter):
        parts["dtype"] = ctx.dtype
        if ctx.compile and (ctx.reduced_precision or ctx.device != "cpu"):
            parts["compile"] = True  # tests show equal tokens in float32, on a processor
        if ctx.reduced_precision:
            parts["block_size"] = ctx.block_size  # there, an image can depend on the shape of its batch
    return keys.stage_key("images", parts)


def _check_compile(card: ModelCard, adapter: Any, hooking: str | None) -> None:
    """Raise FairbenchError where nothing is compiled. hooking: the method that hooks the model."""
    if not getattr(adapter, "takes_compile", False):
        raise FairbenchError(
            f"--compile: {card.name} draws no tokens in this process (janus and emu3 do); leave the option out."
        )
    if hooking is not None:
        raise FairbenchError(f"--compile: the method {hooking} hooks into the model's layers; leave the option out.")


def _notices(card: ModelCard, params: Any, method: str, quota: bool) -> None:
    for ref in (card.weights, card.text_model, *identity.inside(params, HubModel)):
        if ref is not None and ref.repo and ref.revision is None:
            notice("unpinned", f"{card.name}: its card names no revision of {ref.repo}, so its weights may change.")
    if quota:
        notice(
            "quota",
            f"{method} deals its groups out by quota: the face counts are no multinomial sample, so intervals, floors "
            "and tests that assume one are wrong here (mostly too wide).",
        )
