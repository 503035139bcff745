"""Which other files an ONNX model would read: its sha256 covers its own bytes alone, so those are refused.

Reads the file's protocol buffer by its wire format, messages that can hold a tensor and nothing else: the package that
describes ONNX takes a second to import, and would read all weights.
"""

from __future__ import annotations

import mmap
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from fairbench.errors import WeightsError

# Message -> field number -> message inside, of onnx.proto: the ways from a model to its tensors.
_INSIDE: Final = {
    "Model": {7: "Graph", 20: "Training", 25: "Function"},
    "Training": {1: "Graph", 2: "Graph"},
    "Graph": {1: "Node", 5: "Tensor", 15: "Sparse"},
    "Function": {7: "Node", 11: "Attribute"},
    "Node": {5: "Attribute"},
    "Attribute": {5: "Tensor", 6: "Graph", 10: "Tensor", 11: "Graph", 22: "Sparse", 23: "Sparse"},
    "Sparse": {1: "Tensor", 2: "Tensor"},
    "Tensor": {13: "Entry"},
    "Entry": {},
}
_OP_TYPE, _ENTRY_KEY, _ENTRY_VALUE, _DATA_LOCATION = 4, 1, 2, 14
_EXTERNAL: Final = 1
_MAX_DEPTH: Final = 64


def refuse_external_data(path: Path) -> None:
    """Raise WeightsError where a model's weights stand partly in other files, or the file is no ONNX model."""
    try:
        with path.open("rb") as file:
            view = memoryview(mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ))  # closed with its last reader
        outside = next(_outside(view, "Model", 0), None)
    except (OSError, ValueError, IndexError) as err:
        raise WeightsError(f"{path} is not an ONNX model that can be loaded ({err}).") from err
    if outside is not None:
        raise WeightsError(
            f"{path} keeps weights in another file ({outside}), which its sha256 does not cover: save it as one file, "
            'with onnx.save_model(onnx.load("' + path.name + '"), "one.onnx"), and name that.'
        )


def _outside(view: memoryview, message: str, depth: int) -> Iterator[str]:
    """Yield what names other files. Raises ValueError and IndexError for bytes that are no such message."""
    if depth > _MAX_DEPTH:
        raise ValueError("its parts are nested too deeply")
    location, names = 0, list[str]()
    for number, value in _fields(view):
        if isinstance(value, int):
            location = value if (message, number) == ("Tensor", _DATA_LOCATION) else location
            continue
        inside = _INSIDE[message].get(number)
        if inside == "Entry":
            entry = {n: bytes(v) for n, v in _fields(value) if isinstance(v, memoryview)}
            if entry.get(_ENTRY_KEY) == b"location":
                names.append(entry.get(_ENTRY_VALUE, b"").decode(errors="replace"))
        elif inside is not None:
            yield from _outside(value, inside, depth + 1)
        elif (message, number) == ("Node", _OP_TYPE) and bytes(value) == b"EPContext":
            yield "a compiled part, an EPContext node"
    if location == _EXTERNAL or names:
        yield names[0] if names else "without a name"


def _fields(view: memoryview) -> Iterator[tuple[int, int | memoryview]]:
    """Yield a message's (field number, number or bytes); fixed-width numbers are passed over."""
    at = 0
    while at < len(view):
        tag, at = _varint(view, at)
        number, wire = tag >> 3, tag & 7
        if wire == 0:
            value, at = _varint(view, at)
            yield number, value
        elif wire == 2:
            size, at = _varint(view, at)
            if at + size > len(view):
                raise ValueError("it is cut off, or no protocol buffer")
            yield number, view[at : at + size]
            at += size
        elif wire in (1, 5):
            at += 8 if wire == 1 else 4
        else:
            raise ValueError("it is no protocol buffer")


def _varint(view: memoryview, at: int) -> tuple[int, int]:
    """Return a number of seven bits per byte, and where it ends."""
    value = 0
    for shift in range(0, 70, 7):
        byte = view[at]
        at += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, at
    raise ValueError("it is no protocol buffer")
