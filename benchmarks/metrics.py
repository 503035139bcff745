"""Metrics over label tables of growing size: seconds, peak memory, and how both grow with the number of label rows.

A store is filled with synthetic faces and labels (50 prompts; gender, race4 and age of one face an image, in shards as
the label stage writes them). Then, each in a fresh process, they are counted, every metric is evaluated, and the table
is made. Usage: python benchmarks/metrics.py [--rows 10000 100000 1000000 10000000] [--compact]. An exponent of 1 is
linear growth. Processor seconds are those of all threads: on a busy machine they say more than the clock. With
--compact the shards are then merged and all is measured again: the results must be the same, value for value.

`--rows 100000000 --images-per-shard 65536` writes 4.5 GB, and needs an hour for shards as the label stage writes them.
"""

from __future__ import annotations

import argparse
import hashlib
import importlib
import itertools
import json
import math
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from common import machine, peak_mb, show, verdict

# fairbench, numpy and pyarrow are imported in the child processes only: on Linux a child's peak memory starts at what
# its parent held when it was forked, so the parent must stay smaller than a child that does nothing but import.

LABELLER, TASK = "shen2024", "occupations"
KEYS = {"faces": "bench-faces", "labels": "bench-labels"}
ATTRIBUTES = 3
NO_FACE_EVERY = 20
BAR_ROWS, BAR_SECONDS, BAR_MB = 10_000_000, 12.0, 1_200.0
"""Counting so many label rows, compacted, may take so many seconds, and so much memory in the whole process."""
BLOCK = 65_536
"""Images whose ids are drawn together."""


def images_for(rows: int) -> int:
    """Return how many images give `rows` label rows, when every 20th has no face."""
    faces = math.ceil(rows / ATTRIBUTES)
    return faces + math.ceil(faces / (NO_FACE_EVERY - 1))


def write(root: Path, rows: int, per_shard: int) -> None:
    """Fill a store with the faces and labels of `images_for(rows)` images."""
    from fairbench.cards import catalog
    from fairbench.labelling.labeller import LabelSpace
    from fairbench.storage.store import Store

    store, images, space = Store(root), image_rows(rows), LabelSpace(catalog.load_labeller(LABELLER).card)
    for start in range(0, len(images), per_shard):
        _write_shards(store, space, images[start : start + per_shard], start)


