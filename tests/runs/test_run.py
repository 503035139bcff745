"""A whole run through the command line: resuming, damage, extension, shards, and what may not change a number."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from tests.builders.cards import copy_labeller
from tests.builders.cli import Cli, make_run
from tests.builders.processes import KillAtWrite, start
from tests.builders.proofs import mostly_long

BASE = ("run", "--model", "phantom-exact", "--task", "occupations-mini", "--limit-prompts", "3", "--no-sheets")


def run(cli: Cli, store: str, out: str, *more: str, count: int = 8) -> dict[str, Any]:
    found = cli(*BASE, "-n", str(count), "--store", store, "--out", out, "--json", *more)
    assert found.code == 0, found.err
    return {**json.loads(Path(out, "run.json").read_text()), "values": json.loads(found.out)["metrics"]}


def metrics(out: str | Path) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = pq.read_table(Path(out, "metrics.parquet")).to_pylist()
    return rows


def numbers(out: str) -> list[dict[str, Any]]:
    return [{k: v for k, v in row.items() if k != "run_id"} for row in metrics(out)]


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a run, before, and its store."""
    folder = tmp_path_factory.mktemp("finished")
    make_run(folder / "before", *BASE[1:-1], "-n", 8)
    return folder


@pytest.fixture
def before(cli: Cli, finished: Path) -> dict[str, Any]:
    """Copy that run and its store into the current folder, and return its run.json."""
    shutil.copytree(finished, ".", dirs_exist_ok=True)
    return dict(json.loads(Path("before/run.json").read_text()))


def test_a_run_folder_holds_everything(cli: Cli) -> None:
    found = cli(*BASE[:-1], "-n", "12", "--out", "out", "--leaderboard", "board.csv")
    assert found.code == 0, found.err
    assert "gender x race4" in found.out
    assert "never anyone's identity" in " ".join(found.out.split())
    files = (p.relative_to("out").as_posix() for p in Path("out").rglob("*") if p.is_file())
    names = {re.sub(r"/[0-9a-f]{32}/part-[0-9a-f]{32}", "", name) for name in files}
    assert names == {
        "run.json",
        "notices.csv",
        "metrics.parquet",
        "metrics.csv",
        "prompts.csv",
        "prompts.parquet",
        "sheets/0000-senator.png",
        "sheets/0001-violinist.png",
        "sheets/0002-legal-secretary.png",
        "evidence/fairbench-store.json",
        "evidence/calibration.json",
        "evidence/images.parquet",
        "evidence/faces.parquet",
        "evidence/labels.parquet",
    }
    record = json.loads(Path("out/run.json").read_text())
    assert record["statuses"]["images"] == {"ok": 36, "blank": 0, "failed": 0, "refused": 0}
    assert record["statuses"]["labels"]["ok"] == 2 * record["statuses"]["faces"]["ok"]
    assert record["environment"]["packages"]["torch"]
    assert len(Path("board.csv").read_text().splitlines()) == 2


def test_all_probabilities_are_kept(cli: Cli) -> None:
    """Seen in other tools: label probabilities thrown away, so that nothing can be re-thresholded or corrected."""
    run(cli, "store", "out")
    (path,) = Path("store/labels").glob("*/part-*.parquet")
    rows = pq.read_table(path).to_pylist()
    sizes = {"gender": 2, "race4": 4}
    assert rows
    for row in rows:
        assert len(row["probs"]) == sizes[row["attribute"]]
        assert sum(row["probs"]) == pytest.approx(1, abs=1e-5)
        assert row["prob"] == max(row["probs"])


def test_the_planted_bias_is_found(cli: Cli) -> None:
    """The renderer draws from a known table: what is measured must be that table, within sampling error."""
    from fairbench.metrics._rd import rd
    from fairbench.phantom import planted

    run(cli, "store", "out", count=150)
    measured = {
        r["scope_value"]: r["value"] for r in metrics("out") if r["metric"] == "rd" and r["attribute"] == "gender"
    }
    for subject in ("senator", "violinist", "legal secretary"):
        truth = float(rd(planted.table()[subject].sum(axis=1)))
        assert measured[f"A photo of the face of a {subject}, a person"] == pytest.approx(truth, abs=0.2)


def test_a_rerun_makes_nothing_and_changes_nothing(cli: Cli, before: dict[str, Any]) -> None:
    again = run(cli, "store", "again")
    assert before["run_id"] == again["run_id"]
    assert again["made_in_this_process"] == {"images": 0, "labels": 0}
    assert metrics("before") == metrics("again")


