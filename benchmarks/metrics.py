"""Metrics over label tables of growing size: seconds, peak memory, and how both grow with the number of label rows.

A store is filled with synthetic faces and labels (50 prompts; gender, race4 and age of one face an image, in shards as
the label stage writes them). Then, each in a fresh process, they are counted, every metric is evaluated, and the table
is made. Usage: python benchmarks/metrics.py [--rows 10000 100000 1000000]. An exponent of 1 is linear growth.
"""

from __future__ import annotations

import argparse
import importlib
import itertools
import json
import math
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from common import machine, show

# fairbench, numpy and pyarrow are imported in the child processes only: on Linux a child's peak memory starts at what
# its parent held when it was forked, so the parent must stay smaller than a child that does nothing but import.

LABELLER, TASK = "shen2024", "occupations"
KEYS = {"faces": "bench-faces", "labels": "bench-labels"}
ATTRIBUTES = 3
NO_FACE_EVERY = 20


def images_for(rows: int) -> int:
    """Return how many images give `rows` label rows, when every 20th has no face."""
    faces = math.ceil(rows / ATTRIBUTES)
    return faces + math.ceil(faces / (NO_FACE_EVERY - 1))


def write(root: Path, rows: int) -> None:
    """Fill a store with the faces and labels of `images_for(rows)` images."""
    from fairbench.stages.labels import PARCEL
    from fairbench.store import Store

    store, images = Store(root), image_rows(rows)
    for start in range(0, len(images), PARCEL):
        _write_shards(store, images[start : start + PARCEL], start)


