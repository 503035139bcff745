"""Whoever reads faces reads them as a run does: one rule for derived labels, `min_prob`, exclusions and face policy."""

from __future__ import annotations

import shutil
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any, Literal

import numpy as np
import pyarrow as pa
import pytest

from fairbench import keys
from fairbench.audit.groups import Attribute
from fairbench.audit.images import label_codes
from fairbench.calibration import manifest
from fairbench.calibration.count import calibrate
from fairbench.comparison import labellers
from fairbench.display.progress import Silent
from fairbench.labelling.labeller import Labeller
from fairbench.measure import gather
from fairbench.measure.counts import Counts, count
from fairbench.notices import collecting
from fairbench.phantom.planted import CELLS
from fairbench.phantom.reading import Reader
from fairbench.runs import evidence
from fairbench.runs.labels import LabelStage
from fairbench.storage import pixels, schemas
from fairbench.storage.reading import ImageRow
from fairbench.storage.store import Store
from fairbench.synthesis.confirm import verdicts
from fairbench.training.evaluation import Evaluator
from fairbench.types import Face, ImageRequest, ImageResult, RgbImage
from fairbench.validation import images as validate_images
from tests.builders import drawn_faces
from tests.builders.drawn_faces import (
    CROSS,
    GENDER_PROBS,
    GENDERS,
    RACE7,
    RACE_PROBS,
    RACES,
    SIDE,
    TO4,
    Drawn,
    Finder,
    card,
    drawn,
)

# The first face is the largest, the second the most central; the third image's faces are small, the last has none.
PEOPLE: list[list[Drawn]] = [
    [(2, 20, 0, 0), (28, 10, 1, 1)],
    [(2, 20, 1, 2), (28, 10, 0, 3)],
    [(2, 6, 0, 1), (28, 4, 0, 2)],
    [(2, 20, 1, 0)],
    [(2, 20, 2, 1), (30, 12, 1, 0)],
    [(1, 14, 1, 3), (27, 11, 0, 0)],
    [(3, 20, 0, 2)],
    [],
]


@pytest.fixture(autouse=True)
def _plugins(monkeypatch: pytest.MonkeyPatch) -> None:
    drawn_faces.register(monkeypatch)


IMAGES = [drawn(i, people) for i, people in enumerate(PEOPLE)]


# --- by hand ---

Labels = tuple[str | None, str | None]


def labels_of(person: Drawn, min_prob: float) -> Labels:
    """The gender and race4 of a face; None where the most probable label of the *source* is not probable enough."""
    gender, race = GENDER_PROBS[person[2]].tolist(), RACE_PROBS[person[3]].tolist()
    return (
        GENDERS[gender.index(max(gender))] if max(gender) >= min_prob else None,
        TO4[RACE7[race.index(max(race))]] if max(race) >= min_prob else None,
    )


def by_hand(select: str, min_area: float, min_prob: float, one: bool) -> list[list[Labels]]:
    """For each image, the labels of its faces that count."""
    result = []
    for people in PEOPLE:
        chosen = sorted(people, key=lambda p: -p[1])
        if select == "central":
            chosen = sorted(people, key=lambda p: abs(p[0] + p[1] / 2 - SIDE / 2) ** 2 + (20 + p[1] / 2 - 32) ** 2)
        if select != "all" or one:
            chosen = chosen[:1]
        result.append([labels_of(p, min_prob) for p in chosen if p[1] ** 2 / SIDE**2 >= min_area])
    return result


def tally(labels: list[list[Labels]]) -> Counter[Labels]:
    return Counter(face for faces in labels for face in faces if None not in face)


# --- the routes ---


def stored(folder: Path, labeller: Labeller) -> tuple[Store, list[ImageRow], tuple[str, str], Counts]:
    """Label the images as a run does."""
    rows = []
    for i, image in enumerate(IMAGES):
        path = folder / f"{i}.png"
        path.write_bytes(pixels.encode(image))
        sha256 = pixels.read(path)[1]
        request = ImageRequest(keys.digest("image", i), b"p" * 16, b"p" * 16, "", i, i, str(path), sha256)
        rows.append(ImageRow(request, "ok", None, sha256, Path()))
    store, both = Store(folder / "run" / evidence.FOLDER), ("f", "l")
    LabelStage(store, labeller, *both).run(rows, Silent())
    return store, rows, both, count(store, labeller, *both, rows, [b"p" * 16])


def in_cells(counts: np.ndarray) -> Counter[Labels]:
    return Counter({cell: int(n) for cell, n in zip(CELLS, counts.ravel(), strict=True) if n})


