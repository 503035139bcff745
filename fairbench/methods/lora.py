"""Trained adapter weights: `lora:FOLDER` or `lora:FILE.safetensors`, or `lora:CARD.yaml` for published ones."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar, Literal

from pydantic import Field

from fairbench.cards import yamlfile
from fairbench.cards.cards import Card, HubModel, ModelCard
from fairbench.errors import CardError, FairbenchError
from fairbench.networks import weights
from fairbench.notices import notice
from fairbench.protocols import MethodContext, PromptSample

CONFIG, WEIGHTS, PROVENANCE = "adapter_config.json", "adapter_model.safetensors", "provenance.json"
DIFFUSERS_WEIGHTS = "pytorch_lora_weights.safetensors"


class LoraCard(Card):
    """A published adapter: where its folder is, and the model card that it belongs to."""

    method: Literal["lora"]
    base: str
    weights: HubModel
    file: str | None = Field(
        None,
        pattern=r"^[^/\\]+\.safetensors$",
        description="for diffusion models: the file's name where it is not pytorch_lora_weights.safetensors",
    )
    title: str | None = None
    licence: str = "unknown"
    source: str | None = None
    notes: str | None = None


class LoraMethod:
    """Generates with a LoRA adapter in place; prompts stay as they are."""

    version: ClassVar[int] = 1

    def __init__(self, argument: str | None) -> None:
        if not argument:
            raise FairbenchError("--method lora needs an adapter's folder, file or card, as in lora:PATH.")
        self._base: str | None = None
        self.folder = Path(argument).expanduser()
        if self.folder.suffix in {".yaml", ".yml"} and self.folder.is_file():
            path = self.folder
            card = yamlfile.parse(yamlfile.load(path), LoraCard)
            self._base = card.base
            self.folder = weights.model_folder(card.weights, path.resolve().parent)
            if card.file is not None:
                self.folder /= card.file
        self.folder = self.folder.resolve()
        self._files = files(self.folder)

    @property
    def name(self) -> str:
        """The adapter by its content: the same wherever the folder lies."""
        weights_hash = self._files.get(WEIGHTS) or next(iter(self._files.values()))
        return f"lora:{self.folder.name.removesuffix('.safetensors')}@{weights_hash[:8]}"

    def adapt(self, card: ModelCard) -> ModelCard:
        """Return the card with the adapter's folder. Raises CardError where the two do not belong together."""
        if self._base is not None and self._base != card.name:
            raise CardError(f"The method's card is for the model {self._base}, not for {card.name}.")
        if card.lora is not None:
            raise CardError(f"The model card {card.name} names an adapter already (`lora`): use the model without it.")
        return card.model_copy(update={"lora": str(self.folder)})

    def rewrite(self, prompts: Sequence[PromptSample], ctx: MethodContext) -> Sequence[str]:
        """Return the prompts' own texts. Warns of prompts that training used."""
        texts = [p.prompt.text for p in prompts]
        record = provenance(self.folder)
        trained = set(texts) & set(record["data"]["prompts"] if record else ())
        if trained:
            ctx.warnings.append(
                f"{len(trained)} of the {len(set(texts))} prompts are among those that the adapter was trained on: "
                "what it does there need not hold elsewhere."
            )
        return texts


def form(path: Path) -> Literal["peft", "diffusers"]:
    """Return whose form an adapter has: peft's, for unified models, or that of diffusers, for diffusion models."""
    return "diffusers" if path.suffix == ".safetensors" or (path / DIFFUSERS_WEIGHTS).is_file() else "peft"


def diffusers_file(path: Path) -> Path:
    """Return the file of an adapter in the form of diffusers. Raises CardError where there is none."""
    file = path if path.suffix == ".safetensors" else path / DIFFUSERS_WEIGHTS
    if not file.is_file():
        raise CardError(f"{file} does not exist: name a LoRA's .safetensors file, or its folder.")
    return file


def files(folder: Path) -> dict[str, str]:
    """Return the sha256 of the files that make an adapter. Raises CardError where one is missing."""
    if form(folder) == "diffusers":
        # Under one name, so that a file means the same as the folder that holds it.
        return {DIFFUSERS_WEIGHTS: weights.sha256(diffusers_file(folder))}
    if not folder.exists():
        raise CardError(
            f"{folder} is no folder of a LoRA adapter, it does not exist: fix the path (a published adapter needs a "
            "YAML card that names its repository)."
        )
    for name in (CONFIG, WEIGHTS):
        if not (folder / name).is_file():
            raise CardError(f"{folder} is no folder of a LoRA adapter: it has no {name}.")
    return {name: weights.sha256(folder / name) for name in (CONFIG, WEIGHTS)}


def identity(folder: Path, adapter: Any, base: Mapping[str, str] | None) -> dict[str, str]:
    """Return the part of an adapter folder that enters the image key: the sha256 of its files.

    adapter: the image adapter that is to use it. base: identity of the model's weights. Raises CardError for an image
    adapter that cannot use it, and for an adapter that was trained on other weights.
    """
    if not getattr(adapter, "takes_lora", False):
        raise CardError(f"--method lora changes no weights of this kind of model: {folder} would do nothing.")
    mine, wanted = form(folder), getattr(adapter, "lora_form", "peft")
    if mine != wanted:
        forms = {
            "peft": "peft's form (for unified models)",
            "diffusers": "the form of diffusers (for diffusion models)",
        }
        raise CardError(f"{folder} is a LoRA in {forms[mine]}, but this model takes one in {forms[wanted]}.")
    check_base(folder, base)
    return files(folder)


def check_base(folder: Path, base: Mapping[str, str] | None) -> None:
    """Refuse an adapter whose provenance names other base weights. Raises CardError."""
    record = provenance(folder)
    if record is None:
        notice("adapter-origin", f"{folder} has no {PROVENANCE}: whether it was made for this model is not known")
        return
    if dict(record["base"]["weights"]) != dict(base or {}):
        name = record["base"]["model"]
        raise CardError(f"The adapter {folder} was trained on other weights, those of {name}: use that model.")


def provenance(folder: Path) -> dict[str, Any] | None:
    """Return the adapter's provenance, None where it has none. Raises CardError for a file that cannot be used."""
    path = (folder.parent if folder.suffix == ".safetensors" else folder) / PROVENANCE
    if not path.exists():
        return None
    try:
        record = dict(json.loads(path.read_text(encoding="utf-8")))
        str(record["base"]["model"]), dict(record["base"]["weights"]), set(record["data"]["prompts"])
        dict(record.get("identity", {}))  # absent where somebody else's tool wrote the file
    except (OSError, ValueError, KeyError, TypeError) as err:
        raise CardError(f"{path} cannot be read ({type(err).__name__}): fetch the adapter again.") from err
    return record
