"""The labeller cards: every plug-in accepts its part, and the label orders are the published ones."""

from __future__ import annotations

from pathlib import Path

import pytest
from pydantic import ValidationError

from fairbench import registry
from fairbench.cards import yamlfile
from fairbench.cards.cards import LabellerCard

ROOT = Path(__file__).parents[2]
SHIPPED = sorted((ROOT / "models" / "labellers").glob("*.yaml"))
OURS = [ROOT / "models" / "labellers" / f"{name}.yaml" for name in ("fairface", "fairface-dlib", "shen2024", "clip")]
GEAR = ROOT / "tests" / "data" / "labellers" / "gear-dlib.yaml"


def card(path: Path) -> LabellerCard:
    return yamlfile.parse(yamlfile.load(path), LabellerCard)


def labels(name: str, attribute: str) -> list[str]:
    return card(ROOT / "models" / "labellers" / f"{name}.yaml").attributes[attribute].labels


@pytest.mark.parametrize("path", sorted({*SHIPPED, *OURS, GEAR}), ids=lambda p: p.stem)
def test_a_card_is_complete_and_every_plugin_accepts_its_part(path: Path) -> None:
    labeller = card(path)
    assert labeller.name == path.stem
    assert labeller.source and labeller.notes and labeller.licence
    for route in labeller.routes:
        registry.parse_params(registry.resolve("detectors", route.detector.type), route.detector.params)
        registry.parse_params(registry.resolve("crops", route.crop.type), route.crop.params)
    given: list[str] = []
    for ref in labeller.classifiers:
        params = registry.parse_params(registry.resolve("classifiers", ref.type), ref.params)
        params = getattr(getattr(params, "classifier", None), "params", params)  # of the classifier that one wraps
        named = (getattr(params, f) for f in ("heads", "prompts", "questions") if hasattr(params, f))
        given += next(named, ("gender", "race4"))  # a nearest render has no settings of its own for them
    assert sorted(given) == sorted(name for name, spec in labeller.attributes.items() if spec.source is None)


def test_gender_orders_of_fairface_and_shen_are_not_mixed_up() -> None:
    # FairFace: Male = 0; Shen et al.: female = 0. Mixed up in silence by more than one published script.
    assert labels("fairface", "gender") == labels("fairface-dlib", "gender") == ["male", "female"]
    assert labels("shen2024", "gender") == ["female", "male"]


def test_race_orders() -> None:
    race7 = ["White", "Black", "Latino_Hispanic", "East Asian", "Southeast Asian", "Indian", "Middle Eastern"]
    assert labels("fairface", "race7") == labels("fairface-dlib", "race7") == race7
    # Shen's order. FairFace's own four-class model has Asian before Indian, and is not used.
    for name in ("shen2024", "fairface", "fairface-dlib", "clip"):
        assert labels(name, "race4") == ["WMELH", "Black", "Indian", "Asian"]


def test_age_orders() -> None:
    bins = ["0-2", "3-9", "10-19", "20-29", "30-39", "40-49", "50-59", "60-69", "70+"]
    assert labels("fairface", "age") == labels("fairface-dlib", "age") == bins
    assert labels("shen2024", "age") == ["young", "old"]


@pytest.mark.parametrize("name", ["fairface", "fairface-dlib"])
def test_the_documented_maps(name: str) -> None:
    attributes = card(ROOT / "models" / "labellers" / f"{name}.yaml").attributes
    race4, age3 = attributes["race4"], attributes["age3"]
    assert (race4.source, age3.source) == ("race7", "age")
    assert race4.map == {
        "White": "WMELH",
        "Middle Eastern": "WMELH",
        "Latino_Hispanic": "WMELH",
        "Black": "Black",
        "Indian": "Indian",
        "East Asian": "Asian",
        "Southeast Asian": "Asian",
    }
    assert [age3.map[b] for b in attributes["age"].labels] == (
        ["young_0_39"] * 5 + ["middle_40_59"] * 2 + ["old_60_plus"] * 2
    )


