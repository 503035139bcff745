"""What a sweep is asked for, and what of it decides its results: another folder's sweep is told by that."""

from __future__ import annotations

import dataclasses
import json
import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Final

from fairbench.cards import catalog
from fairbench.cards.cards import ModelCard
from fairbench.comparison import margins
from fairbench.comparison.margins import Margins
from fairbench.errors import FairbenchError
from fairbench.runs import spec
from fairbench.runs.arguments import RunSettings
from fairbench.runs.spec import RunSpec
from fairbench.storage import atomic, folders, jsonfile, kinds
from fairbench.storage.files import StoreName
from fairbench.storage.opening import folder_of
from fairbench.sweeps.arms import BASE, Arm, Budget
from fairbench.synthesis import balanced
from fairbench.synthesis.balanced import Balanced
from fairbench.training import capability, presets
from fairbench.training.job import Job

FILE: Final = "sweep-settings.json"
MIN_SEEDS: Final = 2
CHOSEN, JUDGED, FOLLOWED, CONTEXT = "chosen", "judged", "followed", "context"
"""The parts of a sweep's runs: the prompts that an arm is chosen on, those it is judged on, prompts that state a group,
and prompts whose words or setting leave an attribute hardly open."""


@dataclass(frozen=True)
class Design:
    """A sweep. tasks: part -> its task; parts that are asked of nobody are absent.

    labeller: of choosing; judge: of all that is judged. None: the model card's. attribute: the attribute or cross whose
    concentration is the bias; None: the first cross of the labeller, else its first attribute. seed: the first of
    `seeds` seeds, each of which a training and its images have in common. options: of all trainings. data_seconds: what
    the balanced set took to make, where it is not estimated. stated_images: per prompt of `FOLLOWED` and `CONTEXT`.
    """

    model: str
    data: Path
    arms: tuple[Arm, ...]
    seeds: int
    budget: Budget
    tasks: dict[str, str]
    out: Path
    store: StoreName
    labeller: str | None = None
    judge: str | None = None
    attribute: str | None = None
    images_per_prompt: int | None = None
    stated_images: int | None = None
    limit_prompts: int | None = None
    samples: int = 50
    preset: str | None = None
    options: dict[str, Any] = dataclasses.field(default_factory=dict)
    seed: int = 0
    data_seconds: float | None = None
    alpha: float = 0.05
    device: str = "auto"

    def __post_init__(self) -> None:
        if self.seeds < MIN_SEEDS:
            raise FairbenchError(
                f"--seeds {self.seeds}: an interval over trainings takes {MIN_SEEDS} or more, and 3 show little."
            )
        if not 0 < self.alpha < 0.5:
            raise FairbenchError(f"--alpha {self.alpha:g}: name a level above 0 and below 0.5.")
        if self.data_seconds is not None and not 0 <= self.data_seconds < math.inf:
            raise FairbenchError(f"--data-seconds {self.data_seconds:g}: name a number of seconds, 0 or more.")

    @cached_property
    def card(self) -> catalog.Loaded[ModelCard]:
        """The model's card."""
        return catalog.load_model(self.model)

    @cached_property
    def set(self) -> Balanced:
        """The balanced set, as the trainings group it."""
        whole = balanced.read(self.data)
        groups = self.settings(self.arms[0]).groups
        return whole.margin(groups) if groups else whole

    @cached_property
    def margins(self) -> Margins:
        """The margins of the judged task, whether its card is one of ours or a file."""
        return margins.of_card(catalog.load_task(self.tasks[JUDGED]).card)

    @cached_property
    def of_seeds(self) -> range:
        """The seeds of an arm's trainings."""
        return range(self.seed, self.seed + self.seeds)

    def settings(self, arm: Arm, seed: int = 0, steps: int | None = None) -> presets.Settings:
        """Return the settings of an arm's training; without `steps`, the preset's."""
        options = {**self.options, "seed": seed, "steps": steps}
        plain = presets.settings(arm.trainer, self.preset, options)
        return dataclasses.replace(plain, retain=capability.parsed(arm.retain))

    def job(self, arm: Arm, seed: int, steps: int, out: Path, log_every: int = 10) -> Job:
        """Return an arm's training of so many steps."""
        settings = self.settings(arm, seed, steps)
        return Job(settings, self.card, self.set, out, device=self.device, log_every=log_every, track=("none",))

    def adapter(self, arm: Arm, seed: int) -> Path:
        """Return the folder of a training."""
        return self.out / "trainings" / f"{arm.name}-seed-{seed}"

    def run(self, part: str, arm: Arm | None, seed: int) -> tuple[RunSpec, Path]:
        """Return a run of an arm's training, of the model itself where `arm` is None, and its folder."""
        stated = self.stated_images if part in (FOLLOWED, CONTEXT) else None
        images = stated or self.images_per_prompt
        settings = RunSettings(
            model=self.model,
            task=self.tasks[part],
            method="none" if arm is None else f"lora:{self.adapter(arm, seed)}",
            labeller=self.labeller if part == CHOSEN else self.judge or self.labeller,
            images_per_prompt=images,
            limit_prompts=self.limit_prompts,
            seed=seed,
            device=self.device,
        )
        return spec.make(settings), self.out / "runs" / part / f"{BASE if arm is None else arm.name}-seed-{seed}"

    def identity(self) -> dict[str, Any]:
        """Return what decides the results, as plain data."""
        runs = {part: self.run(part, None, self.seed)[0] for part in self.tasks}
        trained = {arm.name: self.settings(arm).identity() for arm in self.arms}
        return {
            "model": self.card.card.name,
            "base": self.job(self.arms[0], 0, 1, self.out).base,
            "data": self.set.digest,
            "trainings": {name: {k: v for k, v in of.items() if k != "steps"} for name, of in trained.items()},
            "seeds": [*self.of_seeds],
            "budget": str(self.budget),
            "data seconds": self.data_seconds,
            "runs": {part: {k: of.declared[k] for k in _OF_RUNS} for part, of in runs.items()},
            "labellers": {part: of.labeller.card.name for part, of in runs.items()},
            "attribute": self.attribute,
            "answers per question": self.samples,
            "alpha": self.alpha,
        }