def test_extension_makes_only_what_is_new(cli: Cli, finished: Path) -> None:
    run(cli, "store", "four", count=4)
    more = run(cli, "store", "eight", count=8)
    assert more["made_in_this_process"] == {"images": 12, "labels": 12}
    whole = cli(
        "run",
        "--model",
        "phantom-exact",
        "--task",
        "occupations",
        "-n",
        "8",
        "--limit-prompts",
        "5",
        "--store",
        "store",
        "--no-sheets",
        "--out",
        "five",
        "--json",
    )
    assert whole.code == 0, whole.err
    # Of the first five test occupations, senator and violinist are in the mini task as well.
    assert json.loads(Path("five/run.json").read_text())["made_in_this_process"]["images"] == 3 * 8
    assert metrics(finished / "before") == metrics("eight")


def test_the_batch_size_changes_nothing(cli: Cli) -> None:
    run(cli, "one", "a", "--batch-size", "1")
    run(cli, "many", "b", "--batch-size", "7")
    assert metrics("a") == metrics("b")
    hashes = []
    for store in ("one", "many"):
        shards = Path(store).glob("images/*/part-*.parquet")
        rows = [r for p in shards for r in pq.read_table(p, columns=["image_id", "sha256"]).to_pylist()]
        hashes.append(sorted((r["image_id"], r["sha256"]) for r in rows))
    assert hashes[0] == hashes[1]


def test_a_new_labeller_generates_nothing(cli: Cli, tmp_path: Path, before: dict[str, Any]) -> None:
    least_probable = ("  select: largest", "  select: largest\n  min_prob: 0.6")
    copy_labeller(tmp_path / "strict.yaml", ("name: phantom", "name: strict"), least_probable)
    other = run(cli, "store", "b", "--labeller", "strict.yaml")
    assert other["made_in_this_process"]["images"] == 0


def test_results_of_another_run_are_kept_aside(cli: Cli) -> None:
    first = run(cli, "store", "out", count=4)
    before = metrics("out")
    run(cli, "store", "out", count=8)
    assert metrics(f"out-{first['run_id'][:8]}") == before
    run(cli, "store", "out", count=4)
    assert metrics("out") == before


def test_the_device_dtype_and_block_do_not_touch_what_is_rendered(cli: Cli) -> None:
    keys = {
        json.loads(cli(*BASE, "-n", "2", "--dry-run", "--json", *more).out)["image_key"]
        for more in ((), ("--dtype", "bfloat16"), ("--batch-size", "3", "--dtype", "float16"))
    }
    assert len(keys) == 1


def test_one_scorer_has_one_value(cli: Cli) -> None:
    Path("a.yaml").write_text("type: clip-score\n")
    found = cli(*BASE, "--scorers", "clip-score,a.yaml")
    assert found.code == 2
    assert "names clip-score twice" in found.err


def test_absent_labeller_weights_are_told_before_any_image_is_made(cli: Cli) -> None:
    found = cli(*BASE, "-n", "2", "--labeller", "fairface", "--store", "store")
    assert found.code == 2
    assert "FAIRBENCH_WEIGHTS_DIR" in found.err
    assert not Path("store/images").exists()


def test_an_interrupt_is_one_sentence(tmp_path: Path) -> None:
    args = [sys.executable, "-m", "fairbench", *BASE, "-n", "2000", "--batch-size", "1"]
    process = subprocess.Popen(args, cwd=tmp_path, stderr=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True)
    deadline = time.monotonic() + 60
    while not list(tmp_path.glob("runs/store/images/*/*.parquet")) and time.monotonic() < deadline:
        time.sleep(0.05)
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=60)
    assert process.returncode == 130
    assert "Interrupted. Finished work is kept" in err
    assert "Traceback" not in err


