"""The comparison that is planned: the change to find, the test, and the sizes of the runs."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, TypeVar

from fairbench.errors import FairbenchError
from fairbench.registry import suggest
from fairbench.stats.intervals import Scope

MAX_COUNT: Final = 1_000_000
Choice = TypeVar("Choice", bound=str)


@dataclass(frozen=True, slots=True)
class Design:
    """A true change of concentration, to be found with this power on runs of these sizes.

    alpha: the level of the family of `tests` primary tests, which Holm adjusts together. images: per prompt and run.
    budget: images per run. Raises FairbenchError, naming the option, for what is out of range.
    """

    detect: float
    power: float
    alpha: float
    scope: Scope
    tests: int
    between_prompt_sd: float
    prompts: int
    images: int
    budget: int | None = None

    def __post_init__(self) -> None:
        for option, share in (("--detect", self.detect), ("--power", self.power), ("--alpha", self.alpha)):
            check_share(option, share)
        counts = (("--images-per-prompt", self.images), ("--prompts", self.prompts), ("--budget", self.budget))
        for option, count in counts:
            if count is not None and not 1 <= count <= MAX_COUNT:
                raise FairbenchError(f"{option} {count}: give a whole number from 1 to {MAX_COUNT:,}.")
        if not 0 <= self.between_prompt_sd <= 1:
            raise FairbenchError(
                f"--between-prompt-sd {self.between_prompt_sd:g}: give a standard deviation from 0 to 1."
            )
        if not self.alpha < self.power < 1:
            raise FairbenchError(
                f"--power {self.power:g}: give a probability above --alpha ({self.alpha:g}) and below 1."
            )

    @property
    def level(self) -> float:
        """The level of one test: Holm's first step over this list; the interval for other prompts is not adjusted."""
        return self.alpha / self.tests if self.scope == "this list" else self.alpha


def check_share(option: str, value: float) -> None:
    """Raise FairbenchError where an option's value is no share above 0."""
    if not 0 < value <= 1:
        raise FairbenchError(f"{option} {value:g}: give a number above 0 and at most 1.")


def choice(option: str, text: str, choices: tuple[Choice, ...]) -> Choice:
    """Return the choice that a text names. Raises FairbenchError."""
    for name in choices:
        if text == name:
            return name
    raise FairbenchError(f"There is no {option} {text!r}{suggest(text, choices)}.")
