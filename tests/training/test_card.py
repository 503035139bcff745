"""The README of a trained adapter: the hub's own parser reads it, its command is the training's, names are text."""

from __future__ import annotations

import dataclasses
import itertools
import json
import re
import shlex
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from huggingface_hub import EvalResult, ModelCard, ModelCardData

from fairbench.cards import catalog
from fairbench.cards.cards import HubModel
from fairbench.display.note import NEVER
from fairbench.synthesis import balanced
from fairbench.training import card, output, presets
from fairbench.training.job import Job

HOSTILE = (
    "<script>alert(1)</script> [/red] =cmd : - # | `x` \"y\" 'z' {a} --- \x1b[31m \u202e\n---\nlicense: mit\n```\n# up"
)


@pytest.fixture
def job(tiny_card: Path, balanced_manifest: Path, tmp_path: Path) -> Callable[..., Job]:
    def make(kind: Any = "sft", options: dict[str, Any] | None = None, **of_card: Any) -> Job:
        loaded = catalog.load_model(str(tiny_card))
        changed = dataclasses.replace(loaded, card=loaded.card.model_copy(update=of_card))
        settings = presets.settings(kind, None, {"steps": 5, "seed": 3, **(options or {})})
        made = Job(settings, changed, balanced.read(balanced_manifest), tmp_path)
        made.__dict__["base"] = {"config.json": "0"}  # of the unchanged card; nothing is loaded here
        return made

    return make


def written(job: Job, processes: int = 1, **identity: Any) -> str:
    found = output.identity(job, processes) | identity
    (job.out / "README.md").write_text(card.text(job, found, processes), encoding="utf-8")
    return (job.out / "README.md").read_text(encoding="utf-8")


def test_the_hub_reads_it(job: Callable[..., Job], tmp_path: Path) -> None:
    published = HubModel(repo="deepseek-ai/Janus-Pro-1B", revision="0" * 40)
    text = written(job(weights=published, licence="Apache-2.0"))
    data = ModelCard.load(tmp_path / "README.md").data
    assert (data.base_model, data.library_name, data.license) == ("deepseek-ai/Janus-Pro-1B", "peft", "apache-2.0")
    assert data.to_dict()["base_model_relation"] == "adapter"
    assert {"lora", "fairness", "fairbench-sft"} <= set(data.tags)
    for part in (NEVER, "0" * 40, "did not evaluate itself", "fairbench export AFTER --to hub-results", "| seed | 3 |"):
        assert part in text.replace("\\", "")


@pytest.mark.parametrize("licence", ["unknown", "DeepSeek Model License 1.0; code MIT", "Apache-2.0 (code)"])
def test_what_is_not_known_is_not_said(job: Callable[..., Job], licence: str, tmp_path: Path) -> None:
    written(job(licence=licence))  # of a local folder, which the hub does not have
    head = yaml.safe_load((tmp_path / "README.md").read_text().split("---\n")[1])
    assert head.keys() == {"library_name", "tags"}


def test_what_the_training_measured_of_itself(job: Callable[..., Job], tmp_path: Path) -> None:
    rows: list[dict[str, Any]] = [
        {"step": 1, "eval/rd-gender": 0.9},
        {"step": 3, "eval/rd-gender": 0.25, "eval/rd-race4": None, "eval/images": 8.0},
        {"step": 4, "loss": 1.0, "seconds_a_step": 3.0},
    ]
    (tmp_path / "metrics.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    text = written(job()).replace("\\", "")
    assert "after step 4:" in text
    assert "| rd-gender | 0.25 |\n| rd-race4 | no value |\n| images | 8 |" in text
    assert "seconds" not in text


def test_the_command_has_the_settings_of_the_training(job: Callable[..., Job]) -> None:
    options = {"groups": ("gender",), "accumulation": 2, "checkpointing": True, "beta": 0.5, "batch": 4}
    text = written(job("bpo", options), processes=2)
    command = next(line for line in text.splitlines() if " train bpo " in line)
    assert command.startswith("torchrun --nproc-per-node 2 -m fairbench train bpo --model tiny")
    words = shlex.split(command)
    given = dict(itertools.pairwise(words))
    assert {name: given[name] for name in ("--lr", "--batch", "--beta", "--groups", "--accumulation", "--steps")} == {
        "--lr": "8e-07",
        "--batch": "4",
        "--beta": "0.5",
        "--groups": "gender",
        "--accumulation": "2",
        "--steps": "5",
    }
    assert "--checkpointing" in words
    assert "--retain" not in words
    assert "--beta" not in written(job("sft"))


def test_hostile_names_are_text(job: Callable[..., Job], tmp_path: Path) -> None:
    text = written(job(title=HOSTILE, name=HOSTILE, licence=HOSTILE, lora_targets=HOSTILE))
    found = ModelCard.load(tmp_path / "README.md")
    assert found.data.license is None
    assert not {"\x1b", "\u202e"} & set(text)
    assert text.count("\n```") % 2 == 0
    plain = re.sub(r"\n```.*?\n```\n", "\n", found.text, flags=re.DOTALL)
    assert "<script>" not in plain
    assert [line for line in text.splitlines() if line.startswith("#")] == [
        line for line in text.splitlines() if line.startswith(("# Adapter of ", "## "))
    ]


def test_results_of_a_run_get_into_it_as_it_says(
    job: Callable[..., Job], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    text = written(job())
    result = EvalResult("text-to-image", "occupations", "occupations", "concentration", 0.25)
    (tmp_path / "RESULTS").mkdir()
    data = ModelCardData(model_name="tiny", eval_results=[result])
    (tmp_path / "RESULTS" / "README.md").write_text(f"---\n{data.to_yaml()}\n---\n")
    monkeypatch.chdir(tmp_path)
    exec(re.findall(r"```python\n(.*?)```", text, flags=re.DOTALL)[0], {})
    merged = ModelCard.load("README.md")
    assert [r.metric_value for r in merged.data.eval_results] == [0.25]
    assert merged.data.library_name == "peft"
    assert merged.text.strip() == text.split("---\n", 2)[2].strip()


@pytest.mark.parametrize(
    ("kind", "options"),
    [("grpo", {"reward": "permuted"}), ("distill", {"hard": True}), ("sft", {"retain": (1.0, ("stated",))})],
)
def test_a_control_says_that_it_is_one(job: Callable[..., Job], kind: str, options: dict[str, Any]) -> None:
    assert "This one is a control" in written(job(kind, options))
    assert "This one is a control" not in written(job(kind))


def test_a_target_names_no_folder_of_this_machine(job: Callable[..., Job], tmp_path: Path) -> None:
    file = tmp_path / "shares.csv"
    made = job("sft", {"target": f"gender={file}"})
    subjects = dict.fromkeys(row.subject for row in made.data.rows)
    file.write_text("subject,female,male\n" + "".join(f"{s},.6,.4\n" for s in subjects))
    text = written(made)
    assert "--target gender=shares.csv" in text
    assert str(tmp_path) not in text
