"""What statistics rest on: images by their faces' classes, however the tables were written. Against plain loops."""

from __future__ import annotations

import random
import tempfile
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from unittest import mock

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fairbench import keys
from fairbench.errors import StoreError
from fairbench.measure.counts import Counts, count
from fairbench.stats.units import Units, as_units
from fairbench.storage import ids, schemas
from fairbench.storage.ids import UNOWNED, IdIndex, batches, keep_first
from fairbench.storage.reading import ImageRow
from fairbench.storage.store import Store
from fairbench.types import ImageRequest
from tests.builders.label_tables import RACE7, TO4, hand_labeller

PROMPTS = [keys.prompt_id(t) for t in ("a nurse", "a judge", "a poet")]
LABELS = {"gender": ["Male", "Female"], "race7": RACE7, "race4": ["WMELH", "Black", "Indian", "Asian"]}
NAMES = (("gender",), ("race7",), ("race4",), ("gender", "race4"), ("race4", "gender"))
Face = tuple[str | None, str | None]
"""Gender and race7; None where the classifier was too unsure."""
FACE = st.tuples(st.sampled_from([*LABELS["gender"], None]), st.sampled_from([*RACE7[:4], None]))
QUICK = settings(max_examples=10, deadline=None)


@dataclass(frozen=True)
class Image:
    """An image of a prompt with its faces; "failed": the detector raised."""

    prompt: int
    faces: tuple[Face, ...] = ()
    status: str = "no_face"


def images(faces: int) -> st.SearchStrategy[list[Image]]:
    """Lists of images with so many faces at most."""
    image = st.builds(
        Image, st.integers(0, 2), st.lists(FACE, max_size=faces).map(tuple), st.sampled_from(["no_face", "failed"])
    )
    return st.lists(image, max_size=12)


def image_id(number: int) -> bytes:
    return keys.digest("image", number)


def face_rows(number: int, image: Image) -> list[dict[str, object]]:
    row: dict[str, object] = {**dict.fromkeys(schemas.schema("faces").names), "image_id": image_id(number)}
    if not image.faces:
        return [{**row, "status": image.status}]
    return [
        {
            **row,
            "status": "ok",
            "face_id": keys.face_id("f", image_id(number), i),
            "face_index": i,
            "area_frac": 0.1,
            "is_primary": i == 0,
            "is_central": i == 0,
        }
        for i in range(len(image.faces))
    ]


def label_rows(number: int, image: Image) -> list[dict[str, object]]:
    rows = []
    for i, (gender, race) in enumerate(image.faces):
        for attribute, label in (("gender", gender), ("race7", race), ("race4", race and TO4[race])):
            prob, names = (0.9, LABELS[attribute]) if label else (0.4, LABELS[attribute])
            probs = [(1 - prob) / (len(names) - 1)] * len(names)
            k = names.index(label) if label else 0
            probs[k] = prob
            rows.append(
                {
                    "face_id": keys.face_id("f", image_id(number), i),
                    "image_id": image_id(number),
                    "neutral_id": PROMPTS[image.prompt],
                    "attribute": attribute,
                    "status": "ok",
                    "label": names[k],
                    "prob": prob,
                    "probs": probs,
                }
            )
    return rows


def write(store: Store, made: Sequence[tuple[int, Image]]) -> None:
    """Write one shard of faces and one of labels."""
    for table, rows_of in (("faces", face_rows), ("labels", label_rows)):
        rows = [row for number, image in made for row in rows_of(number, image)]
        columns = {n: [r[n] for r in rows] for n in schemas.schema(table).names}
        store.write(table, table[0], schemas.build(table, columns))


def counted(
    made: Sequence[Image],
    write_all: Callable[[Store, list[tuple[int, Image]]], None] = write,
    order: Sequence[int] | None = None,
    genders: Sequence[str] = ("Male", "Female"),
) -> Counts:
    """Count images that `write_all` has written; `order`: that of the run's requests."""
    rows = []
    for number in order or range(len(made)):
        pid = PROMPTS[made[number].prompt]
        rows.append(ImageRow(ImageRequest(image_id(number), pid, pid, "x", 0, 0), "ok", None, None, Path("-")))
    with tempfile.TemporaryDirectory() as folder:
        store = Store(Path(folder))
        write_all(store, list(enumerate(made)))
        return count(store, hand_labeller(genders, select="all", min_prob=0.5), "f", "l", rows, PROMPTS)


def vector(image: Image, names: Sequence[str]) -> tuple[int, ...]:
    """An image's labelled faces by class of a cross, in the declared order."""
    cells = [()]
    for name in names:
        cells = [(*cell, label) for cell in cells for label in LABELS[name]]
    found = Counter(
        tuple({"gender": g, "race7": r, "race4": TO4[r] if r else None}[n] for n in names) for g, r in image.faces
    )
    return tuple(found[cell] for cell in cells)


