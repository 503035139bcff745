"""The environment files of the recipes: exact pins, and the very versions whose source was read. Whether an index can
still serve them is asked by `make environments`, which needs the network."""

from __future__ import annotations

import re

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from fairbench.workers import recipes
from tests.workers import signatures

SHIPPED = recipes.shipped()
PLACES = {"python", "pip", "repository", "site_packages"}
"""What `# then:` commands may name in braces."""


def environment(recipe: str) -> recipes.Environment:
    made_of = recipes.read(SHIPPED[recipe]).environment
    assert made_of is not None, f"models/workers/{recipe}.txt is missing"
    return made_of


def pins(recipe: str) -> dict[str, str]:
    """Package -> version. Fails where a requirement is not one exact version."""
    versions = {}
    for line in environment(recipe).path.read_text(encoding="utf-8").splitlines():
        if line and not line.startswith("#"):
            requirement = Requirement(line)
            (pin,) = requirement.specifier
            assert pin.operator == "==" and "*" not in pin.version, f"{recipe}.txt: pin {line}"
            assert canonicalize_name(requirement.name) not in versions, f"{recipe}.txt: {line} stands there twice"
            versions[canonicalize_name(requirement.name)] = pin.version
    return versions


@pytest.mark.parametrize("recipe", SHIPPED)
def test_an_environment_is_pinned_and_says_what_pip_cannot(recipe: str) -> None:
    assert {"torch", "transformers", "numpy"} <= set(pins(recipe))
    made_of = environment(recipe)
    assert made_of.python is not None and re.fullmatch(r"3\.(8|9|1[0-3])", made_of.python)
    for command in made_of.then:
        assert set(re.findall(r"\{(\w+)\}", command)) <= PLACES and command.startswith(("{pip} ", "{python} ", "cp "))


@pytest.mark.parametrize("recipe", signatures.read())
def test_the_pinned_versions_are_those_that_were_read(recipe: str) -> None:
    read = {entry.source for entry in signatures.read()[recipe].names if entry.source and "==" in entry.source}
    installed = pins(recipe)
    for source in read:
        name, _, version = source.partition("==")
        assert installed[canonicalize_name(name)] == version, f"{recipe}: {source} was read, another is installed"
