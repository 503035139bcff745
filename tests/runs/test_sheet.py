"""Contact sheets: which images are shown, in which order, and what stands below them."""

from __future__ import annotations

from pathlib import Path

from fairbench.runs import sheet
from fairbench.runs.sheet import Box
from fairbench.storage.reading import ImageRow
from fairbench.types import ImageRequest
from tests.builders.label_tables import hand_labeller


def rows(count: int) -> list[ImageRow]:
    ids = [i.to_bytes(16, "big") for i in range(count)]
    return [ImageRow(ImageRequest(i, i, i, "x", n, n), "ok", None, None, Path("-")) for n, i in enumerate(ids)]


def boxes(numbers: range) -> sheet.Boxes:
    return {i.to_bytes(16, "big"): [Box(i.to_bytes(16, "big"), [0, 0, 1, 1])] for i in numbers}


def shown(count: int, with_face: range) -> list[int]:
    return [r.request.seed for r in sheet._chosen(rows(count), boxes(with_face))]


def test_faceless_images_come_last() -> None:
    assert shown(6, range(2, 4)) == [2, 3, 0, 1, 4, 5]


def test_a_few_faceless_images_are_always_shown() -> None:
    found = shown(200, range(20, 200))
    assert len(found) == sheet.MOST
    assert found[:48] == list(range(20, 68))
    assert found[48:] == list(range(16))
    assert shown(100, range(100)) == list(range(64))
    assert shown(100, range(0)) == list(range(64))


def test_captions() -> None:
    made = hand_labeller(select="all")
    a, b = Box(b"a" * 16, [0, 0, 1, 1]), Box(b"b" * 16, [2, 2, 3, 3])
    lines = {a.face_id: {"gender": "Male 0.90", "race7": "White 0.80"}, b.face_id: {"gender": "Female 0.70"}}
    captions = sheet._Captions({b"1" * 16: [a], b"2" * 16: [a, b]}, lines, made)
    assert captions.of(b"1" * 16) == ["gender: Male 0.90", "race7: White 0.80"]
    assert captions.of(b"2" * 16) == ["1: Male 0.90 White 0.80", "2: Female 0.70"]
    assert captions.of(b"3" * 16) == ["no face"]
