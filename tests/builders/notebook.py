"""Notebooks without Jupyter: the code cells run in order, and what the last line of each gives is its output.

`python -m tests.builders.notebook` runs examples/quickstart.ipynb again and stores its outputs.
"""

from __future__ import annotations

import ast
import base64
import io
import json
import os
import tempfile
from typing import Any

from PIL import Image

from tests.builders.folders import ROOT

QUICKSTART = ROOT / "examples" / "quickstart.ipynb"


def executed(notebook: dict[str, Any]) -> dict[str, Any]:
    """Run the code cells in the current folder and return the notebook with their outputs."""
    names: dict[str, Any] = {"__name__": "__main__"}
    count, cells = 0, []
    for cell in notebook["cells"]:
        if cell["cell_type"] == "code":
            count += 1
            value = _run("".join(cell["source"]), names)
            outputs = [] if value is None else [_output(value, count)]
            cell = {**cell, "execution_count": count, "outputs": outputs}
        cells.append(cell)
    return {**notebook, "cells": cells}


def _run(source: str, names: dict[str, Any]) -> Any:
    """Run a cell; return the value of its last line where that is an expression."""
    body = ast.parse(source).body
    last = body.pop() if isinstance(body[-1], ast.Expr) else None
    exec(compile(ast.Module(body, []), "<cell>", "exec"), names)
    return None if last is None else eval(compile(ast.Expression(last.value), "<cell>", "eval"), names)


def _output(value: Any, count: int) -> dict[str, Any]:
    data: dict[str, Any] = {"text/plain": repr(value).splitlines(keepends=True)}
    if isinstance(value, Image.Image):
        png = io.BytesIO()
        value.save(png, "PNG")
        data = {"text/plain": ["a picture"], "image/png": base64.b64encode(png.getvalue()).decode()}
    elif hasattr(value, "_repr_html_"):
        data["text/html"] = value._repr_html_().splitlines(keepends=True)
    return {"output_type": "execute_result", "execution_count": count, "data": data, "metadata": {}}


def read() -> dict[str, Any]:
    """Return the quickstart as it is stored."""
    notebook: dict[str, Any] = json.loads(QUICKSTART.read_text())
    return notebook


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as folder:
        os.chdir(folder)
        QUICKSTART.write_text(json.dumps(executed(read()), indent=1, ensure_ascii=False) + "\n")
