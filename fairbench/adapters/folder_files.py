"""The files behind `--model folder:PATH`: which are images, which prompt they belong to, and what is not looked at."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from fairbench.cards.cards import MAX_PROMPT
from fairbench.cards.csvfile import IMAGE_IS_PATH, Columns, read_csv, read_jsonl
from fairbench.cards.texts import hidden_character, nfc
from fairbench.errors import CardError
from fairbench.notices import notice
from fairbench.storage import paths, pixels
from fairbench.types import NO_GROUP

_COLUMNS: Final = ("prompt", "prompt_id", "sample_index", "origin")
GENERATED: Final = "generated"
"""What a manifest's column `origin` may say: that a model drew the image, so that it shows nobody."""
_Rows = Iterator[tuple[int, Mapping[str, Any]]]
_READERS: Final[Mapping[str, Callable[..., _Rows]]] = {".jsonl": read_jsonl, ".ndjson": read_jsonl, ".csv": read_csv}
SYSTEM_FILES: Final = frozenset({"thumbs.db", "ehthumbs.db", "desktop.ini", "icon\r", "__macosx", "@eadir"})
"""What operating systems leave in folders (in lower case): passed over in silence, as hidden files are."""


@dataclass(frozen=True, slots=True)
class ImageFile:
    """An image file, the name of its prompt (text, id, or folder name; NFC), and where that name stands.

    generated: whether a manifest says that a model drew it.
    """

    path: Path
    group: str
    where: str
    sample_index: int | None = None
    is_text: bool = False
    generated: bool = False


def read(path: Path) -> list[ImageFile]:
    """Return the images of a manifest or folder; what is passed over is reported. Raises CardError."""
    files = list(_manifest(path)) if paths.is_file(path) else _folder(path)
    if not files:
        raise CardError(f"{path} holds no images ({', '.join(pixels.SUFFIXES)}).")
    return files


# --- folders ---


@dataclass
class _Listing:
    """What stands in one folder, each in natural order. others: files that are no images by their suffix."""

    images: list[Path] = field(default_factory=list)
    folders: list[Path] = field(default_factory=list)
    others: list[Path] = field(default_factory=list)


def _folder(root: Path) -> list[ImageFile]:
    if not paths.is_folder(root):
        raise CardError(f"{root} is neither a folder nor a manifest (CSV or JSONL): fix the path behind folder:.")
    top = _listing(root)
    others, unread, reason = top.others, top.folders, "it holds images itself"
    files, names = [ImageFile(p, NO_GROUP, str(root)) for p in top.images], list[str]()
    empty = list[str]()
    if not top.images:
        unread, reason, names = [], "one folder per prompt is what is read", [f.name for f in top.folders]
        for folder in top.folders:
            inside = _listing(folder)
            files += [ImageFile(p, nfc(folder.name), str(folder)) for p in inside.images]
            others, unread = others + inside.others, unread + inside.folders
            empty += [] if inside.images else [folder.name]
    inner = [str(f.relative_to(root)) for f in unread]
    _report(root, "ignored-folder", inner, f"sub-folder(s) are not looked at, because {reason}.")
    _report(root, "prompts-without-images", empty, "folder(s) hold no images, so they are no prompts.")
    # Names that are one name in two Unicode forms (NFC and NFD) are one prompt.
    merged = [name for name, count in Counter(map(nfc, names)).items() if count > 1]
    differ = "prompt(s) have several folders, whose names differ in Unicode form alone."
    _report(root, "near-equal-prompts", merged, differ)
    suffixes = Counter(f.suffix.lower() or "no suffix" for f in others)
    often = sorted(suffixes.items(), key=lambda item: (-item[1], item[0]))
    kinds = ", ".join(f"{suffix} {count}" for suffix, count in often[:8])
    what = f"file(s) are no images by their suffix ({kinds}) and are not looked at."
    _report(root, "unknown-suffix", [str(f.relative_to(root)) for f in others], what)
    return files


def _report(root: Path, code: str, names: list[str], what: str) -> None:
    if names:
        notice(code, f"{root}: {len(names)} {what}", count=len(names), examples=names)


def _listing(folder: Path) -> _Listing:
    """List a folder without hidden and system files. Raises CardError where it cannot be read, or for an odd name."""
    try:
        entries = sorted(folder.iterdir(), key=_natural)
    except OSError as err:
        raise CardError(f"{folder} cannot be listed ({err.strerror}): fix its permissions.") from err
    listing = _Listing()
    for entry in entries:
        if entry.name.startswith(".") or entry.name.casefold() in SYSTEM_FILES:
            continue
        hidden = hidden_character(entry.name)
        if hidden is not None:
            what = "plain UTF-8 text" if not _is_utf8(entry.name) else f"plain text ({hidden})"
            raise CardError(f"{str(entry)!r} has a name that is not {what}: rename it.")
        if paths.is_folder(entry):
            listing.folders.append(entry)
        elif entry.suffix.lower() in pixels.SUFFIXES:
            listing.images.append(entry)  # a broken link, too: it becomes a failed image with its reason
        else:
            listing.others.append(entry)
    return listing


def _is_utf8(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def _natural(path: Path) -> list[Any]:
    parts = re.split(r"(\d+)", nfc(path.name))
    return [(0, int(p), "") if p.isdecimal() else (1, 0, p) for p in parts if p]


# --- manifests ---


def _manifest(path: Path) -> Iterator[ImageFile]:
    read_rows = _READERS.get(path.suffix.lower())
    if read_rows is None:
        raise CardError(f"{path} is no manifest: name a .csv or .jsonl file, or a folder.")
    for line, row in read_rows(path, Columns(("path",), _COLUMNS, aliases=IMAGE_IS_PATH)):
        where = f"{path}, line {line}"
        name = row["path"]
        if not isinstance(name, str) or not name or not _is_utf8(name):
            raise CardError(f"{where}, field path: name the image's file.")
        image = paths.file_of_row(path.parent, name, f"{where}, field path")
        group = _group(row.get("prompt") or row.get("prompt_id") or NO_GROUP, where)
        index = _index(row.get("sample_index"), where)
        origin = row.get("origin") or ""
        if origin not in ("", GENERATED):
            raise CardError(
                f"{where}, field origin: {str(origin)[:80]!r} is not {GENERATED!r}; write that, or nothing."
            )
        yield ImageFile(image, group, where, index, bool(row.get("prompt")), bool(origin))


def _group(value: Any, where: str) -> str:
    if not isinstance(value, str) or not _is_utf8(value):
        raise CardError(f"{where}, field prompt: give a text in UTF-8.")
    if len(value) > MAX_PROMPT:
        raise CardError(f"{where}, field prompt: it is longer than {MAX_PROMPT:,} characters; shorten it.")
    hidden = hidden_character(value, "\n\r\t")
    if hidden is not None:
        raise CardError(f"{where}, field prompt: it holds the character {hidden}, which cannot be seen; remove it.")
    return nfc(value)


def _index(value: Any, where: str) -> int | None:
    if value is None or value == "":
        return None
    if isinstance(value, bool) or not re.fullmatch(r"[0-9]{1,9}", str(value)):
        raise CardError(f"{where}, field sample_index: {str(value)[:80]!r} is no whole number from 0.")
    return int(value)
