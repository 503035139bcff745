"""Kill a run's Ray workers at random moments, then its driver, and show that the numbers are those of a quiet run.

`python -m tests.executors.kill_workers --kills 20` prints what was killed and whether the metrics are equal.
"""

from __future__ import annotations

import argparse
import os
import random
import signal
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

import pyarrow.parquet as pq

from tests.executors import models

TITLES = (b"ray::Worker.draw", b"ray::Worker.label", b"ray::Worker.score")
"""What Ray calls a worker's process while a task is in flight."""


def at_work(token: str) -> list[int]:
    """Return the ids of processes that have a task in flight, and in their environment this token."""
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdecimal():
            try:
                ours = (entry / "cmdline").read_bytes().startswith(TITLES)
                if ours and token.encode() in (entry / "environ").read_bytes():
                    found.append(int(entry.name))
            except OSError:  # it ended
                continue
    return found


class Killer:
    """Kills workers, one after another, each a random while after the last, for as long as a block lasts."""

    def __init__(self, kills: int, seed: int, token: str = "", pause: float = 1.0) -> None:
        self.killed = 0
        self._kills, self._token, self._pause = kills, token, pause
        self._random = random.Random(seed)
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._kill)

    def __enter__(self) -> Killer:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join()

    def _kill(self) -> None:
        while self.killed < self._kills and not self._over.is_set():
            time.sleep(self._random.uniform(0, self._pause))
            workers = at_work(self._token)
            if workers:
                os.kill(self._random.choice(workers), signal.SIGKILL)
                self.killed += 1


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--images-per-prompt", type=int, default=700)
    parser.add_argument("--seconds", type=float, default=0.1, help="how long an image takes")
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        token = f"FAIRBENCH_TEST_TOKEN={folder.name}"
        common = ["-m", "fairbench", "run", "--model", models.write(folder), "--task", models.TASK, "--no-report"]
        common += ["--labeller", "phantom", "-n", str(args.images_per_prompt), "--limit-prompts", "4", "--no-sheets"]
        common += ["--batch-size", "16", "--scorers", "none", "-q"]
        env = {**os.environ, "FAIRBENCH_TEST_TOKEN": folder.name, "FAIRBENCH_TEST_SECONDS": str(args.seconds)}
        ray = [*common, "--store", "ray", "--out", "ray-out", "--executor", "ray", "--workers", "2"]
        with Killer(args.kills, args.seed, token, pause=8.0) as killer:
            driver = subprocess.Popen([sys.executable, *ray], cwd=folder, env=env, stdout=subprocess.DEVNULL)
            while killer.killed < args.kills and driver.poll() is None:
                time.sleep(0.1)
        driver.kill()
        print(f"workers killed: {killer.killed}; then the driver (it had ended: {driver.wait() == 0})", flush=True)
        env["FAIRBENCH_TEST_SECONDS"] = "0"
        subprocess.run([sys.executable, *ray], cwd=folder, env=env, check=True, stdout=subprocess.DEVNULL)
        quiet = [*common, "--store", "quiet", "--out", "quiet-out"]
        subprocess.run([sys.executable, *quiet], cwd=folder, env=env, check=True, stdout=subprocess.DEVNULL)
        tables = [pq.read_table(folder / out / "metrics.parquet") for out in ("ray-out", "quiet-out")]
        equal = tables[0].equals(tables[1])
        print(
            f"metrics: {tables[0].num_rows} rows, {'identical' if equal else 'NOT identical'} to those of a quiet run"
        )
    return 0 if equal and killer.killed == args.kills else 1


if __name__ == "__main__":
    sys.exit(main())
