"""Every metric against golden vectors that were computed without it (see make_metrics.py)."""

from __future__ import annotations

import ast
import importlib.util
import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from fairbench.registry import BUILTIN, resolve

HERE = Path(__file__).parent
GOLDEN: dict[str, Any] = json.loads((HERE / "metrics.json").read_text(encoding="utf-8"))
CASES = [(name, case) for name, entry in GOLDEN.items() for case in entry["cases"]]


def _shares(weights: list[int]) -> np.ndarray:
    """Return weights / their sum; NaN where nothing was counted, as the metrics stage has it."""
    w = np.array(weights, dtype=float)
    with np.errstate(invalid="ignore"):
        return w / w.sum()


def _expected(case: dict[str, Any]) -> float:
    return np.nan if case["expected"] is None else case["expected"]


@pytest.mark.parametrize(("name", "case"), CASES, ids=[f"{n}: {c['case']}" for n, c in CASES])
def test_golden_value(name: str, case: dict[str, Any]) -> None:
    ref = _shares(case["reference"]) if "reference" in case else None
    value = float(resolve("metrics", name)(_shares(case["weights"]), ref))
    assert value == pytest.approx(_expected(case), abs=2e-12, nan_ok=True)


@pytest.mark.parametrize("name", GOLDEN)
def test_golden_values_in_one_call(name: str) -> None:
    cases = [c for c in GOLDEN[name]["cases"] if len(c["weights"]) == 2]
    p = np.stack([_shares(c["weights"]) for c in cases])
    ref = np.stack([_shares(c["reference"]) for c in cases]) if "reference" in cases[0] else None
    np.testing.assert_allclose(resolve("metrics", name)(p, ref), [_expected(c) for c in cases], atol=2e-12)


@pytest.mark.parametrize("name", BUILTIN["metrics"])
def test_every_built_in_metric_has_golden_vectors_of_its_version(name: str) -> None:
    """An output that changes without a new version would rewrite results that were published under the old one."""
    assert name in GOLDEN, f"add {name} to make_metrics.py"
    assert resolve("metrics", name).spec.version == GOLDEN[name]["version"]


def test_golden_file_is_what_the_script_computes() -> None:
    spec = importlib.util.spec_from_file_location("make_metrics", HERE / "make_metrics.py")
    assert spec is not None and spec.loader is not None
    script = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(script)
    assert (HERE / "metrics.json").read_text(encoding="utf-8") == script.render()


def test_the_script_is_independent() -> None:
    tree = ast.parse((HERE / "make_metrics.py").read_text(encoding="utf-8"))
    imported = {a.name for node in ast.walk(tree) if isinstance(node, ast.Import) for a in node.names}
    imported |= {str(node.module) for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)}
    assert {name.split(".")[0] for name in imported} <= sys.stdlib_module_names


@pytest.mark.parametrize(
    ("name", "weights", "published"),
    [
        ("rd", [1, 0], 1.0),
        ("rd", [1, 0, 0, 0], 0.5),
        ("rd", [1, 0, 0, 0, 0, 0, 0, 0], 0.25),
        ("rd", [3, 1, 1, 2], 0.167),
        ("js-uniform", [1, 0], 0.311 * np.log(2)),
    ],
)
def test_figures_stated_by_the_protocol(name: str, weights: list[int], published: float) -> None:
    """Numbers that people wrote down, so that script and metric cannot be wrong together."""
    assert float(resolve("metrics", name)(_shares(weights))) == pytest.approx(published, abs=5e-4)