def tasks(model: str, chosen: str | None, judged: str, followed: str | None, context: str | None) -> dict[str, str]:
    """Return part -> task. Raises FairbenchError where arms would be judged on what they were chosen on."""
    chosen = chosen or catalog.load_model(model).card.default_task or spec.DEFAULT_TASK
    if chosen == judged:
        raise FairbenchError(
            f"--judge-task {judged} is what an arm is chosen on: judge on other prompts, or name another --task."
        )
    named = {CHOSEN: chosen, JUDGED: judged, FOLLOWED: followed, CONTEXT: context}
    return {part: task for part, task in named.items() if task is not None}


_OF_RUNS: Final = ("task", "image_key", "labels_key", "images", "face_policy", "scorers")


def begin(design: Design) -> dict[str, Any]:
    """Mark the folder as this sweep's, and return its identity. Raises FairbenchError for another one's folder."""
    folders.check(design.out, kinds.SWEEP, store=folder_of(design.store))
    folders.finish(design.out)
    identity, path = json.loads(json.dumps(design.identity())), design.out / FILE
    if not path.exists():  # all of it or nothing: a part of it would be a stranger's file to the next process
        with folders.replacing(design.out, kinds.SWEEP) as folder:
            atomic.write_text(folder / FILE, json.dumps({"sweep": 1, **identity}, indent=2) + "\n")
    stored = once(path, dict)
    known = {name: value for name, value in identity.items() if name in stored}  # a later version may add some
    if misfit := "; ".join(_unlike({k: v for k, v in stored.items() if k != "sweep"}, known)):
        raise FairbenchError(f"{design.out} holds another sweep ({misfit}): name another folder.")
    return dict(identity)


def _unlike(there: Mapping[str, Any], here: Mapping[str, Any], where: str = "") -> Iterator[str]:
    """Yield what differs between two identities, each field by the way to it, as "trainings sft-0 rank"."""
    for name in dict.fromkeys([*there, *here]):
        path = f"{where} {name}".strip()
        if name not in here or name not in there:
            yield f"{path} is {'there' if name in there else 'here'} alone"
        elif isinstance(there[name], dict) and isinstance(here[name], dict):
            yield from _unlike(there[name], here[name], path)
        elif there[name] != here[name]:
            yield f"{path} {there[name]} there, {here[name]} here"


def once(path: Path, made: Callable[[], dict[str, Any]]) -> dict[str, Any]:
    """Return what a file of the sweep holds; where it is not there yet, what `made` returns, which is then kept.

    Raises FairbenchError for a file that cannot be read.
    """
    if not path.exists():
        atomic.write_text(path, json.dumps(made(), indent=2) + "\n")
    fix = "remove it, and what rests on it is made again"
    return dict(jsonfile.read(path, unreadable=fix, broken=fix))
