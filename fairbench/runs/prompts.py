"""prompts: a task card -> its prompts, in order, and the shares that it refers to."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any, Final, NamedTuple, Protocol, TypeVar

import pyarrow as pa

from fairbench import contracts, keys
from fairbench.cards import catalog
from fairbench.cards.cards import TaskCard, Template
from fairbench.cards.texts import nfc, report_near_equal
from fairbench.errors import CardError
from fairbench.measure.series import References
from fairbench.notices import notice
from fairbench.runs.prompt_rows import stated, subjects, whole_prompts
from fairbench.storage import schemas
from fairbench.types import NO_TEXT, ImageRequest, LabelSchema, Prompt

MAX_PROMPTS = 1_000_000
"""Of one task."""
NOBODY = "nobody"
"""In a card's `reviewed_by`."""


def expand(task: TaskCard) -> list[Prompt]:
    """Return all prompts: templates x subjects, subjects outermost; reports those that are nearly the same.

    Templates with subjects of their own come behind the others. Raises CardError where two texts are the same.
    """
    prompts: dict[bytes, Prompt] = {}
    for text, prompt in _texts(task):
        if prompt.prompt_id in prompts:
            raise CardError(f"Task {task.name}: the prompt {text!r} comes up twice; make the templates differ.")
        prompts[prompt.prompt_id] = prompt
    report_near_equal((p.text for p in prompts.values()), f"task {task.name}")
    return list(prompts.values())


def _texts(task: TaskCard) -> Iterator[tuple[str, Prompt]]:
    groups: dict[str, list[Template]] = {}
    for template in task.templates:
        groups.setdefault(template.subjects or task.subjects, []).append(template)
    rows_of = {path: whole_prompts(Path(path)) if task.whole_prompts else subjects(Path(path)) for path in groups}
    if sum(len(rows_of[path]) * len(templates) for path, templates in groups.items()) > MAX_PROMPTS:
        raise CardError(
            f"{task.subjects} and {len(task.templates)} templates make more than {MAX_PROMPTS:,} prompts: shorten the "
            "task."
        )
    for path, templates in groups.items():
        for row in rows_of[path]:
            for template in templates:
                # Replaced, not formatted: a brace in a subject is a brace. "a" never becomes "an", by the protocol.
                text = row.get("prompt") or template.text.replace("{subject}", row["subject"])
                yield text, _prompt(task, template, text, row)


def _prompt(task: TaskCard, template: Template, text: str, row: dict[str, str]) -> Prompt:
    category = row.get("category", "")
    if category and template.category:
        raise CardError(
            f"Task {task.name}: template {template.id} and subject {row['subject']!r} both have a category; leave one."
        )
    prompt_id = keys.prompt_id(text)
    # A file of prompts says of each from which template it is, as `fairbench prompts` writes it.
    template_id = (row.get("template") if "prompt" in row else None) or template.id
    facts = (task.name, task.version, template_id, text, row["subject"], category or template.category)
    states = {**template.states, **stated(row)}
    concept = row.get("concept", "")
    scored_as = (task.scored_as or "").replace("{concept}", concept or row["subject"])
    return Prompt(prompt_id, prompt_id, *facts, states, concept, row.get("form", ""), scored_as)


class ReferenceFiles(NamedTuple):
    """Where references are from. source: who measured them; sha256: attribute -> the hash of its file."""

    source: str | None = None
    sha256: Mapping[str, str] = MappingProxyType({})


NO_FILES: Final = ReferenceFiles()


@dataclass(frozen=True, slots=True)
class Asked:
    """The prompts of a run. task, version: of their task; card: its card, None where images belong to no task."""

    prompts: list[Prompt]
    task: str
    version: int
    references: References
    card: TaskCard | None = None
    reference_files: ReferenceFiles = NO_FILES


def of_task(name: str | None, source: Any, title: str, declared: LabelSchema) -> Asked:
    """Return the prompts of a task, and its reference shares for the declared attributes.

    name: None for images that belong to no task. source: an adapter that has its own images (`title`, in errors), else
    None; it says which of the task's prompts they are of. Raises CardError, PluginError.
    """
    if name is None:
        with contracts.guard(title):
            return Asked(source.prompts(None), "folder", 1, {})
    task = catalog.load_task(name).card
    prompts = expand(task)
    if source is not None:
        with contracts.guard(title):
            prompts = source.prompts(prompts)
    references = {
        attribute: catalog.reference_file(path, declared.labels[attribute])
        for attribute, path in sorted(task.references.items())
        if attribute in declared.labels
    }
    hashes = {name: hashlib.sha256(Path(task.references[name]).read_bytes()).hexdigest() for name in references}
    _report(task)
    files = ReferenceFiles(task.references_source if references else None, hashes)
    return Asked(prompts, task.name, task.version, references, task, files)


