"""What error bars cost: seconds, memory, and how both grow with the number of resamples.

50 prompts x 160 images, one face in 95 % of them: gender (K = 2), race4 (4) and their cross (8). "raw": every metric of
class shares on the same resamples of the images, for each of the three. "corrected": the interval of concentration with
the labeller's errors undone, for each of the three and both designs, as many tables drawn from the calibration. Each
row is a fresh process on one core, so that its processor seconds are what it needs, however busy the machine is.
Usage: python benchmarks/uncertainty.py [--resamples 1000 2000 10000]. An exponent of 1 is linear growth. What comes
before, counting, is in metrics.py.
"""

from __future__ import annotations

import argparse
import functools
import itertools
import json
import math
import os
import subprocess
import sys
import time
from typing import Any, Literal

from common import machine, peak_mb, show, verdict

# numpy and fairbench are imported in the child processes only, as in metrics.py.

PROMPTS, IMAGES, GENDERS, RACES = 50, 160, 2, 4
GROUPS = {"gender": [0] * RACES + [1] * RACES, "race4": list(range(RACES)) * GENDERS, "gender x race4": None}
BARS = {"raw": (10_000, 2.0), "corrected": (2_000, 5.0)}
"""Job -> resamples, and the seconds that they may take."""
BAR_MB = 500
ROUNDS = 3


def counts() -> Any:
    """Return faces by gender and race of every prompt, and last images without a face: (PROMPTS, 2 x 4 + 1)."""
    import numpy as np

    rng = np.random.default_rng(0)
    shares = rng.dirichlet(np.full(GENDERS * RACES, 2.0), PROMPTS) * 0.95
    return rng.multinomial(IMAGES, np.column_stack([shares, np.full(PROMPTS, 0.05)]))


def raw(times: int) -> None:
    """Evaluate every metric of shares on resamples."""
    import numpy as np

    from fairbench import registry
    from fairbench.stats.units import bootstrap_task_means

    rng, joint = np.random.default_rng(1), counts()[:, :-1]
    resolved = {name: registry.resolve("metrics", name) for name in registry.names("metrics")}
    for groups in GROUPS.values():
        data = joint if groups is None else joint @ np.eye(max(groups) + 1, dtype=np.int64)[groups]
        k = data.shape[1]
        fair = np.full(k, 1 / k)
        metrics = {
            name: functools.partial(metric, ref=fair)
            for name, metric in resolved.items()
            if metric.spec.input == "shares" and len(metric.spec.labels or fair) == k
        }
        bootstrap_task_means(metrics, data, times, rng)


def corrected(times: int) -> None:
    """Estimate corrected intervals, with a calibration on 500 faces a cell: 94 % right on gender, 85 % on race."""
    import numpy as np

    from fairbench.stats.correction_interval import concentration_interval

    gender = np.array([[0.94, 0.06], [0.06, 0.94]])
    race = np.full((RACES, RACES), 0.05) + 0.8 * np.eye(RACES)
    seen = np.kron(gender, race) * 0.95
    calibration = np.round(500 * np.column_stack([seen, np.full(len(seen), 0.05)])).astype(np.int64)
    rng, observed = np.random.default_rng(1), counts()
    scopes: tuple[Literal["this list", "other prompts"], ...] = ("this list", "other prompts")
    for groups, scope in itertools.product(GROUPS.values(), scopes):
        concentration_interval(observed, calibration, scope, rng, groups, draws=times)


def measure(job: str, times: int) -> dict[str, float]:
    """Do a job some times; return the best seconds by the clock and of the processor, and memory before and after."""
    work = {"raw": raw, "corrected": corrected}[job]
    work(10)  # imports
    result = {"imports": peak_mb(), "clock": math.inf, "processor": math.inf}
    for _ in range(ROUNDS):
        clock, processor = time.perf_counter(), time.process_time()
        work(times)
        result["clock"] = min(result["clock"], time.perf_counter() - clock)
        result["processor"] = min(result["processor"], time.process_time() - processor)
    return result | {"peak": peak_mb()}


def child(job: str, times: int) -> dict[str, float]:
    """Measure in a fresh process whose linear algebra has one thread."""
    one = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1")
    command = [sys.executable, __file__, "--job", job, "--resamples", str(times)]
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True, env={**os.environ, **one})
    answer: dict[str, float] = json.loads(done.stdout)
    return answer


def report(sizes: list[int]) -> None:
    """Measure every job at every size; print the table, the growth and, at the size of its bar, the verdict."""
    print(f"{machine()}; {PROMPTS} prompts x {IMAGES} images; memory beyond that of the imports")
    found = {(job, n): child(job, n) for job in BARS for n in sizes}
    show(
        ["what", "resamples", "seconds", "processor s", "MB"],
        [
            [job, f"{n:,}", f"{f['clock']:.2f}", f"{f['processor']:.2f}", f"{f['peak'] - f['imports']:.0f}"]
            for (job, n), f in found.items()
        ],
    )
    for job, (bar, seconds) in BARS.items():
        few, many = sizes[0], sizes[-1]
        if few < many:
            growth = _growth(found[job, few], found[job, many], many / few)
            print(f"{job}: growth exponents from {few:,} to {many:,}: {growth}")
        if bar in sizes:
            one = found[job, bar]
            print(verdict(f"{job}, {bar:,} resamples, processor", one["processor"], seconds, at_most=True, unit=" s"))
            print(verdict(f"{job}, memory", one["peak"] - one["imports"], BAR_MB, at_most=True, unit=" MB"))


def _growth(few: dict[str, float], many: dict[str, float], times: float) -> str:
    pairs = {
        "processor": (few["processor"], many["processor"]),
        # Under a megabyte, memory is a matter of chance.
        "memory": tuple(max(1.0, f["peak"] - f["imports"]) for f in (few, many)),
    }
    return ", ".join(f"{name} {math.log(b / a) / math.log(times):.2f}" for name, (a, b) in pairs.items())


def main() -> None:
    """Measure and print; or, with --job, measure one job for the process that prints."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--resamples", type=int, nargs="+", default=[1_000, 2_000, 10_000])
    parser.add_argument("--job", choices=list(BARS), help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.job is None:
        report(sorted(set(args.resamples)))
    else:
        print(json.dumps(measure(args.job, args.resamples[0])))


if __name__ == "__main__":
    main()
