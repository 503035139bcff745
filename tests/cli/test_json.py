"""`--json` stands on every command that prints data, and what it prints is JSON."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from fairbench.cards import catalog
from fairbench.display.glossary import GLOSSARY
from fairbench.display.note import LABEL_NOTE
from fairbench.listing.kinds import KINDS
from tests.builders.cli import Cli
from tests.cli.test_help import GROUPS, TREE

FILES_ALONE = {
    *(("new",), ("report",), ("export",), ("leaderboard", "site"), ("prompts",)),
    *(("train", "sft"), ("train", "bpo"), ("train", "i2t"), ("train", "distill"), ("train", "grpo"), ("train", "dft")),
    ("phantom", "images"),
}
"""Commands that write files, and print no more than where they are; and `prompts`, which has --format."""


def parsed(text: str) -> Any:
    return json.loads(text, parse_constant=lambda name: pytest.fail(f"{name} is no JSON"))


def test_every_command_that_prints_data_has_it() -> None:
    lacking = {
        names
        for names, command in TREE.items()
        if names not in GROUPS and "--json" not in {option for p in command.params for option in p.opts}
    }
    assert lacking == FILES_ALONE


def test_what_there_is(cli: Cli) -> None:
    assert set(parsed(cli("list", "--json").succeeded().out)) == set(KINDS)
    for kind in KINDS:
        summaries = parsed(cli("list", kind, "--json").succeeded().out)
        shown = parsed(cli("show", kind[:-1], next(iter(summaries)), "--json").succeeded().out)
        assert shown["card"]["name"] in summaries if "card" in shown else shown["name"] in summaries
    assert {"rd", "concentration"} <= parsed(cli("list", "metrics", "--json").out).keys()
    assert parsed(cli("show", "columns", "--json").out)["metrics.csv"]["value"].startswith("the value")
    assert parsed(cli("show", "metric", "share[female]", "--json").out)["description"].startswith("The class's faces")


def test_a_task_has_its_prompts_and_a_labeller_what_its_classes_mean(cli: Cli) -> None:
    task = parsed(cli("show", "task", "occupations", "--first", 3, "--json").out)
    assert (task["n_prompts"], len(task["prompts"])) == (50, 3) and task["prompts"][0].startswith("A photo")
    labeller = parsed(cli("show", "labeller", "fairface", "--json").out)
    assert labeller["classes"]["race4"]["WMELH"].startswith("read as White") and labeller["note"] == LABEL_NOTE


def test_the_glossary_and_one_term(cli: Cli) -> None:
    terms = parsed(cli("glossary", "--json").succeeded().out)
    assert list(terms) == list(GLOSSARY) and terms["rd"]["source"].startswith("Shen et al.")
    assert list(parsed(cli("glossary", "wmelh", "--json").succeeded().out)) == ["WMELH"]


def test_cards_and_what_is_installed(cli: Cli, tmp_path: Path) -> None:
    assert parsed(cli("check", catalog.find("models")["phantom"].parent / "phantom.yaml", "--json").out) == {
        "cards": 1,
        "problems": [],
    }
    (tmp_path / "odd.yaml").write_text("name: odd\nadapter: phantom-exact\n")
    done = cli("check", "odd.yaml", "--json")
    problems = parsed(done.out)["problems"]
    assert done.code == 2 and {"path", "line", "field", "message"} == problems[0].keys()
    assert {p["field"] for p in problems} >= {"title"} and problems[0]["path"] == "odd.yaml"
    nothing_needed = parsed(cli("doctor", "--model", "phantom-exact", "--json").succeeded().out)["findings"]
    assert [(f["name"], f["text"]) for f in nothing_needed] == [("files", "none needed: the card names no weights")]
    absent = cli("doctor", "--model", "folder:absent")
    assert absent.code == 2 and "absent is neither a folder nor a manifest" in absent.err
    found = parsed(cli("doctor", "--model", "phantom", "--json").out)
    assert {"section", "name", "text", "fine"} == found["findings"][0].keys()
    assert found["fine"] == all(finding["fine"] for finding in found["findings"])  # memory may be short just now


def test_runs_their_comparison_and_leaderboards(cli: Cli, mannequin_runs: Path, tmp_path: Path) -> None:
    run = shutil.copytree(mannequin_runs / "phantom", tmp_path / "run")
    shown = parsed(cli("show", run, "--json").succeeded().out)
    assert shown["note"] == LABEL_NOTE and {"run_id", "metrics", "notices", "truth"} <= shown.keys()
    preview = parsed(cli("run", "--dry-run", "--model", "phantom-exact", "--json").succeeded().out)
    assert preview["images_to_make"] == preview["images"]
    shard = parsed(
        cli("run", "--model", "phantom-exact", "-n", 2, "--limit-prompts", 2, "--shard", "0/2", "--json").out
    )
    assert shard["shard"] == "0/2" and len(shard["run_id"]) == 32
    added = parsed(cli("leaderboard", "add", run, "--csv", "board.csv", "--json").succeeded().out)
    assert added == {"run_id": shown["run_id"], "leaderboard": "board.csv", "evidence": f"evidence/{shown['run_id']}"}
    assert Path(added["evidence"], "run.json").is_file()
    assert parsed(cli("leaderboard", "show", "board.csv", "--json").succeeded().out)
    assert parsed(cli("leaderboard", "verify", "board.csv", "--json").succeeded().out)
    both = (run, mannequin_runs / "phantom-noisy")
    assert parsed(cli("compare", *both, "--out", "report", "--json").succeeded().out)["attributes"]
