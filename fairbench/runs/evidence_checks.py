"""Whether evidence is complete: every requested image, every face of each, every label and score.

A row that was taken out, or moved to another prompt, changes a number as surely as one that was edited. Ids are hashes
of what they stand for, so they are computed again; what a run declared is hashed into its id. None of this shows that a
label is what the labeller said: only the images could.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import pyarrow as pa
import pyarrow.compute as pc

from fairbench import keys, registry
from fairbench.cards.catalog import Loaded
from fairbench.errors import FairbenchError
from fairbench.labelling import faces as faces_stage
from fairbench.labelling.labeller import Labeller, LabelSpace
from fairbench.labelling.parts import faces_key_of, labeller_id_of, labels_key_of
from fairbench.networks import identity
from fairbench.runs.record import RunRecord
from fairbench.storage import schemas
from fairbench.storage.reading import ImageRow
from fairbench.storage.store import Store
from fairbench.types import NO_TEXT, Prompt

LABELLER_ID: Final = "labeller_id"
QUOTA: Final = "quota"
_SHA256: Final = re.compile(r"[0-9a-f]{64}")
_ONE_NUMBER: Final = frozenset({"clip-score", "clip-iqa"})
"""Scorers of one number per image, in records that do not say which scores the evidence holds."""
_FACE_COLUMNS: Final = ("image_id", "status", "face_id", "face_index", "area_frac", "is_primary", "is_central")


class Incomplete(Exception):
    """What is missing from the evidence, or does not belong to it, in words."""


@dataclass(frozen=True)
class Evidence:
    """Evidence as it was read."""

    store: Store
    record: RunRecord
    space: LabelSpace
    prompts: Sequence[Prompt]
    rows: Sequence[ImageRow]

    @property
    def unread(self) -> frozenset[bytes]:
        """Images that could not be read when their faces or labels were wanted; these have none."""
        return frozenset(map(bytes.fromhex, self.record.unread))


def check(folder: Path, evidence: Evidence) -> None:
    """Raise FairbenchError that names the first thing that is missing, or does not belong to the run."""
    try:
        _check_declared(evidence)
        _check_images(evidence)
        _check_labels(evidence, _check_faces(evidence))
        _check_scores(evidence)
    except Incomplete as err:
        raise FairbenchError(f"{folder} is not the whole evidence of its run: {err}; do the run again.") from err


def _check_declared(evidence: Evidence) -> None:
    record, declared = evidence.record, evidence.record.declared
    if keys.run_id(declared.model_dump()) != record.run_id:
        raise Incomplete("run.json, field run_id, is not the hash of what it declares")
    if declared.image_key != record.keys.images:
        raise Incomplete("run.json, field keys.images, is not the declared one")
    if declared.labels_key != record.keys.labels:
        raise Incomplete("run.json, field keys.labels, is not the declared one")
    card = evidence.space.card
    if declared.face_policy != identity.of_params(card.face_policy, None):
        raise Incomplete("run.json, field declared.face_policy, is not that of the labeller's card")
    if declared.crosses != card.crosses:
        raise Incomplete("run.json, field declared.crosses, is not that of the labeller's card")
    if declared.task.prompts != keys.digest("prompts", [p.text for p in evidence.prompts]).hex():
        raise Incomplete("prompts.parquet does not hold the declared prompts")


def _check_images(evidence: Evidence) -> None:
    rows, image_key = evidence.rows, evidence.record.keys.images
    if evidence.record.declared.images != keys.digest("requests", sorted(r.request.image_id for r in rows)).hex():
        raise Incomplete(f"its {len(rows)} images are not those that were asked for")
    files: dict[tuple[bytes, str], set[bytes]] = {}
    for row in rows:
        request, sha256 = row.request, row.sha256 or ""
        if request.image_id == keys.image_id(image_key, request.prompt_id, request.neutral_id, request.seed):
            continue
        if row.status == "ok" or _SHA256.fullmatch(sha256):  # the id of a file that could not be read is of its path
            files.setdefault((request.prompt_id, sha256), set()).add(request.image_id)
    for (prompt, sha256), ids in files.items():
        copies = range(1, len(ids) + 1)
        if ids != {keys.file_image_id(image_key, prompt, number, sha256) for number in copies}:
            raise Incomplete(f"the id of image {min(ids).hex()} is not that of its prompt and seed")


def _check_faces(evidence: Evidence) -> pa.Table:
    """Return the counted faces: image_id and face_id."""
    faces_key = evidence.record.keys.faces
    table = _all(evidence.store, "faces", faces_key, _FACE_COLUMNS)
    statuses: dict[bytes, list[str]] = {}
    indices: dict[bytes, list[int]] = {}
    marked: dict[str, Counter[bytes]] = {"is_primary": Counter(), "is_central": Counter()}
    for row in table.to_pylist():
        image = row["image_id"]
        statuses.setdefault(image, []).append(row["status"])
        if row["status"] == "ok":
            if row["face_id"] != keys.face_id(faces_key, image, row["face_index"]):
                raise Incomplete(f"a face of image {image.hex()} does not have that image's id")
            indices.setdefault(image, []).append(row["face_index"])
            for name, counter in marked.items():
                counter[image] += bool(row[name])
    for image in (r.request.image_id for r in evidence.rows):
        if image not in statuses and image not in evidence.unread:
            raise Incomplete(f"image {image.hex()} has no row of faces")
        of_image = indices.get(image, [])
        if sorted(of_image) != list(range(len(of_image))) or (of_image and "no_face" in statuses[image]):
            raise Incomplete(f"faces of image {image.hex()} are missing or occur twice")
        if of_image and any(counter[image] != 1 for counter in marked.values()):
            raise Incomplete(f"image {image.hex()} has not one largest and one most central face")
    # An image on which another detection succeeded has not failed.
    final = ([s for s in of_image if s != "failed"] or ["failed"] for of_image in statuses.values())
    _check_tally(evidence, "faces", Counter(status for of_image in final for status in of_image))
    return table.filter(faces_stage.counted(table, evidence.space.card.face_policy)).select(["image_id", "face_id"])


def _check_labels(evidence: Evidence, faces: pa.Table) -> None:
    table = _all(evidence.store, "labels", evidence.record.keys.labels, ("face_id", "attribute"))
    for attribute in evidence.space.declared.labels:
        labelled = set(table.filter(pc.equal(table["attribute"], attribute))["face_id"].to_pylist())
        for image, face in zip(faces["image_id"].to_pylist(), faces["face_id"].to_pylist(), strict=True):
            if face not in labelled and image not in evidence.unread:
                raise Incomplete(f"face {face.hex()} of image {image.hex()} has no label of {attribute}")


def _check_scores(evidence: Evidence) -> None:
    left_out = evidence.record.scores_without_evidence
    neutral_of = {r.request.image_id: r.request.neutral_id for r in evidence.rows}
    named = {p.neutral_id for p in evidence.prompts if p.template_id == NO_TEXT}
    for name, scorer in evidence.record.scorers.items():
        if scorer.key is None or scorer.backbone is None or (left_out is not None and name in left_out):
            continue
        table = _all(evidence.store, "scores", scorer.key, ("image_id", "neutral_id", "status"))
        scored = dict(zip(table["image_id"].to_pylist(), table["neutral_id"].to_pylist(), strict=True))
        if left_out is None and name not in _ONE_NUMBER and "ok" not in table["status"].to_pylist():
            continue
        for row in evidence.rows:
            image, neutral = row.request.image_id, row.request.neutral_id
            if row.status == "ok" and image not in scored and neutral not in named and image not in evidence.unread:
                raise Incomplete(f"image {image.hex()} has no score of {name}")
        if any(neutral_of.get(image) != neutral for image, neutral in scored.items()):
            raise Incomplete(f"scores of {name} stand under another prompt than their images")


def _check_tally(evidence: Evidence, table: str, counted: Counter[str]) -> None:
    """Compare with the counts that a run wrote down, where it did: of faces, a null row is one image."""
    stated = (evidence.record.statuses or {}).get(table)
    if stated is not None and {k: v for k, v in stated.items() if v} != dict(counted):
        raise Incomplete(f"its {table} are {dict(counted)}, and run.json counted {stated}")


def _all(store: Store, stage: str, key: str, columns: Sequence[str]) -> pa.Table:
    empty = schemas.schema(stage).empty_table().select(list(columns)).replace_schema_metadata(None)
    tables = (table.replace_schema_metadata(None) for _, table in store.scan(stage, key, list(columns)))
    return pa.concat_tables([empty, *tables])


# --- what a record says of itself ---


def unbound(record: RunRecord, space: LabelSpace) -> tuple[str, ...]:
    """Return the fields of run.json that could not be checked against anything: `labeller_id`, `quota`.

    The labeller's id and keys are hashes of its parts, which are recorded; records of fairbench 0.1.0 have the card
    alone, whose parts are had from the plug-ins that are installed. The quota is what the method says of itself, if it
    is installed in the same version. Raises FairbenchError where a field contradicts that.
    """
    return (*_unbound_labeller(record, space), *_unbound_quota(record))


def _unbound_labeller(record: RunRecord, space: LabelSpace) -> Iterator[str]:
    stored = record.keys
    if record.labeller_parts is not None:
        parts = record.labeller_parts.model_dump()
    else:
        try:
            parts = Labeller(Loaded(space.card, None)).parts
        except FairbenchError:  # a plug-in or weights that are not here
            yield LABELLER_ID
            return
        if labels_key_of(parts, faces_key_of(parts, stored.images)) != stored.labels:
            yield LABELLER_ID  # a plug-in has another version since, or the card was changed: no telling which
            return
    attributes = {name: identity.of_params(spec, None) for name, spec in space.card.attributes.items()}
    faces_key = faces_key_of(parts, stored.images)
    facts = {
        "labeller_parts": keys.canonical(parts["attributes"]) == keys.canonical(attributes),
        "keys.faces": faces_key == stored.faces,
        "keys.labels": labels_key_of(parts, faces_key) == stored.labels,
        LABELLER_ID: labeller_id_of(parts, space.card) == record.labeller_id,
    }
    wrong = next((name for name, holds in facts.items() if not holds), None)
    if wrong is not None:
        raise FairbenchError(f"run.json, field {wrong}: it is not that of the labeller; do the run again.")


def _unbound_quota(record: RunRecord) -> Iterator[str]:
    name, _, argument = record.method.partition(":")
    try:
        method = registry.resolve("methods", name)
        same_version = int(method.version) == record.declared.method.version
    except (FairbenchError, AttributeError, LookupError, TypeError, ValueError):
        same_version = False
    if not same_version:
        yield QUOTA
        return
    try:
        quota = bool(getattr(method(argument or None), "quota", False))
    except (FairbenchError, OSError, TypeError, ValueError):  # it names a file of another machine
        quota = bool(getattr(method, "quota", False))
    if quota != record.quota:
        raise FairbenchError(f"run.json, field quota: {name} says {str(quota).lower()}; do the run again.")
