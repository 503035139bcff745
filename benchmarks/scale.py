"""What breaks first in a store of a million and a half shards: listing, asking what is there, one leaderboard.

The shards are names only: empty files, and a read that makes up the ids that a shard of 16 images holds. Then, each in
a fresh process: a key's shards are listed; the whole store is (`store du`, `store gc`); a run asks which of its images
are there. Once with all shards in one key, once spread over the models' keys, and once more as compaction leaves them.
A leaderboard of many rows gets one more. Processor seconds say more than the clock on a busy machine.
Usage: python benchmarks/scale.py [--shards 1500000] [--models 100].
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from common import machine, peak_mb, show

# fairbench, numpy and pyarrow are imported in the child processes only, as their peak memory starts at the parent's.

IMAGES_PER_SHARD = 16
MERGED = 64
"""Shards of a block that compaction puts into one, with images of 1 MB."""
RUNS_OF_A_MODEL = 30
"""Ten suites with three seeds."""
ID_BYTES = 16


def name_of(key: int, shard: int) -> str:
    """Return the name of a shard: a hash, as in a store."""
    return f"part-{hashlib.blake2b(f'{key}/{shard}'.encode(), digest_size=16).hexdigest()}.parquet"


def key_of(number: int) -> str:
    """Return a key."""
    return hashlib.blake2b(str(number).encode(), digest_size=16).hexdigest()


def clocks() -> tuple[float, float]:
    """Return the time by the clock and that of the processor."""
    return time.perf_counter(), time.process_time()


def make_names(root: Path, shards: int, keys: int) -> dict[str, float]:
    """Make empty files for shards of images, the same number in each of the keys."""
    for key in range(keys):
        folder = root / "images" / key_of(key)
        folder.mkdir(parents=True, exist_ok=True)
        for shard in range(shards // keys):
            os.close(os.open(folder / name_of(key, shard), os.O_CREAT | os.O_WRONLY))
    return {"count": shards}


def listed(root: Path, shards: int, keys: int) -> dict[str, float]:
    """List one key of a store."""
    from fairbench.storage.store import Store

    store, before, start = Store(root), peak_mb(), clocks()
    found = store.shards("images", key_of(0))
    return _checked(start, before, len(found), shards // keys)


def inventoried(root: Path, shards: int, keys: int) -> dict[str, float]:
    """List the whole store, as `store du` and `store gc` do."""
    from fairbench.storage.store import Store
    from fairbench.upkeep import inventory

    store, before, start = Store(root), peak_mb(), clocks()
    found = inventory.read(store).held
    return _checked(start, before, sum(len(held.shards) for held in found), shards // keys * keys)


def resumed(root: Path, shards: int, keys: int, images: int = IMAGES_PER_SHARD) -> dict[str, float]:
    """Ask which images of a run the store has, the run being one of those whose images are in the key."""
    import numpy as np
    import pyarrow as pa

    from fairbench.storage import schemas
    from fairbench.storage.store import Store

    def ids(name: str) -> bytes:
        return np.random.default_rng(int(name[5:21], 16)).bytes(ID_BYTES * images)

    class Named(Store):
        """A store whose shards are names."""

        def read(self, stage: str, path: Any, columns: Any = None) -> pa.Table:
            data = ids(path.name)
            return pa.table({"image_id": pa.Array.from_buffers(schemas.ID, images, [None, pa.py_buffer(data)])})

    store, before, start = Named(root), peak_mb(), clocks()
    have = store.ids("images", key_of(0))
    result = _checked(start, before, len(have), shards // keys * images)
    in_key = shards // keys
    of_run = [ids(name_of(0, shard)) for shard in range(0, in_key, max(1, RUNS_OF_A_MODEL))]
    wanted = [data[at : at + ID_BYTES] for data in of_run for at in range(0, len(data), ID_BYTES)]
    absent = [image_id for image_id in (*wanted, bytes(ID_BYTES)) if image_id not in have]
    if absent != [bytes(ID_BYTES)]:
        raise SystemExit(f"{len(absent)} are absent: not what was to be measured")
    return result


def compacted(root: Path, shards: int, keys: int) -> dict[str, float]:
    """Do as `resumed` does, of shards that hold as many images as MERGED of the others."""
    return resumed(root, shards, keys, IMAGES_PER_SHARD * MERGED)


def boarded(root: Path, shards: int, keys: int) -> dict[str, float]:
    """Add a row to a leaderboard of all runs, as the last one of them does."""
    from fairbench.leaderboard import board

    rows = [row for row in board.read(EXAMPLE) if row["run_id"]]
    path, runs = root / "board.csv", keys * RUNS_OF_A_MODEL
    every = [{**rows[i % len(rows)], "model": f"model-{i % keys}", "run_id": key_of(i)} for i in range(runs)]
    path.write_text(board.render(every[:-1]))
    before, start = peak_mb(), clocks()
    board.add(path, every[-1])
    return _checked(start, before, len(board.read(path)), runs)


EXAMPLE = Path(__file__).resolve().parents[1] / "leaderboards" / "phantom-mitigation-seen-v1.csv"
JOBS: dict[str, Callable[[Path, int, int], dict[str, float]]] = {
    "make names": make_names,
    "list one key": listed,
    "list the store": inventoried,
    "resume: ids of a key": resumed,
    "resume, compacted": compacted,
    "add a leaderboard row": boarded,
}


def _checked(start: tuple[float, float], before: float, found: int, expected: int) -> dict[str, float]:
    seconds, processor = (now - then for now, then in zip(clocks(), start, strict=True))
    if found != expected:
        raise SystemExit(f"{found} were found of {expected}: not what was to be measured")
    return {"seconds": seconds, "processor": processor, "mb": peak_mb() - before, "count": found}


def child(job: str, root: Path, shards: int, keys: int) -> dict[str, float]:
    """Do a job in a fresh process."""
    command = [sys.executable, __file__, "--job", job, "--store", str(root)]
    command += ["--shards", str(shards), "--models", str(keys)]
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
    answer: dict[str, float] = json.loads(done.stdout)
    return answer


def report(shards: int, models: int) -> None:
    """Measure and print the table."""
    rows = []
    listing = ("list one key", "list the store", "resume: ids of a key")
    with tempfile.TemporaryDirectory() as folder:
        for what, size, keys, jobs in (
            ("one key", shards, 1, listing),
            ("a key per model", shards, models, (*listing, "add a leaderboard row")),
            ("a key per model", shards // MERGED, models, ("list the store", "resume, compacted")),
        ):
            root = Path(folder) / f"{size}-{keys}"
            child("make names", root, size, keys)
            for job in jobs:
                got = child(job, root, size, keys)
                count = f"{got['count']:,.0f}"
                times = [f"{got[clock]:.2f}" for clock in ("seconds", "processor")]
                rows.append([what, f"{size:,}", job, count, *times, f"{got['mb']:.0f}"])
    print(machine())
    show(["layout", "shards", "job", "found", "seconds", "processor s", "MB"], rows)


def main() -> None:
    """Measure and print; or, with --job, do one step for the process that measures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--shards", type=int, default=1_500_000)
    parser.add_argument("--models", type=int, default=100)
    parser.add_argument("--job", choices=JOBS, help=argparse.SUPPRESS)
    parser.add_argument("--store", type=Path, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.job is None:
        report(args.shards, args.models)
    else:
        print(json.dumps(JOBS[args.job](args.store, args.shards, args.models)))


if __name__ == "__main__":
    main()
