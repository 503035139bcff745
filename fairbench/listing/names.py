"""The names of what is installed, as functions of `import fairbench`."""

from __future__ import annotations

from fairbench import registry
from fairbench.cards import catalog


def list_models() -> list[str]:
    """Return the names of all model cards, those of FAIRBENCH_PATH included."""
    return list(catalog.find("models"))


def list_tasks() -> list[str]:
    """Return the names of all tasks, those of FAIRBENCH_PATH and of plug-ins included."""
    return list(catalog.find("tasks"))


def list_labellers() -> list[str]:
    """Return the names of all labeller cards, those of FAIRBENCH_PATH included."""
    return list(catalog.find("labellers"))


def list_metrics() -> list[str]:
    """Return the names of all metrics of class shares, plug-ins included."""
    return registry.names("metrics")


def list_methods() -> list[str]:
    """Return the names of all mitigation methods, plug-ins included."""
    return registry.names("methods")


def list_scorers() -> list[str]:
    """Return the names of all image scorers, plug-ins included."""
    return registry.names("scorers")
