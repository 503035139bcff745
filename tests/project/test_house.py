"""The house: what can be added lies where plug-ins lie, and the root keeps only the words of the project."""

from __future__ import annotations

from pathlib import Path

import pytest

import fairbench
from fairbench import registry

ROOMS = {
    "adapters": ("fairbench.adapters.", "fairbench.phantom."),
    "detectors": ("fairbench.labelling.detectors.", "fairbench.phantom."),
    "crops": ("fairbench.labelling.crops.",),
    "classifiers": ("fairbench.labelling.classifiers.", "fairbench.phantom."),
    "scorers": ("fairbench.scorers.",),
    "methods": ("fairbench.methods.",),
    "metrics": ("fairbench.metrics.",),
}
"""Where built-in plug-ins of each kind may lie: the linter of imports does not see the registry's strings."""


@pytest.mark.parametrize(("kind", "name"), [(kind, name) for kind, names in registry.BUILTIN.items() for name in names])
def test_a_target_of_the_registry_resolves_and_lies_in_its_room(kind: str, name: str) -> None:
    assert registry.BUILTIN[kind][name].startswith(ROOMS[kind])
    assert registry.resolve(kind, name) is not None


def test_the_root_holds_few_modules() -> None:
    modules = sorted(p.stem for p in Path(fairbench.__file__).parent.glob("*.py"))
    assert len(modules) <= 12, modules
