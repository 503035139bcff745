"""examples/quickstart.ipynb and examples/my_model.py: they run, and the notebook shows what they print."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.builders import notebook
from tests.builders.cli import Cli
from tests.builders.folders import ROOT


def texts(of: dict[str, Any]) -> list[str]:
    """Return the texts of the outputs of all code cells; of pictures, their bytes."""
    outputs = [output["data"] for cell in of["cells"] for output in cell.get("outputs", [])]
    return ["".join(data.get("image/png") or data["text/plain"]) for data in outputs]


@pytest.mark.long
@pytest.mark.slow
def test_the_notebook_shows_what_its_cells_give(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """`python -m tests.builders.notebook` stores the outputs again where a change is meant."""
    monkeypatch.chdir(tmp_path)
    stored = notebook.read()
    assert texts(notebook.executed(stored)) == texts(stored)
    assert len(texts(stored)) >= 6 and not any(" object at 0x" in text for text in texts(stored))


def test_the_function_runs_as_its_docstring_says(cli: Cli, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    file = ROOT / "examples/my_model.py"
    command = file.read_text().split("`")[1].split()
    assert command[:4] == ["fairbench", "run", "--model", "my_model.py:draw"]
    (tmp_path / file.name).write_text(file.read_text())
    found = cli(*command[1:], "--limit-prompts", 2, "--no-sheets", "--json").json()
    assert found["run_id"]
