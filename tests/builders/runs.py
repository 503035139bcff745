"""Runs as a user has them: folders of the phantom's runs, and shards that somebody has changed."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from fairbench.display.progress import Silent
from fairbench.runs import files as run_files
from fairbench.runs import pipeline, spec
from fairbench.storage.store import Store

Change = Callable[[pa.Table], pa.Table]


def finished_run(folder: Path, model: str = "phantom-exact", **settings: object) -> Path:
    """Run without the command line into `folder` and return it; the store lies beside it."""
    chosen = spec.RunSettings(model=model, **{"task": "occupations-mini"} | settings)  # type: ignore[arg-type]
    store = Store(folder.parent / "store")
    run_files.write(pipeline.run(spec.make(chosen), store, Silent()), store, folder, sheets=False)
    return folder


def rewrite_shard(shard: Path, change: Change) -> Path:
    """Change a shard and give it the name of its new bytes, as somebody who wants to deceive would; return its path."""
    sink = pa.BufferOutputStream()
    pq.write_table(change(pq.read_table(shard)), sink)
    content = sink.getvalue().to_pybytes()
    shard.unlink()
    renamed = shard.with_name(f"part-{hashlib.blake2b(content, digest_size=16).hexdigest()}.parquet")
    renamed.write_bytes(content)
    return renamed
