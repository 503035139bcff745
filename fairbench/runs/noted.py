"""Notices that rest on a run's rows: what its images' notes say, equal images, repeated noise, prompts with few faces.

They are computed from the store at the end of every run, so that a resumed run says the same as one in one go.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final

import pyarrow as pa
import pyarrow.compute as pc

from fairbench.measure.counts import Counts
from fairbench.notices import KINDS, MAX_EXAMPLES, notice
from fairbench.storage import copies, schemas
from fairbench.storage.copies import GivenImage
from fairbench.storage.ids import IdIndex
from fairbench.storage.reading import ImageRow
from fairbench.storage.store import Store
from fairbench.types import Prompt

FEW_FACES: Final = 8
"""A prompt with fewer faces says next to nothing by itself."""


def report(
    store: Store, image_key: str, rows: Sequence[ImageRow], prompts: Sequence[Prompt], *, near_copies: bool = False
) -> None:
    """Report what the images of a run give notice of. near_copies: look for them among given images."""
    notes = _notes(store, image_key, rows)
    names = {p.neutral_id: p.subject for p in prompts}
    drawn = [r for r in rows if not r.request.path]
    _report_notes(notes, drawn)
    _report_equal(drawn, names)
    _report_seeds(drawn, names)
    given = [_given(r, notes) for r in rows if r.request.path]
    if given:
        copies.report(given, near_copies=near_copies)


def _given(row: ImageRow, notes: Mapping[str, Mapping[bytes, str]]) -> GivenImage:
    path, image_id = Path(str(row.request.path)), row.request.image_id
    own = {code: of_code[image_id] for code, of_code in notes.items() if image_id in of_code}
    return GivenImage(str(Path(path.parent.name) / path.name), row.request.prompt_id, row.sha256, row.error, own)


def report_counts(counts: Counts, prompts: Sequence[Prompt]) -> None:
    """Report the prompts of which single values say next to nothing."""
    few = [p.subject for p, faces in zip(prompts, counts.selected, strict=True) if faces < FEW_FACES]
    if few:
        notice("few-images", f"{len(few)} of {len(prompts)} prompts have fewer than {FEW_FACES} faces",
               count=len(few), examples=few)  # fmt: skip


def _notes(store: Store, image_key: str, rows: Sequence[ImageRow]) -> dict[str, dict[bytes, str]]:
    """Return code -> image id -> detail, for the run's images."""
    index = IdIndex(pa.array([r.request.image_id for r in rows], schemas.ID))
    notes: dict[str, dict[bytes, str]] = defaultdict(dict)
    for _, table in store.scan("images", image_key, ["image_id", "notes"]):
        table = table.filter(pc.is_valid(table["notes"]))
        table = table.filter(index.contains(table["image_id"])) if len(table) else table
        for image_id, pairs in zip(table["image_id"].to_pylist(), table["notes"].to_pylist(), strict=True):
            for code, detail in pairs:
                notes[code].setdefault(image_id, detail)
    return notes


def _report_notes(notes: Mapping[str, Mapping[bytes, str]], rows: Sequence[ImageRow]) -> None:
    """Report each code once, with the number of images, and as examples the details that occur most."""
    for code in sorted(notes.keys() & KINDS.keys()):
        of_code = notes[code]
        noted = [r for r in rows if r.request.image_id in of_code]
        if not noted:
            continue
        details = Counter(of_code[r.request.image_id] for r in noted)
        examples = [detail for detail, _ in details.most_common(MAX_EXAMPLES)]
        notice(code, f"{len(noted)} of {len(rows)} images: {KINDS[code].meaning}", count=len(noted), examples=examples)


def _report_equal(rows: Sequence[ImageRow], names: Mapping[bytes, str]) -> None:
    """Report drawn images that equal another of their prompt: every copy beyond the first."""
    groups = Counter((r.request.neutral_id, r.sha256) for r in rows if r.status == "ok")
    again = {key: n - 1 for key, n in groups.items() if n > 1}
    if again:
        copied = sum(again.values())
        subjects = Counter(names[neutral_id] for neutral_id, _ in again)
        notice("equal-images", f"{copied} of {len(rows)} images equal another of their prompt", count=copied,
               examples=[subject for subject, _ in subjects.most_common(MAX_EXAMPLES)])  # fmt: skip


def _report_seeds(rows: Sequence[ImageRow], names: Mapping[bytes, str]) -> None:
    """Report images of one prompt and text that were drawn from one seed: they are no independent draws."""
    drawn = Counter((r.request.prompt_id, r.request.neutral_id, r.request.seed) for r in rows)
    repeated = {key: n - 1 for key, n in drawn.items() if n > 1}
    if repeated:
        subjects = dict.fromkeys(names[neutral_id] for _, neutral_id, _ in repeated)
        notice("seed-repeat", f"{sum(repeated.values())} images repeat the noise of another of their prompt",
               count=sum(repeated.values()), examples=subjects)  # fmt: skip
