"""Directions of groups in a decoder's hidden states: one is drawn per image and added while its tokens are drawn.

Ours. Related to DiffLens and InvDiff, which act on diffusion models, and neither of them; docs/methods.md compares.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping, Sequence
from functools import cached_property
from typing import Any, ClassVar, Final

import numpy as np
from numpy.typing import NDArray

from fairbench.errors import FairbenchError
from fairbench.methods.common import GENDERS, RACES, ModelMethod, index_at, own_seed, stream
from fairbench.protocols import MethodContext, Steerable
from fairbench.types import FloatArray

NAME: Final = "steering"
ATTRIBUTES: Final[Mapping[str, Mapping[str, str]]] = {"gender": GENDERS, "race4": RACES}
TEMPLATE: Final = "A photo of the face of a {group} {who}, a person"
WHO: Final = ("person", "worker", "human", "employee")
"""Nobody's occupation: what is judged has no part in finding directions."""
DRAWS: Final = 4
"""Images that are drawn under each stated prompt."""
HELP: Final = f"write {NAME}:strength=2,layers=1+2,attributes=gender+race4,positions=mean, or some of these"


class Steering(ModelMethod):
    """Adds the direction of a group, drawn for each image, to hidden states; `:strength=2,attributes=gender`.

    A group's direction, at a layer and a position, is the mean state while images are drawn under prompts that state
    the group, minus the mean over groups. Every image's group is drawn from its own seed, all equally likely. Prompts
    stay as they are. layers: indices from 0 on; without them, the middle layer. positions: `each` of an image's tokens
    has directions of its own (the default), or their `mean` serves all.
    """

    version: ClassVar[int] = 1
    needs: ClassVar[Mapping[str, type]] = {"a decoder whose hidden states can be shifted": Steerable}

    def __init__(self, argument: str | None) -> None:
        super().__init__(argument)
        given = self._parts()
        self.strength = self._number(given.get("strength", "1.5"))
        self.layers = self._indices(given["layers"]) if "layers" in given else None
        self.positions = given.get("positions", "each")
        attributes = given.get("attributes", "+".join(ATTRIBUTES)).split("+")
        if not set(attributes) <= set(ATTRIBUTES) or len(set(attributes)) < len(attributes):
            raise self._bad(f"attributes are some of {', '.join(ATTRIBUTES)}, each once")
        if self.positions not in {"each", "mean"}:
            raise self._bad(f"{self.positions!r} is neither each nor mean")
        words = [words.values() for name, words in ATTRIBUTES.items() if name in attributes]
        self.groups = [" ".join(group) for group in itertools.product(*words)]

    def settings(self) -> dict[str, Any]:
        """Return all that directions and groups depend on, besides the model."""
        return {
            "strength": self.strength,
            "layers": self.layers or "middle",
            "positions": self.positions,
            "groups": self.groups,
            "prompts": [TEMPLATE.replace("{who}", who) for who in WHO],
            "draws": DRAWS,
        }

    def wrap(self, model: Any, ctx: MethodContext) -> None:
        """Have the model's hidden states shifted. Raises FairbenchError for layers that it does not have."""
        self.layers_of(model)
        if self.strength > 0:
            model.decoder_shift = _Shift(self, model)

    def layers_of(self, model: Steerable) -> list[int] | None:
        """Return the layers that are shifted; None where the decoder's depth is not known before it is loaded.

        Raises FairbenchError where the decoder lacks one of them.
        """
        depth = model.decoder_layers()
        if depth is None:
            return None
        layers = [depth // 2] if self.layers is None else self.layers
        if max(layers) >= depth:
            raise self._bad(f"the decoder has the layers 0 to {depth - 1}")
        return layers

    def _parts(self) -> dict[str, str]:
        """Return the settings that the argument names."""
        parts = [part.partition("=") for part in self.argument.split(",")] if self.argument else []
        given = {name: value for name, _, value in parts}
        if not set(given) <= {"strength", "layers", "attributes", "positions"} or len(given) < len(parts):
            raise self._bad("strength, layers, attributes and positions can be set, each once")
        return given

    def _number(self, text: str) -> float:
        try:
            value = float(text)
        except ValueError:
            value = math.nan
        if not 0 <= value < math.inf:
            raise self._bad(f"{text!r} is no strength, a number from 0 on")
        return value

    def _indices(self, text: str) -> list[int]:
        numbers = text.split("+")
        # No decoder is as deep as nine digits say, and int() refuses thousands of them.
        whole = all(n.isascii() and n.isdigit() and len(n) <= 9 for n in numbers)
        if not whole or len(set(map(int, numbers))) < len(numbers):
            raise self._bad(f"{text!r} are no layers, different whole numbers from 0 on, of nine digits at most")
        return sorted(map(int, numbers))

    def _bad(self, why: str) -> FairbenchError:
        return FairbenchError(f"--method {NAME}:{self.argument}: {why}; {HELP}.")


class _Shift:
    """What a model adds to its hidden states (protocol Steerable); finds the directions when it first draws."""

    def __init__(self, method: Steering, model: Steerable) -> None:
        self._method, self._model = method, model

    def __call__(self, seeds: Sequence[int]) -> dict[int, FloatArray]:
        """Return layer -> what is added for each image, (images, positions, hidden)."""
        groups = [drawn_group(seed, len(self._method.groups)) for seed in seeds]
        return {layer: shifts[groups] for layer, shifts in self._shifts.items()}

    @cached_property
    def _shifts(self) -> dict[int, NDArray[np.float32]]:
        """Layer -> the shift of every group, (groups, positions, hidden)."""
        layers = self._method.layers_of(self._model)
        assert layers is not None  # a model that draws is loaded
        found = self._method.strength * directions([self._mean(group, layers) for group in self._method.groups])
        if self._method.positions == "mean":
            found = np.broadcast_to(found.mean(axis=2, keepdims=True), found.shape)
        return {layer: found[:, i].astype(np.float32) for i, layer in enumerate(layers)}

    def _mean(self, group: str, layers: list[int]) -> NDArray[np.float64]:
        """Return the mean state under a group's prompts, (layers, positions, hidden)."""
        means = []
        for who in WHO:  # one prompt at a time: how a call rounds then does not depend on the run's block size
            text = TEMPLATE.format(group=group, who=who)
            seeds = [own_seed(draw, f"{NAME}: {text}") for draw in range(DRAWS)]
            means.append(self._model.token_states([text] * DRAWS, seeds, layers).mean(axis=0, dtype=np.float64))
            if not np.isfinite(means[-1]).all():
                raise FairbenchError(
                    f"--method {NAME}: hidden states under {text!r} are not finite numbers, so there is no direction: "
                    "use --dtype float32."
                )
        return np.asarray(np.mean(means, axis=0))


def directions(means: Sequence[NDArray[np.float64]]) -> NDArray[np.float64]:
    """Return the direction of each group, (groups, ...): its mean state minus the mean over groups, not the draws.

    means: of each group, of one shape. Directions sum to 0; their lengths differ as the groups do.
    """
    stacked = np.stack(means)
    return np.asarray(stacked - stacked.mean(axis=0))


def drawn_group(seed: int, groups: int) -> int:
    """Return the index of an image's group, from its seed: all equally likely, and independent of its noise."""
    return index_at(np.full(groups, 1 / groups), stream(seed, NAME).random())
