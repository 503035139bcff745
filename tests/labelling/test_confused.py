"""The classifier `confused`: what it draws, what it passes on, what enters the key, and what it refuses."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pydantic import ValidationError
from scipy import stats

from fairbench import registry
from fairbench.cards import catalog
from fairbench.errors import CardError, WeightsError
from fairbench.labelling.classifiers.confused import ConfusedClassifier, ConfusedParams
from fairbench.labelling.labeller import Labeller
from fairbench.linting import cards
from fairbench.networks import identity
from fairbench.types import BuildContext, LabelSchema, RgbImage
from tests.builders.cards import copy_labeller
from tests.builders.classifiers import save_linear_onnx

DECLARED = LabelSchema({"kind": ("a", "b"), "other": ("x", "y", "z")})
# Channel red tells kind, green and blue tell other.
WEIGHT = np.array([[9, -9, 0, 0, 0], [0, 0, 9, 0, 0], [0, 0, 0, 9, 0]], dtype=np.float32)
TABLE = [[0.7, 0.3], [0.1, 0.9]]


def declared(tmp_path: Path, **changes: Any) -> dict[str, Any]:
    """Return the parameters of a classifier of `kind` (confused) and `other`, as a card holds them."""
    path = save_linear_onnx(tmp_path / "m.onnx", WEIGHT)
    heads = {"kind": {"output": "scores", "slice": (0, 2)}, "other": {"output": "scores", "slice": (2, 5)}}
    inner = {
        "type": "onnx",
        "weights": {"path": path.name},
        "input": {"size": (8, 8), "resize": "pil-bilinear"},
        "heads": heads,
    }
    return {"classifier": inner, "attributes": ["kind"], "table": TABLE, **changes}


def build(tmp_path: Path, schema: LabelSchema = DECLARED, **changes: Any) -> ConfusedClassifier:
    params = ConfusedParams.model_validate(declared(tmp_path, **changes))
    return ConfusedClassifier(params, BuildContext(base_dir=tmp_path), schema)


def chips(count: int, red: int, seed: int = 0) -> list[RgbImage]:
    """Return noisy chips of a red level, all different."""
    values = np.random.default_rng(seed).integers(0, 100, (count, 8, 8, 3), dtype=np.uint8)
    values[..., 0] = red
    return list(values)


def read(classifier: ConfusedClassifier, images: list[RgbImage]) -> list[int]:
    return classifier.classify(images)["kind"].argmax(axis=1).tolist()


def test_labels_are_drawn_from_the_row_of_the_inner_label(tmp_path: Path) -> None:
    classifier = build(tmp_path)
    images = chips(2000, red=255)
    got = classifier.classify(images)["kind"]
    assert got.dtype == np.float32 and set(got.ravel().tolist()) == {0.0, 1.0}
    assert stats.binomtest(int(got[:, 0].sum()), 2000, 0.7).pvalue > 1e-3
    # without confusion the same chips are all `a`
    assert set(read(build(tmp_path, table=[[1, 0], [0, 1]]), images)) == {0}
    assert set(read(build(tmp_path, table=[[0, 1], [1, 0]]), images)) == {1}


def test_a_joint_table_orders_cells_as_the_product_of_the_labels(tmp_path: Path) -> None:
    shift = np.roll(np.eye(6), 1, axis=1)  # (a, x) -> (a, y) -> (a, z) -> (b, x) ...
    classifier = build(tmp_path, attributes=["kind", "other"], table=shift.tolist())
    plain = build(tmp_path, table=np.eye(2).tolist())
    images = [
        *chips(9, red=255),
        np.full((8, 8, 3), (255, 0, 99), np.uint8),
        np.full((8, 8, 3), (255, 99, 0), np.uint8),
    ]
    before, after = plain.classify(images), classifier.classify(images)
    cells = [p["kind"].argmax(axis=1) * 3 + p["other"].argmax(axis=1) for p in (before, after)]
    assert {0, 1} <= set(cells[0].tolist())
    np.testing.assert_array_equal(cells[1], (cells[0] + 1) % 6)
    # named the other way round, the same table means other cells: (x, a) -> (x, b) -> (y, a) ...
    turned = build(tmp_path, attributes=["other", "kind"], table=shift.tolist()).classify(images)
    np.testing.assert_array_equal(
        turned["other"].argmax(axis=1) * 2 + turned["kind"].argmax(axis=1),
        (before["other"].argmax(axis=1) * 2 + before["kind"].argmax(axis=1) + 1) % 6,
    )


def test_a_chip_is_read_the_same_alone_and_in_any_batch(tmp_path: Path) -> None:
    images = chips(60, red=255)
    whole = read(build(tmp_path), images)
    assert whole == [read(build(tmp_path), [image])[0] for image in images]
    assert whole[::-1] == read(build(tmp_path), images[::-1])
    # A view of other strides holds the same pixels.
    assert whole == read(build(tmp_path), [np.asfortranarray(image) for image in images])
    # Golden: a changed draw needs a new version.
    assert (ConfusedClassifier.version, "".join(map(str, whole[:24]))) == (1, "010000100000000000010001")


def test_the_seed_is_another_draw(tmp_path: Path) -> None:
    images = chips(400, red=255)
    first, second = np.array(read(build(tmp_path), images)), np.array(read(build(tmp_path, seed=1), images))
    both = np.mean(first & second)
    assert both == pytest.approx(0.3 * 0.3, abs=0.05), "independent draws, not equal ones"


def test_other_attributes_pass_through_and_no_chips_are_no_rows(tmp_path: Path) -> None:
    classifier = build(tmp_path)
    assert classifier.schema == DECLARED
    images = chips(5, red=0)
    inner = registry.resolve("classifiers", "onnx")
    alone = inner(
        registry.parse_params(inner, {k: v for k, v in declared(tmp_path)["classifier"].items() if k != "type"}),
        BuildContext(base_dir=tmp_path),
        DECLARED,
    )
    np.testing.assert_array_equal(classifier.classify(images)["other"], alone.classify(images)["other"])
    assert {name: p.shape for name, p in classifier.classify([]).items()} == {"kind": (0, 2), "other": (0, 3)}


@pytest.mark.parametrize(
    ("changes", "loc", "says"),
    [
        ({"table": [[0.7, 0.2], [0.1, 0.9]]}, ("table",), "row 1 sums to 0.9"),
        ({"table": [[0.7, 0.3], [1.0]]}, ("table",), "row 2 has 1 columns"),
        ({"table": [[0.7, 0.3], [1.1, -0.1]]}, ("table", 1, 0), "less than or equal to 1"),
        ({"attributes": ["kind", "kind"]}, ("attributes",), "stands twice"),
        ({"attributes": []}, ("attributes",), "at least 1 item"),
        ({"seed": -1}, ("seed",), "greater than or equal to 0"),
        ({"classifier": {"type": "onx"}}, ("classifier",), "did you mean 'onnx'"),
        ({"classifier": {"weights": {}}}, ("classifier", "type"), "Field required"),
        ({"classifier": {"type": "onnx", "wieghts": {}}}, ("classifier", "wieghts"), "Extra inputs"),
    ],
)
def test_wrong_parameters_are_named(tmp_path: Path, changes: dict[str, Any], loc: tuple[str, ...], says: str) -> None:
    with pytest.raises(ValidationError) as caught:
        ConfusedParams.model_validate(declared(tmp_path, **changes))
    assert any(e["loc"] == loc and says in e["msg"] for e in caught.value.errors()), caught.value


@pytest.mark.parametrize(
    ("schema", "changes", "says"),
    [
        (DECLARED, {"attributes": ["knid"]}, "'knid'.*declares no such attribute.*did you mean 'kind'"),
        (DECLARED, {"attributes": ["kind", "other"]}, r"2 rows.*2 \(kind\) x 3 \(other\) = 6"),
        (LabelSchema({**DECLARED.labels, "age": ("young", "old")}), {"attributes": ["age"]}, "onnx does not give it"),
    ],
)
def test_a_table_that_does_not_fit_the_card_is_refused(
    tmp_path: Path, schema: LabelSchema, changes: dict[str, Any], says: str
) -> None:
    with pytest.raises(CardError, match=says):
        build(tmp_path, schema, **changes)


def test_the_inner_weights_and_settings_enter_the_key_by_content(tmp_path: Path) -> None:
    def key(folder: Path = tmp_path, **changes: Any) -> str:
        params = ConfusedParams.model_validate({**declared(tmp_path), **changes})
        return str(identity.of_plugin("confused", ConfusedClassifier, params, folder))

    first, inner = key(), declared(tmp_path)["classifier"]
    moved = tmp_path / "moved"
    moved.mkdir()
    shutil.copy(tmp_path / "m.onnx", moved / "other.onnx")
    assert key(moved, classifier={**inner, "weights": {"path": "other.onnx"}}) == first, "a path is transport"
    assert key(classifier={**inner, "batch_size": 3}) == first, "so is a batch size"
    save_linear_onnx(moved / "m.onnx", 2 * WEIGHT)
    others = [
        key(moved),
        key(seed=1),
        key(table=[[0.6, 0.4], [0.1, 0.9]]),
        key(attributes=["other"]),
        key(classifier={**inner, "input": {"size": (4, 8), "resize": "pil-bilinear"}}),
    ]
    assert len({first, *others}) == 6
    with pytest.raises(WeightsError, match=r"none\.onnx"):
        key(classifier={**inner, "weights": {"path": "none.onnx"}})


# --- in a card ---


def card(tmp_path: Path, old: str, new: str) -> Path:
    return copy_labeller(tmp_path / "noisy.yaml", (old, new), name="phantom-noisy")


@pytest.mark.parametrize(
    ("old", "new", "field", "says"),
    [
        ("resize: pil-bilinear", "resize: pil", "classifiers.0.classifier.input.resize", "Input should be"),
        ("layout: nchw", "layuot: nchw", "classifiers.0.classifier.input.layuot", "no such field"),
        ("type: onnx", "type: onx", "classifiers.0.classifier", "did you mean 'onnx'"),
        ("[0.832, ", "[0.833, ", "classifiers.0.table", "row 1 sums to 1.001"),
        ("race4: {output", "race: {output", "classifiers.0.classifier.heads.race", "no attribute 'race'"),
        ("race4: {output", "race: {output", "attributes.race4", "no classifier gives it"),
    ],
)
def test_check_names_field_and_line_inside_the_wrapped_classifier(
    tmp_path: Path, old: str, new: str, field: str, says: str
) -> None:
    path = card(tmp_path, old, new)
    (problem,) = (p for p in cards.problems(path) if p.field == field)
    assert says in problem.message
    line = path.read_text().splitlines()[problem.line - 1]
    assert line.split(":")[0].strip() == field.rsplit(".", 1)[-1]


def test_absent_inner_weights_are_found_when_the_labeller_is_loaded(tmp_path: Path) -> None:
    """What `fairbench doctor` does."""
    Labeller(catalog.load_labeller("phantom-noisy")).load()
    path = card(tmp_path, "path: weights/phantom_classifier.onnx", "path: nowhere/classifier.onnx")
    with pytest.raises(WeightsError, match=r"classifier\.onnx were not found"):
        Labeller(catalog.load_labeller(str(path))).load()
    with pytest.raises(CardError, match=r"field table: it has 8 rows.*4 \(race4\) = 4"):
        Labeller(
            catalog.load_labeller(str(card(tmp_path, "attributes: [gender, race4]", "attributes: [race4]")))
        ).load()


def test_the_shipped_table_is_what_its_notes_say() -> None:
    loaded = catalog.load_labeller("phantom-noisy").card
    table = np.array(loaded.classifiers[0].params["table"])
    thousandths = np.rint(table * 1000)
    np.testing.assert_allclose(table * 1000, thousandths, atol=1e-9)
    assert thousandths.sum(axis=1).tolist() == [1000] * 8
    assert np.linalg.cond(table) == pytest.approx(1.6, abs=0.05)
    cells = table.reshape(2, 4, 2, 4)
    gender = np.array([[cells[g, r, g].sum() for r in range(4)] for g in range(2)])
    race = np.array([[cells[g, r, :, r].sum() for r in range(4)] for g in range(2)])
    np.testing.assert_allclose(gender[:, 1], [0.82, 0.84])
    assert gender[:, [0, 2, 3]].min() > 0.8999 and gender.max() < 0.9301
    assert (race.min(), race.max()) == (pytest.approx(0.83), pytest.approx(0.88))
    both_right = np.array([[cells[g, r, g, r] for r in range(4)] for g in range(2)])
    spread = np.sqrt(gender * (1 - gender) * race * (1 - race))
    correlation = (both_right - gender * race) / spread
    assert correlation.min() > 0.245 and correlation.max() < 0.325
    assert cells[0, 1, :, 2].sum() == pytest.approx(0.104) and cells[0, 2, :, 1].sum() == pytest.approx(0.068)
