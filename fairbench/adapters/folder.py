"""Images that somebody already has: `--model folder:PATH`. They stay where they are, referenced by path and sha256.

PATH is a folder with one sub-folder a prompt (also `prompt_{i}/img_{j}.jpg`), a folder of images (one group, "all
images"), or a CSV / JSONL manifest with the columns path, prompt or prompt_id, and optionally sample_index.
"""

from __future__ import annotations

import logging
import re
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

from pydantic import Field

from fairbench import keys, pixels
from fairbench.config import ModelCard
from fairbench.csvfile import read_csv, read_jsonl
from fairbench.errors import CardError, FairbenchError, ImageError
from fairbench.protocols import TRANSPORT, Params
from fairbench.types import NO_TEXT, BuildContext, ImageRequest, ImageResult, Prompt

log = logging.getLogger(__name__)

ALL_IMAGES = "all images"
UNREADABLE = "unreadable"
_COLUMNS = ("prompt", "prompt_id", "sample_index")


class FolderParams(Params):
    """Where the images are; their content stands in the key of each image, so the path does not."""

    path: str = Field(json_schema_extra=TRANSPORT)


@dataclass(frozen=True, slots=True)
class _File:
    """An image file, the name of its prompt (text, id, or folder name), and where that name stands."""

    path: Path
    group: str
    where: str
    sample_index: int | None = None
    is_text: bool = False


class FolderAdapter:
    """Reads existing images. It is a PromptSource: the images say which prompts there are."""

    version: ClassVar[int] = 1
    uses_dtype: ClassVar[bool] = False
    Params: ClassVar[type[FolderParams]] = FolderParams

    def __init__(self, card: ModelCard, params: FolderParams, ctx: BuildContext) -> None:
        path = Path(params.path).expanduser()
        self._path = path if path.is_absolute() or ctx.base_dir is None else ctx.base_dir / path
        self._files = list(_manifest(self._path) if self._path.is_file() else _folder(self._path))
        if not self._files:
            raise CardError(f"{self._path} holds no images ({', '.join(pixels.SUFFIXES)}).")
        self._groups: dict[bytes, list[_File]] = {}

    def prompts(self, task_prompts: Sequence[Prompt] | None) -> list[Prompt]:
        """Return the prompts that have images, in the task's order, or in the files' own order without a task.

        Raises CardError for images whose prompt the task does not have.
        """
        found: dict[bytes, Prompt] = {}
        groups: dict[bytes, list[_File]] = {}
        names = None if task_prompts is None else _task_names(task_prompts)
        for file in self._files:
            matching = [_own_prompt(file)] if names is None else names.get(file.group, [])
            if not matching:
                raise CardError(
                    f"{file.where}: {file.group!r} is no prompt of the task (its text, id, subject, or prompt_0 to "
                    f"prompt_{len(task_prompts or []) - 1}): mend the name, or leave --task out."
                )
            if len(matching) > 1:
                raise CardError(
                    f"{file.where}: {file.group!r} may be {len(matching)} prompts: name it by its text or id."
                )
            prompt = matching[0]
            found[prompt.prompt_id] = prompt
            groups.setdefault(prompt.prompt_id, []).append(file)
        self._groups = groups
        if task_prompts is not None and len(found) < len(task_prompts):
            log.warning(
                "%d of the task's %d prompts have no images.", len(task_prompts) - len(found), len(task_prompts)
            )
        return list(found.values()) if task_prompts is None else [p for p in task_prompts if p.prompt_id in found]

    def requests(self, image_key: str, images_per_prompt: int | None) -> list[ImageRequest]:
        """Return one request an image. A file is read once here, for its sha256: its id is its content."""
        found = []
        copies: Counter[tuple[bytes, str]] = Counter()
        for prompt_id, files in self._groups.items():
            indices = _sample_indices(files)
            for index, file in sorted(zip(indices, files, strict=True), key=lambda x: x[0])[:images_per_prompt]:
                try:
                    sha256 = pixels.read(file.path)[1]
                except ImageError:
                    sha256 = UNREADABLE  # `generate` reads it again and states why
                # By content, wherever it stands in the folder; copies are told apart by their number.
                content = f"{UNREADABLE} {file.path}" if sha256 == UNREADABLE else sha256
                copies[prompt_id, content] += 1
                image_id = keys.file_image_id(image_key, prompt_id, copies[prompt_id, content], content)
                found.append(
                    ImageRequest(image_id, prompt_id, prompt_id, file.group, index, 0, str(file.path.resolve()), sha256)
                )
        return found

    def generate(self, requests: Sequence[ImageRequest]) -> list[ImageResult]:
        """Decode each file, so that one that cannot be used is known, with its reason, before anything is labelled."""
        return [_read(r) for r in requests]


def _read(request: ImageRequest) -> ImageResult:
    path = Path(str(request.path))
    try:
        data, sha256 = pixels.read(path)
    except ImageError as err:
        if request.sha256 == UNREADABLE:
            return ImageResult("failed", error=str(err))
        data, sha256 = b"", ""
    # What a file holds is remembered for good; that it could not be read just now must not be.
    if sha256 != request.sha256:
        raise FairbenchError(f"{path} changed while it was in use: run the same command again.")
    try:
        return ImageResult("ok", pixels.decode(data, str(path)))
    except ImageError as err:
        return ImageResult("failed", error=str(err))


