"""Counting and the metrics stage, on tables written by hand: every count is known."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from fairbench.labelling import faces
from fairbench.measure import series as measure_series
from fairbench.measure import table as metrics_table
from fairbench.storage import schemas
from fairbench.storage.store import Store
from fairbench.types import Face, FoundFace
from tests.builders.label_tables import PROMPTS, Tables, hand_labeller


@pytest.fixture
def tables(tmp_path: Path) -> Tables:
    return Tables(Store(tmp_path), hand_labeller())


def values(
    tables: Tables, references: measure_series.References | None = None
) -> dict[tuple[str, str], measure_series.Series]:
    return {(s.metric, s.attribute): s for s in measure_series.evaluate(tables.count(), PROMPTS, references or {})}


def test_margins_and_crosses_are_sums_of_the_joint_cells(tables: Tables) -> None:
    for gender, race in [(0, "White"), (0, "Middle Eastern"), (1, "Black"), (1, "East Asian")]:
        tables.image(0, [(gender, race, "")])
    tables.image(1, [(1, "Indian", "")])
    counts = tables.count()
    assert counts.of(["gender"]).tolist() == [[2, 2], [0, 1]]
    assert counts.of(["race7"]).tolist() == [[1, 1, 0, 1, 0, 0, 1], [0, 0, 0, 0, 0, 1, 0]]
    assert counts.of(["race4"]).tolist() == [[2, 1, 0, 1], [0, 0, 1, 0]]
    assert counts.of(["gender", "race4"])[0].tolist() == [2, 0, 0, 0, 0, 1, 0, 1]
    assert counts.of(["race4", "gender"])[0].tolist() == [2, 0, 0, 1, 0, 0, 0, 1]  # not declared, but the same cells
    with pytest.raises(ValueError, match="come from one source"):
        counts.of(["race4", "race7"])


def test_absent_classes_count_as_zero(tables: Tables) -> None:
    """K taken from the classes that occurred, so that one class seen looks perfectly fair."""
    for _ in range(5):
        tables.image(0, [(0, "White", "")])
        tables.image(1, [(0, "White", "")])
    found = values(tables)
    assert found["kl-uniform", "gender"].values.tolist() == pytest.approx([np.log(2)] * 2)
    assert found["rd", "race4"].values.tolist() == pytest.approx([0.5, 0.5])
    assert found["entropy", "race7"].values.tolist() == [0.0, 0.0]


def test_no_faces_is_null_with_a_reason(tables: Tables) -> None:
    """Missing metrics filled with 0, empty input scored as fair."""
    tables.image(0, [(0, "White", "")])
    tables.image(1)
    tables.image(1, status="failed")
    found = values(tables)
    rd = found["rd", "gender"]
    assert rd.values[0] == 1.0
    assert np.isnan(rd.values[1])
    assert rd.reasons == [None, "no faces"]
    assert metrics_table._task_value(rd) == (1.0, "mean over 1 of 2 prompts (1 without: no faces)")
    assert found["no-face-rate", "faces"].values.tolist() == [0.0, 1.0]


def test_an_image_without_a_face_is_not_in_the_frequencies(tables: Tables) -> None:
    """Undetected images kept in the denominator, or a blank chip classified."""
    for _ in range(2):
        tables.image(0, [(0, "White", "")])
        tables.image(0)
        tables.image(1, [(1, "White", "")])
    found = values(tables)
    assert found["majority-share", "gender"].values[0] == 1.0
    assert found["majority-share", "gender"].faces.tolist() == [2, 2]
    assert found["no-face-rate", "faces"].values.tolist() == [0.5, 0.0]


def test_following_is_of_the_faces_whose_labels_are_known(tables: Tables) -> None:
    for gender, race in [(1, "White"), (1, "Latino_Hispanic"), (0, "White"), (1, "Black")]:
        tables.image(0, [(gender, race, "")])
    tables.image(0)
    tables.image(1, [(0, "White", "")])

    def following(*stated: dict[str, str]) -> measure_series.Series | None:
        asked = [dataclasses.replace(p, stated=s) for p, s in zip(PROMPTS, stated, strict=True)]
        found = {s.metric: s for s in measure_series.evaluate(tables.count(), asked, {})}
        return found.get("attribute-following")

    both = following({"race4": "WMELH", "gender": "Female"}, {"gender": "Female"})
    assert both is not None
    assert (both.values.tolist(), both.faces.tolist()) == ([0.5, 0.0], [4, 1])
    odd = following({"gender": "woman"}, {})
    assert odd is not None
    assert np.isnan(odd.values).all()
    assert odd.reasons == ["the labeller has no gender 'woman'", "states nothing"]
    twice = following({"race4": "Asian", "race7": "Indian"}, {"age": "old"})
    assert twice is not None
    assert twice.reasons == ["race4 and race7 are one attribute of the labeller", "the labeller has no age 'old'"]
    assert following({}, {}) is None


def test_signed_metrics_follow_the_labels_not_the_order(tables: Tables) -> None:
    """gender orders of two classifiers mixed up. Here Male is 0; in shen2024 female is."""
    for gender in (0, 0, 0, 1):
        tables.image(0, [(gender, "White", "")])
        tables.image(1, [(1 - gender, "White", "")])
    assert values(tables)["mmdt-gap", "gender"].values.tolist() == [0.5, -0.5]
    assert measure_series._order(tables.labeller, ("race4",), ("male", "female")) is None


def test_signed_metrics_of_a_labeller_with_the_other_order(tmp_path: Path) -> None:
    """As in shen2024, female is 0."""
    tables = Tables(Store(tmp_path), hand_labeller(genders=("Female", "Male")))
    for gender in (0, 0, 0, 1):
        tables.image(0, [(gender, "White", "")])
        tables.image(1, [(1 - gender, "White", "")])
    assert tables.count().of(["gender"]).tolist() == [[1, 3], [3, 1]]
    assert values(tables)["mmdt-gap", "gender"].values.tolist() == [0.5, -0.5]


def test_a_derived_label_is_the_map_of_its_sources_label() -> None:
    """Even where another class has the highest summed probability: counts of race4 are sums of race7's."""
    made = hand_labeller()
    race7 = np.array([[0.3, 0.4, 0.3, 0, 0, 0, 0]], dtype=np.float32)  # White and Latino together outweigh Black
    assert (race7 @ made.derivation("race4")).argmax() == 0
    assert made.most_probable({"gender": race7[:, :2], "race7": race7})["race4"].tolist() == [1]