@pytest.mark.parametrize("batch", ["1", "4"])
def test_an_interrupt_inside_a_models_code_is_no_failure_of_an_image(tmp_path: Path, batch: str) -> None:
    """Signals arrive while a model draws, where errors of one image are caught: this one stops the run, at once."""
    program = tmp_path / "program.py"
    program.write_text(
        "import os, signal\n"
        "from fairbench.cli.app import main\n"
        "from fairbench.phantom.exact import PhantomExactAdapter as Adapter\n"
        "draw = Adapter._render\n"
        "def interrupted(self, request):\n"
        "    if request.sample_index == 5:\n"
        "        os.kill(os.getpid(), signal.SIGINT)\n"
        "    return draw(self, request)\n"
        "Adapter._render = interrupted\n"
        "main()\n"
    )
    args = [sys.executable, str(program), *BASE, "-n", "8", "--batch-size", batch]
    done = subprocess.run(args, cwd=tmp_path, capture_output=True, text=True, timeout=60)
    assert done.returncode == 130
    assert done.stderr.strip().endswith("Finished work is kept: run the same command again to go on.")
    tables = [pq.read_table(part) for part in tmp_path.glob("runs/store/images/*/part-*.parquet")]
    assert {status for table in tables for status in table["status"].to_pylist()} == {"ok"}
    assert sum(table.num_rows for table in tables) == (5 if batch == "1" else 4)


def test_the_seed_changes_the_images_and_the_run(cli: Cli, before: dict[str, Any]) -> None:
    other = run(cli, "store", "b", "--seed", "1")
    assert before["run_id"] != other["run_id"]
    assert other["made_in_this_process"]["images"] == 24


def test_shards_of_a_run_make_the_numbers_of_one_process(cli: Cli, finished: Path) -> None:
    for i in (0, 1):
        found = cli(*BASE, "-n", "8", "--store", "halves", "--batch-size", "5", "--shard", f"{i}/2")
        assert found.code == 0, found.err
        assert "run the plain command" in found.err
    joined = run(cli, "halves", "joined", "--batch-size", "5")
    assert joined["made_in_this_process"] == {"images": 0, "labels": 0}
    assert metrics("joined") == metrics(finished / "before")


@pytest.mark.slow
@pytest.mark.parametrize("after", mostly_long([1, 3, 5, 8]))
def test_killed_anywhere_it_goes_on(cli: Cli, tmp_path: Path, finished: Path, after: int) -> None:
    """SIGKILL after the n-th file was written: same run id, same numbers, and only the block in flight made again.

    Seen in other tools: resuming by "the folder exists", so that a half-written prompt counts as done.
    """
    args = [*BASE, "-n", "8", "--store", "store", "--out", "killed", "--batch-size", "6", "--json"]
    killed = start(tmp_path, *args, program=KillAtWrite(after))
    assert killed.wait() == -signal.SIGKILL, killed.err
    assert not Path("killed/run.json").exists()
    resumed = run(cli, "store", "killed", "--batch-size", "6")
    assert resumed["made_in_this_process"]["images"] == 24 - 6 * min(4, max(0, after - 2))  # marker and plan first
    assert resumed["run_id"] == json.loads((finished / "before/run.json").read_text())["run_id"]
    assert metrics("killed") == metrics(finished / "before")


@pytest.mark.slow
def test_killed_at_any_moment(cli: Cli, tmp_path: Path) -> None:
    images = 32
    for shards in (2, 18, 36):  # of 48
        started = start(tmp_path, *BASE, "-n", images, "--store", "store", "--out", "out", "--batch-size", "2")
        while len(list(tmp_path.glob("store/images/*/part-*.parquet"))) < shards and started.process.is_alive():
            time.sleep(0.002)
        started.process.kill()
        assert started.wait() == -signal.SIGKILL, started.err
        assert not Path("out/run.json").exists()
    run(cli, "store", "out", "--batch-size", "2", count=images)
    run(cli, "other", "straight", count=images)
    assert metrics("out") == metrics("straight")


