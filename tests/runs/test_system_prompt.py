"""`--system-prompt`: a variable of the run, part of what its images are keyed by."""

from __future__ import annotations

from pathlib import Path

import pytest

from fairbench.errors import CardError, FairbenchError
from fairbench.runs import files, spec
from fairbench.runs.arguments import RunSettings, command
from fairbench.runs.spec import RunSpec
from fairbench.runs.system_prompt import irrelevant, text_of
from tests.builders.cli import Cli


def made(system_prompt: str | None, model: str = "sana") -> RunSpec:
    settings = RunSettings(model=model, images_per_prompt=2, limit_prompts=2, device="cpu", system_prompt=system_prompt)
    return spec.make(settings)


def test_each_text_is_a_run_of_its_own_and_none_leaves_the_card_as_it_is() -> None:
    specs = {text: made(text) for text in (None, "", "You draw people.", "You draw animals.")}
    assert len({s.image_key for s in specs.values()}) == len({s.run_id for s in specs.values()}) == 4
    assert specs[None].card.name == "sana" and "system_prompt" not in specs[None].card.sampling
    assert specs[""].card.name == "sana-system-prompt-none"
    assert specs[""].card.sampling["system_prompt"] == ""
    assert specs["You draw people."].card.sampling["system_prompt"] == "You draw people."
    assert len({s.card.name for s in specs.values()}) == 4
    assert all(len(s.card.name) <= 80 for s in specs.values())
    # The images of all are drawn from the same seeds, so that they are compared prompt by prompt.
    assert len({tuple(r.seed for r in s.requests) for s in specs.values()}) == 1


def test_a_model_without_one_says_so() -> None:
    with pytest.raises(FairbenchError, match=r"phantom \(janus\) has none that can be set"):
        made("", "phantom")


def test_texts_come_from_files_words_and_other_subjects(tmp_path: Path) -> None:
    path = tmp_path / "mine.txt"
    path.write_text("  You are a fair artist.\n", encoding="utf-8")
    assert text_of(str(path)) == "You are a fair artist."
    assert (text_of(None), text_of("none"), text_of("Be fair.")) == (None, "", "Be fair.")
    assert text_of(f"irrelevant:{path}") == irrelevant(5) == "Glaciers move slowly downhill under"
    assert [len(irrelevant(n).split()) for n in (0, 1, 73, 500)] == [0, 1, 73, 500]
    with pytest.raises(CardError, match=r"absent\.txt"):
        text_of(str(tmp_path / "absent.txt"))


def test_the_command_takes_it_and_can_be_given_again(cli: Cli, tmp_path: Path) -> None:
    (tmp_path / "mine.md").write_text("You are a fair artist.", encoding="utf-8")
    options = ("run", "--model", "sana", "--limit-prompts", 2, "-n", 2, "--dry-run", "--device", "cpu")
    assert "sana-system-prompt-none" in cli(*options, "--system-prompt", "none").succeeded().out
    assert cli(*options, "--system-prompt", "mine.md").succeeded().out.count("sana-system-prompt-") >= 1
    assert cli("run", "--system-prompt", "x", "--dry-run").code == 2
    said = command(RunSettings(model="sana", system_prompt=""), files.OPTIONS)
    assert said.endswith("--system-prompt none")
    assert command(RunSettings(model="sana", system_prompt="a b"), files.OPTIONS).endswith("--system-prompt 'a b'")
