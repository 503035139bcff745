"""Manifests and tables of any content: read, or refused in one sentence that names the file."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from fairbench.adapters import folder_files
from fairbench.calibration import manifest
from fairbench.cards import catalog, truth_table
from fairbench.display.progress import Silent
from fairbench.errors import FairbenchError
from fairbench.labelling.labeller import LabelSpace
from fairbench.runs import prompts
from fairbench.synthesis import own_images

FUZZ = settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
CELLS = st.text(max_size=6) | st.sampled_from(
    ["a.png", "a nurse", "", " ", "0", "1e9", "-1", "female", "Black", "..", "/", "~", "~x", "\\", "a\\b", '"']
)
HEADERS = st.text(max_size=4) | st.sampled_from(
    [
        "path",
        "image",
        "prompt",
        "Prompt",
        "promt",
        "prompt_id",
        "sample_index",
        "subject",
        "category",
        "gender",
        "race4",
        "person",
        "sha256",
        "female",
        "male",
        "",
        "two\nlines",
        "pro\nmpt",
    ]
)


@st.composite
def tables(draw: st.DrawFn) -> tuple[list[str], list[list[str]]]:
    """Return a header and rows of as many cells."""
    header = draw(st.lists(HEADERS, min_size=1, max_size=5))
    return header, draw(st.lists(st.lists(CELLS, min_size=len(header), max_size=len(header)), max_size=4))


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | CELLS,
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(HEADERS, inner, max_size=2),
)


def refused_in_words(path: Path, read: Any) -> None:
    """Read a file; where it is refused, check the sentence."""
    try:
        read()
    except FairbenchError as err:
        assert path.name in str(err) or path.parent.name in str(err)
        assert len(str(err)) < 2000
        assert "\n" not in str(err)


def every_reader(path: Path) -> None:
    space = LabelSpace(catalog.load_labeller("phantom").card)
    attributes = {name: space.declared.labels[name] for name in ("gender", "race4")}
    refused_in_words(path, lambda: folder_files.read(path))
    refused_in_words(path, lambda: prompts.subjects(path))
    refused_in_words(path, lambda: manifest.read(path, space, Silent()))
    refused_in_words(path, lambda: own_images.read(path, attributes))
    refused_in_words(path, lambda: truth_table.read(path, ("female", "male")))
    refused_in_words(path, lambda: catalog.reference_file.__wrapped__(str(path), ("female", "male")))


@FUZZ
@given(table=tables())
def test_any_table(tmp_path: Path, table: tuple[list[str], list[list[str]]]) -> None:
    Image.new("RGB", (4, 4)).save(tmp_path / "a.png")
    path = tmp_path / "any.csv"
    with path.open("w", newline="", encoding="utf-8", errors="replace") as file:
        csv.writer(file).writerows([table[0], *table[1]])
    every_reader(path)


@FUZZ
@given(content=st.binary(max_size=60) | st.text('path,prompt\n";\t\r\0a.', max_size=60).map(str.encode))
def test_any_bytes(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "any.csv"
    path.write_bytes(content)
    every_reader(path)


@FUZZ
@given(rows=st.lists(st.dictionaries(HEADERS, JSON, max_size=4) | JSON, max_size=3))
def test_any_json_lines(tmp_path: Path, rows: list[Any]) -> None:
    Image.new("RGB", (4, 4)).save(tmp_path / "a.png")
    path = tmp_path / "any.jsonl"
    path.write_text("\n".join(map(json.dumps, rows)), encoding="utf-8")
    refused_in_words(path, lambda: folder_files.read(path))
