"""A run, worked out before anything is done: cards, prompts, requests, keys, and the run's id."""

from __future__ import annotations

import dataclasses
import importlib
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from fairbench import contracts, keys, registry
from fairbench.cards import catalog, yamlfile
from fairbench.cards.cards import LabellerCard, ModelCard, PluginRef
from fairbench.display.progress import Progress, Silent
from fairbench.errors import CardError, FairbenchError, PluginError
from fairbench.labelling import confusion
from fairbench.labelling.confusion import Calibration
from fairbench.labelling.labeller import Labeller
from fairbench.measure import series
from fairbench.measure.correction import fingerprint
from fairbench.measure.series import References
from fairbench.methods import lora
from fairbench.networks import identity, textmodel, weights
from fairbench.notices import Notices, collecting, notice
from fairbench.protocols import Method, MethodContext, PromptSample, PromptSource
from fairbench.runs import scores
from fairbench.runs.prompts import expand
from fairbench.types import BuildContext, ImageRequest, Prompt

DEFAULT_TASK = "occupations"


@dataclass(frozen=True, slots=True)
class RunSettings:
    """What the user asked for. None: the card's value."""

    model: str
    task: str | None = None
    method: str = "none"
    labeller: str | None = None
    images_per_prompt: int | None = None
    limit_prompts: int | None = None
    scorers: tuple[str, ...] | None = None
    seed: int = 0
    device: str = "auto"
    dtype: str | None = None
    batch_size: int | None = None
    shard: tuple[int, int] | None = None
    near_copies: bool = False
    """Look for near-copies among given images; changes no number."""
    metrics: tuple[str, ...] | None = None
    """Names of the metrics to compute; None: all. `rd`, `concentration` and shares are always there."""


@dataclass(frozen=True)
class RunScorer:
    """A scorer with its key; `reason` where it cannot be had (then there is no key)."""

    name: str
    plugin: Any
    params: Any
    key: str | None
    base_dir: Path | None
    reason: str | None = None


@dataclass(frozen=True)
class RunSpec:
    """Everything that is needed to do a run. `declared` holds the settings that can change a number.

    quota: the method fixes how many samples ask for which group, so that face counts are no multinomial sample.
    """

    settings: RunSettings
    card: ModelCard
    method: str
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
    scorers: list[RunScorer]
    declared: dict[str, Any]
    notices: Notices = field(default_factory=Notices)
    calibration: Calibration | None = None
    no_calibration: str | None = None
    """Why the labeller card's calibration cannot be used."""
    quota: bool = False
    language: str | None = None
    """The task's language; None without a task."""

    @property
    def run_id(self) -> str:
        """Id of the run (32 hex digits)."""
        return keys.run_id(self.declared)

    @property
    def fixed_block(self) -> bool:
        """Whether the block size is part of the image key."""
        return self.ctx.reduced_precision and _computes(self.adapter)

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
    method, method_name = _method(settings.method)
    card = _adapted(method, settings.method, loaded.card)
    device = pick_device(settings.device)
    ctx = BuildContext(
        device=device,
        dtype=settings.dtype or getattr(card.dtype, device.split(":")[0]),
        block_size=settings.batch_size or card.block_size,
        base_dir=loaded.base_dir,
    )
    labeller_card = catalog.load_labeller(settings.labeller or card.labeller)
    labeller = Labeller(labeller_card, device)
    calibrated, problem = _calibration(labeller_card, labeller)
    adapter, params = _adapter(card, ctx, loaded.path)
    image_key = _image_key(card, adapter, params, ctx)
    own_images = isinstance(adapter, PromptSource)
    source = adapter if own_images else None
    prompts, task, version, references, language = _prompts(settings, card, source, labeller)
    if own_images:
        if method_name != "none":
            raise FairbenchError(
                "--method rewrites prompts before images are made; the images of a folder exist already."
            )
        with contracts.guard(registry.title("adapters", card.adapter)):
            requests = adapter.requests(image_key, settings.images_per_prompt)
        order = {p.prompt_id: i for i, p in enumerate(prompts)}
        requests = sorted((r for r in requests if r.prompt_id in order), key=lambda r: order[r.prompt_id])
    else:
        count = settings.images_per_prompt or card.images_per_prompt
        text = textmodel.of_card(card, adapter, ctx, image_key, progress or Silent())
        use = MethodContext(card, settings.seed, text)
        requests = _requests(prompts, count, settings.seed, image_key, settings.method.partition(":")[0], method, use)
        for sentence in use.warnings:
            notice("method", sentence)
    faces_key = labeller.faces_key(image_key)
    labels_key = labeller.labels_key(faces_key)
    series.usable(settings.metrics)  # a broken one is named before any work
    asked = tuple(card.scorers) if settings.scorers is None else settings.scorers
    scorers = [_scorer(name, image_key, loaded) for name in dict.fromkeys(asked)]
    twice = next((s.name for i, s in enumerate(scorers) if s.name in [o.name for o in scorers[:i]]), None)
    if twice:
        raise FairbenchError(f"--scorers names {twice} twice: a run has one value of each scorer.")
    declared = {
        "model": card.name,
        "image_key": image_key,
        "method": {"name": method_name, "version": type(method).version},
        "task": {"name": task, "version": version, "prompts": keys.digest("prompts", [p.text for p in prompts]).hex()},
        "labels_key": labels_key,
        "face_policy": identity.of_params(labeller.card.face_policy, None),
        "crosses": labeller.card.crosses,
        "references": references,
        "images": keys.digest("requests", sorted(r.image_id for r in requests)).hex(),
        "seed": settings.seed,
        "calibration": None if calibrated is None else fingerprint(calibrated),
        "scorers": {s.name: s.key for s in scorers},
        "metrics": dict(keys.METRICS_OF_RUN_ID),
        "metrics_stage": keys.STAGE_VERSIONS["metrics"],
    }
    quota = bool(getattr(method, "quota", False))
    _notices(card, method_name, quota)
    return RunSpec(settings, card, method_name, task, version, adapter, ctx, labeller, prompts, requests, references,
                image_key, faces_key, labels_key, scorers, declared, calibration=calibrated, no_calibration=problem,
                quota=quota, language=language)  # fmt: skip


