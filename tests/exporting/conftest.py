"""The run that the tests of the hub's formats read."""

from __future__ import annotations

from pathlib import Path

import pytest

import fairbench
from tests.builders.cli import make_run
from tests.builders.folders import written_once


@pytest.fixture(scope="session")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the folder of a small run of the phantom; tests copy it to change it."""

    def write(folder: Path) -> None:
        make_run(folder / "run", "--limit-prompts", 2, "-n", 8)

    return written_once(tmp_path_factory, "exported", write) / "run"


@pytest.fixture(scope="session")
def labels_alone(run: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the folder of the run as a data set without pictures; tests only read it."""
    return Path(fairbench.export(run, to="hf-dataset", out=tmp_path_factory.mktemp("exported") / "labels"))


@pytest.fixture(scope="session")
def with_pictures(run: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the folder of the run as a data set with pictures; tests only read it."""
    folder = tmp_path_factory.mktemp("exported") / "pictures"
    return Path(fairbench.export(run, to="hf-dataset", out=folder, with_images=True))
