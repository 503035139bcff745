"""A registration: what a comparison will be, written down with its hash before its images are made.

The hash shows that a file was not changed after it was published; that it existed before the runs is shown only by
where it was published (a repository, a preprint, a time stamp).
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any, Final, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from fairbench import keys, registry
from fairbench.cards import catalog, yamlfile
from fairbench.errors import FairbenchError
from fairbench.runs.evidence import FinishedRun
from fairbench.runs.prompts import texts_hash
from fairbench.stats.intervals import Scope
from fairbench.storage import atomic, jsonfile
from fairbench.types import Prompt

VERSION: Final = 1
_SECONDS: Final = "%Y-%m-%dT%H:%M:%SZ"
_Name = Annotated[str, Field(min_length=1)]
_Count = Annotated[int, Field(ge=1)]


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, allow_inf_nan=False)


class Arm(_Part):
    """One run of the comparison: the name of a model's card, and the method as a run records it."""

    model: _Name
    method: _Name = "none"

    def __str__(self) -> str:
        return self.model + ("" if self.method == "none" else f" + {self.method}")


class Registration(_Part):
    """A comparison that is registered. The first arm is the baseline.

    task_sha: the hash of the prompts' texts, in order, as a run declares it. attributes: the primary family, adjusted
    together. margins: name -> the largest difference that counts as none. prompts: their number. registered_at: UTC.
    sha256: of the canonical JSON of all other fields.
    """

    version: Literal[1] = VERSION
    task: _Name
    task_sha: Annotated[str, Field(pattern=r"^[0-9a-f]{32}$")]
    arms: Annotated[list[Arm], Field(min_length=2)]
    attributes: Annotated[list[_Name], Field(min_length=1)]
    margins: dict[str, Annotated[float, Field(gt=0)]]
    scope: Scope
    images_per_prompt: _Count
    prompts: _Count
    alpha: Annotated[float, Field(gt=0, lt=1)]
    labeller: _Name
    registered_at: Annotated[str, Field(pattern=r"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ$")]
    sha256: str = ""

    @property
    def hash(self) -> str:
        """Return the sha256 (64 hex digits) of what the registration says."""
        content = self.model_dump(exclude={"sha256"})
        return hashlib.sha256(keys.canonical(content).encode()).hexdigest()


def register(prompts: Sequence[Prompt], **fields: Any) -> Registration:
    """Return the registration of a comparison over these prompts, as of now. fields: those of Registration.

    Raises FairbenchError for a field that no registration can have.
    """
    registered_at = datetime.now(UTC).strftime(_SECONDS)
    counted = {"task_sha": texts_hash(prompts), "prompts": len(prompts), "registered_at": registered_at}
    registration = _parsed(Path("The registration"), {**fields, **counted})
    repeated = next((arm for i, arm in enumerate(registration.arms) if arm in registration.arms[:i]), None)
    if repeated is not None:
        raise FairbenchError(f"--arm {repeated}: it is named twice; name each run of the comparison once.")
    return registration.model_copy(update={"sha256": registration.hash})


def check_new(path: Path) -> None:
    """Raise FairbenchError where a registration cannot be written, as something stands there."""
    if path.exists():
        raise FairbenchError(f"{path} exists, and a registration replaces nothing: name a new file.")


def write(registration: Registration, path: Path) -> None:
    """Write a registration. Raises FairbenchError where the file exists: what is registered stays."""
    check_new(path)
    atomic.write_text(path, json.dumps(registration.model_dump(), indent=2, ensure_ascii=False) + "\n")


def read(path: Path) -> Registration:
    """Read a registration. Raises FairbenchError: no registration, a wrong field, or changed since it was written."""
    fix = "name a file of plan --register"
    content = jsonfile.read(path, unreadable=fix, broken=fix)
    if not isinstance(content, dict) or not {"task_sha", "arms", "sha256"} <= set(content):
        raise FairbenchError(f"{path} is no registration: name a file of plan --register.")
    if content.get("version") != VERSION:
        raise FairbenchError(
            f"{path}, field version: it is {content.get('version')!r}, this fairbench reads {VERSION}: use the "
            "fairbench that wrote it."
        )
    registration = _parsed(path, content)
    if registration.sha256 != registration.hash:
        raise FairbenchError(
            f"{path}, field sha256: it is not the hash of the other fields, so that the file was changed after it was "
            "registered: take the file that was written."
        )
    return registration


