"""Counting a labeller's errors: manifests that lie are refused; the table is counted by hand on drawn faces."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest

from fairbench import registry
from fairbench.calibration import manifest as calibration_manifest
from fairbench.calibration.count import calibrate
from fairbench.cards import catalog
from fairbench.cards.cards import LabellerCard
from fairbench.cards.catalog import Loaded
from fairbench.display.progress import Silent
from fairbench.errors import CardError
from fairbench.labelling.confusion import NO_FACE, NO_PERSON, Calibration
from fairbench.labelling.labeller import Labeller
from fairbench.protocols import Params
from fairbench.storage import pixels
from fairbench.storage.store import Store
from fairbench.types import BuildContext, Face, LabelSchema, RgbImage

SIDE = 40
FAULT = 255
Drawn = tuple[int, int, int, int, float]
"""x, side, code of gender, code of race3, probability of that race."""


class MarkFinder:
    """A detector for drawn images: every column of the first row with a number is a face of that side at that x."""

    version: ClassVar[int] = 1
    Params: ClassVar[type[Params]] = Params

    def __init__(self, params: Params, ctx: BuildContext) -> None: ...

    def detect(self, images: Sequence[RgbImage]) -> list[list[Face]]:
        return [self._faces(image) for image in images]

    def _faces(self, image: RgbImage) -> list[Face]:
        marks = image[0, :, 0].astype(int)
        if marks[-1] == FAULT:
            raise RuntimeError("a fault of the detector")
        return [Face((x, 1.0, x + marks[x], 1.0 + marks[x]), 1.0) for x in np.flatnonzero(marks)]


class ColourReader:
    """A classifier for drawn faces: red and green are the codes of the labels, blue the probability of the race."""

    version: ClassVar[int] = 1
    Params: ClassVar[type[Params]] = Params

    def __init__(self, params: Params, ctx: BuildContext, declared: LabelSchema) -> None:
        self.schema = declared

    def classify(self, chips: Sequence[RgbImage]) -> dict[str, np.ndarray]:
        centres = np.array([chip[chip.shape[0] // 2, chip.shape[1] // 2] for chip in chips])
        probs = centres[:, 2] / 255
        return {
            "gender": self._probs(centres[:, 0], (1 + probs) / 2, "gender"),
            "race3": self._probs(centres[:, 1], probs, "race3"),
        }

    def _probs(self, codes: np.ndarray, prob: np.ndarray, name: str) -> np.ndarray:
        size = self.schema.size(name)
        rest = (1 - prob) / (size - 1)
        probs = np.repeat(rest[:, None], size, axis=1)
        probs[np.arange(len(codes)), codes] = prob
        return probs.astype(np.float32)


@pytest.fixture(autouse=True)
def _plugins(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(registry.BUILTIN["detectors"], "marks", f"{__name__}:MarkFinder")  # type: ignore[arg-type]
    monkeypatch.setitem(registry.BUILTIN["classifiers"], "colours", f"{__name__}:ColourReader")  # type: ignore[arg-type]


def labeller(**policy: Any) -> Loaded[LabellerCard]:
    """Of two genders, three races, and two races that the three are mapped to."""
    card = {
        "name": "drawn",
        "title": "reads drawn faces",
        "routes": [{"detector": {"type": "marks"}, "crop": {"type": "box"}}],
        "classifiers": [{"type": "colours"}],
        "attributes": {
            "gender": {"labels": ["f", "m"]},
            "race3": {"labels": ["A", "B", "C"]},
            "race2": {"labels": ["AB", "C"], "from": "race3", "map": {"A": "AB", "B": "AB", "C": "C"}},
        },
        "face_policy": policy,
    }
    return Loaded(LabellerCard.model_validate(card), None)


def draw(path: Path, faces: Sequence[Drawn], fault: bool = False) -> None:
    """Write an image that shows faces; its grey is drawn from its name, so that no two are the same."""
    grey = int(hashlib.sha256(path.name.encode()).hexdigest()[:6], 16)
    image = np.zeros((SIDE, SIDE, 3), dtype=np.uint8)
    image[SIDE // 2 :] = (grey >> 16, grey >> 8 & 255, grey & 255)
    for x, side, gender, race, prob in faces:
        image[0, x, 0] = side
        image[1 : 1 + side, x : x + side] = (gender, race, round(255 * prob))
    image[0, -1, 0] = FAULT if fault else 0
    path.write_bytes(pixels.encode(image))


def manifest(folder: Path, rows: Sequence[Sequence[str]], header: str = "path,gender,race2") -> Path:
    path = folder / "manifest.csv"
    path.write_text("\n".join([header, *(",".join(row) for row in rows)]) + "\n")
    return path


CORNERS = [("f", "AB"), ("f", "C"), ("m", "AB"), ("m", "C")]


def corners(folder: Path) -> list[list[str]]:
    """Draw one image of every cell, read right; the rows of their manifest."""
    for i, (gender, race) in enumerate(CORNERS):
        draw(folder / f"{i}.png", [(1, 8, int(gender == "m"), 2 if race == "C" else i % 2, 1.0)])
    return [[f"{i}.png", *cell] for i, cell in enumerate(CORNERS)]


def counted(path: Path, loaded: Loaded[LabellerCard], store: str = "store") -> Calibration:
    known = calibration_manifest.read(path, Labeller(loaded), Silent(), derived=True)
    return calibrate(known, loaded, Store(path.parent / store), Silent(), domain="drawings", command="by hand")


def row(found: Calibration, *cell: str) -> dict[str, int]:
    """Return the columns of a row that are not 0, by name."""
    counts = found.counts[found.rows.index(cell)]
    return {" ".join(name): int(n) for name, n in zip(found.columns, counts, strict=True) if n}


def test_the_joint_table_counted_by_hand(tmp_path: Path) -> None:
    rows = corners(tmp_path)
    extra: list[tuple[str, list[Drawn], str, str]] = [
        ("misread.png", [(1, 8, 1, 2, 1.0)], "f", "AB"),  # both attributes wrong in one face: one cell, not two margins
        ("faceless.png", [], "f", "AB"),
        ("two.png", [(1, 6, 0, 0, 1.0), (10, 9, 1, 2, 1.0)], "m", "C"),  # the larger one counts
        ("nobody.png", [], "no person", "no person"),
        ("ghost.png", [(1, 8, 1, 0, 1.0)], "no person", "no person"),
    ]
    for name, faces, *cell in extra:
        draw(tmp_path / name, faces)
        rows.append([name, *cell])
    # Columns in another order than the card's, one that is no attribute, and an absolute path.
    rows[0][0] = str(tmp_path / rows[0][0])
    path = manifest(tmp_path, [[c[2], c[0], "x", c[1]] for c in rows], "race2,path,source,gender")
    found = counted(path, labeller())
    assert found.attributes == ("gender", "race2")
    assert found.rows == (*CORNERS, NO_PERSON) and found.columns == (*CORNERS, NO_FACE)
    assert row(found, "f", "AB") == {"f AB": 1, "m C": 1, "no face": 1}
    assert row(found, "f", "C") == {"f C": 1}
    assert row(found, "m", "AB") == {"m AB": 1}
    assert row(found, "m", "C") == {"m C": 2}
    assert row(found, "no person") == {"no face": 1, "m AB": 1}
    assert (found.labeller, found.labeller_id) == ("drawn", Labeller(labeller()).id)
    assert (found.domain, found.command, found.seed) == ("drawings", "by hand", 0)
    assert found.notes.startswith("Manifest: 9 images, sha256 ") and "left out" not in found.notes


@pytest.mark.parametrize(
    ("policy", "read"),
    [
        ({}, "m C"),  # the largest
        ({"select": "central"}, "f AB"),
        ({"select": "all"}, "m C"),  # one person an image: again the largest, though both are counted in a run
        ({"min_area": 0.1}, "no face"),
        ({"min_area": 0.04}, "m C"),
        ({"min_prob": 0.65}, "no face"),
        ({"min_prob": 0.55}, "m C"),
    ],
)
def test_the_face_policy_is_that_of_a_run(tmp_path: Path, policy: dict[str, Any], read: str) -> None:
    rows = corners(tmp_path)
    for i, (gender, race) in enumerate(CORNERS):  # large enough and sure, so that only the image below tells
        draw(tmp_path / f"{i}.png", [(12, 16, int(gender == "m"), 2 if race == "C" else 0, 1.0)])
    draw(tmp_path / "two.png", [(16, 7, 0, 0, 1.0), (25, 9, 1, 2, 0.6)])
    path = manifest(tmp_path, [*rows, ["two.png", "f", "AB"]])
    found = counted(path, labeller(**policy))
    expected = {"f AB": 1}
    expected[read] = expected.get(read, 0) + 1
    assert row(found, "f", "AB") == expected
    assert found.labeller_id == Labeller(labeller(**policy)).id


def test_a_derived_attribute_is_read_as_in_a_run(tmp_path: Path) -> None:
    rows = corners(tmp_path)
    # The likeliest of three races is C, though A and B together, which race2 joins, are likelier.
    draw(tmp_path / "0.png", [(1, 8, 0, 2, 0.4)])
    assert row(counted(manifest(tmp_path, rows), labeller()), "f", "AB") == {"f C": 1}


def test_a_derived_attribute_is_refused_unless_the_images_are_a_run_s_own(tmp_path: Path) -> None:
    """Its errors depend on how often each label that it is derived from occurs."""
    path = manifest(tmp_path, corners(tmp_path))
    with pytest.raises(CardError, match="line 1, field race2: drawn derives it from race3, so its") as refused:
        calibration_manifest.read(path, Labeller(labeller()), Silent())
    assert "label race3 instead" in str(refused.value) and "--run" in str(refused.value)


def test_a_combination_that_no_line_has_is_an_empty_row(tmp_path: Path) -> None:
    found = counted(manifest(tmp_path, corners(tmp_path)[:3]), labeller())
    assert found.counts.sum(axis=1).tolist() == [1, 1, 1, 0]
    assert found.margin(["gender"]).counts.tolist() == [[2, 0, 0], [0, 1, 0]]


def test_a_person_counts_once_whatever_the_order_of_lines(tmp_path: Path) -> None:
    rows = [[*r, f"p{i}"] for i, r in enumerate(corners(tmp_path))]
    for name, code in (("a.png", 1), ("b.png", 0), ("c.png", 1)):
        draw(tmp_path / name, [(1, 8, code, 2, 1.0)])
        rows.append([name, "m", "C", "p3"])
    draw(tmp_path / "n.png", [])
    draw(tmp_path / "o.png", [])
    rows += [["n.png", "no person", "no person", ""], ["o.png", "no person", "no person", ""]]
    header = "path,gender,race2,person"

    def lot(name: str) -> str:
        content = hashlib.sha256((tmp_path / name).read_bytes()).hexdigest()
        return hashlib.sha256(f"p3\0{content}".encode()).hexdigest()

    kept = min(("3.png", "a.png", "b.png", "c.png"), key=lot)
    first = counted(manifest(tmp_path, rows, header), labeller())
    assert row(first, "m", "C") == {"f C" if kept == "b.png" else "m C": 1}
    assert row(first, "no person") == {"no face": 2}
    assert first.counts.sum() == 6
    assert "Manifest: 9 images" in first.notes and "3 of them are left out: a person counts once." in first.notes
    turned = counted(manifest(tmp_path, rows[::-1], header), labeller(), "other")
    assert turned.notes == first.notes
    np.testing.assert_array_equal(turned.counts, first.counts)


def test_an_image_on_which_the_detector_fails_is_left_out_and_noted(tmp_path: Path) -> None:
    rows = corners(tmp_path)
    draw(tmp_path / "bad.png", [(1, 8, 0, 0, 1.0)], fault=True)
    found = counted(manifest(tmp_path, [*rows, ["bad.png", "f", "AB"]]), labeller())
    assert row(found, "f", "AB") == {"f AB": 1}
    assert "1 are left out because the detector failed on them." in found.notes


def test_nothing_is_detected_twice_and_new_labels_of_the_truth_change_the_table(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows = corners(tmp_path)
    draw(tmp_path / "more.png", [(1, 8, 0, 0, 1.0)])
    first = counted(manifest(tmp_path, [*rows, ["more.png", "f", "AB"]]), labeller())
    assert row(first, "f", "AB") == {"f AB": 2}
    monkeypatch.setattr(MarkFinder, "detect", lambda *_: pytest.fail("the faces are in the store"))
    mended = counted(manifest(tmp_path, [*rows, ["more.png", "m", "C"]]), labeller())
    assert row(mended, "f", "AB") == {"f AB": 1} and row(mended, "m", "C") == {"m C": 1, "f AB": 1}
    assert mended.notes != first.notes


def test_an_image_that_is_lost_during_the_work_is_named_by_its_line(tmp_path: Path) -> None:
    rows = corners(tmp_path)
    known = calibration_manifest.read(manifest(tmp_path, rows), Labeller(labeller()), Silent(), derived=True)
    (tmp_path / "2.png").write_bytes(b"no longer an image")
    with pytest.raises(CardError, match=r"manifest\.csv, line 4, field path: .*2\.png changed while it was in use"):
        calibrate(known, labeller(), Store(tmp_path / "s"), Silent(), domain="d", command="c")


# --- manifests that lie ---

Change = Callable[[list[list[str]], Path], object]


def put(line: int, column: int, value: str) -> Change:
    """A change of one field, by its line in the file (the header is line 1)."""
    return lambda rows, _: rows[line - 1].__setitem__(column, value)


def headed(*names: str, fill: str = "x") -> Change:
    """Another header; new columns hold `fill`."""

    def change(rows: list[list[str]], _: Path) -> None:
        for i, fields in enumerate(rows):
            rows[i] = list(names) if i == 0 else [*fields[: len(names)], *([fill] * (len(names) - len(fields)))]

    return change


def people(*ids: str) -> Change:
    def change(rows: list[list[str]], _: Path) -> None:
        for fields, value in zip(rows, ["person", *ids], strict=True):
            fields.append(value)

    return change


def file(name: str, data: bytes | None) -> Change:
    """Another content of a file; None removes it."""
    return lambda _, folder: (folder / name).unlink() if data is None else (folder / name).write_bytes(data)


def copied(rows: list[list[str]], folder: Path) -> None:
    (folder / "copy.png").write_bytes((folder / "1.png").read_bytes())
    rows.append(["copy.png", "f", "C"])


LIES: list[tuple[Change, str]] = [
    (put(3, 0, ""), "line 3, field path: it is empty; fill it in"),
    (put(3, 0, "9.png"), r"line 3, field path: there is no file .*9\.png; fix"),
    (file("1.png", None), r"line 3, field path: there is no file .*1\.png"),
    (file("1.png", b""), r"line 3, field path: .*1\.png is empty"),
    (file("1.png", b"GIF89a"), r"line 3, field path: .*1\.png .*(damaged|not an image)"),
    (lambda rows, _: rows.append(rows[2][:]), "line 6, field path: it is the image of line 3 again"),
    (copied, "line 6, field path: it is the image of line 3 again"),
    (put(4, 1, ""), "line 4, field gender: it is empty; fill it in"),
    (put(4, 1, "F"), r"line 4, field gender: 'F' is no label of gender \(known: f, m, no person\); fix it"),
    (put(4, 2, "no persn"), r"line 4, field race2: 'no persn' is no label of race2 \(did you mean 'no person'\?\)"),
    (put(4, 2, "no person"), "line 4, field gender: it says 'm' where another field says 'no person'"),
    (headed("path", "gender", "races2"), r"line 1, field races2: .*did you mean 'race2'\?\)"),
    (headed("path", "gender", "race2", "persons"), r"line 1, field persons: .*did you mean 'person'\?\)"),
    (headed("file", "gender", "race2"), "line 1: the column 'path' is missing"),
    (headed("path", "x", "y"), "line 1: no column is an attribute of drawn; add gender or race3 or race2"),
    (headed("path", "gender", "race2", "race3", fill="A"), "line 1, field race2: it says the same as race3"),
    (headed("path", "gender", "race2", "sha256", fill=""), "line 2, field sha256: it is empty"),
    (headed("path", "gender", "race2", "sha256", fill="0" * 64), "line 2, field sha256: that of .* is [0-9a-f]{64}"),
    (people("a", "b", "c", "a"), "line 5, field person: 'a' is m C here and f AB in line 2"),
    (people("a", "", "c", "d"), "line 3, field person: it is empty; give every person an id, or leave the column out"),
    (lambda rows, _: rows.__delitem__(slice(1, None)), "manifest.csv holds no rows"),
    (lambda rows, _: rows.__delitem__(slice(3, None)), "field gender: no line says 'm', so its errors"),
    (lambda rows, _: rows[2].pop(), "line 3: the row has another number of fields"),
]


@pytest.mark.parametrize(("change", "says"), LIES)
def test_a_manifest_that_lies_is_refused_before_any_work(tmp_path: Path, change: Change, says: str) -> None:
    rows = [["path", "gender", "race2"], *corners(tmp_path)]
    change(rows, tmp_path)
    path = manifest(tmp_path, rows[1:], ",".join(rows[0]))
    with pytest.raises(CardError, match=says) as caught:
        calibration_manifest.read(path, Labeller(labeller()), Silent(), derived=True)
    message = str(caught.value)
    assert message.startswith(str(path)) and message.endswith(".") and "\n" not in message


def test_a_person_whose_image_shows_nobody_is_refused(tmp_path: Path) -> None:
    rows = [[*r, f"p{i}"] for i, r in enumerate(corners(tmp_path))]
    draw(tmp_path / "n.png", [])
    path = manifest(tmp_path, [*rows, ["n.png", "no person", "no person", "p0"]], "path,gender,race2,person")
    with pytest.raises(CardError, match="line 6, field person: the image shows no person, so leave it empty"):
        calibration_manifest.read(path, Labeller(labeller()), Silent(), derived=True)


def test_a_hash_in_capitals_is_the_same_hash(tmp_path: Path) -> None:
    rows = [[*r, hashlib.sha256((tmp_path / r[0]).read_bytes()).hexdigest().upper()] for r in corners(tmp_path)]
    known = calibration_manifest.read(
        manifest(tmp_path, rows, "path,gender,race2,sha256"), Labeller(labeller()), Silent(), derived=True
    )
    assert [image.sha256.upper() for image in known.images] == [r[3] for r in rows]
    assert [image.line for image in known.images] == [2, 3, 4, 5]


def test_the_phantoms_labels_are_those_of_its_card(tmp_path: Path) -> None:
    draw(tmp_path / "a.png", [])
    path = manifest(tmp_path, [["a.png", "female", "White"]], "path,gender,race4")
    with pytest.raises(CardError, match=r"line 2, field race4: 'White' is no label of race4 \(known: WMELH, Black"):
        calibration_manifest.read(path, Labeller(catalog.load_labeller("phantom")), Silent())


def test_the_column_of_files_may_be_called_image(tmp_path: Path) -> None:
    rows = corners(tmp_path)
    first = counted(manifest(tmp_path, rows), labeller())
    again = counted(manifest(tmp_path, rows, "Image ,gender,race2"), labeller())
    np.testing.assert_array_equal(first.counts, again.counts)
    both = [[row[0], *row] for row in rows]
    with pytest.raises(CardError, match="stands twice"):
        calibration_manifest.read(manifest(tmp_path, both, "path,image,gender,race2"), Labeller(labeller()), Silent())
    with pytest.raises(CardError, match="did you mean 'gender'"):
        calibration_manifest.read(
            manifest(tmp_path, rows, "image,gendre,race2"), Labeller(labeller()), Silent(), derived=True
        )
