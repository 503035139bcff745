"""The settings of a fine-tuning, and named sets of them."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final, Literal, get_args

from fairbench.errors import FairbenchError
from fairbench.registry import suggest

Kind = Literal["sft", "bpo", "i2t", "distill", "grpo", "dft"]
TOGETHER: Final = ("bpo", "grpo", "dft")
"""Kinds whose example is a prompt with all its groups; an example of the others is one image."""
Reward = Literal["balance", "log-ratio", "permuted"]
Precision = Literal["no", "bf16", "fp16"]


@dataclass(frozen=True, slots=True)
class Settings:
    """Every setting of a fine-tuning that can change its result.

    groups: attributes by whose labels images are grouped; empty: all that the balanced set has. target: shares of the
    groups, as `target.shares` reads them; None: equal. retain: share of the examples that are capability data, and
    their kinds. batch: examples per step, over all processes and micro-batches; an example is one image, for bpo one
    image of every group, for grpo and dft a prompt. steps: None for `epochs` passes over the set. learning_rate: the
    highest. accumulation: micro-batches per step, in each process.

    loss, beta: of bpo. Of distill, exact: the teacher is the mixture over all groups; hard: its drawn tokens are
    learned alone. Of grpo: images per prompt; the reward; kl, face, follow: weights of the divergence from the base
    model, of the reward for a face, and the share of prompts that state a group and are rewarded for showing it.

    Of dft: images per prompt; uncertainty: the largest share of the targets drawn that may ask for another class;
    preserve: weight of likeness to the base model's image; changed: factor of that weight where the class must change;
    denoising: steps of sampling; labeller: a card, None for the model's; dino: folder of a DINOv2, None for CLIP alone.
    """

    kind: Kind
    groups: tuple[str, ...] = ()
    target: str | None = None
    retain: tuple[float, tuple[str, ...]] | None = None
    loss: str = "bpo"
    beta: float = 1.0
    exact: bool = False
    hard: bool = False
    images: int = 8
    reward: Reward = "balance"
    kl: float = 0.01
    face: float = 0.1
    follow: float = 0.0
    uncertainty: float = 0.2
    preserve: float = 8.0
    changed: float = 0.2
    denoising: int = 20
    labeller: str | None = None
    dino: str | None = None
    learning_rate: float = 1e-4
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
        fields = dataclasses.asdict(self) | {"groups": list(self.groups)}
        if self.retain is not None:
            fields["retain"] = [self.retain[0], *self.retain[1]]
        return {
            "rate" if name == "learning_rate" else name: value
            for name, value in fields.items()
            if name in OLD or (name not in BY_CONTENT and self.kind in kinds_with(name))
        }


OPTIONS_OF: Final[Mapping[str, tuple[str, ...]]] = {
    "bpo": ("loss", "beta"),
    "distill": ("exact", "hard"),
    "grpo": ("images", "reward", "kl", "face", "follow"),
    "dft": ("images", "uncertainty", "preserve", "changed", "denoising", "labeller", "dino"),
}
"""Kind -> the settings that it has and most others do not."""
BY_CONTENT: Final = {"labeller", "dino"}
"""Settings that name something else, whose content stands in an identity."""
OLD: Final = {"loss", "beta", "exact"}
"""Settings of one kind that identities of all kinds hold, since they always did."""
OPTIONS: Final = tuple(field.name for field in dataclasses.fields(Settings) if field.name not in ("kind", "retain"))
"""The settings that options give as they are."""
_BPO: Final = {"learning_rate": 8e-7, "batch": 8, "dropout": 0.1}
_PHANTOM: Final[Mapping[str, Mapping[str, Any]]] = {
    "sft": {"learning_rate": 4e-3, "steps": 600, "retain": (0.6, ("stated",))},
    "i2t": {"learning_rate": 2e-3, "steps": 300},
    "bpo": {"learning_rate": 2e-5, "batch": 8, "steps": 60},
    "distill": {"learning_rate": 4e-3, "steps": 700, "retain": (0.5, ("stated",))},
    "grpo": {"learning_rate": 1e-3, "steps": 60},
}
"""The phantom is a thousand times smaller than the paper's models, and takes larger steps. Its rate for BPO is below
that for SFT, as in the paper: at 2e-4 and 100 steps BPO cost 2.6 points of CLIP score, and faces in 2 % of images. SFT
on neutral prompts alone (300 steps at 2e-3) balances as well and forgets what a stated group is: docs/training.md."""


def _liu(groups: tuple[str, ...], bpo_epochs: float) -> dict[str, dict[str, Any]]:
    """Return the paper's settings (Liu et al., NeurIPS 2025) for attributes of a balanced set, by kind."""
    return {
        "sft": {"groups": groups, "epochs": 10.0},
        "i2t": {"groups": groups, "epochs": 10.0},
        "bpo": {"groups": groups, "epochs": bpo_epochs, **_BPO},
    }


PRESETS: Final[Mapping[str, Mapping[str, Mapping[str, Any]]]] = {
    "liu2025-gender": _liu(("gender",), 2.0),
    "liu2025-race": _liu(("race4",), 1.0),
    "liu2025-mix": _liu((), 1.0),
    "phantom": _PHANTOM,
}
"""Preset -> kind -> fields. Without a preset, the paper's rates and batches and one epoch are taken."""


def kinds_with(name: str) -> tuple[str, ...]:
    """Return the kinds of training that have a setting."""
    return tuple(kind for kind, names in OPTIONS_OF.items() if name in names) or get_args(Kind)


def settings(kind: Kind, preset: str | None, options: Mapping[str, Any]) -> Settings:
    """Return a preset's settings, overridden by the options (None: not given).

    Raises FairbenchError for an unknown preset or precision.
    """
    if options.get("mixed_precision", "no") not in get_args(Precision):
        raise FairbenchError(f"--mixed-precision {options['mixed_precision']}: name no, bf16 or fp16.")
    if options.get("reward") not in (None, *get_args(Reward)):
        raise FairbenchError(f"--reward {options['reward']}: name {', '.join(get_args(Reward))}.")
    if preset is not None and preset not in PRESETS:
        raise FairbenchError(f"There is no preset {preset!r}{suggest(preset, PRESETS)}.")
    if preset is not None and kind not in PRESETS[preset]:
        raise FairbenchError(f"The preset {preset} has no settings for train {kind}: leave --preset out.")
    fields = PRESETS[preset][kind] if preset else _BPO if kind == "bpo" else {}
    if kind == "grpo":
        fields = {"batch": 8, "dropout": 0.0, **fields}
    if kind == "dft":  # the authors' rate and images of a prompt
        fields = {"learning_rate": 5e-5, "batch": 1, "images": 24, "dropout": 0.0, **fields}
    overrides = {name: value for name, value in options.items() if value is not None}
    if "epochs" in overrides and "steps" not in overrides:
        overrides["steps"] = None  # else a preset's number of steps would win
    return Settings(kind, **{**fields, **overrides})
