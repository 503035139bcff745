"""Text files that people write: regular files, of a bounded size, in UTF-8; anything else is one sentence."""

from __future__ import annotations

import codecs
import stat
from pathlib import Path
from typing import Final

from fairbench.errors import CardError

MIB: Final = 1 << 20
MAX_BYTES: Final = 256 * MIB
"""Of a table (CSV, JSONL). Cards have a limit of their own."""

_OTHER_ENCODINGS: Final = {  # UTF-32 first: its mark begins with that of UTF-16
    "UTF-32": (codecs.BOM_UTF32_LE, codecs.BOM_UTF32_BE),
    "UTF-16": (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE),
}


def read_text(path: Path, max_bytes: int = MAX_BYTES) -> str:
    """Return a file's text, without a byte-order mark and with its line ends as they are.

    Raises CardError for what is no regular file (a device or a pipe may never end), is larger than `max_bytes`, is not
    UTF-8, or holds a NUL character.
    """
    data = _read_bytes(path, max_bytes)
    for encoding, marks in _OTHER_ENCODINGS.items():
        if data.startswith(marks):
            raise CardError(f"{path} is {encoding} text: save it as UTF-8 (in a spreadsheet: as CSV UTF-8).")
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as err:
        line = data.count(b"\n", 0, err.start) + 1
        raise CardError(
            f"{path}, line {line} is not UTF-8 text (byte {data[err.start]:#04x}): save the file as UTF-8."
        ) from err
    if "\0" in text:
        line = text.count("\n", 0, text.index("\0")) + 1
        raise CardError(f"{path}, line {line} holds a NUL character: save the file as UTF-8 text, or remove it.")
    return text


def _read_bytes(path: Path, max_bytes: int) -> bytes:
    try:
        if not stat.S_ISREG(path.stat().st_mode):  # asked before opening: opening a pipe waits for its writer
            raise CardError(f"{path} is not a regular file: name a text file.")
        with path.open("rb") as file:
            data = file.read(max_bytes + 1)
    except (OSError, ValueError) as err:  # ValueError: a NUL in the path
        raise CardError(f"{path} cannot be read ({getattr(err, 'strerror', None) or err}).") from err
    if len(data) > max_bytes:
        raise CardError(f"{path} is larger than {max_bytes / MIB:g} MiB, the most that is read: make it smaller.")
    return data
