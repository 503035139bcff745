"""Card files from anybody: bounded before they are parsed, plain values only, and always one sentence."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from pydantic import Field, ValidationError

from fairbench.cards import yamlfile
from fairbench.cards.cards import DtypeChoice, ModelCard, TaskCard, Template
from fairbench.cards.catalog import roots
from fairbench.errors import CardError
from fairbench.linting import cards
from fairbench.protocols import Params

TASK = (
    "name: t\nversion: 1\ntitle: T\nsubjects: s.csv\nsource: s\nlicence: l\ntemplates: [{id: a, text: 'a {subject}'}]\n"
)


def load(folder: Path, text: str) -> dict[str, Any]:
    (folder / "card.yaml").write_text(text, encoding="utf-8")
    return yamlfile.load(folder / "card.yaml").data


LAUGHS = "a0: &a0 [x, x, x, x, x, x, x, x, x]\n" + "".join(
    f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 9)}]\n" for i in range(1, 12)
)
MERGES = "a0: &a0 {k: 1}\n" + "".join(
    f"a{i}: &a{i} {{<<: [{', '.join([f'*a{i - 1}'] * 9)}], k{i}: 1}}\n" for i in range(1, 12)
)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (LAUGHS, "holds more than 50,000 values, references filled in"),
        (MERGES, "holds more than 50,000 values, references filled in"),
        ("a: &a [*a]\n", "nests .or refers to itself. more than 50 levels"),
        ("a: " + "[" * 5000, "not valid YAML|nests"),
        ("a: " + "x" * (300 << 10), "is larger than 0.25 MiB"),
        ("a: !!timestamp x\n", "line 1, field a: .*timestamp is no text, number, list or mapping; remove the tag"),
        ("a: !!python/object/apply:os.system [ls]\n", "field a: .* remove the tag"),
        ("a: !!set {x, y}\n", "remove the tag"),
        ("a: !!binary aGk=\n", "remove the tag"),
        ("a: !mine x\n", "field a: !mine is no text"),
        ("a: !!int x\n", "not valid YAML"),
        ("a: !!int ''\n", "not valid YAML"),
        ("a: !!bool x\n", "not valid YAML"),
        ("a: " + "1" * 5000, "not valid YAML"),
        ("a:\n  b: 1:30\n", "line 2, field a.b: YAML reads 1:30 as a number to another base"),
        ("a: 010\n", "field a: YAML reads 010 as a number to another base"),
        ("? [a]\n: 1\n", "line 1: a field's name is a text of at most 500 characters"),
        ("x" * 600 + ": 1\n", "a field's name is a text|not valid YAML"),
        ("a: 1\n---\na: 2\n", "not valid YAML"),
        ("a: \x1b[31m\n", "not valid YAML"),
        ("a: \0\n", "line 1 holds a NUL character"),
        ("- a\n", "a card is a list of `field: value` lines"),
        ("", "a card is a list of `field: value` lines"),
    ],
)
def test_what_is_no_card_is_one_sentence_at_once(tmp_path: Path, text: str, words: str) -> None:
    start = time.process_time()
    with pytest.raises(CardError, match=words) as caught:
        load(tmp_path, text)
    assert time.process_time() - start < 10
    assert len(str(caught.value)) < 1000 + len(str(tmp_path))
    assert "\n" not in str(caught.value)


def test_only_regular_files() -> None:
    with pytest.raises(CardError, match="not a regular file"):
        yamlfile.load(Path("/dev/zero"))


def test_anchors_and_merges_of_a_reasonable_size_are_read(tmp_path: Path) -> None:
    assert load(tmp_path, "a: &a {x: 1, y: 2}\nb: {<<: *a, y: 3}\nc: [*a, *a]\n") == {
        "a": {"x": 1, "y": 2},
        "b": {"x": 1, "y": 3},
        "c": [{"x": 1, "y": 2}] * 2,
    }


def test_numbers_are_read_as_they_are_written(tmp_path: Path) -> None:
    data = load(tmp_path, "a: 1e-3\nb: -2E+4\nc: 0x1f\nd: 1_000\ne: .5\nf: 2024-01-02\ng: '010'\nh: 0\ni: 1.e2\n")
    assert data == {"a": 1e-3, "b": -2e4, "c": 31, "d": 1000, "e": 0.5, "f": "2024-01-02", "g": "010", "h": 0, "i": 100}


@pytest.mark.parametrize("root", roots(), ids=str)
def test_every_shipped_card_is_read_as_plain_yaml_reads_it(root: Path) -> None:
    for path in (p for name in ("models", "tasks") for p in cards.cards_in(root / name) if p.suffix == ".yaml"):
        assert yamlfile.load(path).data == yaml.safe_load(path.read_text(encoding="utf-8"))


class Numbers(Params):
    whole: int = 1
    part: float | None = None
    several: tuple[float, ...] = ()
    by_name: dict[str, float] = Field(default_factory=dict)
    inner: DtypeChoice = DtypeChoice()
    flag: bool = False
    type: int = 0


@pytest.mark.parametrize(
    "fields",
    [
        {"whole": True},
        {"whole": "x"},
        {"whole": 1.5},
        {"part": True},
        {"part": "1e400"},
        {"part": float("inf")},
        {"several": [True]},
        {"by_name": {"a": True}},
        {"flag": "yes"},
        {"flag": 1},
        {"type": True},
        {"part": 10**400},
    ],
)
def test_a_truth_value_is_no_number(fields: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        Numbers(**fields)


def test_numbers_and_containers_are_taken_as_before() -> None:
    numbers = Numbers.model_validate({"part": 1, "several": [1, 2.5], "by_name": {"a": 1}, "flag": True, "type": 3})
    assert (numbers.part, numbers.several, numbers.by_name, numbers.type) == (1.0, (1.0, 2.5), {"a": 1.0}, 3)


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("block_size: yes", "line 4, field block_size: .*it is True; in quotes it is a text"),
        ("block_size: 100000", "field block_size: .*less than or equal to 4096"),
        ("images_per_prompt: 1e400", "field images_per_prompt: "),
        ("memory_gb: 1e400", "field memory_gb: "),
        ("licence: no", "it is False; in quotes it is a text"),
        ('notes: "a\\u200bb"', "field notes: it holds the character U.200B ZERO WIDTH SPACE, which cannot be seen"),
        ("title: " + "x" * 20000, "field title: .*at most 10000 characters"),
    ],
)
def test_a_wrong_value_is_one_sentence(tmp_path: Path, line: str, words: str) -> None:
    head = "name: m\ntitle: M\n" if not line.startswith("title") else "name: m\nlicence: l\n"
    (tmp_path / "m.yaml").write_text(f"{head}adapter: phantom-exact\n{line}\n")
    with pytest.raises(CardError, match=words) as caught:
        yamlfile.parse(yamlfile.load(tmp_path / "m.yaml"), ModelCard)
    assert len(str(caught.value)) < 500 + len(str(tmp_path))


@pytest.mark.parametrize("text", ["a\0 {subject}", "\x1b[1m{subject}", "{subject}\u202e", "{subject} " + "x" * 10_001])
def test_hidden_characters_and_endless_texts_of_a_template(text: str) -> None:
    with pytest.raises(ValidationError):
        Template(id="a", text=text)


@pytest.mark.parametrize("subject", ["nur\u200bse", "a\x07b", "\u2066nurse"])
def test_hidden_characters_of_a_subject(tmp_path: Path, subject: str) -> None:
    (tmp_path / "s.csv").write_text(f"subject\njudge\n{subject}\n", encoding="utf-8")
    (tmp_path / "task.yaml").write_text(TASK)
    (problem,) = [p for p in cards.problems(tmp_path / "task.yaml") if p.field == "subjects"]
    assert "s.csv, line 3, field subject: it holds the character U+" in problem.message


SCALARS = st.one_of(
    st.none(), st.booleans(), st.integers(), st.floats(), st.text(max_size=8), st.just("1e400"), st.just("x" * 300)
)
VALUES = st.recursive(
    SCALARS, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=6), inner, max_size=3)
)
FIELDS = sorted({*ModelCard.model_fields, *TaskCard.model_fields, "extends", "routes", "type", "classifiers"})


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.dictionaries(st.sampled_from(FIELDS) | st.text(max_size=6), VALUES, max_size=6), task=st.booleans())
@example(data={"templates": 1.0}, task=True)
@example(data={"templates": 1.0}, task=False)
def test_any_card_is_clean_or_has_problems_in_words(tmp_path: Path, data: dict[str, Any], task: bool) -> None:
    base = yaml.safe_load(TASK) if task else {"name": "m", "title": "M", "adapter": "phantom-exact"}
    path = tmp_path / ("task.yaml" if task else "m.yaml")
    path.write_text(yaml.safe_dump({**base, **data}, allow_unicode=True), encoding="utf-8", errors="replace")
    for problem in cards.problems(path):
        assert "\n" not in str(problem)
        assert len(str(problem)) < 2000


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(content=st.text(max_size=80) | st.text("abc:{}[]&*!<-#|>'\"\n 01,", max_size=80))
def test_any_text_is_a_card_or_refused_in_words(tmp_path: Path, content: str) -> None:
    (tmp_path / "any.yaml").write_text(content, encoding="utf-8", errors="replace", newline="")
    try:
        assert isinstance(yamlfile.load(tmp_path / "any.yaml").data, dict)
    except CardError as err:
        assert "any.yaml" in str(err)
