"""images: requests -> images, block by block; a shard a block, bytes and row in one rename."""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import PurePath
from typing import Final

import pyarrow as pa

from fairbench import contracts, registry, threads
from fairbench.display.progress import Progress, Stage, watching
from fairbench.errors import FairbenchError, OutOfMemory, one_line
from fairbench.notices import notice
from fairbench.plugins.output import quiet
from fairbench.protocols import ImageModel, Served
from fairbench.runs.behind import Behind
from fairbench.storage import copies, pixels, reading, schemas
from fairbench.storage.reading import ImageRow
from fairbench.storage.spool import Spool
from fairbench.storage.store import Store
from fairbench.types import ImageRequest, ImageResult

log = logging.getLogger(__name__)
_OF_REQUEST: Final = ("image_id", "prompt_id", "neutral_id", "text", "sample_index", "seed")
"""Columns that a row takes from the request as they are."""
WRITTEN: Final = "system-prompt-written"
"""The note of the system prompt that a method wrote for an image."""
Block = tuple[Sequence[ImageRequest], Sequence[ImageResult]]


class BlockTooLarge(Exception):
    """In reduced precision the block is part of the image key: a smaller one means another key, so the caller plans."""


def generate(
    store: Store,
    key: str,
    requests: Sequence[ImageRequest],
    model: ImageModel,
    *,
    method: str,
    adapter: str,
    block_size: int,
    fixed_block: bool,
    progress: Progress,
    before: Callable[[], None] = lambda: None,
    behind: bool = False,
) -> int:
    """Make the images that the store lacks; return how many were made.

    `before` is called if there is anything to make. A kill costs the block in flight. Out of memory halves the block
    (or raises BlockTooLarge where `fixed_block`). adapter: its name. behind: encode and write a block while the next is
    made, which an accelerator leaves the processor free for; a kill then costs both. Raises PluginError where the
    adapter breaks its contract.
    """
    have = store.ids("images", key)
    todo = [r for r in requests if r.image_id not in have]
    if todo:
        before()
    spool = _spool(store, key, model, have)
    first = not have and bool(todo) and todo[0] is requests[0]  # the run's own first block, wherever a process begins
    with (
        progress.stage("images", len(todo), price=price_of(model)) as bar,
        ThreadPoolExecutor(threads.count()) as pool,
        Behind(behind and spool is None) as writer,
    ):
        blocks = _blocks(model, registry.title("adapters", adapter), todo, block_size, fixed_block, bar)
        for block in _of_working_model(blocks, first):
            writer.do(partial(_keep, store, key, block, spool, method, pool), then=partial(bar.advance, len(block[0])))
    return len(todo)


def make(
    store: Store,
    key: str,
    block: Sequence[ImageRequest],
    model: ImageModel,
    bar: Stage,
    *,
    method: str,
    adapter: str,
    fixed_block: bool,
    first: bool,
) -> list[ImageRow]:
    """Make the images of one block, without a look at what the store has; return their rows.

    first: whether the block is the run's own first one, on which a broken model is told. Raises what `generate` raises.
    """
    title = registry.title("adapters", adapter)
    blocks = _blocks(model, title, block, len(block), fixed_block, bar)
    spool, shards = _spool(store, key, model, ()), []
    with ThreadPoolExecutor(threads.count()) as pool:
        for made in _of_working_model(blocks, first):
            shards.append(_keep(store, key, made, spool, method, pool))
            bar.advance(len(made[0]))
    return reading.rows_of(shards, block)


def write_failed(store: Store, key: str, request: ImageRequest, reason: str, *, method: str) -> None:
    """Store that an image cannot be made, where the process that makes it does not live to say so."""
    with ThreadPoolExecutor(1) as pool:
        store.write("images", key, _table([request], [ImageResult("failed", error=reason)], method, pool))


def price_of(model: ImageModel) -> float | None:
    """Return the price of an image of a served model, in US dollars; None where there is none, or nobody knows it."""
    return model.price_per_image if isinstance(model, Served) else None


def _of_working_model(blocks: Iterable[Block], first: bool) -> Iterator[Block]:
    """Yield blocks. first: refuse a model that fails on all of the first one."""
    for block, results in blocks:
        if first:
            _refuse_if_all_crashed(results)
        first = False
        yield block, results


def _keep(
    store: Store, key: str, made: Block, spool: Spool | None, method: str, pool: ThreadPoolExecutor
) -> tuple[PurePath, pa.Table]:
    """Write a block as a shard, and return it."""
    block, results = made
    table = _table(block, results, method, pool)
    path = store.write("images", key, table)
    assert path is not None
    if spool is not None:
        spool.forget(r.image_id for r in block)
    return path, table


