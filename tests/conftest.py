"""Shared fixtures. No test reaches the network; each has a cache of its own."""

from __future__ import annotations

import logging
import os
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

# Before anything imports huggingface_hub, which reads it once.
os.environ["HF_HUB_OFFLINE"] = "1"
os.environ["TOKENIZERS_PARALLELISM"] = "false"
# Tiny models on shared cores: threads that wait for each other cost ten times what they compute.
os.environ["OMP_NUM_THREADS"] = "1"

import pytest

from fairbench import registry
from fairbench.plugins import files
from tests.builders.cli import Cli, Result, exit_code, make_run
from tests.builders.folders import ROOT, written_once

# Processes that tests start import this checkout, installed or not, whatever folder they work in.
os.environ["PYTHONPATH"] = os.pathsep.join([str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])])


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Keep tests that share a fixture of their module on one worker of xdist, so that it is made once."""
    if not config.pluginmanager.hasplugin("xdist"):
        return
    for item in items:
        fixtures = item._fixtureinfo.name2fixturedefs.values() if isinstance(item, pytest.Function) else ()
        shared = any(definition.scope in ("module", "class") for definitions in fixtures for definition in definitions)
        if shared and item.get_closest_marker("xdist_group") is None:
            item.add_marker(pytest.mark.xdist_group(str(item.path.relative_to(ROOT))))


@pytest.fixture(autouse=True)
def _isolated(monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory) -> None:
    monkeypatch.setenv("FAIRBENCH_CACHE", str(tmp_path_factory.mktemp("cache")))
    for name in (
        "FAIRBENCH_PATH",
        "FAIRBENCH_WEIGHTS_DIR",
        "FAIRBENCH_STORE",
        "FAIRBENCH_OFFLINE",
        "FAIRBENCH_PLUGINS",
        "FAIRBENCH_SHARD_CACHE_GB",
    ):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(registry, "_registered", {})
    monkeypatch.setattr(registry, "_environment", [])
    monkeypatch.setattr(files, "_imported", {})
    monkeypatch.setattr(sys, "path", [*sys.path])  # the folders of plug-in files are added to it
    # A command sets our logger up for its own console; the next test must see what it logs.
    ours = logging.getLogger("fairbench")
    ours.handlers, ours.propagate = [], True
    ours.setLevel(logging.NOTSET)
    logging.getLogger().setLevel(logging.WARNING)


@pytest.fixture
def cli(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> Cli:
    """Run the real command line in this process, in an empty folder; returns exit code, stdout, stderr."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "200")

    def call(*args: object) -> Result:
        capsys.readouterr()
        code = exit_code(*args)
        return Result(code, *capsys.readouterr())

    return call


# --- tiny checkpoints, written once for all processes of a test run; a test that changes one copies it first ---


@pytest.fixture(scope="session")
def tiny_janus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    from tests.builders.janus import save_tiny_janus

    return written_once(tmp_path_factory, "janus", save_tiny_janus)


@pytest.fixture(scope="session")
def tiny_openclip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    from tests.builders.openclip import save_tiny_openclip

    return written_once(tmp_path_factory, "clip", save_tiny_openclip)


@pytest.fixture(scope="session")
def tiny_inception(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The path of a file of weights."""
    from tests.builders.inception import save_tiny_inception

    return (
        written_once(tmp_path_factory, "inception", lambda f: save_tiny_inception(f / "inception.pth"))
        / "inception.pth"
    )


@pytest.fixture(scope="session")
def tiny_sd(tmp_path_factory: pytest.TempPathFactory) -> Path:
    from tests.builders.diffusion import save_tiny_sd

    return written_once(tmp_path_factory, "sd", save_tiny_sd)


@pytest.fixture(scope="session")
def tiny_z(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny Z-Image: a transformer, where Stable Diffusion has a U-Net."""
    from tests.builders.tiny_pipelines import save

    return written_once(tmp_path_factory, "tiny-z-image", lambda folder: save("z-image", folder))


@pytest.fixture(scope="session")
def tiny_card(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The model card of a tiny Janus, as that of Janus-Pro-1B."""
    from tests.builders.balanced import save_model

    return written_once(tmp_path_factory, "card", save_model) / "tiny.yaml"


@pytest.fixture(scope="session")
def emu3_card(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The model card of a tiny Emu3, whose checkpoint is the folder `emu3` beside it."""
    from tests.builders.emu3 import save_emu3_card

    return written_once(tmp_path_factory, "emu3-card", save_emu3_card) / "tiny-emu3.yaml"


@pytest.fixture(scope="session")
def balanced_manifest(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The manifest of a balanced set of random pictures."""
    from tests.builders.balanced import save_balanced

    return written_once(tmp_path_factory, "balanced", save_balanced) / "manifest.json"


@pytest.fixture(scope="session")
def mannequin_runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with two runs of the same few mannequins, called after the labellers that read them."""

    def write(folder: Path) -> None:
        for labeller in ("phantom", "phantom-noisy"):
            args = ("--model", "phantom-exact", "-n", 12, "--limit-prompts", 4, "--labeller", labeller)
            make_run(folder / labeller, *args)

    return written_once(tmp_path_factory, "mannequins", write)


@pytest.fixture(scope="session")
def published_run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a finished run of two prompts, with its store beside it, and a leaderboard in `published`."""

    def write(folder: Path) -> None:
        from fairbench.leaderboard import evidence, row
        from tests.builders.runs import finished_run

        finished_run(folder / "run", limit_prompts=2, images_per_prompt=6)
        row.add_run(folder / "published" / "b.csv", evidence.open_run(folder / "run"))

    return written_once(tmp_path_factory, "published", write)


@pytest.fixture
def board(published_run: Path, tmp_path: Path) -> Path:
    """A copy of the leaderboard that a test may spoil, and the path of its CSV."""
    shutil.copytree(published_run / "published", tmp_path, dirs_exist_ok=True)
    return tmp_path / "b.csv"


@pytest.fixture(scope="session")
def moto_store() -> Iterator[Any]:
    """An object store in this process; see `object_stores.ENVIRONMENT` for what its clients need."""
    from tests.builders.object_stores import moto

    with moto() as store:
        yield store


@pytest.fixture(scope="session")
def rclone_store(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    """An object store in a process of its own; tests are skipped where there is no rclone."""
    from tests.builders.object_stores import rclone

    with rclone(tmp_path_factory.mktemp("rclone")) as store:
        yield store


@pytest.fixture(scope="session")
def browser() -> Iterator[Any]:
    """One Chromium for all tests of a process; tests are skipped where there is none."""
    from tests.builders.browser import chromium

    yield from chromium()
