"""Runs whose store is an object store have the results of a local store, also after kills and with two at once."""

from __future__ import annotations

import json
import signal
from pathlib import Path

import numpy as np
import pytest

import fairbench
from tests.builders.cli import Cli
from tests.builders.object_stores import ENVIRONMENT, SECRET, ObjectStore, Relay
from tests.builders.processes import start

pytestmark = pytest.mark.xdist_group("object-store")
RUN = ("run", "--model", "phantom-exact", "--limit-prompts", 2, "--no-sheets", "--quiet")
FILES = ("metrics.csv", "metrics.parquet", "prompts.csv", "prompts.parquet")


@pytest.fixture(autouse=True)
def _credentials(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in ENVIRONMENT.items():
        monkeypatch.setenv(name, value)


@pytest.fixture(params=["moto_store", pytest.param("rclone_store", marks=pytest.mark.long)])
def server(request: pytest.FixtureRequest) -> ObjectStore:
    store: ObjectStore = request.getfixturevalue(request.param)
    return store


def contents(run: Path) -> dict[str, bytes]:
    """Return what a run's numbers are and rest on: the bytes of its tables, and of its evidence but for times."""
    shards = [p for p in sorted((run / "evidence").rglob("*.parquet")) if p.parts[-3] != "images"]
    return {str(path.relative_to(run)): path.read_bytes() for path in [*(run / name for name in FILES), *shards]}


def made(run: Path) -> dict[str, int]:
    """Return what a run's own process made."""
    counted: dict[str, int] = json.loads((run / "run.json").read_text())["made_in_this_process"]
    return counted


def test_run_label_count_and_compare_give_what_a_local_store_gives(
    cli: Cli, server: ObjectStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stores = {"local": tmp_path / "store", "remote": server.url(f"runs/{tmp_path.name}-{server.name}")}
    compared = {}
    for place, store in stores.items():
        for labeller in ("phantom", "phantom-noisy"):  # the second labels the images of the first
            folder = tmp_path / place / labeller
            cli(*RUN, "-n", 4, "--labeller", labeller, "--store", store, "--out", folder).succeeded()
            assert made(folder)["images"] == (8 if labeller == "phantom" else 0)
        compared[place] = cli("compare", *sorted((tmp_path / place).iterdir()), "--json").succeeded().out
    assert compared["local"] == compared["remote"].replace(str(tmp_path / "remote"), str(tmp_path / "local"))
    for labeller in ("phantom", "phantom-noisy"):
        assert contents(tmp_path / "local" / labeller) == contents(tmp_path / "remote" / labeller)

    monkeypatch.setenv("FAIRBENCH_CACHE", str(tmp_path / "cache of another machine"))
    again = tmp_path / "again"
    cli(*RUN, "-n", 4, "--store", stores["remote"], "--out", again).succeeded()
    assert set(made(again).values()) == {0} and contents(again) == contents(tmp_path / "local" / "phantom")
    runs = [fairbench.load(tmp_path / "local" / "phantom", store=stores["local"])]
    runs += [fairbench.load(again, store=stores["remote"])]
    monkeypatch.setenv("FAIRBENCH_STORE", stores["remote"])
    runs += [fairbench.load(again)]
    image_id = runs[0].images()["image_id"][3]
    first, *others = (np.asarray(run.picture(image_id)) for run in runs)
    assert all(np.array_equal(first, other) for other in others)
    for path in (p for p in tmp_path.rglob("*") if p.is_file()):
        assert SECRET.encode() not in path.read_bytes()


def test_a_url_with_a_key_is_refused_and_nothing_is_written(cli: Cli, tmp_path: Path) -> None:
    result = cli(*RUN, "--store", f"s3://key:{SECRET}@bucket/x")
    assert result.code == 2 and "no place for keys" in result.err
    assert SECRET not in result.out + result.err and "Traceback" not in result.err
    assert list(tmp_path.iterdir()) == []


@pytest.mark.long
@pytest.mark.parametrize("pattern", [rb"PUT /bucket/\S*/images/", rb"PUT /bucket/\S*/(faces|labels)/"])
def test_a_run_killed_in_the_middle_of_a_put_goes_on(
    cli: Cli, server: ObjectStore, tmp_path: Path, pattern: bytes
) -> None:
    prefix = f"killed/{tmp_path.name}-{server.name}"
    relay = Relay(server.address, pattern, skip=1 if b"images" in pattern else 0)
    arguments = (*RUN, "-n", 40, "--batch-size", 16, "--no-report")
    with relay.running() as address:
        store = server.url(prefix, address=address)
        process = start(tmp_path, *arguments, "--store", store, "--out", tmp_path / "run")
        assert relay.stopped.wait(240)
        process.process.kill()
        assert process.wait() == -signal.SIGKILL
    for store, folder in ((server.url(prefix), "run"), (str(tmp_path / "store"), "local")):
        cli(*arguments, "--store", store, "--out", tmp_path / folder).succeeded()
    assert contents(tmp_path / "run") == contents(tmp_path / "local")
    assert 0 < made(tmp_path / "run").get("images", 0) < 80 or b"images" not in pattern, "what was there stayed"
    assert json.loads((tmp_path / "run" / "run.json").read_text())["damaged_shards"] == []


@pytest.mark.long
def test_two_drivers_at_once_have_the_same_results(cli: Cli, server: ObjectStore, tmp_path: Path) -> None:
    store = server.url(f"two/{tmp_path.name}-{server.name}")
    arguments = (*RUN, "-n", 24, "--batch-size", 8, "--no-report")
    both = [start(tmp_path, *arguments, "--store", store, "--out", tmp_path / name) for name in ("a", "b")]
    for process in both:
        assert process.wait() == 0, process.err
    cli(*arguments, "--store", tmp_path / "store", "--out", tmp_path / "local").succeeded()
    assert contents(tmp_path / "a") == contents(tmp_path / "b") == contents(tmp_path / "local")


@pytest.mark.long
def test_commands_that_need_pictures_find_them(cli: Cli, server: ObjectStore, tmp_path: Path) -> None:
    store = server.url(f"pictures/{tmp_path.name}-{server.name}")
    run = tmp_path / "run"
    cli("run", "--model", "phantom-exact", "--limit-prompts", 2, "-n", 4, "--store", store, "--out", run).succeeded()
    assert len(list((run / "sheets").iterdir())) == 2
    cli("annotate", run, "--out", tmp_path / "annotation", "--per-prompt", 2, "--store", store).succeeded()
    assert list((tmp_path / "annotation").rglob("*.png")) or list((tmp_path / "annotation").rglob("*.html"))
