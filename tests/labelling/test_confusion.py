"""The calibration file: what it computes, its bytes, every refusal, and its place on a labeller card."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from fairbench.cards import catalog
from fairbench.errors import CardError
from fairbench.labelling import confusion
from fairbench.labelling.confusion import NO_FACE, NO_PERSON, Calibration
from fairbench.labelling.labeller import Labeller
from fairbench.linting import cards
from fairbench.notices import collecting
from tests.builders.cards import copy_labeller

CELLS = (("female", "W"), ("female", "B"), ("male", "W"), ("male", "B"))
COUNTS = [
    [70, 10, 15, 0, 5],
    [8, 60, 2, 20, 10],
    [0, 0, 0, 0, 7],
    [0, 9, 1, 90, 0],
    [1, 0, 0, 3, 96],
]


def example(**changes: Any) -> Calibration:
    values: dict[str, Any] = {
        "labeller": "phantom",
        "labeller_id": "0123456789ab",
        "domain": "renders decoded by the tokenizer of phantom",
        "attributes": ("gender", "race4"),
        "rows": (*CELLS, NO_PERSON),
        "columns": (*CELLS, NO_FACE),
        "counts": np.array(COUNTS),
        "command": "fairbench calibrate --model phantom",
        "seed": 3,
        "notes": "größer",
        "independent_check": {"n": 500, "agreement": 0.987},
    }
    return Calibration(**{**values, **changes})


def test_rates_and_misses_by_hand() -> None:
    found = example()
    rates = found.rates()
    assert rates.shape == (5, 5)
    np.testing.assert_allclose(rates[0], [0.7, 0.1, 0.15, 0, 0.05])
    np.testing.assert_allclose(rates.sum(axis=1), 1)
    np.testing.assert_allclose(found.miss_rate(), [0.05, 0.1, 1.0, 0.0, 0.96])
    assert found.labels == {"gender": ("female", "male"), "race4": ("W", "B")}


def test_a_row_that_was_never_seen_has_no_rates() -> None:
    empty = example(counts=np.array([[0] * 5, *COUNTS[1:]]))
    assert np.isnan(empty.rates()[0]).all() and not np.isnan(empty.rates()[1:]).any()


def test_without_the_row_of_nobody() -> None:
    found = example(rows=CELLS, counts=np.array(COUNTS[:4]))
    assert found.rates().shape == (4, 5)


def test_what_is_written_is_read_again_and_has_one_form(tmp_path: Path) -> None:
    path, first = tmp_path / "c.json", example()
    first.write(path)
    text = path.read_text(encoding="utf-8")
    again = confusion.read(path)
    for name in Calibration.__dataclass_fields__:
        if name != "counts":
            assert getattr(again, name) == getattr(first, name), name
    np.testing.assert_array_equal(again.counts, COUNTS)
    assert again.counts.dtype == np.int64
    turned = replace(again, independent_check={"agreement": 0.987, "n": 500}, counts=np.array(COUNTS, np.int32))
    turned.write(tmp_path / "d.json")
    assert (tmp_path / "d.json").read_bytes() == path.read_bytes()
    assert text.startswith('{\n"fairbench.calibration": 1,\n"labeller": "phantom",\n')
    assert "  [70, 10, 15, 0, 5],\n" in text and text.endswith("}\n") and "größer" in text


def test_counts_cannot_be_changed_after_the_check() -> None:
    mine = np.array(COUNTS)
    found = example(counts=mine)
    mine[0, 0] = 0
    assert found.counts[0, 0] == 70
    with pytest.raises(ValueError, match="read-only"):
        found.counts[0, 0] = 1


def _set(name: str, value: Any) -> Callable[[dict[str, Any]], object]:
    return lambda data: data.__setitem__(name, value)


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (_set("fairbench.calibration", 2), "field fairbench.calibration: it is 2, this fairbench reads 1"),
        (_set("fairbench.calibration", None), "field fairbench.calibration: it is None"),
        (lambda d: d.pop("fairbench.calibration"), "is no calibration file"),
        (lambda d: d.pop("domain"), "field domain: this field is required"),
        (_set("domain", ""), "field domain: .*at least 1 character"),
        (_set("weights", 1), "field weights: there is no such field"),
        (_set("labeller_id", "phantom"), "field labeller_id"),
        (_set("seed", "3"), "field seed: .*integer"),
        (lambda d: d["counts"][1].__setitem__(2, -1), r"field counts\.1\.2: .*greater than or equal to 0.*-1"),
        (lambda d: d["counts"][1].__setitem__(2, 1.5), r"field counts\.1\.2: .*integer"),
        (lambda d: d["counts"][1].__setitem__(2, True), r"field counts\.1\.2: .*integer"),
        (lambda d: d["counts"][1].__setitem__(2, 2**70), r"field counts\.1\.2"),
        (lambda d: d["counts"][1].pop(), "field counts: its rows differ in length"),
        (lambda d: d["counts"].pop(), r"field counts: its shape is \(4, 5\), that of rows and columns \(5, 5\)"),
        (_set("counts", []), r"field counts: its shape is \(0,\)"),
        (_set("attributes", []), "field attributes: name at least one"),
        (_set("attributes", ["gender", "gender"]), "field attributes: .*each once"),
        (_set("attributes", ["gender"]), r"field columns: \['female', 'W'\] must hold one label for each of gender"),
        (lambda d: d["rows"].__setitem__(1, ["female", "W"]), r"field rows: \['female', 'W'\] stands twice"),
        (lambda d: d["columns"].__setitem__(1, ["female", "W"]), "field columns: .* stands twice"),
        (
            lambda d: d["rows"].__setitem__(1, ["female", "Q"]),
            r"field rows: \['female', 'Q'\] is not among the columns",
        ),
        (lambda d: d["rows"].insert(0, d["rows"].pop()), r"field rows: \['no person'\] is not among the columns"),
        (lambda d: d["rows"].insert(0, d["rows"].pop(1)), "field rows: .*in their order"),
        (lambda d: d["rows"].pop(0), "field rows: .*in their order"),
        (lambda d: d["columns"].pop(), r"field columns: the last one must be \['no face'\]"),
        (_set("columns", []), r"field columns: the last one must be \['no face'\]"),
        (lambda d: d["columns"].insert(0, d["columns"].pop(1)), "field columns: list all combinations"),
        (lambda d: d["columns"].pop(0), "field columns: list all combinations"),
        (lambda d: d["independent_check"].__setitem__("route", "by eye"), r"field independent_check\.route"),
        (
            lambda d: d["independent_check"].__setitem__("kappa", float("nan")),
            r"field independent_check\.kappa.*finite",
        ),
    ],
)
def test_a_wrong_file_is_refused_with_file_field_and_fix(
    tmp_path: Path, change: Callable[[dict[str, Any]], object], says: str
) -> None:
    path = tmp_path / "c.json"
    example().write(path)
    data = json.loads(path.read_text())
    change(data)
    path.write_text(json.dumps(data))
    with pytest.raises(CardError, match=says) as caught:
        confusion.read(path)
    assert str(path) in str(caught.value)


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b"labeller: phantom\n", "not a JSON file"),
        (b"\xff\xfe", "not a JSON file"),
        (b"[" * 100_000, "not a JSON file"),
        (b'{"fairbench.calibration": 1, "seed": 1, "seed": 2}', "a field stands twice"),
        (b"[1]", "no calibration file"),
        (None, "cannot be read .*No such file"),
    ],
)
def test_what_is_no_calibration_at_all(tmp_path: Path, content: bytes | None, says: str) -> None:
    path = tmp_path / "c.json"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(CardError, match=says) as caught:
        confusion.read(path)
    assert str(path) in str(caught.value)


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"counts": np.array(COUNTS, float)}, "field counts: give whole numbers"),
        ({"counts": -np.array(COUNTS)}, "field counts: give whole numbers"),
        ({"independent_check": {"kappa": float("nan")}}, r"field independent_check\.kappa: give a finite number"),
        ({"attributes": ("gender",), "rows": (("a",),), "columns": (("a",), ("no person",), NO_FACE)}, "must hold one"),
    ],
)
def test_parts_that_do_not_fit_together_are_refused(changes: dict[str, Any], says: str) -> None:
    with pytest.raises(CardError, match=says):
        example(**changes)


def test_what_could_not_be_read_again_is_not_written(tmp_path: Path) -> None:
    with pytest.raises(CardError, match=r"c\.json, field labeller_id"):
        example(labeller_id="phantom").write(tmp_path / "c.json")
    assert list(tmp_path.iterdir()) == []


# --- on the labeller card ---

RACES = ("WMELH", "Black", "Indian", "Asian")
JOINT = tuple((g, r) for g in ("female", "male") for r in RACES)


def of_phantom(**changes: Any) -> Calibration:
    values: dict[str, Any] = {"rows": JOINT, "columns": (*JOINT, NO_FACE), "counts": np.eye(8, 9, dtype=int)}
    return example(**{**values, **changes})


def card(folder: Path, calibration: str | None = "calibrations/phantom.json") -> Path:
    """Write the card of `phantom` into an own folder, with this calibration in place of its own."""
    return copy_labeller(folder / "phantom.yaml", calibration=calibration)


def test_a_card_finds_its_calibration_and_keys_stay_as_they_are(tmp_path: Path) -> None:
    of_phantom().write(tmp_path / "calibrations" / "phantom.json")
    (tmp_path / "without").mkdir()
    loaded, plain = (catalog.load_labeller(str(p)) for p in (card(tmp_path), card(tmp_path / "without", None)))
    found = confusion.of_labeller(loaded)
    assert found is not None and found.cells == JOINT
    assert confusion.of_labeller(plain) is None
    assert cards.problems(tmp_path / "phantom.yaml") == []
    with_it, without = Labeller(loaded), Labeller(plain)
    assert with_it.faces_key("k") == without.faces_key("k")
    assert with_it.labels_key("k") == without.labels_key("k")


@pytest.mark.parametrize(
    ("made", "says"),
    [
        (None, "phantom.json cannot be read .*No such file"),
        (of_phantom(labeller="fairface"), "is the calibration of 'fairface', not of 'phantom'"),
        (of_phantom(attributes=("gender", "race")), "field attributes: phantom gives no 'race'.*did you mean 'race4'"),
        (example(), r"field columns: the labels of race4 are \['W', 'B'\]"),
        (
            of_phantom(rows=JOINT[4:] + JOINT[:4], columns=(*JOINT[4:], *JOINT[:4], NO_FACE)),
            r"field columns: the labels of gender are \['male', 'female'\]",
        ),
    ],
)
def test_check_names_a_calibration_that_is_not_the_cards(tmp_path: Path, made: Calibration | None, says: str) -> None:
    if made is not None:
        made.write(tmp_path / "calibrations" / "phantom.json")
    with pytest.raises(CardError, match=says):
        confusion.of_labeller(catalog.load_labeller(str(card(tmp_path))))
    (problem,) = cards.problems(tmp_path / "phantom.yaml")
    assert (problem.line, problem.field) == (1, "calibration")
    assert str(tmp_path) in problem.message


def test_a_calibration_of_another_state_of_the_labeller_is_refused() -> None:
    labeller = Labeller(catalog.load_labeller("phantom"))
    confusion.check_labeller(of_phantom(labeller_id=labeller.id), labeller, "c.json")
    says = f"c.json, field labeller_id: it is 0123456789ab, the labeller phantom is {labeller.id}: .*calibrate again"
    with pytest.raises(CardError, match=says):
        confusion.check_labeller(of_phantom(), labeller, "c.json")


# --- tables that cannot be meant ---


def swapped(counts: list[list[int]]) -> np.ndarray:
    """The genders of the manifest the wrong way round, for these CELLS."""
    return np.array([counts[2], counts[3], counts[0], counts[1]])


RIGHT = [[70, 10, 15, 0, 5], [8, 60, 2, 20, 10], [1, 0, 40, 2, 7], [0, 9, 1, 90, 0]]


def test_swapped_genders_are_refused_by_name(tmp_path: Path) -> None:
    """Such a table has a small condition number, and its correction turns every share round."""
    table = example(rows=CELLS, counts=swapped(RIGHT))
    with pytest.raises(CardError, match="4 of 4 cells") as caught:
        confusion.refuse_implausible(table, Path("m.csv"))
    assert str(caught.value).startswith(
        "m.csv, field counts: 'female W' is read as 'male W' more often (40 of 43 faces) than as itself (1)"
    )
    assert "--allow-implausible" in str(caught.value)
    confusion.refuse_implausible(example(rows=CELLS, counts=np.array(RIGHT)), Path("m.csv"))
    confusion.refuse_implausible(replace(table, implausible_allowed=True), Path("m.csv"))


@pytest.mark.parametrize(
    ("row", "refused"),
    [
        ([20, 30, 0, 0, 0], True),
        ([30, 30, 0, 0, 0], False),  # a tie says nothing
        ([10, 2, 0, 0, 88], False),  # missed faces are corrected as such
        ([0, 0, 0, 0, 9], False),  # no face: nothing was read wrongly
    ],
)
def test_what_counts_is_the_largest_read_cell_of_a_row(row: list[int], refused: bool) -> None:
    table = example(rows=CELLS, counts=np.array([row, *RIGHT[1:]]))
    if refused:
        with pytest.raises(CardError, match=r"'female W' is read as 'female B' more often \(30 of 50 faces\)"):
            confusion.refuse_implausible(table, Path("m.csv"))
    else:
        confusion.refuse_implausible(table, Path("m.csv"))


def test_a_run_and_a_check_of_the_card_refuse_it_too_unless_the_file_allows_it(tmp_path: Path) -> None:
    loaded = catalog.load_labeller("phantom")
    shipped = confusion.of_labeller(loaded)
    assert shipped is not None
    turned = replace(shipped, counts=np.concatenate([shipped.counts[4:8], shipped.counts[:4], shipped.counts[8:]]))
    path = card(tmp_path, "c.json")
    turned.write(tmp_path / "c.json")
    with pytest.raises(CardError, match=r"c\.json, field counts: 'female WMELH' is read as 'male WMELH'"):
        confusion.of_labeller(catalog.load_labeller(str(path)))
    assert any("more often" in str(problem) for problem in cards.problems(path))
    replace(turned, implausible_allowed=True).write(tmp_path / "c.json")
    again = confusion.of_labeller(catalog.load_labeller(str(path)))
    assert again is not None and again.implausible_allowed


def test_rows_of_few_images_are_named() -> None:
    with collecting() as notices:
        confusion.notice_few_images(example(), "c.json")
        confusion.notice_few_images(example(rows=CELLS, counts=np.array(RIGHT)), "c.json")
    (said,) = notices
    assert (said.code, said.count, said.examples) == ("small-calibration", 1, ("male W: 7",))