def _spool(store: Store, key: str, model: ImageModel, have: Iterable[bytes]) -> Spool | None:
    """Give a served model the folder that keeps its responses until their shard is written; None for any other."""
    if not isinstance(model, Served):
        return None
    model.spool = Spool(store.files, key)
    model.spool.forget(model.spool.ids() & set(have))  # a kill came between the shard and this
    return model.spool


def declare(store: Store, key: str, requests: Sequence[ImageRequest], *, method: str) -> int:
    """Note down images that only their labels are known of, and that are not here; return how many are new."""
    have = store.ids("images", key)
    todo = [r for r in requests if r.image_id not in have]
    if todo:
        columns = {name: [getattr(r, name) for r in todo] for name in _OF_REQUEST}
        empty = dict.fromkeys(schemas.schema("images").names, [None] * len(todo))
        no_pixels = {"bytes": None, "path": None}
        known = {"method": [method] * len(todo), "status": ["ok"] * len(todo), "image": [no_pixels] * len(todo)}
        store.write("images", key, schemas.build("images", {**empty, **columns, **known}))
    return len(todo)


def _blocks(
    model: ImageModel, title: str, todo: Sequence[ImageRequest], size: int, fixed: bool, bar: Stage
) -> Iterator[Block]:
    start, retried = 0, False
    while start < len(todo):
        block = todo[start : start + size]
        try:
            with watching(model, bar, len(block)):
                results = _checked(model, title, block)
        except OutOfMemory as err:
            if not retried:  # fragmentation may be all that was wrong
                retried = True
                continue
            if size > 1 and fixed:
                raise BlockTooLarge from err
            if size > 1:
                size = max(1, size // 2)
                notice("memory", f"out of memory: going on with blocks of {size}")
                continue
            results = [ImageResult("failed", error=f"out of memory for a single image ({err})")]
        yield block, results
        start, retried = start + len(block), False


def _checked(model: ImageModel, title: str, block: Sequence[ImageRequest]) -> Sequence[ImageResult]:
    """Generate a block; where that raises, one image at a time, so that one bad request costs one image."""
    try:
        with quiet(title):
            results = model.generate(block)
    except (OutOfMemory, FairbenchError):
        raise
    except (Exception, SystemExit) as err:
        if len(block) == 1:
            log.debug("a request failed", exc_info=True)
            return [contracts.crashed(err)]
        notice("block-failed", f"a block raised {one_line(err)}: its images are tried one at a time")
        return [_checked(model, title, [request])[0] for request in block]
    return contracts.images(title, results, len(block))


def _refuse_if_all_crashed(results: Sequence[ImageResult]) -> None:
    reasons = {r.error or "" for r in results}
    # A request may be at fault; that all of a block's requests raise the same means a broken model or adapter.
    if len(results) > 1 and len(reasons) == 1 and (reason := reasons.pop()).startswith(contracts.CRASH):
        raise FairbenchError(f"The model failed on each of its first {len(results)} images: {reason}")


def _table(
    block: Sequence[ImageRequest], results: Sequence[ImageResult], method: str, pool: ThreadPoolExecutor
) -> pa.Table:
    # Pixels of a file that exists already are not stored again.
    files = list(pool.map(lambda p: None if p[0].path else _file(p[1]), zip(block, results, strict=True)))
    hashes = [r.sha256 or (hashlib.sha256(b).hexdigest() if b else None) for r, b in zip(block, files, strict=True)]
    return schemas.build(
        "images",
        {
            **{name: [getattr(r, name) for r in block] for name in _OF_REQUEST},
            "method": [method] * len(block),
            "status": [r.status for r in results],
            "error": [r.error for r in results],
            "sha256": hashes,
            "image": [{"bytes": b, "path": r.path} for r, b in zip(block, files, strict=True)],
            "width": [None if r.pixels is None else r.pixels.shape[1] for r in results],
            "height": [None if r.pixels is None else r.pixels.shape[0] for r in results],
            "seconds": [r.seconds for r in results],
            "notes": [list(_notes(*p).items()) or None for p in zip(block, results, strict=True)],
        },
    )


def _file(result: ImageResult) -> bytes | None:
    """Return the image file to store: as the model gave it, else the pixels as PNG."""
    if result.pixels is None:
        return None
    return pixels.encode(result.pixels) if result.encoded is None else result.encoded


def _notes(request: ImageRequest, result: ImageResult) -> Mapping[str, str]:
    """Return an image's notes: the result's own, and the system prompt that a method wrote for it.

    Files that differ may hold equal pixels: of a file, the pixels' own hash is noted.
    """
    written = {} if request.system_prompt is None else {WRITTEN: request.system_prompt}
    if result.encoded is None or result.pixels is None:
        return {**result.notes, **written}
    return {**result.notes, **written, copies.PIXELS: copies.content_hash(result.pixels)}
