"""What the labellers of other runs read of the same images, so that a page can show where two labellers differ."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from fairbench.reporting import gallery
from fairbench.reporting.content import Content

Image = dict[str, Any]


def add(content: Content, images: Sequence[Image], contents: Sequence[Content]) -> list[str]:
    """Note in each face of a run what the others read of it, and return the names of their labellers, in that order.

    images: `gallery.records` of the run. A face's `others`: of each labeller attribute -> label, of the attributes that
    both declare with the same labels; null where the other did not see the face. Faces of one detector are matched
    each by itself; of two, the one counted face of an image, where both have one.
    """
    own = content.record
    names = []
    for other in contents:
        theirs = other.record
        shared = [a for a, labels in content.attributes.items() if set(labels) == set(other.attributes.get(a, ()))]
        if theirs.keys.labels == own.keys.labels or not shared:
            continue
        image_of = {image["id"]: image for image in gallery.records(other.run)}
        if not any(image["id"] in image_of for image in images):
            continue
        names.append(_name(content, other))
        for image in images:
            second = image_of.get(image["id"])
            pairs = [] if second is None else _pairs(image, second, theirs.keys.faces == own.keys.faces)
            read = {i: {a: face["labels"][a][0] for a in shared} for i, face in pairs}
            for i, face in enumerate(image["faces"]):
                face.setdefault("others", []).append(read.get(i))
    return names


def _name(content: Content, other: Content) -> str:
    """Return the other labeller's name; with the run's where the two cards have one name."""
    name = other.record.labeller.name
    return f"{name} ({other.record.run_id[:6]})" if name == content.record.labeller.name else name


def _pairs(image: Image, second: Image, one_detector: bool) -> list[tuple[int, Any]]:
    """Return index of a face and the face that the other labeller has for it."""
    if one_detector:
        return list(enumerate(second["faces"])) if len(image["faces"]) == len(second["faces"]) else []
    here = [i for i, face in enumerate(image["faces"]) if face["counted"]]
    there = [face for face in second["faces"] if face["counted"]]
    return [(here[0], there[0])] if len(here) == len(there) == 1 else []
