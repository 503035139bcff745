"""What can be listed and shown."""

from __future__ import annotations

CARDS = ("models", "tasks", "labellers")
PLUGINS = ("metrics", "scorers", "methods", "adapters", "detectors", "crops", "classifiers")
KINDS = (*CARDS, *PLUGINS)
SHOWN = (*(kind[:-1] for kind in KINDS), "columns")