def test_the_largest_face_is_largest_inside_the_image() -> None:
    outside = FoundFace(Face((-900, -900, 30, 30), 0.9), 0)
    inside = FoundFace(Face((40, 40, 80, 80), 0.8), 0)
    rows = faces.image_rows("f", b"i" * 16, [outside, inside], 100, 100)
    assert [r["is_primary"] for r in rows] == [False, True]
    assert [r["is_central"] for r in rows] == [False, True]
    assert rows[1]["area_frac"] == pytest.approx(0.16)


def test_the_policy_chooses_and_excludes_and_counts(tmp_path: Path) -> None:
    three = [(0, "White", ""), (1, "Black", ""), (1, "Black", "")]
    for policy, expected, excluded in (
        ({"select": "largest"}, [1, 0], 0),
        ({"select": "central"}, [0, 1], 0),
        ({"select": "all"}, [1, 2], 0),
        ({"select": "all", "min_area": 0.2}, [1, 1], 1),
        ({"select": "all", "min_prob": 0.95}, [0, 0], 3),
    ):
        tables = Tables(Store(tmp_path / str(policy)), hand_labeller(**policy))
        tables.image(0, three, areas=[0.5, 0.3, 0.1])
        tables.image(1)
        counts = tables.count()
        assert counts.of(["gender"])[0].tolist() == expected
        series = {(s.metric, s.attribute): s for s in measure_series.evaluate(counts, PROMPTS, {})}
        assert series["rd", "gender"].excluded[0] == excluded, policy


def test_derived_probabilities_rest_on_the_faces_of_their_source(tmp_path: Path) -> None:
    tables = Tables(Store(tmp_path), hand_labeller(select="all", min_prob=0.5))
    for prob in (0.9, 0.4):  # the second face is too unsure of race7; its race4 would pass
        tables.image(0, [(0, "White", "")], prob=prob)
        tables.image(1, [(0, "Black", "")], prob=prob)
    counts = tables.count()
    assert counts.of(["race4"]).sum(axis=1).tolist() == [1, 1]
    assert counts.probs["race4"].sum(axis=1) == pytest.approx([1, 1])


def test_rows_written_twice_are_counted_once(tables: Tables) -> None:
    """Two processes of a sharded run may both have labelled an image, in different shards."""
    tables.image(0, [(0, "White", "")])
    tables.image(1, [(1, "White", "")])
    once = tables.count()
    for table in ("faces", "labels"):
        shards = [t for _, t in tables.store.scan(table, table[0])]
        tables.store.write(table, table[0], pa.concat_tables(shards).cast(schemas.schema(table)))
    twice = tables.count()
    assert np.array_equal(once.joint, twice.joint)
    assert np.array_equal(once.selected, twice.selected)
    assert all(np.array_equal(once.probs[a], twice.probs[a]) for a in once.probs)


def test_mean_probabilities(tables: Tables) -> None:
    for gender in (0, 0, 1):
        tables.image(0, [(gender, "White", "")], prob=0.8)
        tables.image(1, [(0, "White", "")], prob=0.8)
    mean = np.array([[(0.8 + 0.8 + 0.2) / 3, (0.2 + 0.2 + 0.8) / 3], [0.8, 0.2]])
    expected = np.sqrt(((mean - 0.5) ** 2).sum(axis=1))
    assert values(tables)["l2-softmax", "gender"].values == pytest.approx(expected, abs=1e-6)
    assert ("l2-softmax", "gender_x_race4") not in values(tables)


def test_distance_to_a_reference(tables: Tables) -> None:
    for gender in (0, 1):
        tables.image(0, [(gender, "White", "")])
        tables.image(1, [(0, "White", "")])
    found = values(tables, {"gender": {"nurse": (0.1, 0.9)}})["distance-to-reference", "gender"]
    assert found.values[0] == pytest.approx(0.4)
    assert np.isnan(found.values[1])
    assert found.reasons == [None, "no reference"]
    assert ("distance-to-reference", "gender") not in values(tables)


def test_the_table_has_a_row_for_everything(tables: Tables) -> None:
    tables.image(0, [(0, "White", "")])
    tables.image(1)
    counts = tables.count()
    series = list(measure_series.evaluate(counts, PROMPTS, {}))
    table = metrics_table.build(metrics_table.RunNames("r", "m", "none", "t", "l"), PROMPTS, counts, series, [])
    assert len(table) == 3 * len(series)
    rows = [r for r in table.to_pylist() if r["metric"] == "rd" and r["attribute"] == "gender"]
    assert [(r["scope"], r["scope_value"], r["value"]) for r in rows] == [
        ("prompt", "a nurse", 1.0),
        ("prompt", "a judge", None),
        ("task", "t", 1.0),
    ]
    for row in rows:
        assert row["estimate"] == "raw"
        assert row["ci_low"] is row["floor"] is row["calibration_sha"] is None
    # Nothing is ever null without a reason, nothing is NaN.
    assert all((r["value"] is not None) or r["reason"] for r in table.to_pylist())
