"""The settings of a fine-tuning, and named sets of them."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final, Literal, get_args

from fairbench.errors import FairbenchError
from fairbench.registry import suggest

Kind = Literal["sft", "bpo", "i2t"]
Precision = Literal["no", "bf16", "fp16"]


@dataclass(frozen=True, slots=True)
class Settings:
    """Everything that the user can say about a fine-tuning, and that can change its result.

    groups: attributes by whose labels images are grouped; empty: all that the balanced set has. loss: the balancing
    loss of kind bpo. stated: kind sft; the share of examples that show an image under the prompt that it was made from,
    which states its group, instead of under the neutral one. batch: examples a step, over all processes and
    micro-batches; an example is one image, for bpo one image of every group. steps: None for `epochs` passes over the
    set. rate: the highest learning rate.
    accumulation: micro-batches a step, in each process.
    """

    kind: Kind
    groups: tuple[str, ...] = ()
    loss: str = "bpo"
    beta: float = 1.0
    stated: float = 0.0
    rate: float = 1e-4
    batch: int = 32
    epochs: float = 1.0
    steps: int | None = None
    rank: int = 32
    alpha: float = 32.0
    dropout: float = 0.1
    seed: int = 0
    mixed_precision: Precision = "no"
    accumulation: int = 1
    checkpointing: bool = False

    def identity(self) -> dict[str, Any]:
        """Return the settings as they are recorded, and compared when a training is resumed."""
        return dataclasses.asdict(self) | {"groups": list(self.groups)}


_BPO: Final = {"rate": 8e-7, "batch": 8, "dropout": 0.1}
_LIU: Final[Mapping[str, Mapping[str, Any]]] = {"sft": {"epochs": 10.0}, "i2t": {"epochs": 10.0}, "bpo": _BPO}
_PHANTOM: Final[Mapping[str, Mapping[str, Any]]] = {
    "sft": {"rate": 4e-3, "steps": 800, "stated": 0.7},
    "i2t": {"rate": 2e-3, "steps": 300},
    "bpo": {"rate": 2e-5, "batch": 8, "steps": 60},
}
"""The phantom is a thousand times smaller than the paper's models, and takes larger steps. Its rate for BPO is below
that for SFT, as in the paper: at 2e-4 and 100 steps BPO cost 2.6 points of CLIP score, and faces in 2 % of images. SFT
on neutral prompts alone (300 steps at 2e-3) balances as well and forgets what a stated group is: docs/training.md."""


def _liu(groups: tuple[str, ...], bpo_epochs: float) -> dict[str, dict[str, Any]]:
    """The paper's settings (Liu et al., NeurIPS 2025) for attributes of a balanced set."""
    found = {kind: {"groups": groups, **fields} for kind, fields in _LIU.items()}
    found["bpo"]["epochs"] = bpo_epochs
    return found


PRESETS: Final[Mapping[str, Mapping[str, Mapping[str, Any]]]] = {
    "liu2025-gender": _liu(("gender",), 2.0),
    "liu2025-race": _liu(("race4",), 1.0),
    "liu2025-mix": _liu((), 1.0),
    "phantom": _PHANTOM,
}
"""Preset -> kind -> fields. Without a preset, the paper's rates and batches and one epoch are taken."""


def settings(kind: Kind, preset: str | None, given: Mapping[str, Any]) -> Settings:
    """Return a preset's settings, overridden by the fields that the user gave (None: not given).

    Raises FairbenchError for an unknown preset or precision.
    """
    if given.get("mixed_precision", "no") not in get_args(Precision):
        raise FairbenchError(f"--mixed-precision {given['mixed_precision']}: name no, bf16 or fp16.")
    if preset is not None and preset not in PRESETS:
        raise FairbenchError(f"There is no preset {preset!r}{suggest(preset, PRESETS)}.")
    fields = PRESETS[preset][kind] if preset else _BPO if kind == "bpo" else {}
    stated = {name: value for name, value in given.items() if value is not None}
    if "epochs" in stated and "steps" not in stated:
        stated["steps"] = None  # else a preset's number of steps would win
    return Settings(kind, **{**fields, **stated})
