"""`setup` and `doctor --model` for a model in an environment of its own: from nothing to an image, offline."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from fairbench.networks import weights
from fairbench.workers import making
from tests.builders.cli import Cli
from tests.builders.workers import STUBS, write_card

VERSION = f"{sys.version_info.major}.{sys.version_info.minor}"
URL = "https://example.org/lab/model.git"


@pytest.fixture
def commit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """The first of two commits of a repository that stands for one on the net."""
    source = tmp_path / "source"
    git("init", "-q", str(source))
    (source / "weights.txt").write_text("first\n")
    git("-C", str(source), "add", ".")
    git("-C", str(source), "-c", "user.name=a", "-c", "user.email=a@b", "commit", "-qm", "1")
    first = git("-C", str(source), "rev-parse", "HEAD")
    git("-C", str(source), "-c", "user.name=a", "-c", "user.email=a@b", "commit", "-qm", "2", "--allow-empty")
    monkeypatch.setenv("GIT_CONFIG_COUNT", "1")
    monkeypatch.setenv("GIT_CONFIG_KEY_0", f"url.{source}.insteadOf")
    monkeypatch.setenv("GIT_CONFIG_VALUE_0", URL)
    return first


def git(*args: str) -> str:
    return subprocess.run(["git", *args], capture_output=True, text=True, check=True).stdout.strip()


def card(tmp_path: Path, commit: str, environment: str) -> Path:
    """A card whose interpreter, code and environment are made by `setup`."""
    (tmp_path / "mine.py").write_text((STUBS / "stub.py").read_text())
    (tmp_path / "mine.txt").write_text(environment)
    repository = {"url": URL, "commit": commit}
    return write_card(
        tmp_path, str(tmp_path / "mine"), python=None, python_version=VERSION, repository=repository, settings={}
    )


@pytest.mark.slow
def test_what_setup_prints_it_does_and_then_the_model_draws(cli: Cli, tmp_path: Path, commit: str) -> None:
    special = f"# python: {VERSION}\n# then: cp {{repository}}/weights.txt {{site_packages}}/marker.txt\n# note: go\n"
    path = card(tmp_path, commit, special)
    dry = cli("run", "--model", path, "--dry-run", "--limit-prompts", 1).succeeded()
    assert "missing: environment: not on this machine; get it with `fairbench setup stub --do`" in dry.out
    assert "missing: repository: not on this machine" in dry.out
    refused = cli("run", "--model", path, "--limit-prompts", 1)
    assert refused.code == 2 and "stub cannot run yet: environment: not on this machine" in refused.err
    printed = cli("setup", path).succeeded().out
    assert f"checkout --quiet --detach {commit}" in printed and "# note" not in printed and "# go" in printed
    assert cli("doctor", "--model", path).code == 1
    done = cli("setup", path, "--do").succeeded()
    assert "git clone" not in done.out  # what is done is not printed
    (marker,) = (Path(os.environ["FAIRBENCH_CACHE"]) / "workers" / "environments").rglob("site-packages/marker.txt")
    assert marker.read_text() == "first\n"
    again = cli("setup", path, "--do").succeeded().out
    assert again.count(": here already") == 2
    healthy = cli("doctor", "--model", path, "--json").json()
    by_name = {f["name"]: f for f in healthy["findings"]}
    assert by_name["repository"]["text"].endswith(f"at {commit}")
    assert by_name["environment"]["text"].startswith(f"Python {VERSION}: ")
    assert "missing" not in cli("run", "--model", path, "--dry-run", "--limit-prompts", 1).succeeded().out
    cli("run", "--model", path, "--limit-prompts", 1, "--labeller", "phantom", "--out", "out").succeeded()
    run = yaml.safe_load((tmp_path / "out" / "run.json").read_text())
    assert run["statuses"]["images"]["ok"] == 2
    worker = run["effective_settings"]["worker"]
    assert worker["repository"] == {"commit": commit, "changed": []}
    assert worker["python"] == ".".join(map(str, sys.version_info[:3]))


def test_without_uv_the_interpreter_itself_makes_the_environment(
    cli: Cli, tmp_path: Path, commit: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(making, "_tool", lambda name: None)
    path = card(tmp_path, commit, f"# python: {VERSION}\n# then: {{pip}} install --no-deps one\n")
    out = cli("setup", path).succeeded().out
    folder = re.search(r"-m venv (\S+)", out)
    assert folder is not None and f"{folder[1]}/bin/python -m pip install -r {tmp_path / 'mine.txt'}\n" in out
    assert f"{folder[1]}/bin/python -m pip install --no-deps one\n" in out
    monkeypatch.setattr(making, "_tool", lambda name: f"/opt/{name}")
    assert f"/opt/uv pip install --python {folder[1]}/bin/python --no-deps one\n" in cli("setup", path).succeeded().out
    monkeypatch.setattr(making, "_tool", lambda name: None)
    monkeypatch.setenv("PATH", str(tmp_path))
    refused = cli("setup", path)
    assert (
        refused.code == 2 and f"python{VERSION} is needed and is not on PATH: install it, or install uv" in refused.err
    )


def test_a_command_that_fails_is_named_and_nothing_counts_as_made(
    cli: Cli, tmp_path: Path, commit: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GIT_CONFIG_COUNT", "0")  # the repository is not there
    monkeypatch.setenv("GIT_ALLOW_PROTOCOL", "file")
    failed = cli("setup", card(tmp_path, commit, f"# python: {VERSION}\n"), "--do")
    assert failed.code == 2 and "git clone --quiet --no-checkout https://example.org/lab/model.git" in failed.err
    assert "failed with exit code" in failed.err
    printed = cli("setup", tmp_path / "stub.yaml").succeeded().out
    assert "here already" not in printed


def test_weights_are_asked_of_the_hub_at_their_revision(cli: Cli, tmp_path: Path) -> None:
    revision = "0123456789abcdef0123456789abcdef01234567"
    weights = {"decoder": {"repo": "lab/decoder", "revision": revision, "files": ["*.safetensors", "config.json"]}}
    out = cli("setup", write_card(tmp_path, weights=weights)).succeeded().out
    (line,) = [line for line in out.splitlines() if "download" in line]
    words = shlex.split(line)
    assert words[1:] == [
        *("download", "lab/decoder", "--revision", revision),
        *("--include", "*.safetensors", "--include", "config.json"),
    ]
    (step,) = cli("setup", tmp_path / "stub.yaml", "--json").json()["steps"]
    assert step["commands"] == [words] and not step["done"]
    told = cli("run", "--model", tmp_path / "stub.yaml", "--dry-run", "--limit-prompts", 1).succeeded().out
    assert "missing: weights decoder: lab/decoder, not on this machine" in told


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ("commit", "the card declares"),
        ("file", "differs from its commit in weights.txt"),
        ("none", "is no git checkout"),
    ],
)
def test_code_that_is_not_the_cards_stops_the_run(
    cli: Cli, tmp_path: Path, commit: str, change: str, sentence: str
) -> None:
    folder = tmp_path / "source"
    if change != "commit":
        git("-C", str(folder), "checkout", "-q", commit)
    if change == "file":
        (folder / "weights.txt").write_text("changed\n")
    if change == "none":
        folder = tmp_path / "plain"
        folder.mkdir()
    path = write_card(tmp_path, repository={"path": str(folder), "commit": commit})
    refused = cli("run", "--model", path, "--limit-prompts", 1)
    assert refused.code == 2 and sentence in refused.err
    assert sentence in cli("doctor", "--model", path).out


def test_weights_of_another_commit_than_the_keys_stop_the_run(
    cli: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    here, newer = tmp_path / "snapshots" / ("a" * 40), "b" * 40
    here.mkdir(parents=True)
    monkeypatch.setattr(weights, "local_folder", lambda ref, base_dir, patterns=None: here)
    monkeypatch.setattr(weights, "_commit_now", lambda repo: newer)
    run = ("--limit-prompts", 1, "--labeller", "phantom", "--out", "out")
    refused = cli("run", "--model", write_card(tmp_path, weights={"w": {"repo": "lab/w"}}), *run)
    assert refused.code == 2
    assert f"Of lab/w commit {'a' * 40} is on this machine, and {newer} on the hub: name the `revision`" in refused.err
    pinned = write_card(tmp_path, weights={"w": {"repo": "lab/w", "revision": "a" * 40}})
    cli("run", "--model", pinned, *run).succeeded()
    record = yaml.safe_load((tmp_path / "out" / "run.json").read_text())
    assert record["effective_settings"]["worker"]["weights"] == {"w": "a" * 40}


def test_another_python_than_the_cards_stops_the_run(cli: Cli, tmp_path: Path) -> None:
    path = write_card(tmp_path, python_version="3.9")
    refused = cli("run", "--model", path, "--limit-prompts", 1)
    assert refused.code == 2 and f"runs Python {VERSION}, the card declares 3.9" in refused.err
    assert f"is Python {VERSION}, the card declares 3.9" in cli("doctor", "--model", path).out


def test_setup_of_a_model_without_a_worker_downloads_its_weights(cli: Cli) -> None:
    out = cli("setup", "janus-pro-1b").succeeded().out
    assert "download deepseek-community/Janus-Pro-1B --revision 1655280bb75959cc1cb85529a2a8b26e7016072e" in out
    assert "# phantom needs no commands" in cli("setup", "phantom").succeeded().out
