"""A balanced set from a folder of images: PROMPT/GROUP/image, where a group is its labels, such as female-Asian.

A first folder is named after a neutral prompt or, where a task is given, after a subject of it: its images then stand
under every wording that the task has for that subject.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from fairbench import pixels
from fairbench.errors import CardError
from fairbench.registry import suggest
from fairbench.train import own_images
from fairbench.train.confirm import groups_of
from fairbench.train.data import Group
from fairbench.train.own_images import OwnImage
from fairbench.train.wordings import SPOKEN, specified
from fairbench.types import Prompt

TABLE = "images.csv"


def read(folder: Path, attributes: Mapping[str, Sequence[str]], prompts: Sequence[Prompt] | None) -> list[OwnImage]:
    """Read and check a folder, in the order of names; hidden files are passed over.

    Raises CardError, naming the path: a folder that names no group or no subject of `prompts`, a file that is no image
    or stands elsewhere, and all that `own_images.checked` refuses.
    """
    names = _names(groups_of(attributes))
    subjects: dict[str, list[Prompt]] = {}
    for prompt in prompts or ():
        subjects.setdefault(prompt.subject, []).append(prompt)
    images: list[OwnImage] = []
    for place in _folders(folder):
        if prompts is not None and place.name not in subjects:
            raise CardError(f"{place}: the task has no subject {place.name!r}{suggest(place.name, subjects)}.")
        for part in _folders(place):
            group = names.get(_plain(part.name))
            if group is None:
                known = ", ".join("-".join(g) for g in groups_of(attributes))
                raise CardError(f"{part}: {part.name!r} is no group; name the folder as one of {known}.")
            images += itertools.chain.from_iterable(
                _rows(file, place.name, group, subjects.get(place.name)) for file in _files(part)
            )
    return own_images.checked(images, folder, attributes)


def _rows(file: Path, name: str, group: Group, prompts: Sequence[Prompt] | None) -> Iterator[OwnImage]:
    sha256 = own_images.known_by(file, str(file))
    if prompts is None:
        yield OwnImage(str(file), file, sha256, name, name, group, "")
    for p in prompts or ():
        yield OwnImage(str(file), file, sha256, p.text, p.subject, group, specified(p, group))


def _names(groups: Sequence[Group]) -> dict[str, Group]:
    """Return plain folder name -> group, by its labels and by the words that prompts say for them."""
    spoken = {_plain("-".join(SPOKEN.get(label, label) for label in group)): group for group in groups}
    return spoken | {_plain("-".join(group)): group for group in groups}


def _plain(name: str) -> str:
    return re.sub(r"[^a-z0-9]+", "-", name.casefold())


def _folders(place: Path) -> list[Path]:
    found = _visible(place)
    odd = next((path for path in found if not path.is_dir()), None)
    if odd is not None:
        raise CardError(f"{odd} stands where a folder is expected: own images lie as PROMPT/GROUP/image.")
    return found


def _files(place: Path) -> list[Path]:
    found = _visible(place)
    odd = next((path for path in found if path.is_dir() or path.suffix.lower() not in pixels.SUFFIXES), None)
    if odd is not None:
        raise CardError(f"{odd} is no image ({', '.join(pixels.SUFFIXES)}): own images lie as PROMPT/GROUP/image.")
    return found


def _visible(place: Path) -> list[Path]:
    try:
        return sorted(path for path in place.iterdir() if not path.name.startswith("."))
    except OSError as err:
        raise CardError(f"{place} cannot be read ({err.strerror}): name a folder of images.") from err
