"""Who answers questions about images: a model of a card, a vision language model, or a served one."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, Field, model_validator

from fairbench import keys, registry
from fairbench.cards import catalog
from fairbench.cards.cards import HubModel
from fairbench.errors import CardError, FairbenchError
from fairbench.labelling.questions import Judge
from fairbench.networks import identity
from fairbench.networks.vlm import VisionLanguageModel
from fairbench.protocols import Params, UnderstandingModel
from fairbench.serving.chat import ChatModel, ChatParams
from fairbench.types import BuildContext


class OwnModel(Params):
    """A model card of fairbench whose model answers questions, by its name; resolved here, so that its weights, adapter
    and settings enter the key of what it reads.
    """

    name: str
    adapter: str
    version: int
    params: BaseModel
    weights: HubModel | None

    @model_validator(mode="before")
    @classmethod
    def _resolved(cls, data: Any) -> dict[str, Any]:
        name = data if isinstance(data, str) else data.get("name")
        if not isinstance(name, str):
            raise ValueError("give the name of a model card")
        try:
            loaded = catalog.load_model(name)
            card = loaded.card
            plugin = registry.resolve("adapters", card.adapter)
            params = registry.parse_params(plugin, card.sampling)
        except FairbenchError as err:
            raise ValueError(str(err).rstrip(".")) from err
        folder = card.weights
        if folder is not None and folder.path is not None and loaded.base_dir is not None:
            folder = HubModel(path=str(loaded.base_dir / folder.path))
        version = int(plugin.version)
        return {"name": name, "adapter": card.adapter, "version": version, "params": params, "weights": folder}


class JudgeParams(Params):
    """Exactly one of `model`, `transformers` and `endpoint`.

    model: a model card's name, or `self`: the very model whose images are looked at. transformers: a checkpoint that
    AutoModelForImageTextToText loads. dtype: of that checkpoint.
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
    own = BuildContext(ctx.device, loaded.card.dtype.cpu if ctx.device == "cpu" else "float32", 1, loaded.base_dir)
    adapter = plugin(loaded.card, params.model.params, own)
    if not isinstance(adapter, UnderstandingModel):
        raise CardError(f"{params.model.name} answers no questions about images: name a model that does.")
    return adapter


def identity_of(params: JudgeParams, base_dir: Path | None) -> str:
    """Return hex digits that stand for everything of a judge that can change an answer."""
    return keys.digest("judge", identity.of_params(params, base_dir)).hex()


def sends_to(params: JudgeParams) -> str | None:
    """Return the address of the third party that gets the images; None where they stay on this machine."""
    return None if params.endpoint is None else ChatModel(params.endpoint.model, params.endpoint).sends_to
