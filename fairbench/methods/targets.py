"""The argument of methods that draw a group for each image: a declared target, and options beside it."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ValidationError

from fairbench.errors import FairbenchError
from fairbench.methods.common import GENDERS, RACES

ATTRIBUTES: Mapping[str, Mapping[str, str]] = {"gender": GENDERS, "race": RACES}
Options = TypeVar("Options", bound=BaseModel)


def read(spec: str, method: str, fix: str) -> tuple[list[str], NDArray[np.float64]]:
    """Return the groups' words, as in `female Asian`, and their shares; attributes are independent of each other.

    spec: `gender`, `race`, `mix`, or shares as in `gender=female:0.6,male:0.4+race`. fix: what to write instead, at the
    end of an error. Raises FairbenchError.
    """
    try:
        return _read(spec)
    except ValueError as err:
        raise FairbenchError(f"--method {method}:{spec}: {err}; {fix}.") from err


def split(argument: str | None, method: str, options: type[Options]) -> tuple[str, Options]:
    """Return the target of an argument, as it was given, and the options that stand anywhere between its commas.

    As in `gender=female:0.6,male:0.4,strength=2`: a part NAME=VALUE is an option where that is an option's name.
    Raises FairbenchError.
    """
    parts, given = [], dict[str, str]()
    for part in (argument or "").split(","):
        name, equals, value = part.partition("=")
        if equals and name in options.model_fields:
            if name in given:
                raise FairbenchError(f"--method {method}:{argument}: {name} stands twice; give it once.")
            given[name] = value
        else:
            parts.append(part)
    try:
        return ",".join(parts), options.model_validate(given)
    except ValidationError as err:
        first = err.errors()[0]
        name = str(first["loc"][0])
        raise FairbenchError(
            f"--method {method}:{argument}: {name}={given[name]}: {first['msg']}; fix it or leave it out."
        ) from err


def _read(spec: str) -> tuple[list[str], NDArray[np.float64]]:
    parts = ["gender", "race"] if spec == "mix" else spec.split("+")
    targets = dict(_part(part) for part in parts)
    if len(targets) < len(parts):
        raise ValueError("it names an attribute twice")
    words, shares = [""], np.ones(1)
    for attribute in ATTRIBUTES:  # "female Asian nurse", in whatever order the argument names them
        if attribute in targets:
            words = [f"{before} {word}".strip() for before in words for word in targets[attribute]]
            shares = np.outer(shares, list(targets[attribute].values())).ravel()
    return words, shares


def _part(part: str) -> tuple[str, dict[str, float]]:
    """Return an attribute and its words with their shares, which sum to 1."""
    attribute, equals, listed = part.partition("=")
    word_of = ATTRIBUTES.get(attribute)
    if word_of is None:
        raise ValueError(f"{attribute!r} is no attribute")
    if not equals:
        return attribute, dict.fromkeys(word_of.values(), 1 / len(word_of))
    shares: dict[str, float] = {}
    for entry in listed.split(","):
        label, _, number = entry.partition(":")
        word = word_of.get(label, label)
        if word not in word_of.values() or word in shares:
            raise ValueError(f"{label!r} stands twice" if word in shares else f"{label!r} is no {attribute} it knows")
        shares[word] = _share(number)
    total = sum(shares.values())
    if abs(total - 1) > 1e-3:
        raise ValueError(f"the shares of {attribute} sum to {total:g}")
    return attribute, {word: share / total for word, share in shares.items()}


def _share(number: str) -> float:
    try:
        share = float(number)
    except ValueError:
        share = math.nan
    if not 0 < share <= 1:
        raise ValueError(f"{number!r} is no share above 0 and up to 1")
    return share