def test_both_fairface_cards_declare_one_classifier() -> None:
    first, second = card(OURS[0]), card(OURS[1])
    assert first.classifiers == second.classifiers and first.attributes == second.attributes


def test_shens_input_and_fallback() -> None:
    labeller = card(OURS[2])
    assert [(r.detector.type, r.crop.params["expand"]) for r in labeller.routes] == [
        ("insightface", 0.5),
        ("dlib", 1.1),
    ]
    for ref in labeller.classifiers:
        params = registry.parse_params(registry.resolve("classifiers", "torchvision"), ref.params)
        assert (params.input.range, params.input.mean, params.input.std) == ((-1, 1), None, None)
        assert params.weights.sha256 is None
    assert len({ref.params["weights"]["file"] for ref in labeller.classifiers}) == 3


# --- labels that could not be told apart, or would be counted twice ---


def changed(**changes: object) -> dict[str, object]:
    fields: dict[str, object] = yamlfile.load(ROOT / "models" / "labellers" / "fairface.yaml").data
    return {**fields, **changes}


RACE = {"labels": ["a", "b", "c"]}
GENDER = {"labels": ["m", "f"]}
BOTH = {"gender": GENDER, "race": RACE}
TWO = {"labels": ["ab", "c"], "from": "race", "map": {"a": "ab", "b": "ab", "c": "c"}}


@pytest.mark.parametrize(
    ("attributes", "crosses", "says"),
    [
        ({**BOTH, "gender_x_race": RACE}, [["gender", "race"]], "attribute gender_x_race: '_x_' joins"),
        (BOTH, [["gender", "race"], ["gender", "race"]], "crosses: gender x race stands twice"),
        (BOTH, [["gender", "race"], ["race", "gender"]], "crosses: race x gender stands twice, in whichever order"),
        ({**BOTH, "two": TWO}, [["race", "two"]], "come from one attribute"),
        ({**BOTH, "two": TWO, "pair": TWO}, [["two", "pair"]], "come from one attribute"),
        (BOTH, [["gender", "gender"]], "come from one attribute"),
        (BOTH, [["gender", "age"]], "crosses: 'age' is not an attribute"),
        (BOTH, [["gender"]], "at least 2 items"),
        ({"gender": {"labels": ["m", "m"]}}, [], "a label stands twice"),
        ({"gender": {"labels": ["m", ""]}}, [], "empty, or begins or ends with a blank"),
        ({"gender": {"labels": ["m", "f "]}}, [], "empty, or begins or ends with a blank"),
        ({"gender": {"labels": ["m", "f\x1b[31m"]}}, [], r"U\+001B"),
        ({"gender": {"labels": ["m", "f\n"]}}, [], r"U\+000A"),
        ({"gender": {"labels": ["m", "f\u200b"]}}, [], r"U\+200B"),
        ({"gender": {"labels": ["m", "no face"]}}, [], "label 'no face': a calibration"),
        ({"gender": {"labels": ["m"]}}, [], "at least 2 items"),
        ({"faces": GENDER}, [], "attribute faces: this name stands for something else"),
        ({**BOTH, "two": {**TWO, "labels": ["ab", "c", "d"]}}, [], "map leads nothing to 'd'"),
        ({f"a{i}": {"labels": list("abcdefghi")} for i in range(6)}, [], "1000000 combinations, at most 100000"),
    ],
)
def test_a_schema_that_would_count_a_group_twice_or_never_is_refused(
    attributes: dict[str, object], crosses: list[list[str]], says: str
) -> None:
    with pytest.raises(ValidationError, match=says):
        LabellerCard.model_validate(changed(attributes=attributes, crosses=crosses))


def test_crosses_of_different_attributes_are_let_be() -> None:
    age = {"labels": ["y", "o"]}
    crosses = [["gender", "race"], ["gender", "age"], ["gender", "race", "age"], ["gender", "two"]]
    made = LabellerCard.model_validate(changed(attributes={**BOTH, "age": age, "two": TWO}, crosses=crosses))
    assert made.crosses == crosses