def _calibration(loaded: catalog.Loaded[LabellerCard], labeller: Labeller) -> tuple[Calibration | None, str | None]:
    """Return the labeller's calibration, and why it cannot be used where it was made with another labeller."""
    found = confusion.of_labeller(loaded)
    if found is None:
        return None, None
    confusion.notice_few_images(found, str(loaded.card.calibration))
    try:
        confusion.check_labeller(found, labeller, str(loaded.card.calibration))
    except CardError as err:
        return found, str(err)
    return found, None


def pick_device(wanted: str) -> str:
    """Return the device: the one named, or the best there is. Raises FairbenchError where it is not there."""
    if wanted == "cpu" or (wanted == "auto" and not _may_have_accelerator()):
        return "cpu"
    torch = importlib.import_module("torch")
    cuda, mps = torch.cuda.is_available(), torch.backends.mps.is_available()
    if wanted == "auto":
        return "cuda" if cuda else "mps" if mps else "cpu"
    kind = wanted.split(":")[0]
    if kind not in {"cuda", "mps"}:
        raise FairbenchError(f"--device {wanted}: name auto, cpu, cuda, cuda:N or mps.")
    if not {"cuda": cuda, "mps": mps}[kind]:
        raise FairbenchError(f"--device {wanted}: torch finds no such device here; use --device cpu.")
    return wanted


def _may_have_accelerator() -> bool:
    # torch takes seconds to import; a Linux machine without the driver's device file has no CUDA device.
    return not sys.platform.startswith("linux") or Path("/dev/nvidiactl").exists() or Path("/dev/dxg").exists()


def _method(target: str) -> tuple[Method, str]:
    name, _, argument = target.partition(":")
    plugin = registry.resolve("methods", name)
    with contracts.guard(registry.title("methods", name)):
        method: Method = plugin(argument or None)
    return method, str(getattr(method, "name", target))  # a path would make one adapter in two places two methods


def _adapted(method: Method, target: str, card: ModelCard) -> ModelCard:
    title = registry.title("methods", target.partition(":")[0])
    with contracts.guard(title):
        adapted = method.adapt(card)
    if not isinstance(adapted, ModelCard):
        raise PluginError(f"{title} returned {type(adapted).__name__} from adapt: return a ModelCard.")
    return adapted


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