@pytest.mark.parametrize("select", ["largest", "central", "all"])
@pytest.mark.parametrize(("min_area", "min_prob"), [(0.0, 0.0), (0.0, 0.34), (0.01, 0.34), (0.0, 0.5)])
def test_all_readers_read_the_same_faces_alike(
    select: Literal["largest", "central", "all"], min_area: float, min_prob: float, tmp_path: Path
) -> None:
    loaded = card(select=select, min_area=min_area, min_prob=min_prob)
    labeller = Labeller(loaded)
    every, one = (by_hand(select, min_area, min_prob, alone) for alone in (False, True))
    assert tally(one), "an empty comparison would say nothing"

    # a run
    store, rows, both, counts = stored(tmp_path, labeller)
    assert in_cells(counts.of(CROSS)) == tally(every)

    # read from memory
    reading = labeller.read(IMAGES)
    read: list[list[Labels]] = [[] for _ in IMAGES]
    named = {"gender": (*GENDERS, None), "race4": (*RACES, None)}
    for i, gender, race in zip(reading.image, reading.codes["gender"], reading.codes["race4"], strict=True):
        read[i].append((named["gender"][gender], named["race4"][race]))
    assert [Counter(faces) for faces in read] == [Counter(faces) for faces in every]

    # audit: one face per image
    wanted = [Attribute(n, labels) for n, labels in (("gender", GENDERS), ("race4", RACES))]
    codes = label_codes(labeller, IMAGES, wanted, Silent())
    audited = [(named["gender"][g], named["race4"][r]) for g, r in zip(codes["gender"], codes["race4"], strict=True)]
    assert audited == [faces[0] if faces else (None, None) for faces in one]

    # training's evaluation
    shares = Evaluator._shares(SimpleNamespace(_labeller=labeller), IMAGES)["gender+race4"]  # type: ignore[arg-type]
    assert in_cells(np.rint(shares * tally(every).total())) == tally(every)

    # confirmation: every face that counts shows the group
    pairs = [(row, cell) for row in rows for cell in CELLS]
    said = verdicts(store, labeller, *both, CROSS, pairs)
    for i, faces in enumerate(every):
        for cell, verdict in zip(CELLS, said[i * len(CELLS) : (i + 1) * len(CELLS)], strict=True):
            right = "confirmed" if all(face == cell for face in faces) else "other"
            assert verdict == (right if faces else "no_face")

    # labeller comparison
    run = SimpleNamespace(
        folder=tmp_path / "run",
        rows=rows,
        record=SimpleNamespace(keys=SimpleNamespace(faces="f", labels="l")),
        counts=counts,
    )
    side: Any = SimpleNamespace(run=run)
    classes = labellers._labelled(side, primary=False).classes(CROSS, {"gender": GENDERS, "race4": RACES})
    assert in_cells(np.bincount(classes[classes >= 0], minlength=8)) == tally(every)
    swapped = labellers._labelled(side, primary=False).classes(CROSS, {"gender": GENDERS[::-1], "race4": RACES})
    assert (swapped[classes >= 0] == (classes[classes >= 0] + 4) % 8).all()

    # phantom and validation: one face per image
    nine = [CELLS.index(faces[0]) if faces and None not in faces[0] else -1 for faces in one]  # type: ignore[arg-type]
    assert Reader(labeller).read(np.stack(IMAGES)).tolist() == nine
    validator = object.__new__(validate_images._Reader)
    validator._labeller = labeller
    validator._adapter = SimpleNamespace(  # type: ignore[assignment]
        generate=lambda requests: [ImageResult("ok", IMAGES[r.seed]) for r in requests]
    )
    assert validator._read("", list(range(len(IMAGES)))).tolist() == [n % 9 for n in nine]


@pytest.mark.parametrize("select", ["largest", "central", "all"])
@pytest.mark.parametrize("min_prob", [0.0, 0.34])
def test_a_calibration_counts_what_a_run_counts(select: str, min_prob: float, tmp_path: Path) -> None:
    loaded = card(select=select, min_prob=min_prob)
    lines = ["path,gender,race4"]
    for i, (image, cell) in enumerate(zip(IMAGES, CELLS, strict=True)):
        (tmp_path / f"{i}.png").write_bytes(pixels.encode(image))
        lines.append(f"{i}.png,{','.join(cell)}")
    (tmp_path / "m.csv").write_text("\n".join(lines) + "\n")
    known = manifest.read(tmp_path / "m.csv", Labeller(loaded), Silent(), derived=True)
    table = calibrate(known, loaded, Store(tmp_path / "s"), Silent(), domain="drawings", command="by hand")
    read = [table.columns[int(row.argmax())] for row in table.counts]
    one = by_hand(select, 0.0, min_prob, one=True)
    assert read == [faces[0] if faces and None not in faces[0] else ("no face",) for faces in one]


def test_faces_of_a_store_and_of_memory_are_one_reading(tmp_path: Path) -> None:
    """Also where two processes stored the same faces."""
    labeller = Labeller(card(select="all", min_prob=0.34))
    store, rows, both, _ = stored(tmp_path, labeller)
    LabelStage(Store(tmp_path / "again"), labeller, *both).run(rows[:3], Silent())
    for stage, key in zip(("faces", "labels"), both, strict=True):
        for shard in (tmp_path / "again" / stage / key).glob("*.parquet"):
            shutil.copy(shard, store.root / stage / key)
    ids = pa.array([row.request.image_id for row in rows], schemas.ID)
    (again, faces), once = gather.read(store, labeller, *both, ids), labeller.read(IMAGES)
    assert len(faces) == len(once.image)
    names = list(labeller.card.attributes)
    one, other = (
        sorted(zip(r.image.tolist(), *(r.codes[n].tolist() for n in names), strict=True)) for r in (once, again)
    )
    assert one == other


def test_images_on_which_the_detector_raises_are_one_notice(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also in a second run, which finds them in the store."""
    detect = Finder.detect

    def breaks(self: Finder, images: Sequence[RgbImage]) -> list[list[Face]]:
        if any(image[-1, 0, 0] in (2, 4) for image in images):
            raise RuntimeError("out of luck")
        return detect(self, images)

    monkeypatch.setattr(Finder, "detect", breaks)
    for reason in ("RuntimeError: out of luck", "in an earlier run"):
        with collecting() as notices:
            stored(tmp_path, Labeller(card()))
        (said,) = notices
        assert (said.code, said.count) == ("detector-failed", 2)
        assert all(reason in example for example in said.examples)
