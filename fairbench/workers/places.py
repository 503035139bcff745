"""Where the environment, code and weights of a foreign model lie on this machine, and what of them is missing."""

from __future__ import annotations

import re
import subprocess
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from fairbench.cards.cards import HubModel, ModelCard
from fairbench.errors import FairbenchError
from fairbench.networks import weights
from fairbench.storage import paths
from fairbench.workers import recipes
from fairbench.workers.params import WorkerParams
from fairbench.workers.recipes import Environment, Recipe


def cache() -> Path:
    """Return the folder of environments, checkouts and logs."""
    return weights.cache_dir() / "workers"


@dataclass(frozen=True)
class Places:
    """The places of one card. base_dir: the card's folder."""

    card: ModelCard
    params: WorkerParams
    base_dir: Path | None

    @cached_property
    def recipe(self) -> Recipe:
        """The recipe. Raises CardError."""
        return recipes.load(self.params.recipe, self.base_dir)

    @cached_property
    def environment(self) -> Environment | None:
        """What the environment is made of; None where the recipe has no such file."""
        return self.recipe.environment

    @property
    def environment_folder(self) -> Path:
        """The folder of the environment that `fairbench setup` makes: another one for other packages."""
        made_of = "alone" if self.environment is None else self.environment.sha256[:8]
        version = self.params.python_version or "any"
        return cache() / "environments" / f"{self.recipe.path.stem}-{version}-{made_of}"

    @property
    def environment_mark(self) -> Path:
        """A file that is there once the environment is complete."""
        return self.environment_folder / "fairbench-made"

    @property
    def python(self) -> Path:
        """The interpreter, whether it is there or not."""
        if self.params.python is not None:
            return self._from_card(self.params.python)
        return self.environment_folder / "bin" / "python"

    @property
    def repository(self) -> Path | None:
        """The folder of the official code, whether it is there or not; None where the recipe needs none."""
        declared = self.params.repository
        if declared is None:
            return None
        if declared.path is not None:
            return self._from_card(declared.path)
        name = re.sub(r"\.git$", "", str(declared.url).rstrip("/")).rpartition("/")[2]
        return cache() / "repositories" / f"{name}-{str(declared.commit)[:12]}"

    @property
    def has_environment(self) -> bool:
        """Whether the interpreter is there, and, where `fairbench setup` makes it, all of its packages."""
        return self.python.is_file() and (self.params.python is not None or self.environment_mark.is_file())

    def weights(self) -> dict[str, Path | None]:
        """Return name -> folder of the weights, None for what is not on this machine. Downloads nothing."""
        return {name: weights.local_folder(ref, self.base_dir, files(ref)) for name, ref in self.params.weights.items()}

    def revisions(self) -> dict[str, str]:
        """Return name -> commit of the weights here that are the hub's. Raises FairbenchError for another commit."""
        commits = {}
        for name, folder in self.weights().items():
            ref = self.params.weights[name]
            if ref.repo is None or folder is None:
                continue
            commits[name] = folder.name
            declared = weights.model_identity(ref, self.base_dir)["revision"]
            if declared != folder.name:  # the hub has moved on since an unpinned repository was downloaded
                raise FairbenchError(
                    f"Of {ref.repo} commit {folder.name} is on this machine, and {declared} on the hub: name the "
                    "`revision` that is meant in the card."
                )
        return commits

    def missing(self) -> list[str]:
        """Return a sentence for each thing that is missing."""
        sentences = []
        if not self.has_environment:
            what = (
                f"there is no interpreter {self.python}; fix `python` in the card" if self.params.python else self._fix
            )
            sentences.append(f"environment: {what}")
        repository = self.repository
        if repository is not None and not repository.is_dir():
            theirs = self.params.repository is not None and self.params.repository.path is not None
            what = f"there is no folder {repository}; fix its path in the card" if theirs else self._fix
            sentences.append(f"repository: {what}")
        for name, folder in self.weights().items():
            if folder is None:
                ref = self.params.weights[name]
                what = f"{ref.repo}, {self._fix}" if ref.repo else f"there is no folder {ref.path}"
                sentences.append(f"weights {name}: {what}")
        return sentences

    def checkout(self) -> dict[str, Any] | None:
        """Return commit and changed files of the repository; None where git does not know the folder.

        Raises FairbenchError where that contradicts the card.
        """
        folder, declared = self.repository, self.params.repository
        if folder is None or declared is None:
            return None
        state = _git_state(folder)
        if declared.commit is None:
            return state
        if state is None:
            raise FairbenchError(
                f"{folder} is no git checkout, so that its commit cannot be held against the card's: check out "
                f"{declared.commit}, or leave `commit` away."
            )
        if state["commit"] != declared.commit:
            raise FairbenchError(
                f"{folder} is at commit {state['commit']}, the card declares {declared.commit}: check that out "
                f"(git -C {folder} checkout {declared.commit}), or change the card."
            )
        if state["changed"]:
            raise FairbenchError(
                f"{folder} differs from its commit in {', '.join(state['changed'])}: undo that, or commit it to a fork "
                "and name that in the card."
            )
        return state

    @property
    def _fix(self) -> str:
        return f"not on this machine; get it with `fairbench setup {self.card.name} --do`"

    def _from_card(self, path: str) -> Path:
        return (self.base_dir or Path.cwd()) / paths.expand(path)


def files(ref: HubModel) -> tuple[str, ...]:
    """Return the patterns of the files that a recipe's weights consist of."""
    return tuple(getattr(ref, "files", None) or ("*",))


def _git_state(folder: Path) -> dict[str, Any] | None:
    try:
        if Path(_git(folder, "rev-parse", "--show-toplevel")).resolve() != folder.resolve():
            return None  # it lies in a checkout of something else
        changed = _git(folder, "status", "--porcelain", "--untracked-files=no").splitlines()
        return {"commit": _git(folder, "rev-parse", "HEAD"), "changed": [line[2:].strip() for line in changed[:5]]}
    except (OSError, subprocess.SubprocessError):
        return None


def _git(folder: Path, *args: str) -> str:
    command = ["git", "-c", "safe.directory=*", "-C", str(folder), *args]
    return subprocess.run(command, capture_output=True, text=True, check=True, timeout=60).stdout.strip()
