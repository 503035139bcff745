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
from fairbench.registry import suggest
from fairbench.storage import pixels
from fairbench.synthesis import own_images
from fairbench.synthesis.balanced import Group
from fairbench.synthesis.confirm import groups_of
from fairbench.synthesis.own_images import OwnImage
from fairbench.synthesis.wordings import SPOKEN, neutral, reworded, specified
from fairbench.types import NO_TEXT, Prompt

TABLE = "images.csv"
LAYOUT = "own images lie as PROMPT/GROUP/image"


def read(
    folder: Path, attributes: Mapping[str, Sequence[str]], prompts: Sequence[Prompt] | None,
    templates: Sequence[str] | None = None,
) -> list[OwnImage]:  # fmt: skip
    """Read and check a folder, in the order of names; hidden files and those of operating systems are passed over.

    prompts: those of a task, whose subjects the folders name. templates: wordings, of the task's subjects or else of
    the folders' names. With neither, a folder's name is a prompt as it stands. Raises CardError, naming the path: an
    empty folder, one that names no group or no subject, a subject that lacks a group, a file that is no image or stands
    elsewhere, and all that `own_images.checked` refuses.
    """
    groups = groups_of(attributes)
    names = _names(groups)
    subjects: dict[str, list[Prompt]] = {}
    for prompt in () if prompts is None else neutral(prompts, templates):
        subjects.setdefault(_plain(prompt.subject), []).append(prompt)
    images: list[OwnImage] = []
    for place in _folders(folder):
        asked = _as_named(place, templates) if prompts is None else _of_task(place, subjects)
        parts = [(_group(part, names, groups), part) for part in _folders(place)]
        lacking = next((g for g in groups if g not in {group for group, _ in parts}), None)
        if lacking is not None:
            raise CardError(
                f"{place} has no folder of the group {' '.join(lacking)}: add {place / '-'.join(lacking)}, or take "
                f"{place.name} out."
            )
        for group, part in parts:
            images += itertools.chain.from_iterable(_rows(file, asked, group) for file in _files(part))
    return own_images.checked(images, folder, attributes)


def _as_named(place: Path, templates: Sequence[str] | None) -> list[Prompt]:
    """Return the folder's name as a prompt, or as the subject of every template."""
    name = nfc(place.name).strip()  # some file systems take letters and accents apart
    prompt_id = keys.prompt_id(name)
    own = Prompt(prompt_id, prompt_id, "folder", 1, NO_TEXT, name, name)
    return [own] if templates is None else reworded([own], templates)


def _of_task(place: Path, subjects: Mapping[str, Sequence[Prompt]]) -> Sequence[Prompt]:
    """Return the prompts of the subject that the folder is named after."""
    found = subjects.get(_plain(place.name), [])
    names = list(dict.fromkeys(p.subject for p in found))
    if not found:
        known = suggest(place.name, [of_one[0].subject for of_one in subjects.values()])
        raise CardError(f"{place}: the task has no subject {place.name!r}{known}.")
    if len(names) > 1:
        raise CardError(f"{place} may be {' or '.join(names)}: use {TABLE} instead, which names prompts.")
    return found


def _rows(file: Path, prompts: Sequence[Prompt], group: Group) -> Iterator[OwnImage]:
    sha256 = own_images.known_by(file)
    for p in prompts:
        source = "" if p.template_id == NO_TEXT else specified(p, group)
        yield OwnImage(str(file), file, sha256, p.text, p.subject, group, source)


def _group(part: Path, names: Mapping[str, Group], groups: Sequence[Group]) -> Group:
    found = names.get(_plain(part.name))
    if found is None:
        known = suggest(part.name, ["-".join(g) for g in groups])
        raise CardError(f"{part} is named after no group{known}: name it by its labels, as in {'-'.join(groups[0])}.")
    return found


def _names(groups: Sequence[Group]) -> dict[str, Group]:
    """Return plain folder name -> group, by its labels and by the words that prompts say for them."""
    names: dict[str, Group] = {}
    for group in groups:
        for words in (group, [SPOKEN.get(label, label) for label in group]):
            other = names.setdefault(_plain("-".join(words)), group)
            if other != group:
                raise CardError(
                    f"Names of folders cannot tell the groups {' '.join(other)} and {' '.join(group)} apart: use "
                    f"{TABLE} instead."
                )
    return names


def _plain(name: str) -> str:
    """Return a name's letters and digits, with - between words: what two names must share to be the same."""
    return re.sub(r"[\W_]+", "-", nfc(name).casefold()).strip("-")


def _folders(place: Path) -> list[Path]:
    found = _visible(place)
    odd = next((path for path in found if not path.is_dir()), None)
    if odd is not None:
        raise CardError(f"{odd} stands where a folder is expected: {LAYOUT}.")
    return found


def _files(place: Path) -> list[Path]:
    found = _visible(place)
    for path in found:
        if path.is_dir():
            raise CardError(f"{path} is a folder where images are expected: {LAYOUT}.")
        if not path.is_file() or path.suffix.lower() not in pixels.SUFFIXES:
            raise CardError(f"{path} is no image ({', '.join(pixels.SUFFIXES)}): take it out of the folder.")
    return found


def _visible(place: Path) -> list[Path]:
    try:
        found = sorted(
            path for path in place.iterdir()
            if not path.name.startswith(".") and path.name.casefold() not in SYSTEM_FILES
        )  # fmt: skip
    except OSError as err:
        raise CardError(f"{place} cannot be read ({err.strerror}): mend its permissions.") from err
    if not found:
        raise CardError(f"{place} has no images: {LAYOUT}; fill the folder, or take it out.")
    odd = next((path for path in found if not path.name.strip() or hidden_character(path.name)), None)
    if odd is not None:
        raise CardError(f"{str(odd)!r} has a name that is not plain text: rename it.")
    return found