def kinds(units: Units) -> list[dict[tuple[int, ...], int]]:
    """For each prompt, how often it has each kind."""
    vectors = [tuple(map(int, kind)) for kind in units.kinds]
    assert len(set(vectors)) == len(vectors)
    return [{v: int(n) for v, n in zip(vectors, times, strict=True) if n} for times in units.times]


def same(one: Counts, other: Counts) -> None:
    assert np.array_equal(one.joint, other.joint)
    assert one.statuses == other.statuses
    for names in NAMES:
        assert kinds(as_units(one.data(names))) == kinds(as_units(other.data(names)))
        assert kinds(as_units(one.observed(names))) == kinds(as_units(other.observed(names)))
    for attribute, sums in one.probs.items():
        np.testing.assert_allclose(sums, other.probs[attribute])


@QUICK
@given(images(3), st.integers(1, 5))
def test_images_counted_in_several_passes_are_the_same_images(made: list[Image], most: int) -> None:
    with mock.patch("fairbench.measure.counts.MAX_IMAGES", most):
        in_passes = counted(made)
    same(in_passes, counted(made))


@QUICK
@given(images(3))
def test_units_are_the_images_by_the_classes_of_their_faces(made: list[Image]) -> None:
    counts = counted(made)
    assert counts.several == any(len(i.faces) > 1 for i in made)
    for names in NAMES:
        data, observed = as_units(counts.data(names)), as_units(counts.observed(names))
        shown = [Counter(v for i in made if i.prompt == p and any(v := vector(i, names))) for p in range(3)]
        assert kinds(data) == shown
        assert np.array_equal(data.counts, counts.of(names))
        width = data.kinds.shape[1]
        for p, prompt in enumerate(kinds(observed)):
            looked_at = [i for i in made if i.prompt == p and (i.faces or i.status != "failed")]
            bare = sum(not any(vector(i, names)) for i in looked_at)
            wanted = {(*v, 0): n for v, n in shown[p].items()} | ({(0,) * width + (1,): bare} if bare else {})
            assert prompt == wanted
        assert observed.times.sum(axis=1).tolist() == counts.images.tolist()


@QUICK
@given(images(1))
def test_with_one_face_an_image_data_are_plain_counts(made: list[Image]) -> None:
    counts = counted(made)
    assert not counts.several
    assert counts.by_image is None  # nothing beside the joint cells
    for names in NAMES:
        data, observed = counts.data(names), counts.observed(names)
        assert isinstance(data, np.ndarray)
        assert isinstance(observed, np.ndarray)
        assert np.array_equal(data, counts.of(names))
        assert np.array_equal(observed[:, :-1], data)
        assert np.array_equal(observed.sum(axis=1), counts.images)


@QUICK
@given(images(3), st.randoms(use_true_random=False))
def test_order_shards_and_copies_change_nothing(made: list[Image], chance: random.Random) -> None:
    """Shards in any size and order, some written twice, read in many batches; requests in any order."""
    order = chance.sample(range(len(made)), len(made))

    def scattered(store: Store, numbered: list[tuple[int, Image]]) -> None:
        chance.shuffle(numbered)
        while numbered:
            size = chance.randint(1, len(numbered))
            write(store, numbered[:size])
            if chance.random() < 0.5:  # what a second process made as well, with more beside it
                write(store, numbered)
            numbered = numbered[size:]

    whole = counted(made)
    with mock.patch.object(ids, "_BATCH_SHARDS", 1), mock.patch.object(ids, "BATCH_ROWS", 4):
        same(whole, counted(made, scattered, order))


@QUICK
@given(images(3))
def test_the_order_of_declared_labels_only_orders_columns(made: list[Image]) -> None:
    one, other = counted(made), counted(made, genders=("Female", "Male"))
    for mine, theirs in zip(
        kinds(as_units(one.data(["gender"]))), kinds(as_units(other.data(["gender"]))), strict=True
    ):
        assert mine == {kind[::-1]: n for kind, n in theirs.items()}


def test_faces_of_one_image_meet_in_a_derived_class() -> None:
    counts = counted([Image(0, (("Male", "White"), ("Female", "Latino_Hispanic")))])
    assert kinds(as_units(counts.data(["race7"])))[0] == {(1, 0, 1, 0, 0, 0, 0): 1}
    assert kinds(as_units(counts.data(["race4"])))[0] == {(2, 0, 0, 0): 1}
    assert kinds(as_units(counts.data(["gender", "race4"])))[0] == {(1, 0, 0, 0, 1, 0, 0, 0): 1}


def test_without_any_label_there_is_nothing_to_draw() -> None:
    counts = counted([Image(0, (("Male", None), ("Female", None))), Image(1)])
    assert counts.several
    assert counts.data(["race7"]).tolist() == [[0] * 7] * 3  # type: ignore[union-attr]
    assert counts.observed(["race7"])[:, -1].tolist() == [1, 1, 0]  # type: ignore[index]


