"""The public names of `import fairbench`: each is there, is what the types say, and none is replaced by a module."""

from __future__ import annotations

import ast
import doctest
import importlib
import pkgutil
import subprocess
import sys
from pathlib import Path

import pytest

import fairbench
from fairbench import metrics, registry
from fairbench.errors import FairbenchError
from fairbench.measure import interval
from tests.builders.runs import finished_run


def test_every_public_name_is_imported_when_it_is_asked_for() -> None:
    assert 20 <= len(fairbench.__all__) <= 32
    assert fairbench.__all__ == sorted(fairbench.__all__)
    for name in fairbench.__all__:
        assert getattr(fairbench, name) is getattr(fairbench, name)
    with pytest.raises(AttributeError, match="no attribute 'rum'"):
        _ = fairbench.rum  # type: ignore[attr-defined]


@pytest.mark.parametrize("module", [fairbench, metrics])
def test_what_type_checkers_see_is_what_is_exported(module: object) -> None:
    tree = ast.parse(Path(str(module.__file__)).read_text())  # type: ignore[attr-defined]
    (block,) = (node for node in tree.body if isinstance(node, ast.If))
    seen = {alias.asname for node in block.body if isinstance(node, ast.ImportFrom) for alias in node.names}
    assert seen - {None} == set(module.__all__) - {"__version__"}  # type: ignore[attr-defined]


def test_a_metric_stays_a_function_after_every_submodule_was_imported() -> None:
    for package in (fairbench, metrics):
        for module in pkgutil.iter_modules(package.__path__, f"{package.__name__}."):
            if not module.name.endswith("__main__"):
                importlib.import_module(module.name)
    for _ in range(2):
        for name in registry.BUILTIN["metrics"]:
            assert getattr(metrics, name.replace("-", "_")) is registry.resolve("metrics", name)
        assert fairbench.metrics.rd(counts=[[30, 10], [5, 5]]).tolist() == [0.5, 0.0]
        assert callable(fairbench.run)
        assert callable(fairbench.compare)
    assert sorted(name.replace("-", "_") for name in registry.BUILTIN["metrics"]) == metrics.__all__


def test_counts_are_asked_for_by_name() -> None:
    with pytest.raises(ValueError, match=r"\[30, 10\] sums to 40; give numbers of faces as counts="):
        fairbench.metrics.rd([30, 10])
    with pytest.raises(AttributeError, match=r"fairbench\.interval\(counts, 'concentration'\)"):
        _ = fairbench.metrics.concentration  # type: ignore[attr-defined]


@pytest.mark.parametrize("module", [fairbench, interval, metrics])
def test_the_examples_in_docstrings_hold(module: object) -> None:
    result = doctest.testmod(module)  # type: ignore[arg-type]
    assert result.attempted
    assert not result.failed


BLOCKED = """
import sys

class Refuse:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in {"torch", "transformers", "diffusers", "onnxruntime", "cv2"}:
            raise ImportError(f"{name} is blocked")

sys.meta_path.insert(0, Refuse())
import fairbench
from fairbench.cli.app import main

a, b, board = sys.argv[1:]
run = fairbench.load(a)
assert len(run.metrics) and len(run.prompts) and run.notices is not None and run.id
assert len(run.shares("gender")) and len(run.images()) and len(run.summary())
assert "identity" in repr(run) and "identity" in run.to_latex() and "identity" in run._repr_html_()
comparison = fairbench.compare(a, b)
assert len(comparison.table) and "identity" in repr(comparison)
assert fairbench.interval([[30, 10], [5, 5]], "concentration").prompts == 2
assert fairbench.metrics.rd(counts=[30, 10]) == 0.5
assert "phantom" in fairbench.list_models() and "rd" in fairbench.list_metrics()
sys.argv = ["fairbench", "leaderboard", "verify", board]
main()
"""


def test_finished_runs_are_read_where_no_model_could_run(tmp_path: Path) -> None:
    """Numbers are read, compared and verified without the libraries that make and label images."""
    board = tmp_path / "board.csv"
    runs = [
        finished_run(tmp_path / name, limit_prompts=3, images_per_prompt=4, seed=seed, scorers=())
        for name, seed in (("a", 0), ("b", 1))
    ]
    from fairbench.leaderboard import evidence, row

    row.add_run(board, evidence.open_run(runs[0]))
    command = [sys.executable, "-c", BLOCKED, *map(str, runs), str(board)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
    assert "agrees" in done.stdout


def test_what_no_run_can_have_is_refused_before_any_work() -> None:
    for options, sentence in (
        ({"images_per_prompt": 0}, "images_per_prompt is 0: give a whole number of at least 1"),
        ({"batch_size": True}, "batch_size is True"),
        ({"seed": -1}, "seed is -1"),
        ({"dtype": "int8"}, "--dtype int8: name float32, bfloat16 or float16"),
        ({"shard": "2/2"}, "write i/N with i from 0 to N - 1"),
        ({"model": "phantm"}, "did you mean 'phantom"),
    ):
        with pytest.raises(FairbenchError, match=sentence):
            fairbench.run(**options, progress=False)  # type: ignore[arg-type]
