"""In the files of examples/cluster every option of fairbench exists; `make lint` checks the shell in them."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import typer
import yaml

from fairbench.cli.app import app

FOLDER = Path(__file__).resolve().parents[2] / "examples" / "cluster"
SCRIPTS, MANIFESTS = sorted(FOLDER.glob("*.sbatch")), sorted(FOLDER.glob("*.yaml"))
COMMAND = re.compile(r"\bfairbench ((?:run|sweep|train \w+)\b)(.*)")


def commands(text: str) -> list[tuple[str, list[str]]]:
    """Return the commands of fairbench in a text, with their options; lines that go on are one."""
    joined = re.sub(r"\\\n\s*", " ", text)
    lines = (line for line in joined.splitlines() if not line.lstrip().startswith("#"))
    found = [match.groups() for line in lines for match in COMMAND.finditer(line)]
    return [(name, re.findall(r"(?<!\S)--[a-z-]+", rest)) for name, rest in found]


def options(name: str) -> set[str]:
    """Return the options of a command such as "train sft"."""
    command = typer.main.get_command(app)
    for word in name.split():
        found = command.get_command(typer.Context(command), word)
        assert found is not None, word
        command = found
    return {option for parameter in command.params for option in parameter.opts}


@pytest.mark.parametrize("path", [*SCRIPTS, *MANIFESTS], ids=lambda path: path.name)
def test_the_options_exist(path: Path) -> None:
    text = path.read_text()
    if path in MANIFESTS:
        text = yaml.safe_load(text)["spec"]["entrypoint"]
    found = commands(text)
    assert found
    for name, named in found:
        assert named, f"no option of fairbench {name} was read in {path.name}"
        assert set(named) <= options(name)


def test_an_option_that_does_not_exist_is_found() -> None:
    assert commands("srun fairbench run --model a \\\n  --executer ray") == [("run", ["--model", "--executer"])]
    assert "--executer" not in options("run")


def test_all_pods_of_a_job_have_one_image_and_see_the_folder() -> None:
    (path,) = MANIFESTS
    cluster = yaml.safe_load(path.read_text())["spec"]["rayClusterSpec"]
    pods = [cluster["headGroupSpec"], *cluster["workerGroupSpecs"]]
    specs = [pod["template"]["spec"] for pod in pods]
    assert len({spec["containers"][0]["image"] for spec in specs}) == 1
    for spec in specs:
        (mount,) = spec["containers"][0]["volumeMounts"]
        assert mount["name"] in {volume["name"] for volume in spec["volumes"]}
