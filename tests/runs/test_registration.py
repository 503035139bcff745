"""Registrations: what is written, what a changed file gives away, and how a comparison departs from one."""

from __future__ import annotations

import hashlib
import json
import typing
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from fairbench.errors import FairbenchError
from fairbench.runs import evidence, registration
from fairbench.runs.evidence import FinishedRun
from fairbench.runs.registration import Arm, Registration
from fairbench.stats.intervals import Scope
from tests.builders.fake_runs import FAIR, SIDED, FakeRun, draw_cells

ATTRIBUTES, MARGINS = ["gender", "race4", "gender_x_race4"], {"rd.gender": 0.05}
SCOPE = typing.get_args(Scope)[0]


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> list[FinishedRun]:
    folders = [tmp_path_factory.mktemp(name) for name in ("a", "b")]
    shares = zip((SIDED, FAIR), ("biased", "balanced"), strict=True)
    fakes = [FakeRun(draw_cells(p, 1, prompts=3, images=12), name) for p, name in shares]
    return [evidence.read(fake.write(folder)) for fake, folder in zip(fakes, folders, strict=True)]


def registered(runs: list[FinishedRun], **changes: Any) -> Registration:
    fields: dict[str, Any] = {
        "task": "occupations-mini",
        "arms": [Arm(model="biased"), Arm(model="balanced")],
        "attributes": ATTRIBUTES,
        "margins": MARGINS,
        "scope": SCOPE,
        "images_per_prompt": 12,
        "alpha": 0.05,
        "labeller": "phantom",
    }
    return registration.register(runs[0].prompts, **{**fields, **changes})


def departures(made: Registration, runs: list[FinishedRun], **changes: Any) -> list[str]:
    fields: dict[str, Any] = {"attributes": ATTRIBUTES, "margins": MARGINS, "alpha": 0.05, **changes}
    return registration.departures(made, runs, **fields)


def test_a_registration_is_read_as_it_was_written_and_its_hash_is_of_all_other_fields(
    runs: list[FinishedRun], tmp_path: Path
) -> None:
    made, path = registered(runs), tmp_path / "deep" / "registered.json"
    registration.write(made, path)
    assert registration.read(path) == made
    content = json.loads(path.read_text())
    said = content.pop("sha256")
    # Computed without any of the project's code: sorted keys, no spaces, UTF-8.
    canonical = json.dumps(content, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    assert said == hashlib.sha256(canonical.encode()).hexdigest()
    assert list(content) == [name for name in Registration.model_fields if name != "sha256"]
    with pytest.raises(FairbenchError, match=r"registered\.json exists, and a registration replaces nothing"):
        registration.write(registered(runs, alpha=0.01), path)
    assert registration.read(path) == made


@pytest.mark.parametrize("field", ["alpha", "images_per_prompt", "margins", "arms", "registered_at"])
def test_a_changed_file_is_refused(runs: list[FinishedRun], tmp_path: Path, field: str) -> None:
    path = tmp_path / "registered.json"
    registration.write(registered(runs), path)
    content = json.loads(path.read_text())
    changed = {
        "alpha": 0.1,
        "images_per_prompt": 13,
        "margins": {"rd.gender": 0.5},
        "arms": content["arms"][::-1],
        "registered_at": "2001-01-01T00:00:00Z",
    }
    path.write_text(json.dumps(content | {field: changed[field]}))
    with pytest.raises(FairbenchError, match="field sha256: it is not the hash of the other fields"):
        registration.read(path)


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("no", "is not JSON"),
        ("[]", "is no registration"),
        ('{"arms": [], "task_sha": "", "sha256": ""}', "field version: it is None"),
        ({"alpha": 2}, "field alpha: Input should be less than 1"),
        ({"arms": [{"model": "one"}]}, "field arms: List should have at least 2"),
        ({"extra": 1}, "field extra: there is no such field"),
        ({"margins": {"rd.gender": 0.0}}, "field margins.rd.gender: Input should be greater than 0"),
        ({"prompts": "many"}, "field prompts: Input should be a valid integer"),
    ],
)
def test_what_is_no_registration_is_said_in_one_sentence(
    runs: list[FinishedRun], tmp_path: Path, content: str | dict[str, Any], said: str
) -> None:
    path = tmp_path / "registered.json"
    whole = registered(runs).model_dump()
    path.write_text(content if isinstance(content, str) else json.dumps(whole | content))
    with pytest.raises(FairbenchError) as caught:
        registration.read(path)
    assert str(path) in str(caught.value) and said in str(caught.value)
    with pytest.raises(FairbenchError, match=r"nowhere\.json cannot be read"):
        registration.read(tmp_path / "nowhere.json")


