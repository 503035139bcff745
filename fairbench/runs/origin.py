"""Tells a store which model, method, task and labeller the keys of a run are of."""

from __future__ import annotations

from fairbench.runs.spec import RunSpec
from fairbench.storage import origins
from fairbench.storage.origins import Origin
from fairbench.storage.store import Store


def note(store: Store, spec: RunSpec, method: str | None = None) -> None:
    """Write it down before the first shard. method: the run's, unless named."""
    stages = {"images": [spec.image_key], "faces": [spec.faces_key], "labels": [spec.labels_key]}
    scores = sorted(scorer.key for scorer in spec.scorers if scorer.key)
    labeller = spec.labeller.card.name
    origins.write(
        store, Origin(spec.card.name, method or spec.method, spec.task, labeller, {**stages, "scores": scores})
    )
