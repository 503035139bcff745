"""The worker's one file on every Python from 3.8 to 3.13 that this machine has, without any package."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from fairbench import registry
from fairbench.adapters.worker import WorkerAdapter
from fairbench.cards import catalog
from fairbench.types import BuildContext, ImageRequest
from fairbench.workers.process import CHILD
from tests.builders.folders import ROOT
from tests.builders.workers import write_card

VERSIONS = tuple(f"3.{minor}" for minor in range(8, 14))


def interpreters() -> dict[str, Path]:
    """Return version -> interpreter: of FAIRBENCH_TEST_PYTHONS, on PATH, in ~/.pyenv/versions; our own at least."""
    named = [Path(p) for p in os.environ.get("FAIRBENCH_TEST_PYTHONS", "").split(os.pathsep) if p]
    on_path = [Path(found) for version in VERSIONS if (found := shutil.which(f"python{version}"))]
    pyenv = sorted((Path.home() / ".pyenv" / "versions").glob("3.*/bin/python"), reverse=True)
    found: dict[str, Path] = {}
    for python in (Path(sys.executable), *named, *pyenv, *on_path):
        version = version_of(python)
        if version in VERSIONS:
            found.setdefault(version, python)
    return found


def version_of(python: Path) -> str | None:
    """Return an interpreter's version; None where it does not run (a shim of pyenv without that version)."""
    known = re.fullmatch(r"(3\.\d+)\.\d+", python.parent.parent.name)  # pyenv's folders say so
    if known is not None:
        return known[1]
    command = [str(python), "-c", "import sys; print('%d.%d' % sys.version_info[:2])"]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
    return done.stdout.strip() if done.returncode == 0 else None


FOUND = interpreters()


@pytest.fixture(scope="module", params=sorted(FOUND))
def foreign(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    version = request.param
    card = write_card(tmp_path_factory.mktemp("card"), python=str(FOUND[version]), python_version=version)
    loaded = catalog.load_model(str(card))
    params: Any = registry.parse_params(WorkerAdapter, loaded.card.sampling)
    adapter = WorkerAdapter(loaded.card, params, BuildContext(base_dir=card.parent))
    yield adapter
    adapter.close()


def test_every_python_draws_the_same(foreign: Any) -> None:
    seeds = (1, 2**63 - 1)
    texts = ("print something", "refuse")
    drawn = foreign.generate([ImageRequest(b"", b"", b"", t, 0, s) for t, s in zip(texts, seeds, strict=True)])
    assert [r.status for r in drawn] == ["ok", "refused"], drawn
    # random.Random(1) has given these numbers since Python 2.3.
    assert drawn[0].pixels[0, 0].tolist() == [
        int(256 * x) for x in (0.13436424411240122, 0.8474337369372327, 0.763774618976614)
    ]
    (crashed,) = foreign.generate([ImageRequest(b"", b"", b"", "crash", 0, 3)])
    assert "was ended by SIGSEGV" in crashed.error
    assert foreign.effective_settings()["worker"]["python"].startswith(f"{foreign.params.python_version}.")


def test_vermin_finds_nothing_newer_than_3_8_in_the_worker_and_in_recipes() -> None:
    vermin = Path(sys.executable).with_name("vermin")
    files = [CHILD, *(ROOT / "models" / "workers").glob("*.py")]
    command = [str(vermin), "-t=3.8-", "--violations", "--no-tips", *map(str, files)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout
    assert "Minimum required versions: 3.8" in done.stdout


def test_the_worker_imports_the_standard_library_alone() -> None:
    names = set(re.findall(r"^(?:import|from) ([\w.]+)", CHILD.read_text(), re.MULTILINE))
    assert {name.partition(".")[0] for name in names} <= sys.stdlib_module_names | {"__future__"}