def _parsed(path: Path, content: dict[str, Any]) -> Registration:
    try:
        return Registration.model_validate(content)
    except ValidationError as err:
        first = yamlfile.problems(yamlfile.YamlFile(path, content), err)[0]
        raise FairbenchError(f"{path}, field {first.field}: {first.message}.") from err


def arm(text: str) -> Arm:
    """Return the arm that MODEL or MODEL:METHOD names, by the names that its run will record.

    A colon inside of a model's name, as in folder:PATH, is no end of it: a method begins after the name of a card, else
    where the rest of the text names one. Raises FairbenchError for an unknown model or method.
    """
    target, method = text, "none"
    for i in (i for i, character in enumerate(text) if character == ":"):
        before, after = text[:i], text[i + 1 :]
        is_card, is_method = before in catalog.find("models"), after.partition(":")[0] in registry.names("methods")
        if is_card or (is_method and before not in registry.names("adapters")):
            target, method = before, after
            break
    name, _, argument = method.partition(":")
    plugin = registry.resolve("methods", name)(argument or None)
    return Arm(model=catalog.load_model(target).card.name, method=str(getattr(plugin, "name", method)))


def departures(
    registration: Registration,
    runs: Sequence[FinishedRun],
    attributes: Sequence[str],
    margins: Mapping[str, float],
    alpha: float,
) -> list[str]:
    """Return in sentences how a comparison departs from what was registered; none: it is as registered.

    runs: the baseline first. attributes: the primary family that was tested. margins: those that were used; one that
    was not registered is a departure only where its name was.
    """
    registered = registration.arms
    compared = [Arm(model=run.record.model.name, method=run.record.method) for run in runs]
    found = [f"{each} was registered and is not compared" for each in registered if each not in compared]
    found += [f"{each} was not registered" for each in compared if each not in registered]
    if compared[0] in registered[1:]:
        found.append(f"the baseline is {compared[0]}, {registered[0]} was registered")
    for run, each in zip(runs, compared, strict=True):
        found += [f"{each}: {problem}" for problem in _departures_of_run(registration, run)]
    if list(attributes) != registration.attributes:
        found.append(f"the primary attributes are {', '.join(attributes)}, not {', '.join(registration.attributes)}")
    for name, margin in registration.margins.items():
        if name not in margins:
            found.append(f"the margin {name} of {margin:g} is not used")
        elif not math.isclose(margins[name], margin):
            found.append(f"the margin {name} is {margins[name]:g}, {margin:g} was registered")
    if not math.isclose(alpha, registration.alpha):
        found.append(f"the level is {alpha:g}, {registration.alpha:g} was registered")
    return found


def _departures_of_run(registration: Registration, run: FinishedRun) -> list[str]:
    """Return how one run departs from the registration: its task, prompts, images and labeller."""
    found, task = [], run.record.declared.task
    if task.name != registration.task:
        found.append(f"its task is {task.name}, {registration.task} was registered")
    elif len(run.prompts) != registration.prompts:
        found.append(f"it has {len(run.prompts)} prompts, {registration.prompts} were registered")
    elif task.prompts != registration.task_sha:
        found.append("its prompts have other texts than those that were registered")
    fewest, most = int(run.counts.requested.min()), int(run.counts.requested.max())
    if not fewest == most == registration.images_per_prompt:
        images = f"{fewest}" if fewest == most else f"{fewest} to {most}"
        found.append(f"it has {images} images per prompt, {registration.images_per_prompt} were registered")
    if run.record.labeller.name != registration.labeller:
        found.append(f"its labeller is {run.record.labeller.name}, {registration.labeller} was registered")
    return found
