"""run.json: one model writes and reads it, of today and of 0.1.0; an edited field is named in one sentence."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from fairbench import keys
from fairbench.errors import FairbenchError
from fairbench.runs import record
from tests.builders.cli import Cli
from tests.builders.folders import ROOT


@pytest.fixture
def path(cli: Cli) -> Path:
    """The run.json of a small run."""
    assert (
        cli(
            "run",
            "--model",
            "phantom-exact",
            "--task",
            "occupations-mini",
            "--limit-prompts",
            "1",
            "-n",
            "2",
            "--no-sheets",
            "--quiet",
            "--out",
            "out",
        ).code
        == 0
    )
    return Path("out/run.json")


def test_what_is_written_is_read_to_the_last_character(path: Path) -> None:
    written = record.read(path)
    assert written.json_text() == path.read_text()
    assert keys.run_id(written.declared.model_dump()) == written.run_id
    assert written.settings is not None
    assert (written.settings.images_per_prompt, written.device, written.dtype) == (2, "cpu", "float32")
    assert written.model.adapter == "phantom-exact"
    assert [t.name for t in written.truth] == ["planted"]


@pytest.mark.parametrize("folder", sorted((ROOT / "leaderboards" / "evidence").iterdir())[:2], ids=lambda f: f.name[:8])
def test_a_copy_of_the_first_version_is_read(folder: Path) -> None:
    written = record.read(folder / "run.json")
    content = json.loads((folder / "run.json").read_text())
    assert (written.fairbench, written.run_id) == ("0.1.0", folder.name)
    assert keys.run_id(written.declared.model_dump()) == folder.name
    assert written.labeller.model_dump(by_alias=True) == content["labeller"]
    assert (written.labeller_parts, written.scores_without_evidence, written.notices) == (None, None, [])


def test_a_whole_file_of_the_first_version_is_read(path: Path) -> None:
    """It had no notices, parts of the labeller, versions of metrics, or settings of the adapter."""
    content = json.loads(path.read_text())
    for name in ("labeller_parts", "scores_without_evidence", "notices", "metric_versions", "effective_settings"):
        del content[name]
    path.write_text(json.dumps(content))
    written = record.read(path)
    assert written.statuses == content["statuses"]
    assert written.model.images_per_prompt == content["model"]["images_per_prompt"]


def test_fields_of_a_later_version_are_ignored_but_what_it_declared_is_hashed(path: Path) -> None:
    content = json.loads(path.read_text())
    content["later"] = content["model"]["later"] = content["settings"]["later"] = {"a": 1}
    content["declared"]["later"] = 2
    path.write_text(json.dumps(content))
    assert keys.run_id(record.read(path).declared.model_dump()) == keys.run_id(content["declared"])


@pytest.mark.parametrize(
    ("field", "value", "problem"),
    [
        ("run_id", "x", "String should match"),
        ("keys.labels", None, "Input should be a valid string"),
        ("declared.seed", "many", "Input should be a valid integer"),
        ("task.version", [], "Input should be a valid integer"),
        ("labeller.face_policy.min_prob", 7, "less than 1"),
        ("scorers", 3, "Input should be a valid dictionary"),
        ("unread", {"../x": "gone"}, "String should match"),
        ("statuses.faces.ok", "all", "Input should be a valid integer"),
    ],
)
def test_an_edited_field_is_named(path: Path, field: str, value: Any, problem: str) -> None:
    content = json.loads(path.read_text())
    *above, name = field.split(".")
    part = content
    for key in above:
        part = part[key]
    part[name] = value
    path.write_text(json.dumps(content))
    with pytest.raises(FairbenchError) as error:
        record.read(path)
    assert f"{path}, field {field}" in str(error.value)
    assert problem in str(error.value)
    assert str(error.value).endswith("do the run again.")
    assert "\n" not in str(error.value)
