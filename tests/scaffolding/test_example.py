"""`fairbench new` and `examples/`: one source, all of it works under any name, nothing is overwritten."""

from __future__ import annotations

import os
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from fairbench.scaffolding.example import EXAMPLES
from tests.builders.cli import Cli
from tests.builders.folders import ROOT


@pytest.mark.long
@pytest.mark.slow
def test_the_tests_of_the_examples_and_of_their_copies_pass(cli: Cli, tmp_path: Path) -> None:
    for kind in EXAMPLES:
        cli("new", kind, f"own-{kind}", "--out", "copies").succeeded()
    folders = [str(ROOT / "examples"), str(tmp_path / "copies")]
    environment = {**os.environ, "PYTHONDONTWRITEBYTECODE": "1"}
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", *folders]
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.count(" passed") == 1 and "20 passed" in done.stdout


@pytest.mark.slow
@pytest.mark.parametrize("kind", EXAMPLES)
def test_the_printed_command_runs_as_it_is(cli: Cli, kind: str) -> None:
    (line,) = [x for x in cli("new", kind, "mine").succeeded().out.splitlines() if x.startswith("try it: ")]
    command = shlex.split(line.removeprefix("try it: "))
    assert command[0] == "fairbench"
    options = ("-n", 2, "--limit-prompts", 2, "--no-sheets", "--out", "out")  # the last of an option's values counts
    assert cli(*command[1:], *options).succeeded().out
    named = {"adapter": "mine-0.8", "metric": "mine", "method": "mine:kindly", "labeller": "mine", "scorer": "mine"}
    assert named.get(kind, "mine") in Path("out/metrics.csv").read_text()


@pytest.mark.parametrize("kind", EXAMPLES)
def test_a_copy_holds_no_word_of_the_example(cli: Cli, kind: str) -> None:
    cli("new", kind, "my-very-own", "--out", "there").succeeded()
    files = list(Path("there/my-very-own").iterdir())
    example = EXAMPLES[kind]
    assert len(files) == len(
        [p for p in (ROOT / "examples" / example).iterdir() if p.suffix in {".py", ".yaml", ".csv"}]
    )
    for path in files:
        text = path.name + path.read_text()
        assert not any(w in text for w in (example, example.replace("-", "_"), example.title().replace("-", "")))
    assert any("my-very-own" in path.read_text() for path in files)


def test_a_metric_is_at_most_twelve_lines() -> None:
    assert len((ROOT / "examples/share-ratio/share_ratio.py").read_text().splitlines()) <= 12


@pytest.mark.parametrize(
    ("kind", "name", "words"),
    [
        ("metrc", "x", "There is no example of a 'metrc' (did you mean 'metric'?)."),
        ("metric", "rd", "There is a metric 'rd' already: choose another name, as in my-rd."),
        ("task", "occupations", "There is a task 'occupations' already"),
        ("labeller", "phantom", "There is a labeller 'phantom' already"),
        ("metric", "numpy", "'numpy' is a word or a module of Python"),
        ("scorer", "class", "'class' is a word or a module of Python"),
        ("metric", "My Metric", "'My Metric' is no name for a metric: use a-z, 0-9 and '-', as in my-metric."),
        ("metric", "../up", "is no name for a metric"),
        ("metric", "there", "there/test_there.py is there already: choose another name, or another --out."),
    ],
)
def test_what_cannot_be_written_is_one_sentence_and_writes_nothing(cli: Cli, kind: str, name: str, words: str) -> None:
    Path("there").mkdir()
    Path("there/test_there.py").write_text("mine")
    found = cli("new", kind, name)
    assert found.code == 2
    assert words in found.err
    assert [str(p) for p in Path().rglob("*")] == ["there", "there/test_there.py"]
    assert Path("there/test_there.py").read_text() == "mine"
