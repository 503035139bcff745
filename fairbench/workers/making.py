"""The commands that bring a model's environment, code and weights onto this machine; printed, or run."""

from __future__ import annotations

import shlex
import shutil
import subprocess
import sys
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from fairbench.cards.cards import HubModel
from fairbench.errors import FairbenchError
from fairbench.workers.places import Places, files

_PILLOW: Final = ("pillow", "numpy")
"""What every worker needs: the type of its images, and of its arrays."""


@dataclass(frozen=True)
class Step:
    """Something that is made. what: for people; done: whether it is there; commands: as argument lists."""

    what: str
    done: bool
    commands: tuple[tuple[str, ...], ...]

    def text(self) -> str:
        """Return the commands as lines for a shell."""
        return "\n".join(shlex.join(command) for command in self.commands)


def of_worker(places: Places) -> Iterator[Step]:
    """Yield the steps of a card of the adapter `worker`, in the order in which they can be done."""
    repository, declared = places.repository, places.params.repository
    if repository is not None and declared is not None and declared.url is not None:
        yield Step(
            f"code of {declared.url} at {declared.commit}", repository.is_dir(), tuple(_clone(places, repository))
        )
    if places.params.python is None:
        yield Step(f"environment for {places.recipe.path.name}", places.has_environment, tuple(_environment(places)))
    found = places.weights()
    for name, ref in places.params.weights.items():
        if ref.repo is not None:
            yield download(f"weights {name}", ref, files(ref), done=found[name] is not None)


def download(what: str, ref: HubModel, patterns: Iterable[str], *, done: bool) -> Step:
    """Return the step that downloads files of a repository on the hub into the hub's own cache."""
    command = [_tool("hf") or "hf", "download", str(ref.repo)]
    command += ["--revision", ref.revision] if ref.revision else []
    for pattern in patterns:
        command += ["--include", pattern] if pattern != "*" else []
    return Step(f"{what} ({ref.repo})", done, (tuple(command),))


def _clone(places: Places, repository: Path) -> Iterator[tuple[str, ...]]:
    declared, unfinished = places.params.repository, repository.with_name(f"{repository.name}.unfinished")
    assert declared is not None
    yield ("rm", "-rf", str(unfinished))
    yield ("git", "clone", "--quiet", "--no-checkout", str(declared.url), str(unfinished))
    yield ("git", "-C", str(unfinished), "checkout", "--quiet", "--detach", str(declared.commit))
    yield ("mv", str(unfinished), str(repository))


def _environment(places: Places) -> Iterator[tuple[str, ...]]:
    """Yield the commands that make the environment; the last marks it as complete."""
    folder, made_of = places.environment_folder, places.environment
    version = places.params.python_version or (None if made_of is None else made_of.python)
    python, uv = str(folder / "bin" / "python"), _tool("uv")
    yield ("rm", "-rf", str(folder))
    if uv is not None:
        yield (uv, "venv", "--quiet", *(("--python", version) if version else ()), str(folder))
        install: tuple[str, ...] = (uv, "pip", "install", "--python", python)
    else:
        yield (_interpreter(version), "-m", "venv", str(folder))
        install = (python, "-m", "pip", "install")
    yield (*install, *(("-r", str(made_of.path)) if made_of is not None else _PILLOW))
    for line in () if made_of is None else made_of.then:
        line = line.replace("{pip} install", shlex.join(install)).replace("{pip}", "{python} -m pip")
        yield tuple(_filled(word, places, python) for word in shlex.split(line))
    yield ("touch", str(places.environment_mark))


def _filled(word: str, places: Places, python: str) -> str:
    version = places.params.python_version or (places.environment.python if places.environment else None) or ""
    values = {
        "{python}": python,
        "{repository}": str(places.repository or ""),
        "{site_packages}": str(places.environment_folder / "lib" / f"python{version}" / "site-packages"),
    }
    for name, value in values.items():
        word = word.replace(name, value)
    return word


def _interpreter(version: str | None) -> str:
    """Return the interpreter that makes an environment where there is no uv. Raises FairbenchError."""
    name = f"python{version}" if version else "python3"
    found = shutil.which(name)
    if found is None:
        raise FairbenchError(
            f"{name} is needed and is not on PATH: install it, or install uv (pip install uv), which fetches it."
        )
    return found


def _tool(name: str) -> str | None:
    """Return a program on PATH, or beside our own interpreter."""
    beside = Path(sys.executable).with_name(name)
    return name if shutil.which(name) else str(beside) if beside.is_file() else None


def do(step: Step) -> None:
    """Run a step's commands; what they print goes to stderr. Raises FairbenchError for the first that fails."""
    for command in step.commands:
        try:
            code = subprocess.run(command, stdout=2, check=False).returncode  # descriptor 2: stderr
        except OSError as err:
            raise FairbenchError(f"{command[0]} cannot be run ({err.strerror}): install it, or fix PATH.") from err
        if code != 0:
            raise FairbenchError(
                f"`{shlex.join(command)}` failed with exit code {code}, as said above: fix that, and run setup again."
            )