class ImageRows:
    """The answered requests, prompt by prompt, made when they are asked for: the same for the same `rows`.

    35 million of them in a list would take 10 GB.
    """

    def __init__(self, rows: int) -> None:
        self._rows, self._count, self._prompts = rows, images_for(rows), _prompts()

    def __len__(self) -> int:
        return self._count

    def __getitem__(self, which: slice) -> list[Any]:
        import numpy as np

        from fairbench.storage.reading import ImageRow
        from fairbench.types import ImageRequest

        found, shard = [], Path("images")
        start, stop, _ = which.indices(self._count)
        for block in range(start // BLOCK, math.ceil(stop / BLOCK)):
            ids = np.random.default_rng([self._rows, block]).bytes(16 * BLOCK)
            for i in range(max(start, block * BLOCK), min(stop, (block + 1) * BLOCK)):
                prompt = self._prompts[i * len(self._prompts) // self._count]
                at = 16 * (i - block * BLOCK)
                request = ImageRequest(ids[at : at + 16], prompt.prompt_id, prompt.neutral_id, prompt.text, i, i)
                found.append(ImageRow(request, "ok", None, None, shard))
        return found


def image_rows(rows: int) -> Any:
    """Return the answered requests: in a list, as a run has them, where they fit into memory."""
    found = ImageRows(rows)
    return found[:] if rows <= BAR_ROWS else found


def merge(root: Path) -> None:
    """Compact the store."""
    from fairbench.storage import compaction
    from fairbench.storage.store import Store

    for stage, key in KEYS.items():
        compaction.compact(Store(root), stage, key)


def _prompts() -> Any:
    from fairbench.cards import catalog
    from fairbench.runs.prompts import expand

    return expand(catalog.load_task(TASK).card)


def _write_shards(store: Any, space: Any, rows: list[Any], start: int) -> None:
    import numpy as np
    import pyarrow as pa

    from fairbench.storage import schemas

    rng, number = np.random.default_rng(start), np.arange(start, start + len(rows))
    shown = number % NO_FACE_EVERY != 0
    found = int(shown.sum())
    image_ids = pa.array([r.request.image_id for r in rows], schemas.ID)
    face_ids = _ids(rng.bytes(16 * found))
    # One face an image, the same everywhere: counting reads neither boxes nor landmarks.
    same = {
        "face_index": 0,
        "bbox_xyxy": [10.0, 10.0, 200.0, 220.0],
        "landmarks5": None,
        "det_score": 0.9,
        "area_frac": 0.152,
        "is_primary": True,
        "is_central": True,
        "route": 0,
    }
    seat = pa.array(np.cumsum(shown) - 1, mask=~shown)  # null where there is no face
    faces = {name: pa.array([value] * found, schemas.schema("faces").field(name).type) for name, value in same.items()}
    store.write(
        "faces",
        KEYS["faces"],
        schemas.build(
            "faces",
            {
                "image_id": image_ids,
                "status": np.where(shown, "ok", "no_face"),
                "face_id": face_ids.take(seat),
                **{name: values.take(seat) for name, values in faces.items()},
            },
        ),
    )
    with_face = pa.array(shown)
    neutral_ids = pa.array([r.request.neutral_id for r in rows], schemas.ID).filter(with_face)
    parts = []
    for attribute, labels in space.declared.labels.items():
        probs = rng.dirichlet([0.3] * len(labels), found).astype(np.float32)
        offsets = np.arange(found + 1, dtype=np.int32) * len(labels)
        parts.append(
            schemas.build(
                "labels",
                {
                    "face_id": face_ids,
                    "image_id": image_ids.filter(with_face),
                    "neutral_id": neutral_ids,
                    "attribute": [attribute] * found,
                    "status": ["ok"] * found,
                    "label": np.array(labels)[probs.argmax(axis=1)],
                    "prob": probs.max(axis=1),
                    "probs": pa.ListArray.from_arrays(offsets, probs.ravel()),
                },
            )
        )
    store.write("labels", KEYS["labels"], pa.concat_tables(parts))


def _ids(data: bytes) -> Any:
    import pyarrow as pa

    from fairbench.storage import schemas

    return pa.Array.from_buffers(schemas.ID, len(data) // 16, [None, pa.py_buffer(data)])


def measure(root: Path, rows: int) -> dict[str, Any]:
    """Count, evaluate and tabulate; return seconds of each step, peak memory before and after in MB, and a hash.

    The hash is of all results. With 0 rows only the imports and cards are had: the memory that every process needs.
    """
    from fairbench import registry
    from fairbench.cards import catalog
    from fairbench.labelling.labeller import LabelSpace
    from fairbench.measure import counts, table
    from fairbench.measure import series as measure_series
    from fairbench.storage.store import Store

    # pyarrow loads pandas at the first conversion, and entropies load scipy: neither is work that grows with the rows.
    for module in ("pandas", "pyarrow.compute", "scipy.special"):
        importlib.import_module(module)
    for name in registry.names("metrics"):
        registry.resolve("metrics", name)
    labeller, prompts = LabelSpace(catalog.load_labeller(LABELLER).card), _prompts()
    images = image_rows(rows) if rows else []
    result: dict[str, Any] = {"inputs": peak_mb()}
    if not rows:
        return result
    processor, start = time.process_time(), time.perf_counter()
    found = counts.count(Store(root), labeller, KEYS["faces"], KEYS["labels"], images, [p.neutral_id for p in prompts])
    result["count"] = time.perf_counter() - start
    start = time.perf_counter()
    series = list(measure_series.evaluate(found, prompts, {}))
    metrics = table.build(table.RunNames("bench", "none", "none", TASK, LABELLER), prompts, found, series, [])
    result["metrics"] = time.perf_counter() - start
    result["processor"] = time.process_time() - processor
    result["peak"] = peak_mb()
    everything = [
        found.joint.tolist(),
        {name: sums.tolist() for name, sums in found.probs.items()},
        metrics.to_pylist(),
    ]
    result["results"] = hashlib.sha256(repr(everything).encode()).hexdigest()
    labelled = int(found.of(["gender"]).sum())
    if labelled * ATTRIBUTES < rows:
        raise SystemExit(f"{labelled} faces were counted of {rows // ATTRIBUTES}: not what was to be measured")
    return result


def child(job: str, root: Path, rows: int, per_shard: int = 0) -> dict[str, Any]:
    """Do a job in a fresh process."""
    command = [sys.executable, __file__, "--job", job, "--store", str(root), "--rows", str(rows)]
    command += ["--images-per-shard", str(per_shard)]
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
    answer: dict[str, Any] = json.loads(done.stdout)
    return answer


def counted(root: Path, rows: int) -> dict[str, Any]:
    """Measure one store, twice: the first read may come from a cold disk."""
    child("measure", root, rows)
    result = child("measure", root, rows)
    shards = list(root.rglob("part-*.parquet"))
    return {**result, "shards": len(shards), "bytes": sum(path.stat().st_size for path in shards)}


def report(sizes: list[int], per_shard: int, *, compact: bool) -> None:
    """Measure every size and print the table and the growth."""
    found: dict[int, dict[str, Any]] = {}
    merged: dict[int, dict[str, Any]] = {}
    with tempfile.TemporaryDirectory() as folder:
        bare = child("measure", Path(folder), 0)["inputs"]
        for rows in sizes:
            root = Path(folder) / str(rows)
            child("write", root, rows, per_shard)
            found[rows] = counted(root, rows)
            if compact:
                child("merge", root, rows)
                merged[rows] = counted(root, rows)
                if merged[rows]["results"] != found[rows]["results"]:
                    raise SystemExit(f"{rows:,} rows: compaction changed the results")
            shutil.rmtree(root)
    print(f"{machine()}; {bare:.0f} MB to import fairbench and load the cards, taken off below")
    show(
        ["label rows", "images", "shards", "count s", "metrics s", "processor s", "MB image rows", "MB peak"],
        [
            [
                f"{rows:,}",
                f"{images_for(rows):,}",
                int(f["shards"]),
                f"{f['count']:.2f}",
                f"{f['metrics']:.2f}",
                f"{f['processor']:.2f}",
                f"{f['inputs'] - bare:.0f}",
                f"{f['peak'] - bare:.0f}",
            ]
            for rows, f in [*found.items(), *merged.items()]
        ],
    )
    for few, many in dict.fromkeys([*itertools.pairwise(sizes), (sizes[0], sizes[-1])]):
        if few < many:
            print(
                f"growth exponents from {few:,} to {many:,} rows: {_growth(found[few], found[many], bare, many / few)}"
            )
    for rows, after in merged.items():
        before = found[rows]
        ratios = ", ".join(
            f"{name} {before[name] / after[name]:.2f}x" for name in ("shards", "bytes", "count", "processor", "peak")
        )
        print(f"{rows:,} rows, small shards against compacted, the same results: {ratios}")
    judged = (merged or found).get(BAR_ROWS)
    if judged:
        print(verdict(f"{BAR_ROWS:,} rows, count", judged["count"], BAR_SECONDS, at_most=True, unit=" s"))
        print(verdict(f"{BAR_ROWS:,} rows, memory in all", judged["peak"], BAR_MB, at_most=True, unit=" MB"))


def _growth(few: dict[str, Any], many: dict[str, Any], bare: float, times: float) -> str:
    pairs = {
        "count": (few["count"], many["count"]),
        "processor": (few["processor"], many["processor"]),
        # Under a megabyte, memory is a matter of chance.
        "memory": (max(1.0, few["peak"] - bare), max(1.0, many["peak"] - bare)),
    }
    return ", ".join(f"{name} {math.log(b / a) / math.log(times):.2f}" for name, (a, b) in pairs.items())


def main() -> None:
    """Measure and print; or, with --job, do one step for the process that measures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, nargs="+", default=[10_000, 100_000, 1_000_000])
    parser.add_argument("--compact", action="store_true", help="Measure again with merged shards.")
    parser.add_argument("--images-per-shard", type=int, default=256, help="As the label stage: 256.")
    parser.add_argument("--job", choices=["write", "measure", "merge"], help=argparse.SUPPRESS)
    parser.add_argument("--store", type=Path, help=argparse.SUPPRESS)
    args = parser.parse_args()
    rows = args.rows[0]
    if args.job is None:
        report(sorted(set(args.rows)), args.images_per_shard, compact=args.compact)
    elif args.job == "measure":
        print(json.dumps(measure(args.store, rows)))
    else:
        write(args.store, rows, args.images_per_shard) if args.job == "write" else merge(args.store)
        print(json.dumps({}))


if __name__ == "__main__":
    main()
