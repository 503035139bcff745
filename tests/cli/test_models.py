"""Every shipped model card: it is listed with what is known of it, and a dry run needs neither network nor weights."""

from __future__ import annotations

import json
import socket
from pathlib import Path
from typing import Any

import pytest

from fairbench.cards import catalog
from tests.builders.cli import Cli

MODELS = sorted(path.stem for path in catalog.find("models").values())


def test_every_model_is_listed_with_what_was_tried_and_what_was_not(cli: Cli) -> None:
    listed = json.loads(cli("list", "models", "--json").succeeded().out)
    assert set(listed) == set(catalog.find("models"))
    for name, model in listed.items():
        made_here = name.startswith("phantom")
        assert model["licence"] != "unknown", name
        assert made_here or (model["verified"] and model["unverified"]), f"{name}: say what was tried, and what was not"


@pytest.mark.parametrize("width", [60, 80, 120])
def test_the_list_holds_every_word_at_every_width(cli: Cli, monkeypatch: pytest.MonkeyPatch, width: int) -> None:
    listed = json.loads(cli("list", "models", "--json").succeeded().out)
    monkeypatch.setenv("COLUMNS", str(width))
    printed = cli("list", "models").succeeded().out
    words = set(printed.split())
    for name, model in listed.items():
        assert {name, model["way_in"], *(model["parameters"] or "").split()} <= words
        assert {word for word in model["licence"].split() if len(word) < 15} <= words


def _refuse(*_: Any, **__: Any) -> None:
    raise AssertionError("a dry run used the network")


@pytest.mark.parametrize("name", MODELS)
def test_a_dry_run_says_what_is_missing_without_the_network(
    cli: Cli, name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for variable in ("HF_TOKEN", "OPENAI_API_KEY", "GEMINI_API_KEY", "GOOGLE_API_KEY"):
        monkeypatch.delenv(variable, raising=False)
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setattr(socket.socket, "connect", _refuse)
    task = () if name.startswith("phantom") else ("--task", "occupations-mini")
    args = ("run", "--model", name, *task, "-n", "2", "--labeller", "phantom", "--dry-run", "--json")
    preview = json.loads(cli(*args).succeeded().out)
    assert preview["images_to_make"] > 0
    assert bool(preview["missing"]) != name.startswith("phantom")
    assert not any("first run downloads" in sentence for sentence in preview["missing"])
    assert not Path("runs").exists()


@pytest.mark.parametrize("name", ["phantom", "sdxl", "show-o", "bagel-served"])
def test_a_model_is_shown_with_what_gets_it_running(cli: Cli, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(socket.socket, "connect", _refuse)
    start = json.loads(cli("show", "model", name, "--json").succeeded().out)["start"]
    printed = cli("show", "model", name).succeeded().out
    assert all(f"  {line}" in printed.splitlines() for line in start)
    assert f"fairbench doctor --model {name}" in start
    assert any(f"fairbench setup {name} --do" in line for line in start) == (name in ("sdxl", "show-o"))
    assert any("BAGEL_URL" in line for line in start) == (name == "bagel-served")
    assert f"fairbench run --model {name} --limit-prompts 2 -n 2" in start
