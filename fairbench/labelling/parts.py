"""The plug-ins that a labeller is made of, and the keys in which they stand."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from fairbench import contracts, keys, registry
from fairbench.cards.cards import LabellerCard, PluginRef
from fairbench.networks import identity


@dataclass(frozen=True)
class Part:
    """A plug-in of a labeller with its checked parameters and what else it is built with. It is built on first use."""

    kind: str
    ref: PluginRef
    plugin: Any
    params: Any
    arguments: tuple[Any, ...]

    @property
    def title(self) -> str:
        """The beginning of a sentence about this part."""
        return registry.title(self.kind, self.ref.type)

    @cached_property
    def built(self) -> Any:
        """The plug-in's instance; one of a third party was called on a grey image. Raises what it raises."""
        with contracts.guard(self.title):
            instance = self.plugin(self.params, *self.arguments)
            if self.kind == "classifiers":
                contracts.labels_of(self.title, instance)
            if registry.is_third_party(self.kind, self.ref.type):
                contracts.probe(self.kind, self.title, instance)
        return instance


def faces_key_of(parts: Mapping[str, Any], image_key: str) -> str:
    """Return the key of the faces that a labeller of these `parts` finds."""
    return keys.stage_key("faces", {"detectors": parts["detectors"]}, image_key)


def labels_key_of(parts: Mapping[str, Any], faces_key: str) -> str:
    """Return the key of the labels that a labeller of these `parts` gives."""
    return keys.stage_key("labels", {name: parts[name] for name in ("crops", "classifiers", "attributes")}, faces_key)


def labeller_id_of(parts: Mapping[str, Any], card: LabellerCard) -> str:
    """Return the id of a labeller of these `parts`, under its card's face policy."""
    policy = identity.of_params(card.face_policy, None)
    return keys.digest("labeller", [labels_key_of(parts, faces_key_of(parts, "")), policy]).hex()[:12]
