"""What the images of a served model cost, and how long they take: before a run, and as the limit of one."""

from __future__ import annotations

from fairbench.errors import FairbenchError
from fairbench.protocols import Served
from fairbench.runs.spec import RunSpec
from fairbench.storage.spool import Spool
from fairbench.storage.store import Store


def waiting(spec: RunSpec, store: Store) -> set[bytes]:
    """Return the ids of images that were answered, and paid, by a run that was stopped before it stored them."""
    return Spool(store.files, spec.image_key).ids() if isinstance(spec.adapter, Served) else set()


def cost(spec: RunSpec, images: int) -> float | None:
    """Return what so many images cost, in US dollars; None where nothing says so."""
    price = spec.adapter.price_per_image if isinstance(spec.adapter, Served) else None
    return None if price is None else price * images


def questions(spec: RunSpec) -> tuple[int, float | None]:
    """Return how many questions the labeller asks if each image shows one face, and what they cost in US dollars.

    None: nothing says what a question costs. Answers that an earlier run was given are asked for, and paid, no more.
    """
    asked = [] if spec.without_images else spec.labeller.questions
    prices = [None if judge.endpoint is None else judge.endpoint.price_per_question for judge, _ in asked]
    numbers, images = [number for _, number in asked], len(spec.work)
    known = [price for price in prices if price is not None]
    cost_of_image = sum(price * number for price, number in zip(known, numbers, strict=False))
    return sum(numbers) * images, cost_of_image * images if known and len(known) == len(prices) else None


def seconds(spec: RunSpec, images: int, measured: list[float]) -> float | None:
    """Return how long so many images take; None where nothing says so. measured: seconds of images that were made."""
    each = sum(measured) / len(measured) if measured else None
    if isinstance(spec.adapter, Served):
        return spec.adapter.seconds_for(images, each)
    return None if each is None else images * each


def limit(spec: RunSpec, store: Store) -> None:
    """Hand the run's --max-cost to its model. Raises FairbenchError where what is to be made would cost more."""
    most = spec.settings.max_cost
    if most is None:
        return
    if not isinstance(spec.adapter, Served) or spec.adapter.price_per_image is None:
        raise FairbenchError(
            f"--max-cost {most:g}: nothing says what an image of {spec.card.name} costs; give --price (US dollars), or "
            "leave the option out."
        )
    have = store.ids("images", spec.image_key).keys() | waiting(spec, store)
    todo = sum(r.image_id not in have for r in spec.work)
    price = cost(spec, todo) or 0.0
    if price > most * (1 + 1e-9):
        raise FairbenchError(
            f"--max-cost {most:g}: {todo:,} images would cost about ${price:,.2f}; raise the limit, or ask for fewer "
            "images with -n or --limit-prompts. Nothing was spent."
        )
    spec.adapter.max_cost = most
