"""The page of one annotator: one HTML file that holds its pictures, works from disk and asks no network.

It names nothing that tells where a picture comes from: items have opaque ids, and pictures no metadata.
"""

from __future__ import annotations

import base64
import hashlib
import json
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np

from fairbench import keys
from fairbench.annotation import questions, words
from fairbench.annotation.images import Shown
from fairbench.annotation.record import Annotation
from fairbench.display.labels import SHORT
from fairbench.pages.frame import CELLS

_PARTS: Final = Path(__file__).parent
_SLOT: Final = re.compile(r"@([A-Z]+)@")


def order(annotation: Annotation, items: Sequence[str], annotator: int) -> list[str]:
    """Return the items as one annotator sees them: shuffled over prompts and runs, by the annotation's seed."""
    seed = int.from_bytes(keys.digest("order", [annotation.id, annotation.seed, annotator]))
    return [items[i] for i in np.random.default_rng(seed).permutation(len(items))]


def page(annotation: Annotation, images: Mapping[str, Shown], annotator: int) -> Iterator[str]:
    """Yield the page in pieces. images: all items, in the order of the sample."""
    style, script, frame = ((_PARTS / f"page.{name}").read_text(encoding="utf-8") for name in ("css", "js", "html"))
    script = CELLS.read_text(encoding="utf-8") + script
    policy = (
        f"default-src 'none'; img-src data:; style-src '{_hash(style)}'; script-src '{_hash(script)}'; "
        "base-uri 'none'; form-action 'none'"
    )
    data = _data(annotation, images, annotator)
    parts = {"POLICY": policy, "STYLE": style, "COUNT": str(len(images)), "DATA": data, "SCRIPT": script}
    pieces = _SLOT.split(frame)  # text, name, text, name, ... text
    for text, name in zip(pieces[::2], [*pieces[1::2], ""], strict=True):
        yield text
        yield parts.get(name, "")


def _data(annotation: Annotation, images: Mapping[str, Shown], annotator: int) -> str:
    shown = order(annotation, list(images), annotator)
    content: dict[str, Any] = {
        "page": keys.digest("page", [annotation.id, annotator]).hex()[:16],
        "annotator": str(annotator),
        "questions": [_question(name, labels, annotation.asked) for name, labels in annotation.attributes.items()],
        "words": {
            "cannotTell": words.CANNOT_TELL,
            "noPerson": words.NO_PERSON,
            "skipped": words.SKIPPED,
            "aboutFace": "Answer for the person whose face is marked.",
            "aboutImage": "No face is marked: answer for the most prominent person.",
        },
        "items": [_item(name, images[name]) for name in shown],
    }
    return json.dumps(content, separators=(",", ":")).replace("<", "\\u003c")  # no text ends the script element


def _item(name: str, image: Shown) -> dict[str, Any]:
    box = None if image.box is None else list(image.box)
    return {"item": name, "width": image.width, "height": image.height, "box": box, "jpeg": image.text}


def _question(name: str, labels: Sequence[str], asked: Mapping[str, str]) -> dict[str, Any]:
    meanings = {label: SHORT.get(label, label.replace("_", " ")) for label in labels}
    return {"name": name, "legend": questions.legend(name, asked), "labels": list(labels), "meanings": meanings}


def _hash(text: str) -> str:
    return f"sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}"
