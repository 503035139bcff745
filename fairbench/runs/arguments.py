"""What a caller says of a run: from arguments of Python or options of the command line to checked settings."""

from __future__ import annotations

import os
import re
import shlex
from collections.abc import Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, Final

from fairbench.errors import FairbenchError
from fairbench.runs import system_prompt

DEFAULT_MODEL: Final = "phantom"
"""What is measured where nothing names a model, nor a table of labels."""
DTYPES: Final = ("float32", "bfloat16", "float16")


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
    compile: bool = False
    """Let torch compile what draws tokens."""
    shard: tuple[int, int] | None = None
    near_copies: bool = False
    """Look for near-copies among given images; changes no number."""
    calibration: str | None = None
    """A calibration file that is used in place of the labeller card's."""
    metrics: tuple[str, ...] | None = None
    """Names of the metrics to compute; None: all. `rd`, `concentration` and shares are always there."""
    price: float | None = None
    """US dollars for an image of a served model, in place of the card's; changes no number."""
    max_cost: float | None = None
    """US dollars that the images of a served model may cost; changes no number."""
    labels: str | None = None
    """A table of labels that were made elsewhere; `labeller` then declares its attributes."""
    scorer_reference: str | None = None
    """The folder of a run of reference pictures, on which the scorers' own gaps are known; changes no number."""
    system_prompt: str | None = None
    """What the model puts before each prompt, "" for nothing; None: its own."""


def command(settings: RunSettings | None, names: Sequence[str]) -> str:
    """Return the command line of a run, with those of its settings that are named and known."""
    words = ["fairbench", "run"]
    for name in names:
        value = getattr(settings, name, None)
        if isinstance(value, tuple):
            value = ",".join(value)
        if value is not None:
            words += [f"--{name.replace('_', '-')}", str(value) or "none"]
    return shlex.join(words)


def run_settings(**arguments: Any) -> RunSettings:
    """Return the settings of a run from the arguments of `run`, of which some are no settings.

    Raises FairbenchError for what no run can have.
    """
    options = {field.name: arguments[field.name] for field in fields(RunSettings)}
    for name in ("images_per_prompt", "limit_prompts", "batch_size"):
        value = options[name]
        if value is not None and (isinstance(value, bool) or not isinstance(value, int) or value < 1):
            raise FairbenchError(f"{name} is {value!r}: give a whole number of at least 1, or leave it out.")
    for name in ("price", "max_cost"):
        value = options[name]
        is_number = isinstance(value, int | float) and not isinstance(value, bool)
        if value is not None and not (is_number and 0 <= value < float("inf")):
            raise FairbenchError(f"{name} is {value!r}: give US dollars, 0 or more, or leave it out.")
    if isinstance(options["seed"], bool) or not isinstance(options["seed"], int) or options["seed"] < 0:
        raise FairbenchError(f"seed is {options['seed']!r}: give a whole number of at least 0.")
    if options["dtype"] not in {None, *DTYPES}:
        raise FairbenchError(f"--dtype {options['dtype']}: name {', '.join(DTYPES[:-1])} or {DTYPES[-1]}.")
    for name in ("model", "task", "labeller", "labels", "calibration", "scorer_reference"):
        options[name] = None if options[name] is None else os.fspath(options[name])
    if options["model"] is None:
        labels = options["labels"]
        options["model"] = DEFAULT_MODEL if labels is None else f"labels-only:{Path(labels).stem}"
    options["system_prompt"] = system_prompt.text_of(options["system_prompt"])
    for name in ("scorers", "metrics"):
        options[name] = None if options[name] is None else _names(options[name])
    options["shard"] = None if options["shard"] is None else _shard(options["shard"])
    return RunSettings(**options)


def _names(names: str | Sequence[str]) -> tuple[str, ...]:
    """Return names from a sequence or a text with commas; "none" is no name."""
    words = names.split(",") if isinstance(names, str) else names
    given = tuple(name.strip() for name in words if name.strip())
    return () if given == ("none",) else given


def _shard(text: str) -> tuple[int, int]:
    match = re.fullmatch(r"(\d{1,6})/(\d{1,6})", text)
    if not match or not int(match[1]) < int(match[2]):
        raise FairbenchError(f"--shard {text}: write i/N with i from 0 to N - 1, as in 0/2 and 1/2.")
    return int(match[1]), int(match[2])
