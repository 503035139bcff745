"""A balanced set from a folder of images: PROMPT/GROUP/image, where a group is its labels, such as female-Asian.

A first folder is named after a neutral prompt or, where a task or templates are given, after a subject: its images then
stand under every wording that there is for that subject.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from fairbench import keys
from fairbench.adapters.folder_files import SYSTEM_FILES
from fairbench.cards.texts import hidden_character, nfc
from fairbench.errors import CardError
from fairbench.methods.common import spoken, with_group
from fairbench.registry import suggest
from fairbench.storage import pixels
from fairbench.synthesis import own_images
from fairbench.synthesis.balanced import Attributes, Group, Row, groups_of
from fairbench.synthesis.wordings import neutral, reworded
from fairbench.types import NO_TEXT, Prompt

TABLE = "images.csv"
LAYOUT = "the layout is PROMPT/GROUP/image"


def read(
    folder: Path, attributes: Attributes, prompts: Sequence[Prompt] | None, templates: Sequence[str] | None = None
) -> list[Row]:
    """Read and check a folder, in the order of names; hidden files and those of operating systems are skipped.

    prompts: those of a task, whose subjects the folders name. templates: wordings, of the task's subjects or else of
    the folders' names. With neither, a folder's name is the prompt itself. Raises CardError, naming the path: an empty
    folder, one that names no group or no subject, a subject that lacks a group, a file that is no image or is in the
    wrong folder, and all that `own_images.checked` refuses.
    """
    groups = groups_of(attributes)
    group_of = _groups_by_name(groups)
    prompts_of: dict[str, list[Prompt]] = {}
    for prompt in () if prompts is None else neutral(prompts, templates):
        prompts_of.setdefault(_plain(prompt.subject), []).append(prompt)
    rows: list[Row] = []
    for subject_folder in _folders(folder):
        if prompts is None:
            wordings: Sequence[Prompt] = _wordings_of_name(subject_folder, templates)
        else:
            wordings = _wordings_of_task(subject_folder, prompts_of)
        group_folders = [(_group(path, group_of, groups), path) for path in _folders(subject_folder)]
        if lacking := next((g for g in groups if g not in {group for group, _ in group_folders}), None):
            raise CardError(
                f"{subject_folder} has no folder of the group {' '.join(lacking)}: add "
                f"{subject_folder / '-'.join(lacking)}, or take {subject_folder.name} out."
            )
        for group, path in group_folders:
            rows += itertools.chain.from_iterable(_rows(file, wordings, group) for file in _files(path))
    return own_images.checked(rows, folder, attributes)


def _wordings_of_name(folder: Path, templates: Sequence[str] | None) -> list[Prompt]:
    """Return the folder's name as a prompt, or as the subject of every template."""
    name = nfc(folder.name).strip()  # some file systems take letters and accents apart
    prompt_id = keys.prompt_id(name)
    prompt = Prompt(prompt_id, prompt_id, "folder", 1, NO_TEXT, name, name)
    return [prompt] if templates is None else reworded([prompt], templates)


def _wordings_of_task(folder: Path, prompts_of: Mapping[str, Sequence[Prompt]]) -> Sequence[Prompt]:
    """Return the prompts of the subject that the folder is named after."""
    prompts = prompts_of.get(_plain(folder.name), [])
    if not prompts:
        hint = suggest(folder.name, [prompts[0].subject for prompts in prompts_of.values()])
        raise CardError(f"{folder}: the task has no subject {folder.name!r}{hint}.")
    subjects = list(dict.fromkeys(prompt.subject for prompt in prompts))
    if len(subjects) > 1:
        raise CardError(f"{folder} may be {' or '.join(subjects)}: use {TABLE} instead, which names prompts.")
    return prompts


def _rows(file: Path, prompts: Sequence[Prompt], group: Group) -> Iterator[Row]:
    sha256 = own_images.sha256_of(file)
    for prompt in prompts:
        source = "" if prompt.template_id == NO_TEXT else with_group(prompt, group)
        yield Row(file, sha256, prompt.text, prompt.subject, group, source, where=str(file))


def _group(folder: Path, group_of: Mapping[str, Group], groups: Sequence[Group]) -> Group:
    group = group_of.get(_plain(folder.name))
    if group is None:
        hint = suggest(folder.name, ["-".join(g) for g in groups])
        raise CardError(f"{folder} is named after no group{hint}: name it by its labels, as in {'-'.join(groups[0])}.")
    return group


def _groups_by_name(groups: Sequence[Group]) -> dict[str, Group]:
    """Return plain folder name -> group, by its labels and by the words that prompts say for them."""
    group_of: dict[str, Group] = {}
    for group in groups:
        for words in (group, map(spoken, group)):
            other = group_of.setdefault(_plain("-".join(words)), group)
            if other != group:
                raise CardError(
                    f"Names of folders cannot tell the groups {' '.join(other)} and {' '.join(group)} apart: use "
                    f"{TABLE} instead."
                )
    return group_of


def _plain(name: str) -> str:
    """Return a name's letters and digits, with - between words: what two names must share to be the same."""
    return re.sub(r"[\W_]+", "-", nfc(name).casefold()).strip("-")


def _folders(folder: Path) -> list[Path]:
    paths = _visible(folder)
    if odd := next((path for path in paths if not path.is_dir()), None):
        raise CardError(f"{odd} is not a folder, where one is expected: {LAYOUT}.")
    return paths


def _files(folder: Path) -> list[Path]:
    paths = _visible(folder)
    for path in paths:
        if path.is_dir():
            raise CardError(f"{path} is a folder where images are expected: {LAYOUT}.")
        if not path.is_file() or path.suffix.lower() not in pixels.SUFFIXES:
            raise CardError(f"{path} is no image ({', '.join(pixels.SUFFIXES)}): take it out of the folder.")
    return paths


def _visible(folder: Path) -> list[Path]:
    try:
        paths = sorted(
            p for p in folder.iterdir() if not p.name.startswith(".") and p.name.casefold() not in SYSTEM_FILES
        )
    except OSError as err:
        raise CardError(f"{folder} cannot be read ({err.strerror}): fix its permissions.") from err
    if not paths:
        raise CardError(f"{folder} has no images: {LAYOUT}; fill the folder, or take it out.")
    if odd := next((path for path in paths if not path.name.strip() or hidden_character(path.name)), None):
        raise CardError(f"{str(odd)!r} has a name that is not plain text: rename it.")
    return paths