def test_an_image_on_which_the_detector_fails_is_counted_as_failed(cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    from fairbench.phantom.detector import PhantomDetector

    detect = PhantomDetector.detect

    def sometimes(self: PhantomDetector, images: Any) -> Any:
        if any(int(image.sum()) % 4 == 0 for image in images):
            raise ValueError("cannot look at this one")
        return detect(self, images)

    monkeypatch.setattr(PhantomDetector, "detect", sometimes)
    found = run(cli, "store", "out")
    statuses = found["statuses"]["faces"]
    assert 0 < statuses["failed"] < 24
    assert sum(statuses.values()) == 24
    (rate,) = [m for m in found["values"] if m["metric"] == "no-face-rate"]
    assert rate["n_images"] == 24 - statuses["failed"]  # neither a face nor no face: unknown


@pytest.mark.parametrize("stage", ["images", "faces", "labels"])
@pytest.mark.parametrize("how", ["truncated", "flipped"])
def test_damage_is_named_and_fixed(cli: Cli, before: dict[str, Any], stage: str, how: str) -> None:
    (path,) = Path("store", stage).glob("*/part-*.parquet")
    data = bytearray(path.read_bytes())
    if how == "flipped":
        data[len(data) // 2] ^= 4
    path.write_bytes(data[: len(data) - 100] if how == "truncated" else data)
    found = cli(*BASE, "-n", "8", "--store", "store", "--out", "after")
    assert found.code == 0, found.err
    assert path.name in found.err.replace("\n", "").replace(" ", "")
    assert metrics("before") == metrics("after")
    assert list(Path("store", "damaged").iterdir())


def test_dry_run_counts_and_makes_nothing(cli: Cli) -> None:
    found = cli(*BASE, "-n", "8", "--store", "store", "--dry-run")
    assert found.code == 0
    assert "24 images; 0 in the store, 24 to make" in found.out
    assert not Path("store").exists()
    run(cli, "store", "out", count=4)
    found = cli(*BASE, "-n", "8", "--store", "store", "--dry-run", "--json")
    assert json.loads(found.out)["images_to_make"] == 12
    assert json.loads(found.out)["missing"] == []
    assert json.loads(found.out)["disk_bytes"] > 0


@pytest.mark.parametrize(
    ("args", "words"),
    [
        (("--task", "ocupations"), "did you mean 'occupations"),
        (("--labeller", "phantm"), "did you mean 'phantom'"),
        (("--method", "nothing"), "There is no method 'nothing'"),
        (("--scorers", "clip"), "There is no scorer 'clip'"),
        (("--device", "tpu"), "name auto, cpu, cuda"),
        (("--device", "cuda"), "torch finds no such device"),
        (("--dtype", "int8"), "name float32, bfloat16 or float16"),
        (("--shard", "2/2"), "write i/N"),
        (("--shard", "x"), "write i/N"),
        (("-n", "0"), "should be greater than or equal to 1"),
        (("--leaderboard", "wrong.csv"), "the columns are not those of a leaderboard"),
        (("--out", "foreign"), "--out foreign holds files that are not a run (run.json)"),
        (("--store", "newer"), "written by a newer fairbench"),
        (("--out", "/dev/null/x"), "Cannot write /dev/null/x"),
        (("--out", "wrong.csv"), "--out wrong.csv is a file: name a folder"),
        (("--store", "/dev/null/x"), "Cannot write /dev/null/x"),
    ],
)
def test_wrong_flags_are_one_sentence(cli: Cli, args: tuple[str, ...], words: str) -> None:
    Path("wrong.csv").write_text("a,b\n1,2\n")
    Path("foreign").mkdir()
    Path("foreign/run.json").write_text('{"run_id": ')
    Path("newer").mkdir()
    Path("newer/fairbench-store.json").write_text('{"layout": 99}')
    found = cli(*BASE, "-n", "2", *args)
    assert found.code == 2
    assert words in found.err.replace("\n", " ")
    assert "Traceback" not in found.err


def test_a_store_that_cannot_be_written(cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    import errno

    for number, words in ((errno.EROFS, "read-only file system"), (errno.ENOSPC, "no space is left")):

        def fail(fd: int, number: int = number) -> None:
            raise OSError(number, os.strerror(number))

        with monkeypatch.context() as patch:
            patch.setattr(os, "fsync", fail)
            found = cli(*BASE, "-n", "2", "--store", f"store{number}")
        assert found.code == 2
        assert words in found.err.replace("\n", " ")
        assert "Traceback" not in found.err


def test_scorers_without_weights_are_null_with_a_reason(cli: Cli) -> None:
    found = run(cli, "store", "out", "--scorers", "clip-score,inception-score")
    by_name = {m["metric"]: m for m in found["values"]}
    for name in ("clip_score", "inception_score"):
        assert by_name[name]["value"] is None
        assert by_name[name]["reason"]


def test_a_scorer_from_a_file(cli: Cli, tmp_path: Path, tiny_openclip: Path) -> None:
    (tmp_path / "tiny.yaml").write_text(f"type: clip-score\npath: {tiny_openclip}\n")
    found = run(cli, "store", "out", "--scorers", "tiny.yaml", count=2)
    (value,) = [m for m in found["values"] if m["metric"] == "clip_score"]
    assert value["value"] is not None
    assert value["n_faces"] == 6
    assert found["scorers"]["clip-score"]["backbone"]
    (tmp_path / "tiny.yaml").write_text("type: clip-score\npat: clip\n")
    assert "field pat" in cli(*BASE, "--scorers", "tiny.yaml").err