def image_rows(rows: int) -> list[Any]:
    """Return the answered requests, prompt by prompt: the same for the same `rows`."""
    import numpy as np

    from fairbench.stages.reading import ImageRow
    from fairbench.types import ImageRequest

    prompts, count = _prompts(), images_for(rows)
    ids = np.random.default_rng(rows).bytes(16 * count)
    found = []
    for i in range(count):
        prompt = prompts[i * len(prompts) // count]
        request = ImageRequest(ids[16 * i : 16 * i + 16], prompt.prompt_id, prompt.neutral_id, prompt.text, i, i)
        found.append(ImageRow(request, "ok", None, None, Path("images")))
    return found


def _prompts() -> Any:
    from fairbench import catalog
    from fairbench.stages.prompts import expand

    return expand(catalog.load_task(TASK).card)


def _write_shards(store: Any, rows: list[Any], start: int) -> None:
    import numpy as np
    import pyarrow as pa

    from fairbench import catalog, schemas
    from fairbench.labeller import FoundFace, Labeller
    from fairbench.stages import faces
    from fairbench.types import Face

    rng = np.random.default_rng(start)
    square = FoundFace(Face((10, 10, 200, 220), 0.9), 0)
    table = faces.table(
        [
            row
            for i, r in enumerate(rows, start)
            for row in faces.image_rows(
                KEYS["faces"], r.request.image_id, [square] if i % NO_FACE_EVERY else [], 512, 512
            )
        ]
    )
    store.write("faces", KEYS["faces"], table)
    found = table.filter(table["face_id"].is_valid())
    neutral_of = {r.request.image_id: r.request.neutral_id for r in rows}
    neutral_ids = pa.array([neutral_of[i] for i in found["image_id"].to_pylist()], schemas.ID)
    parts = []
    for attribute, labels in Labeller(catalog.load_labeller(LABELLER)).declared.labels.items():
        probs = rng.dirichlet([0.3] * len(labels), len(found)).astype(np.float32)
        columns = {
            "face_id": found["face_id"],
            "image_id": found["image_id"],
            "neutral_id": neutral_ids,
            "attribute": [attribute] * len(found),
            "status": ["ok"] * len(found),
            "label": np.array(labels)[probs.argmax(axis=1)],
            "prob": probs.max(axis=1),
            "probs": list(probs),
        }
        plain = {n: c.combine_chunks() if isinstance(c, pa.ChunkedArray) else c for n, c in columns.items()}
        parts.append(schemas.build("labels", plain))
    store.write("labels", KEYS["labels"], pa.concat_tables(parts))


def measure(root: Path, rows: int) -> dict[str, float]:
    """Count, evaluate and tabulate; return seconds of each step and peak memory before and after, in MB.

    With 0 rows only the imports and cards are had: the memory that every process needs.
    """
    from fairbench import catalog, registry
    from fairbench.labeller import Labeller
    from fairbench.stages import counts, metrics
    from fairbench.store import Store

    # pyarrow loads pandas at the first conversion, and entropies load scipy: neither is work that grows with the rows.
    for module in ("pandas", "pyarrow.compute", "scipy.special"):
        importlib.import_module(module)
    for name in registry.names("metrics"):
        registry.resolve("metrics", name)
    labeller, prompts = Labeller(catalog.load_labeller(LABELLER)), _prompts()
    images = image_rows(rows) if rows else []
    result = {"inputs": peak_mb()}
    if not rows:
        return result
    start = time.perf_counter()
    found = counts.count(Store(root), labeller, *KEYS.values(), images, [p.neutral_id for p in prompts])
    result["count"] = time.perf_counter() - start
    start = time.perf_counter()
    series = list(metrics.evaluate(found, prompts, {}))
    metrics.table(metrics.RunNames("bench", "none", "none", TASK, LABELLER), prompts, found, series)
    result["metrics"] = time.perf_counter() - start
    result["peak"] = peak_mb()
    labelled = int(found.of(["gender"]).sum())
    if labelled * ATTRIBUTES < rows:
        raise SystemExit(f"{labelled} faces were counted of {rows // ATTRIBUTES}: not what was to be measured")
    return result


def peak_mb() -> float:
    """Return the process's peak resident memory."""
    unit = 1 if sys.platform == "darwin" else 1024  # bytes there, kibibytes elsewhere
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 1e6


def child(job: str, root: Path, rows: int) -> dict[str, float]:
    """Do a job in a fresh process."""
    command = [sys.executable, __file__, "--job", job, "--store", str(root), "--rows", str(rows)]
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
    answer: dict[str, float] = json.loads(done.stdout)
    return answer


def report(sizes: list[int]) -> None:
    """Measure every size and print the table and the growth."""
    found: dict[int, dict[str, float]] = {}
    with tempfile.TemporaryDirectory() as folder:
        bare = child("measure", Path(folder), 0)["inputs"]
        for rows in sizes:
            root = Path(folder) / str(rows)
            child("write", root, rows)
            child("measure", root, rows)  # the first read may come from a cold disk
            found[rows] = child("measure", root, rows)
            found[rows]["shards"] = len(list(root.rglob("part-*.parquet")))
    print(f"{machine()}; {bare:.0f} MB to import fairbench and load the cards, taken off below")
    show(
        ["label rows", "images", "shards", "count s", "metrics s", "total s", "MB image rows", "MB peak"],
        [
            [f"{rows:,}", f"{images_for(rows):,}", int(f["shards"]), f"{f['count']:.2f}", f"{f['metrics']:.2f}",
             f"{f['count'] + f['metrics']:.2f}", f"{f['inputs'] - bare:.0f}", f"{f['peak'] - bare:.0f}"]
            for rows, f in found.items()
        ],
    )  # fmt: skip
    for few, many in dict.fromkeys([*itertools.pairwise(sizes), (sizes[0], sizes[-1])]):
        if few < many:
            print(
                f"growth exponents from {few:,} to {many:,} rows: {_growth(found[few], found[many], bare, many / few)}"
            )


def _growth(few: dict[str, float], many: dict[str, float], bare: float, times: float) -> str:
    pairs = {
        "count": (few["count"], many["count"]),
        "total": (few["count"] + few["metrics"], many["count"] + many["metrics"]),
        # Under a megabyte, memory is a matter of chance.
        "memory": (max(1.0, few["peak"] - bare), max(1.0, many["peak"] - bare)),
    }
    return ", ".join(f"{name} {math.log(b / a) / math.log(times):.2f}" for name, (a, b) in pairs.items())


def main() -> None:
    """Measure and print; or, with --job, do one step for the process that measures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, nargs="+", default=[10_000, 100_000, 1_000_000])
    parser.add_argument("--job", choices=["write", "measure"], help=argparse.SUPPRESS)
    parser.add_argument("--store", type=Path, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.job is None:
        report(sorted(args.rows))
    else:
        result = {"write": write, "measure": measure}[args.job](args.store, args.rows[0])
        print(json.dumps(result))


if __name__ == "__main__":
    main()
