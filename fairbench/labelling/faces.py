"""The table `faces`: one row per detected face, and one null row per image without a face or without pixels."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from fairbench import keys
from fairbench.cards.cards import FacePolicy
from fairbench.storage import schemas
from fairbench.types import Face, FoundFace

Rows = list[dict[str, Any]]


@dataclass(frozen=True, slots=True)
class StoredFace:
    """A face as it stands in the table."""

    face_id: bytes
    image_id: bytes
    detected: FoundFace


def image_rows(faces_key: str, image_id: bytes, faces: Sequence[FoundFace], width: int, height: int) -> Rows:
    """Return the rows of one image, in the detector's order; largest and most central face are marked."""
    if not faces:
        return [missing_row(image_id, "no_face")]
    areas = [f.face.clipped_area(width, height) for f in faces]
    # Published protocols take the largest box, clipped to the image; the first of equal ones.
    primary = max(range(len(faces)), key=lambda i: areas[i])
    central = min(range(len(faces)), key=lambda i: _off_centre(faces[i].face, width, height))
    return [
        {
            "image_id": image_id,
            "status": "ok",
            "face_id": keys.face_id(faces_key, image_id, i),
            "face_index": i,
            "bbox_xyxy": list(f.face.bbox_xyxy),
            "landmarks5": None if f.face.landmarks5 is None else list(f.face.landmarks5),
            "det_score": f.face.score,
            "area_frac": areas[i] / (width * height),
            "is_primary": i == primary,
            "is_central": i == central,
            "route": f.route,
        }
        for i, f in enumerate(faces)
    ]


def missing_row(image_id: bytes, status: str) -> dict[str, Any]:
    """Return the null row of an image without a face ("no_face"), without pixels ("no_image"), or unreadable."""
    return {"image_id": image_id, "status": status}


def _off_centre(face: Face, width: int, height: int) -> float:
    x1, y1, x2, y2 = face.bbox_xyxy
    return ((x1 + x2 - width) / 2) ** 2 + ((y1 + y2 - height) / 2) ** 2


def table(rows: Rows) -> pa.Table:
    """Return the faces table of rows."""
    return schemas.build("faces", {n: [r.get(n) for r in rows] for n in schemas.schema("faces").names})


def counted(faces: pa.Table, policy: FacePolicy) -> pa.Array:
    """Return which rows the policy selects and admits (bool array): these faces are labelled and counted.

    A face whose area nobody measured, as in a table of labels made elsewhere, is not too small.
    """
    return pc.and_(selected(faces, policy), pc.fill_null(pc.greater_equal(faces["area_frac"], policy.min_area), True))


def selected(faces: pa.Table, policy: FacePolicy) -> pa.Array:
    """Return which rows the policy selects, before its exclusions (bool array)."""
    ok = pc.equal(faces["status"], "ok")
    column = {"largest": "is_primary", "central": "is_central"}.get(policy.select)
    return ok if column is None else pc.and_(ok, pc.fill_null(faces[column], False))


def stored_faces(faces: pa.Table) -> Iterator[StoredFace]:
    """Yield the faces of rows."""
    for row in faces.to_pylist():
        landmarks = row["landmarks5"]
        face = Face(tuple(row["bbox_xyxy"]), row["det_score"], None if landmarks is None else tuple(landmarks))
        yield StoredFace(row["face_id"], row["image_id"], FoundFace(face, row["route"]))
