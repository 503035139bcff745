"""Images that belong to no run, drawn and labelled into the store: sets and instructions are made of them."""

from __future__ import annotations

from collections.abc import Sequence

from fairbench.display.progress import Progress
from fairbench.errors import StoreError
from fairbench.runs import images, origin
from fairbench.runs.labels import LabelStage
from fairbench.runs.spec import RunSpec
from fairbench.storage import reading
from fairbench.storage.store import Store
from fairbench.types import ImageRequest


def drawn_and_labelled(
    plan: RunSpec, requests: Sequence[ImageRequest], method: str, store: Store, progress: Progress
) -> list[reading.ImageRow]:
    """Draw and label what the store lacks, and return the images' rows in the order of the requests.

    method: what made the texts, kept beside the images. Raises StoreError where images are not in the store afterwards.
    """
    origin.note(store, plan, method)
    images.generate(
        store,
        plan.image_key,
        requests,
        plan.adapter,
        method=method,
        adapter=plan.card.adapter,
        block_size=plan.ctx.block_size,
        fixed_block=plan.fixed_block,
        progress=progress,
        before=plan.labeller.load,
        behind=plan.ctx.device != "cpu",
    )
    rows = reading.index(store, plan.image_key, requests)
    if len(rows) < len(requests):
        raise StoreError(f"{len(requests) - len(rows)} images disappeared from the store: run the same command again.")
    LabelStage(store, plan.labeller, plan.faces_key, plan.labels_key).run(rows, progress)
    return rows
