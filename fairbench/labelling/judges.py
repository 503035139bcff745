"""Who answers questions about images: a model of a card, a vision language model, or a served one."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final, Literal

from pydantic import BaseModel, Field, model_validator

from fairbench import keys, registry
from fairbench.cards import catalog
from fairbench.cards.cards import HubModel, LabellerCard
from fairbench.errors import CardError, FairbenchError
from fairbench.labelling.questions import Judge
from fairbench.networks import identity, weights
from fairbench.networks.vlm import VisionLanguageModel
from fairbench.protocols import TRANSPORT, Params, SaysWhatIsMissing, UnderstandingModel
from fairbench.serving.chat import ChatModel, ChatParams
from fairbench.types import BuildContext

_REACHED: Final = frozenset(
    name for name, field in ChatParams.model_fields.items() if field.json_schema_extra == TRANSPORT
)
SELF: Final = "self"
"""In place of a model's name: the very model whose pictures are looked at."""


class OwnModel(Params):
    """A model card of fairbench whose model answers questions, by its name; resolved here, so that its weights, adapter
    and settings enter the key of what it reads.

    source: what stands for the code that the adapter calls, such as a worker's recipe, where it names that.
    """

    name: str
    adapter: str
    version: int
    params: BaseModel
    weights: HubModel | None
    lora: HubModel | None
    source: Any = None

    @model_validator(mode="before")
    @classmethod
    def _resolved(cls, data: Any) -> dict[str, Any]:
        name = data if isinstance(data, str) else data.get("name") if isinstance(data, dict) else None
        if not isinstance(name, str):
            raise ValueError("give the name of a model card")
        try:
            loaded = catalog.load_model(name)
            card, base_dir = loaded.card, loaded.base_dir
            plugin = registry.resolve("adapters", card.adapter)
            params = registry.parse_params(plugin, card.sampling)
            source = getattr(plugin(card, params, BuildContext(base_dir=base_dir)), "key_source", None)
        except FairbenchError as err:
            raise ValueError(str(err).rstrip(".")) from err
        return {
            "name": name,
            "adapter": card.adapter,
            "version": int(plugin.version),
            "params": params,
            "weights": _beside(card.weights, base_dir),
            "lora": None if card.lora is None else _beside(HubModel(path=card.lora), base_dir),
            "source": source,
        }


def _beside(folder: HubModel | None, base_dir: Path | None) -> HubModel | None:
    """Return a model folder whose path, where it has one, no longer depends on the card's own place."""
    if folder is None or folder.path is None or base_dir is None:
        return folder
    return HubModel(path=str(base_dir / Path(folder.path).expanduser()))


class JudgeParams(Params):
    """Exactly one of `model`, `transformers` and `endpoint`.

    model: a model card's name, or `self`: the very model whose images are looked at. transformers: a checkpoint that
    AutoModelForImageTextToText loads. dtype: of either, on whichever device.
    """

    model: Literal["self"] | OwnModel | None = Field(None, union_mode="left_to_right")
    transformers: HubModel | None = None
    endpoint: ChatParams | None = None
    dtype: Literal["float32", "bfloat16", "float16"] = "float32"

    @model_validator(mode="after")
    def _one(self) -> JudgeParams:
        if sum(x is not None for x in (self.model, self.transformers, self.endpoint)) != 1:
            raise ValueError("give exactly one of model, transformers and endpoint")
        return self

    @property
    def model_name(self) -> str | None:
        """The model card's name, where the judge is one."""
        return self.model if isinstance(self.model, str) or self.model is None else self.model.name


def build(params: JudgeParams, ctx: BuildContext) -> Judge:
    """Return what answers; weights are loaded, and servers reached, when it is first asked. Raises CardError."""
    if params.transformers is not None:
        return VisionLanguageModel(params.transformers, ctx, params.dtype)
    if params.endpoint is not None:
        return ChatModel(params.endpoint.model, params.endpoint)
    if not isinstance(params.model, OwnModel):
        raise CardError("`model: self` stands for the model of a run: name a model here.")
    loaded = catalog.load_model(params.model.name)
    plugin = registry.resolve("adapters", params.model.adapter)
    own = BuildContext(ctx.device, params.dtype, 1, loaded.base_dir)
    adapter = plugin(loaded.card, params.model.params, own)
    if not isinstance(adapter, UnderstandingModel):
        raise CardError(f"{params.model.name} answers no questions about images: name a model that does.")
    return adapter


def refuse_missing(params: JudgeParams, judge: Judge, ctx: BuildContext) -> None:
    """Raise FairbenchError, WeightsError or CardError for what has to be there before the judge can be asked: files, an
    environment, an address, a key. Files are fetched; no network is loaded and no server asked.
    """
    if isinstance(judge, ChatModel):
        judge.refuse_missing()
    if params.transformers is not None:
        weights.model_folder(params.transformers, ctx.base_dir)
    if isinstance(params.model, OwnModel):
        sentences = judge.missing() if isinstance(judge, SaysWhatIsMissing) else []
        if sentences:
            raise FairbenchError(f"{params.model.name}: {sentences[0]}.")
        if params.model.weights is not None:
            weights.model_folder(params.model.weights)


def identity_of(params: JudgeParams, base_dir: Path | None) -> str:
    """Return hex digits that stand for everything of a judge that can change an answer."""
    return keys.digest("judge", identity.of_params(params, base_dir)).hex()


def sends_to(params: JudgeParams) -> str | None:
    """Return the address of the third party that gets the images; None where they stay on this machine."""
    return None if params.endpoint is None else ChatModel(params.endpoint.model, params.endpoint).sends_to


def described(params: JudgeParams) -> str:
    """Return whom a labeller asks, as a sentence names it. Raises CardError where a server has no address."""
    if params.endpoint is not None:
        served = ChatModel(params.endpoint.model, params.endpoint)
        return f"asks {params.endpoint.model} at {served.address} (not tried)"
    if params.transformers is not None:
        return f"asks {params.transformers.repo or params.transformers.path}"
    return f"asks the model {params.model_name}"


def without_addresses(card: Any) -> Any:
    """Return a labeller's card, as plain data, without where and how its judges are reached."""
    if isinstance(card, Mapping):
        return {
            name: {k: v for k, v in value.items() if k not in _REACHED}
            if name == "endpoint" and isinstance(value, Mapping)
            else without_addresses(value)
            for name, value in card.items()
        }
    return [without_addresses(value) for value in card] if isinstance(card, list | tuple) else card


def names(card: LabellerCard) -> list[str]:
    """Return whom a labeller's card asks, without paths and addresses of a machine; nothing where it asks nobody."""
    asked = [ref.params["judge"] for ref in card.classifiers if isinstance(ref.params.get("judge"), Mapping)]
    found = []
    for judge in asked:
        model, folder, served = (judge.get(name) or {} for name in ("model", "transformers", "endpoint"))
        name = model or folder.get("repo") or served.get("model") or folder.get("path") or ""
        found.append(str(name) if not Path(str(name)).is_absolute() else Path(str(name)).stem)
    return found