def _report(task: TaskCard) -> None:
    if task.content_note is not None:
        notice("content-note", f"task {task.name}: {task.content_note}")
    if task.reviewed_by == NOBODY:
        notice("not-reviewed", f"task {task.name}: no native speaker ({task.language}) checked its prompts")


def texts_hash(prompts: Sequence[Prompt]) -> str:
    """Return the hash (32 hex digits) of the prompts' texts, in order: what a run declares of its task."""
    return keys.digest("prompts", [p.text for p in prompts]).hex()


class OwnImage(Protocol):
    """An image that exists, of which somebody says the prompt."""

    @property
    def group(self) -> str:
        """What its prompt is called."""

    @property
    def is_text(self) -> bool:
        """Whether that is the prompt's text."""

    @property
    def where(self) -> str:
        """Where it says so, as the beginning of a sentence."""


Image = TypeVar("Image", bound=OwnImage)


def of_own_images(
    images: Sequence[Image], task_prompts: Sequence[Prompt] | None, source: str
) -> tuple[list[Prompt], dict[bytes, list[Image]]]:
    """Return the prompts that have images, and each one's images by its id.

    In the task's order, or without a task in the images' own. source: where the images stand, in words. Raises
    CardError for images whose prompt the task does not have.
    """
    prompt_of: dict[bytes, Prompt] = {}
    groups: dict[bytes, list[Image]] = {}
    names = None if task_prompts is None else names_of(task_prompts)
    for image in images:
        matching = [_own_prompt(image)] if names is None else names.get(image.group, [])
        if not matching:
            raise CardError(
                f"{image.where}: {image.group!r} is no prompt of the task (its text, id, subject, or prompt_0 to "
                f"prompt_{len(task_prompts or []) - 1}): fix the name, or leave --task out."
            )
        if len(matching) > 1:
            raise CardError(
                f"{image.where}: {image.group!r} may be {len(matching)} prompts: name it by its text or id."
            )
        prompt = matching[0]
        prompt_of[prompt.prompt_id] = prompt
        groups.setdefault(prompt.prompt_id, []).append(image)
    if task_prompts is None:
        report_near_equal((p.text for p in prompt_of.values()), source)
        return list(prompt_of.values()), groups
    absent = [p.text for p in task_prompts if p.prompt_id not in prompt_of]
    if absent:
        text = f"{len(absent)} of the task's {len(task_prompts)} prompts have no images in {source}."
        notice("prompts-without-images", text, count=len(absent), examples=absent)
    return [p for p in task_prompts if p.prompt_id in prompt_of], groups


def _own_prompt(image: OwnImage) -> Prompt:
    # Only a prompt that somebody calls one is known to be a text; a folder's name is a name.
    prompt_id = keys.prompt_id(image.group)
    template = "manifest" if image.is_text else NO_TEXT
    return Prompt(prompt_id, prompt_id, "folder", 1, template, image.group, image.group)


def names_of(prompts: Sequence[Prompt]) -> dict[str, list[Prompt]]:
    """Return every name under which a prompt may stand: its text, id, subject (also with _ for blanks), number."""
    names: dict[str, list[Prompt]] = {}
    for i, prompt in enumerate(prompts):
        subject = prompt.subject
        aliases = (subject.replace(" ", "_"), subject, f"prompt_{i}", prompt.prompt_id.hex(), prompt.text)
        for name in set(map(nfc, aliases)):
            names.setdefault(name, []).append(prompt)
    return names


def in_order(requests: Sequence[ImageRequest], prompts: Sequence[Prompt]) -> list[ImageRequest]:
    """Return the requests of these prompts, prompt by prompt."""
    index_of = {p.prompt_id: i for i, p in enumerate(prompts)}
    return sorted((r for r in requests if r.prompt_id in index_of), key=lambda r: index_of[r.prompt_id])


def table(prompts: list[Prompt]) -> pa.Table:
    """Return the prompts table."""
    names = schemas.schema("prompts").names
    columns = {n: [getattr(p, n) for p in prompts] for n in names if n != "stated"}
    return schemas.build("prompts", {**columns, "stated": [list(p.stated.items()) for p in prompts]})