def _image_key(card: ModelCard, adapter: Any, params: Any, ctx: BuildContext) -> str:
    parts = identity.of_plugin(card.adapter, adapter, params, ctx.base_dir)
    parts["weights"] = None if card.weights is None else weights.model_identity(card.weights, ctx.base_dir)
    if card.lora is not None:
        folder = (ctx.base_dir or Path.cwd()) / Path(card.lora).expanduser()
        parts["lora"] = lora.identity(folder, adapter, parts["weights"])
    if _computes(adapter):
        parts["dtype"] = ctx.dtype
        if ctx.reduced_precision:
            parts["block_size"] = ctx.block_size  # there, an image can depend on the shape of its batch
    return keys.stage_key("images", parts)


def _prompts(
    settings: RunSettings, card: ModelCard, source: Any, labeller: Labeller
) -> tuple[list[Prompt], str, int, References, str | None]:
    """Return prompts, task name and version, reference shares for the labeller's attributes, and the language."""
    title = registry.title("adapters", card.adapter)
    wanted = settings.task or card.default_task or (None if source is not None else DEFAULT_TASK)
    if wanted is None:
        with contracts.guard(title):
            return source.prompts(None)[: settings.limit_prompts], "folder", 1, {}, None
    task = catalog.load_task(wanted).card
    prompts = expand(task)
    with contracts.guard(title):
        prompts = (prompts if source is None else source.prompts(prompts))[: settings.limit_prompts]
    declared = labeller.declared.labels
    known = {a: path for a, path in sorted(task.references.items()) if a in declared}
    references = {a: catalog.reference_file(path, declared[a]) for a, path in known.items()}
    return prompts, task.name, task.version, references, task.language


def _requests(
    prompts: Sequence[Prompt], count: int, seed: int, image_key: str, name: str, method: Method, ctx: MethodContext
) -> list[ImageRequest]:
    """Return the requests, prompt by prompt. Their ids and seeds depend on neither count, task nor order."""
    samples = [PromptSample(p, j, keys.sample_seed(p.neutral_id, j, seed)) for p in prompts for j in range(count)]
    title = registry.title("methods", name)
    with contracts.guard(title):
        texts = contracts.texts(title, method.rewrite(samples, ctx), len(samples))
    prompt_ids = {text: keys.prompt_id(text) for text in dict.fromkeys(texts)}  # shared by the images of a text
    found = []
    for sample, text in zip(samples, texts, strict=True):
        prompt_id, neutral_id = prompt_ids[text], sample.prompt.neutral_id
        image_id = keys.image_id(image_key, prompt_id, neutral_id, sample.seed)
        found.append(ImageRequest(image_id, prompt_id, neutral_id, text, sample.sample_index, sample.seed))
    return found


def _scorer(target: str, image_key: str, model: catalog.Loaded[ModelCard]) -> RunScorer:
    """Return a scorer by name, with the model card's parameters for it, or by a YAML file of `type` and parameters."""
    place: yamlfile.Loc = ("scorers", target)
    name, given, path, base_dir = target, model.card.scorers.get(target, {}), model.path, model.base_dir
    if target.endswith((".yaml", ".yml")):
        path = Path(target).expanduser()
        ref, base_dir = yamlfile.parse(yamlfile.load(path), PluginRef), path.resolve().parent
        name, given, place = ref.type, ref.params, ()
    try:
        plugin = registry.resolve("scorers", name)
    except PluginError as err:  # nothing is known of its values: it is left out with its reason
        return RunScorer(name, scores.Broken, None, None, base_dir, str(err))
    try:
        params = registry.parse_params(plugin, given)
    except ValidationError as err:
        raise yamlfile.params_error(path, target, err, place) from err
    try:
        key = keys.stage_key("scores", identity.of_plugin(name, plugin, params, base_dir), image_key)
    except FairbenchError as err:
        return RunScorer(name, plugin, params, None, base_dir, str(err))
    return RunScorer(name, plugin, params, key, base_dir)


def _notices(card: ModelCard, method: str, quota: bool) -> None:
    for ref in (card.weights, card.text_model):
        if ref is not None and ref.repo and ref.revision is None:
            notice("unpinned", f"{card.name}: its card names no revision of {ref.repo}, so its weights may change.")
    if quota:
        notice(
            "quota",
            f"{method} deals its groups out by quota: the face counts are no multinomial sample, so intervals, floors "
            "and tests that assume one are wrong here (mostly too wide).",
        )
