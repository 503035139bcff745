"""A third party's package adds plug-ins through entry points; ours cannot be shadowed."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from importlib.metadata import EntryPoint
from pathlib import Path
from types import SimpleNamespace

import pytest

from fairbench import registry
from fairbench.errors import FairbenchError
from tests.builders.folders import ROOT


@pytest.mark.slow
def test_an_installed_package_appears_and_runs(tmp_path: Path) -> None:
    target = tmp_path / "site"
    subprocess.run(
        [
            sys.executable,
            "-m",
            "pip",
            "install",
            "-q",
            "--no-deps",
            "--no-build-isolation",
            "--target",
            target,
            ROOT / "tests" / "plugin_package",
        ],
        check=True,
    )
    env = {**os.environ, "PYTHONPATH": os.pathsep.join([str(target), str(ROOT)])}

    def fairbench(*args: str) -> str:
        command = [sys.executable, "-m", "fairbench", *args]
        return subprocess.run(command, env=env, cwd=tmp_path, capture_output=True, text=True, check=True).stdout

    assert "fairbench-example/flat" in fairbench("list", "adapters")
    assert "fairbench-example/share-ratio" in fairbench("list", "metrics")
    assert "fairbench-example/politely" in fairbench("list", "methods")
    assert "Two jobs, for an example" in fairbench("list", "tasks")
    out = fairbench(
        "run",
        "--model",
        "fairbench-example/flat:90",
        "--method",
        "fairbench-example/politely:pray",
        "-n",
        "2",
        "--task",
        "fairbench-example/two-jobs",
        "--labeller",
        "phantom",
        "--json",
        "-q",
    )
    values = {(m["metric"], m["attribute"]): m for m in json.loads(out)["metrics"]}
    assert values["share-ratio", "gender"]["reason"] == "no faces"  # a grey square has no face: unknown, not fair
    assert values["share-ratio", "gender"]["value"] is None
    assert values["no-face-rate", "faces"]["value"] == 1.0


def point(name: str, value: str, dist: str) -> EntryPoint:
    found = EntryPoint(name, value, "fairbench.metrics")
    return found._for(SimpleNamespace(name=dist))  # type: ignore[attr-defined]


@pytest.fixture
def fresh_registry() -> object:
    registry._third_party.cache_clear()
    yield
    registry._third_party.cache_clear()


@pytest.mark.usefixtures("fresh_registry")
def test_a_collision_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    both = [point("m", "a:x", "their-package"), point("m", "b:x", "Their_Package")]
    monkeypatch.setattr(registry, "entry_points", lambda group: both)
    with pytest.raises(FairbenchError, match="Two installed plug-ins claim the metric 'their-package/m'"):
        registry.names("metrics")


@pytest.mark.usefixtures("fresh_registry")
def test_a_third_party_cannot_shadow_a_built_in(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(registry, "entry_points", lambda group: [point("rd", "evil:rd", "their-package")])
    assert "their-package/rd" in registry.names("metrics")
    assert registry.resolve("metrics", "rd").spec.name == "rd"


@pytest.mark.usefixtures("fresh_registry")
def test_a_plugin_that_does_not_import_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(registry, "entry_points", lambda group: [point("m", "no_such_module:x", "their-package")])
    with pytest.raises(FairbenchError, match=r"'their-package/m' \(no_such_module:x\) cannot be imported"):
        registry.resolve("metrics", "their-package/m")


def test_listing_names_imports_nothing_heavy() -> None:
    code = (
        "import sys; from fairbench.registry import names, KINDS; [names(k) for k in KINDS]; import fairbench.cli.app;"
        "print([m for m in ('torch', 'transformers', 'diffusers', 'onnxruntime', 'cv2', 'pandas') if m in sys.modules])"
    )
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "[]\n"
