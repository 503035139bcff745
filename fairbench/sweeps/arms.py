"""The arms of a sweep: a trainer and the share of its examples that are capability data; and its budget."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final, Literal, get_args

from fairbench.errors import FairbenchError
from fairbench.training import capability
from fairbench.training.presets import Kind

Unit = Literal["seconds", "steps", "tokens"]
BASE: Final = "none"
"""What the model without a training is called."""
NOT_SWEPT: Final = ("i2t", "dft")
"""Kinds of trainings that take no bias away, or whose drawn images are not counted (`costs`)."""


@dataclass(frozen=True, slots=True)
class Arm:
    """A trainer and its `--retain`. control: gets as many tokens of debiasing data as the trainer's arm without any
    capability data, instead of as large a budget; so it costs more, and is compared with no other arm.
    """

    trainer: Kind
    retain: str = "0"
    control: bool = False

    @property
    def name(self) -> str:
        """What the arm and its folders are called."""
        return f"{self.trainer}-{self.retain.replace(':', '-').replace('+', '-')}{'-control' if self.control else ''}"

    @property
    def training(self) -> tuple[str, float, frozenset[str]]:
        """What it trains, however it is written: trainer, share and kinds of capability data."""
        share, kinds = capability.parsed(self.retain) or (0.0, ())
        return self.trainer, share, frozenset(kinds)

    @property
    def share(self) -> float:
        """The share of its examples that are capability data."""
        return self.training[1]


@dataclass(frozen=True, slots=True)
class Budget:
    """What every training of an arm may cost."""

    unit: Unit
    amount: float

    def __str__(self) -> str:
        return f"{self.unit}:{_exact(self.amount)}"


def budget(text: str) -> Budget:
    """Return the budget that "UNIT:N" names. Raises FairbenchError."""
    unit, _, number = text.partition(":")
    try:
        amount = float(number)
    except ValueError:
        amount = math.nan
    units = {name: name for name in get_args(Unit)}
    if unit not in units or not 1 <= amount < math.inf:
        raise FairbenchError(f"--budget {text}: write seconds:N, steps:N or tokens:N with N of at least 1.")
    if unit != "seconds" and amount % 1:
        raise FairbenchError(f"--budget {text}: {unit} are counted; name a whole number of them.")
    return Budget(units[unit], amount)


def arms(trainers: str, retained: str, more: Iterable[str], control: str | None) -> list[Arm]:
    """Return every trainer with every share, the further arms, and the control, in this order.

    more: further arms, as "sft:.5". control: an arm as in `more`, "none", or None for the first trainer with the
    largest share, where it has an arm without capability data, too. Raises FairbenchError.
    """
    shares = [_written(text) for text in _parts(retained, "--retain")]
    crossed = [Arm(_kind(trainer), share) for trainer in _parts(trainers, "--train") for share in shares]
    listed = [*crossed, *(_arm(text, "--arm") for text in more)]
    trained = [arm.training for arm in listed]
    if twice := next((arm for i, arm in enumerate(listed) if arm.training in trained[:i]), None):
        raise FairbenchError(f"The arm {twice.name} is named twice: name each trainer, share and --arm once.")
    if (chosen := _control(listed, control)) is not None:
        listed.append(chosen)
    return listed


def _control(listed: list[Arm], text: str | None) -> Arm | None:
    if text == "none":
        return None
    if text is None:
        plain = Arm(listed[0].trainer)
        own = [arm for arm in listed if arm.trainer == plain.trainer and 0 < arm.share < 1]
        if plain not in listed or not own:
            return None
        return Arm(plain.trainer, max(own, key=lambda arm: arm.share).retain, control=True)
    named = _arm(text, "--control")
    arm = next((arm for arm in listed if arm.training == named.training), None)
    if arm is None or not 0 < arm.share < 1 or Arm(arm.trainer) not in listed:
        raise FairbenchError(
            f"--control {text}: name an arm with some capability data whose trainer has an arm without, too."
        )
    return Arm(arm.trainer, arm.retain, control=True)


def _arm(text: str, option: str) -> Arm:
    trainer, _, share = text.partition(":")
    if not share:
        raise FairbenchError(f"{option} {text}: write TRAINER:SHARE, as in sft:.5.")
    return Arm(_kind(trainer), _written(share))


def _kind(name: str) -> Kind:
    kinds: dict[str, Kind] = {kind: kind for kind in get_args(Kind) if kind not in NOT_SWEPT}
    if name not in kinds:
        raise FairbenchError(f"--train {name}: name {', '.join(kinds)}.")
    return kinds[name]


def _written(text: str) -> str:
    """Return SHARE[:KINDS] as the arms are called by it: a share has one way of being written."""
    _, colon, kinds = text.partition(":")
    parsed = capability.parsed(text)
    return f"{_exact(parsed[0])}{colon}{kinds}" if parsed else "0"


def _exact(number: float) -> str:
    """Return a number with all its digits."""
    return short if float(short := f"{number:g}") == number else repr(number).removesuffix(".0")


def _parts(text: str, option: str) -> list[str]:
    parts = [part.strip() for part in text.split(",") if part.strip()]
    if not parts:
        raise FairbenchError(f"{option} is empty: name one or more, with commas between them.")
    return parts