def _own_prompt(file: _File) -> Prompt:
    # Only the field `prompt` of a manifest is known to be a prompt's text; a folder's name is a name.
    prompt_id = keys.prompt_id(file.group)
    return Prompt(prompt_id, prompt_id, "folder", 1, "manifest" if file.is_text else NO_TEXT, file.group, file.group)


def _task_names(prompts: Sequence[Prompt]) -> dict[str, list[Prompt]]:
    """Return every name under which a prompt may stand: its text, id, subject (also with _ for blanks), number."""
    names: dict[str, list[Prompt]] = {}
    for i, prompt in enumerate(prompts):
        subject = prompt.subject
        for name in {subject.replace(" ", "_"), subject, f"prompt_{i}", prompt.prompt_id.hex(), prompt.text}:
            names.setdefault(name, []).append(prompt)
    return names


def _folder(root: Path) -> Iterator[_File]:
    if not root.is_dir():
        raise CardError(f"{root} is neither a folder nor a manifest (CSV or JSONL): mend the path behind folder:.")
    folders = sorted((f for f in _entries(root) if f.is_dir()), key=_natural)
    images = _images(root)
    if images:
        nested = [f.name for f in folders if _images(f)]
        if nested:
            log.warning("%s holds images itself: its folders (%s) are not looked at.", root, ", ".join(nested))
        yield from (_File(p, ALL_IMAGES, str(root)) for p in images)
        return
    for folder in folders:
        inside = _images(folder)
        deeper = [f.name for f in _entries(folder) if f.is_dir()]
        if deeper:
            log.warning("%s: folders inside it (%s) are not looked at.", folder, ", ".join(deeper))
        if not inside:
            log.warning("%s holds no images.", folder)
        yield from (_File(p, folder.name, str(folder)) for p in inside)


def _entries(folder: Path) -> list[Path]:
    """Return what is in a folder but hidden things. Raises CardError where it cannot be listed, or for an odd name."""
    try:
        found = [f for f in folder.iterdir() if not f.name.startswith(".")]
    except OSError as err:
        raise CardError(f"{folder} cannot be listed ({err.strerror}): mend its permissions.") from err
    odd = next((f for f in found if not str(f).isprintable() or not _is_utf8(str(f))), None)
    if odd is not None:
        raise CardError(f"{str(odd)!r} has a name that is not plain UTF-8 text: rename it.")
    return found


def _is_utf8(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def _images(folder: Path) -> list[Path]:
    files = (f for f in _entries(folder) if f.suffix.lower() in pixels.SUFFIXES)
    return sorted((f for f in files if f.is_file()), key=_natural)


def _natural(path: Path) -> list[Any]:
    return [(0, int(p), "") if p.isdecimal() else (1, 0, p) for p in re.split(r"(\d+)", path.name) if p]


def _sample_indices(files: Sequence[_File]) -> list[int]:
    """Return the declared sample indices; where none is declared, the place in natural order."""
    declared = [f.sample_index for f in files]
    if all(i is None for i in declared):
        return list(range(len(files)))
    seen: dict[int, _File] = {}
    for file in files:
        if file.sample_index is None:
            raise CardError(f"{file.where}, field sample_index: it is given for other images of this prompt, not here.")
        if file.sample_index in seen:
            first = seen[file.sample_index].where
            raise CardError(f"{file.where}, field sample_index: {file.sample_index} stands in {first} already.")
        seen[file.sample_index] = file
    return [i for i in declared if i is not None]


def _manifest(path: Path) -> Iterator[_File]:
    readers: Mapping[str, Callable[..., Iterator[tuple[int, Mapping[str, Any]]]]] = {
        ".jsonl": read_jsonl, ".ndjson": read_jsonl, ".csv": read_csv,
    }  # fmt: skip
    if path.suffix.lower() not in readers:
        raise CardError(f"{path} is no manifest: name a .csv or .jsonl file, or a folder.")
    rows = readers[path.suffix.lower()](path, ("path",), _COLUMNS, aliases={"image": "path"})
    for line, row in rows:
        where = f"{path}, line {line}"
        if not isinstance(row.get("path"), str) or not row["path"] or not _is_utf8(row["path"]):
            raise CardError(f"{where}, field path: name the image's file.")
        group = row.get("prompt") or row.get("prompt_id") or ALL_IMAGES
        if not isinstance(group, str) or not _is_utf8(group):
            raise CardError(f"{where}, field prompt: give a text in UTF-8.")
        image = Path(row["path"]).expanduser()
        image = image if image.is_absolute() else path.parent / image
        if not image.is_file():
            raise CardError(f"{where}, field path: there is no file {image}.")
        yield _File(image, group, where, _index(row.get("sample_index"), where), is_text=bool(row.get("prompt")))


def _index(value: Any, where: str) -> int | None:
    if value is None or value == "":
        return None
    if isinstance(value, bool) or not re.fullmatch(r"\d{1,9}", str(value)):
        raise CardError(f"{where}, field sample_index: {value!r} is no whole number from 0.")
    return int(value)
