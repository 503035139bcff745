"""The balanced set: what is written is read again, and a manifest that lies is refused with file and row."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from fairbench.errors import CardError
from fairbench.synthesis import balanced
from fairbench.training.order import Order
from tests.builders.balanced import ATTRIBUTES, GROUPS, SUBJECTS, save_balanced


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    save_balanced(tmp_path / "set")
    return tmp_path / "set"


def edit_manifest(folder: Path, **fields: object) -> None:
    path = folder / "manifest.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | fields))


def replace(folder: Path, line: int, old: str, new: str) -> None:
    """Replace text in one line of rows.csv; line 1 is the header."""
    lines = (folder / "rows.csv").read_text().splitlines(keepends=True)
    assert old in lines[line - 1]
    lines[line - 1] = lines[line - 1].replace(old, new, 1)
    (folder / "rows.csv").write_text("".join(lines))


def drop(folder: Path, *numbers: int) -> None:
    lines = (folder / "rows.csv").read_text().splitlines(keepends=True)
    (folder / "rows.csv").write_text("".join(line for i, line in enumerate(lines, 1) if i not in numbers))


def test_round_trip(folder: Path) -> None:
    found = balanced.read(folder)
    assert found.attributes == ATTRIBUTES
    assert found.groups == GROUPS
    assert len(found.rows) == len(SUBJECTS) * len(GROUPS) * 2
    first = found.rows[0]
    assert (first.subject, first.group) == ("nurse", ("female", "WMELH"))
    assert first.prompt == "A photo of the face of a nurse, a person"
    again = balanced.write(folder / "copy", found.attributes, found.groups, found.rows, {})
    assert balanced.read(again).digest == found.digest
    assert [r.image.resolve() for r in balanced.read(again).rows] == [r.image.resolve() for r in found.rows]
    manifest = json.loads((folder / "manifest.json").read_text())
    assert manifest["fairbench.balanced"] == 1
    assert manifest["groups"][1] == {"gender": "female", "race4": "Black"}
    assert "never anyone's identity" in manifest["note"]


def test_a_set_of_an_earlier_version_is_read(folder: Path) -> None:
    digest = balanced.read(folder).digest
    replace(folder, 1, "path,", "image,")  # as 0.1.0 called the column
    assert balanced.read(folder).digest == digest


def test_margin(folder: Path) -> None:
    found = balanced.read(folder).margin(["gender"])
    assert found.groups == (("female",), ("male",))
    assert {len(rows) for groups in found.by_prompt().values() for rows in groups.values()} == {4}
    assert found.digest != balanced.read(folder).digest
    with pytest.raises(CardError, match="the attributes gender, race4, not 'age'"):
        balanced.read(folder).margin(["gender", "age"])


LIES: dict[str, tuple[Callable[[Path], object], str]] = {
    "missing image": (
        lambda f: (f / "images" / "nurse-female-WMELH-1.png").unlink(),
        r"rows\.csv, line 3: the image .*nurse-female-WMELH-1\.png does not exist",
    ),
    "wrong hash": (
        lambda f: (f / "images" / "nurse-male-Black-0.png").write_bytes(b"other"),
        r"rows\.csv, line 8: .* does not have the sha256",
    ),
    "group missing": (
        lambda f: drop(f, 14, 15),
        r"rows\.csv, line 10: the prompt '.*computer programmer.*' has 0 images of the group male WMELH",
    ),
    "unknown label": (
        lambda f: replace(f, 4, ",Black,", ",Green,"),
        r"rows\.csv, line 4, field race4: 'Green' is none of its labels \(WMELH, Black\)",
    ),
    "unknown group": (
        lambda f: edit_manifest(f, groups=[dict(zip(ATTRIBUTES, g, strict=True)) for g in GROUPS[:3]]),
        r"rows\.csv, line 8: the group male Black is not among the manifest's groups",
    ),
    "group of other attributes": (
        lambda f: edit_manifest(f, groups=[{"gender": "female"}, {"gender": "male"}]),
        r"manifest\.json, field groups\.0: a group names each of gender, race4",
    ),
    "image twice": (
        lambda f: (f / "rows.csv").write_text(
            (f / "rows.csv").read_text() + (f / "rows.csv").read_text().splitlines()[2]
        ),
        r"rows\.csv, line 18: the image .* is listed in .*rows\.csv, line 3 already",
    ),
    "empty": (lambda f: drop(f, *range(2, 18)), r"rows\.csv has no rows"),
    "no prompt": (
        lambda f: replace(f, 2, '"A photo of the face of a nurse, a person"', ""),
        r"rows\.csv, line 2: the column 'prompt' is empty",
    ),
    "no column": (lambda f: replace(f, 1, "race4", "race"), r"rows\.csv, line 1: the column 'race4' is missing"),
    "no rows file": (lambda f: (f / "rows.csv").unlink(), r"rows\.csv cannot be read"),
    "not JSON": (lambda f: (f / "manifest.json").write_text("rows: 3"), r"manifest\.json is not JSON"),
    "a list": (lambda f: (f / "manifest.json").write_text("[]"), r"manifest\.json, field the whole file"),
    "version": (
        lambda f: edit_manifest(f, **{"fairbench.balanced": 2}),
        r"manifest\.json, field fairbench\.balanced: this is version 2",
    ),
    "unknown field": (lambda f: edit_manifest(f, shuffle=True), r"manifest\.json, field shuffle"),
    "absent": (lambda f: (f / "manifest.json").unlink(), r"manifest\.json cannot be read"),
}


@pytest.mark.parametrize("lie", LIES)
def test_a_manifest_that_lies_is_refused(folder: Path, lie: str) -> None:
    change, sentence = LIES[lie]
    change(folder)
    with pytest.raises(CardError, match=sentence) as caught:
        balanced.read(folder)
    assert "\n" not in str(caught.value)


def test_an_image_under_two_groups_is_refused(folder: Path) -> None:
    lines = (folder / "rows.csv").read_text().splitlines()
    shown_again = lines[1].replace("a nurse", "a nurse at work").replace(",female,", ",male,")
    (folder / "rows.csv").write_text("\n".join([*lines, shown_again]) + "\n")
    with pytest.raises(CardError, match=r"line 18: the image .* is male WMELH here and female WMELH in .*line 2"):
        balanced.read(folder)


# --- the order of examples ---


def test_an_epoch_shows_every_image_once(folder: Path) -> None:
    found = balanced.read(folder)
    order = Order(found, seed=0, together=False)
    assert order.epoch_size == len(found.rows)
    seen = np.concatenate([order.examples(step, 4) for step in range(8)])[:, 0]
    assert sorted(seen[:16]) == sorted(seen[16:]) == list(range(16))
    assert list(seen[:16]) != list(seen[16:])
    assert (Order(found, 0, together=False).examples(5, 4) == order.examples(5, 4)).all()


def test_an_example_together_is_one_image_of_every_group_of_a_prompt(folder: Path) -> None:
    found = balanced.read(folder)
    order = Order(found, seed=1, together=True)
    assert order.epoch_size == 4
    for example in order.examples(0, 8):
        rows = [found.rows[i] for i in example]
        assert [r.group for r in rows] == list(GROUPS)
        assert len({r.prompt for r in rows}) == 1
    assert sorted(order.examples(0, 4).ravel()) == list(range(16))


def test_a_smaller_group_counts_as_much(folder: Path) -> None:
    drop(folder, 3)
    order = Order(balanced.read(folder), seed=0, together=False)
    seen = order.examples(0, 16)[:, 0]
    counts = np.bincount(seen, minlength=15)
    assert counts[0] == 2  # the only nurse of its group
    assert (counts[1:] == 1).all()