def test_a_comparison_as_registered_departs_in_nothing(runs: list[FinishedRun]) -> None:
    assert departures(registered(runs), runs) == []
    # The order of variants does not matter; margins that were not registered are no departure.
    assert departures(registered(runs), runs, margins={**MARGINS, "clip_score": 0.1}) == []


@pytest.mark.parametrize(
    ("registered_as", "done_as", "said"),
    [
        ({"images_per_prompt": 160}, {}, "biased: it has 12 images per prompt, 160 were registered"),
        ({"task": "occupations"}, {}, "balanced: its task is occupations-mini, occupations was registered"),
        ({"labeller": "fairface"}, {}, "biased: its labeller is phantom, fairface was registered"),
        ({"attributes": ["gender"]}, {}, "the primary attributes are gender, race4, gender_x_race4, not gender"),
        ({"alpha": 0.01}, {}, "the level is 0.05, 0.01 was registered"),
        ({}, {"margins": {"rd.gender": 0.1}}, "the margin rd.gender is 0.1, 0.05 was registered"),
        ({}, {"margins": {}}, "the margin rd.gender of 0.05 is not used"),
        ({"arms": [Arm(model="biased"), Arm(model="other")]}, {}, "other was registered and is not compared"),
        ({"arms": [Arm(model="biased"), Arm(model="other")]}, {}, "balanced was not registered"),
        (
            {"arms": [Arm(model="balanced"), Arm(model="biased")]},
            {},
            "the baseline is biased, balanced was registered",
        ),
        (
            {"arms": [Arm(model="biased"), Arm(model="balanced", method="lora:x")]},
            {},
            "balanced + lora:x was registered and is not compared",
        ),
    ],
)
def test_each_departure_is_named(
    runs: list[FinishedRun], registered_as: dict[str, Any], done_as: dict[str, Any], said: str
) -> None:
    assert said in departures(registered(runs, **registered_as), runs, **done_as)


def test_other_prompts_are_a_departure(runs: list[FinishedRun]) -> None:
    fewer = registration.register(runs[0].prompts[:2], **_fields(registered(runs)))
    assert "biased: it has 3 prompts, 2 were registered" in departures(fewer, runs)
    texts = [replace(p, text=p.text + "!") for p in runs[0].prompts]
    others = registration.register(texts, **_fields(registered(runs)))
    assert "biased: its prompts have other texts than those that were registered" in departures(others, runs)


def _fields(made: Registration) -> dict[str, Any]:
    return {**made.model_dump(include=set(Registration.model_fields) - _COMPUTED), "arms": made.arms}


_COMPUTED = {"sha256", "task_sha", "prompts", "registered_at"}


def test_arms_are_named_as_their_runs_record_them(tmp_path: Path) -> None:
    assert registration.arm("phantom") == Arm(model="phantom")
    assert registration.arm("phantom-exact:balanced-prompting") == Arm(
        model="phantom-exact", method="balanced-prompting"
    )
    argument = registration.arm("phantom:balanced-prompting:gender")
    assert (argument.model, argument.method) == ("phantom", "balanced-prompting:gender")
    pictures = registration.arm("folder:none")  # a folder of this name, by the adapter that reads folders
    assert pictures.method == "none" and pictures.model != "folder"
    for text, said in (
        ("nowhere:none", "no model 'nowhere'"),
        ("phantom:non", "no method 'non' .did you mean 'none'"),
        ("nowhere", "no model 'nowhere'"),
    ):
        with pytest.raises(FairbenchError, match=said):
            registration.arm(text)


def test_no_arm_is_registered_twice(runs: list[FinishedRun]) -> None:
    with pytest.raises(FairbenchError, match="--arm biased: it is named twice"):
        registered(runs, arms=[Arm(model="biased"), Arm(model="biased")])
    with pytest.raises(FairbenchError, match="field arms"):
        registered(runs, arms=[Arm(model="biased")])