def test_a_detection_that_failed_once_gives_way_to_one_that_did_not() -> None:
    """Whichever shard comes first: their order is that of their hashes, so with 16 of them both orders occur."""
    found, failed = Image(0, (("Male", "White"),)), Image(0, (), "failed")

    def twice(store: Store, numbered: list[tuple[int, Image]]) -> None:
        for number, image in numbered:
            write(store, [(number, failed)])
            write(store, [(number, image)])

    counts = counted([found] * 8, twice)
    assert counts.images.tolist() == counts.with_face.tolist() == [8, 0, 0]
    assert counts.statuses["faces"] == {"ok": 8}
    assert counts.of(["gender"])[0].tolist() == [8, 0]
    counts = counted([failed, failed])
    assert counts.statuses["faces"] == {"failed": 2}
    assert counts.observed(["gender"]).sum() == 0  # type: ignore[union-attr]


@pytest.mark.parametrize("change", [{"label": "Woman"}, {"probs": [0.1, 0.1, 0.8]}])
def test_labels_of_another_card_are_refused(tmp_path: Path, change: dict[str, object]) -> None:
    store, image = Store(tmp_path), Image(0, (("Female", "White"),))
    write(store, [(0, image)])
    store.shards("labels", "l")[0].unlink()
    rows = [{**label_rows(0, image)[0], **change}]
    store.write(
        "labels", "l", schemas.build("labels", {n: [r[n] for r in rows] for n in schemas.schema("labels").names})
    )
    request = ImageRequest(image_id(0), PROMPTS[0], PROMPTS[0], "x", 0, 0)
    with pytest.raises(StoreError, match="labeller card hand does not declare"):
        count(store, hand_labeller(), "f", "l", [ImageRow(request, "ok", None, None, Path("-"))], PROMPTS)


# Ids that share their first bytes, or all but their last, fall into one bucket.
IDS = st.binary(min_size=16, max_size=16) | st.integers(0, 255).map(lambda i: b"\xff" * 7 + bytes([i]) + b"x" * 8)


@settings(max_examples=40, deadline=None)
@given(st.lists(IDS, max_size=12, unique_by=lambda i: i[:8]), st.lists(IDS, max_size=5), st.data())
def test_an_index_finds_each_id_and_nothing_else(known: list[bytes], others: list[bytes], data: st.DataObject) -> None:
    others += [i[:8] + b"the same" for i in known[:2]]
    wanted = data.draw(st.permutations(known + others))
    place = {i: n for n, i in enumerate(known)}
    index = IdIndex(pa.array(known, schemas.ID))
    assert index.find(pa.array(wanted, schemas.ID)).tolist() == [place.get(i, -1) for i in wanted]
    assert index.find(pa.array([b"-" * 16, *wanted], schemas.ID)[1:]).tolist() == [place.get(i, -1) for i in wanted]
    assert index.contains(pa.array(wanted, schemas.ID)).to_pylist() == [i in place for i in wanted]


def test_an_index_refuses_an_id_that_occurs_twice() -> None:
    with pytest.raises(ValueError, match="occurs twice"):
        IdIndex(pa.array([b"a" * 16, b"b" * 16, b"a" * 16], schemas.ID))


def test_the_first_claim_on_a_place_holds() -> None:
    owner = np.full(4, UNOWNED)
    assert keep_first(owner, np.array([2, 0, 2]), np.array([0, 1, 2])).tolist() == [True, True, False]
    assert keep_first(owner, np.array([0, 1, 2]), np.array([3, 4, 5])).tolist() == [False, True, False]
    assert owner.tolist() == [1, 4, 0, UNOWNED]


def test_batches_hold_every_whole_shard_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ids, "BATCH_ROWS", 5)
    monkeypatch.setattr(ids, "_BATCH_SHARDS", 3)
    store, number = Store(tmp_path), 0
    for size in (1, 2, 3, 4, 7, 1, 2, 1, 1, 13):
        write(store, [(n, Image(0)) for n in range(number, number + size)])
        number += size
    damaged = store.shards("faces", "f")[3]
    gone = set(store.read("faces", damaged)["image_id"].to_pylist())  # type: ignore[index]
    damaged.write_bytes(damaged.read_bytes()[:-1])
    store = Store(tmp_path)
    paths = store.shards("faces", "f")
    held = [(t, list(n)) for t, n in batches(store, "faces", "f", ["image_id"])]
    assert store.damaged == [damaged]
    assert max(len(t) for t, _ in held) == 5
    rows = [(i, paths[n]) for t, shards in held for i, n in zip(t["image_id"].to_pylist(), shards, strict=True)]
    whole = [(i, p) for p, t in store.scan("faces", "f") for i in t["image_id"].to_pylist()]
    assert rows == whole
    assert {i for i, _ in rows} == {image_id(n) for n in range(number)} - gone
