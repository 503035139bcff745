"""Which images a balanced set asks for and keeps, what the labeller's word is, and what a CSV may not say."""

from __future__ import annotations

import dataclasses
import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from scipy.stats import beta

from fairbench import keys
from fairbench.cards import catalog
from fairbench.cards.cards import FacePolicy
from fairbench.display.progress import SILENT
from fairbench.errors import CardError, FairbenchError
from fairbench.labelling import faces as faces_stage
from fairbench.labelling.labeller import Labeller, LabelSpace
from fairbench.methods.common import with_group
from fairbench.runs.images import BlockTooLarge
from fairbench.runs.spec import RunSettings
from fairbench.storage.reading import ImageRow
from fairbench.storage.schemas import build
from fairbench.storage.store import Store
from fairbench.synthesis import balanced, export, from_model, own_images, wordings
from fairbench.synthesis.balanced import Row, groups_of
from fairbench.synthesis.confirm import Verdict, attributes_of, rate, verdicts
from fairbench.synthesis.from_model import Cell
from fairbench.types import Face, FoundFace, ImageRequest, Prompt

GENDER = {"gender": ("female", "male")}


def prompt(subject: str = "nurse", text: str = "A photo of the face of a {subject}, a person") -> Prompt:
    filled = text.replace("{subject}", subject)
    return Prompt(keys.prompt_id(filled), keys.prompt_id(filled), "task", 1, "face", filled, subject)


def cell() -> Cell:
    return Cell(0, prompt(), ("female",), "A photo of the face of a female nurse, a person")


def answered(requests: list[ImageRequest], target: Cell, found: list[Verdict]) -> None:
    target.verdicts += found
    target.rows += [ImageRow(r, "ok", None, "", Path("shard")) for r in requests]


# --- rounds ---


def test_rounds_ask_for_what_is_missing_and_stop_at_the_limit() -> None:
    one = cell()
    first = one.extend(4, 12, "key", 0)
    assert [r.sample_index for r in first] == [0, 1, 2, 3]
    answered(first, one, ["confirmed", "other", "confirmed", "no_face"])
    second = one.extend(4, 12, "key", 0)
    assert [r.sample_index for r in second] == [4, 5, 6, 7]  # two are missing, every other one was confirmed
    answered(second, one, ["other"] * 4)
    third = one.extend(4, 12, "key", 0)
    assert len(third) == 4  # eight would be likely to do, the limit allows four
    answered(third, one, ["other", "confirmed", "other", "other"])
    assert one.extend(4, 12, "key", 0) == []
    assert [r.request.sample_index for r in one.confirmed(4)] == [0, 2, 9]
    assert [r.request.sample_index for r in one.confirmed(2)] == [0, 2]


def test_smaller_blocks_make_other_images_of_the_set_that_was_asked_for(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    run = RunSettings("phantom", "phantom-occupations-train", limit_prompts=1, device="cpu", dtype="bfloat16")
    asked = from_model.make(from_model.SetSettings(run, "gender", 1, 1, None))
    sizes: list[int] = []

    def answer(current: from_model.Synthesis, pairs: list[tuple[Cell, ImageRequest]], *_: object) -> None:
        sizes.append(current.plan.ctx.block_size)
        if len(sizes) == 1:
            raise BlockTooLarge
        for target, _request in pairs:
            target.verdicts.append("confirmed")

    monkeypatch.setattr(from_model, "_do_round", answer)
    found = from_model.fill(asked, Store(tmp_path), SILENT)
    assert sizes == [256, 128]
    assert found.plan.image_key != asked.plan.image_key
    assert found.set_id == asked.set_id


def test_without_any_confirmed_image_a_round_at_most_doubles() -> None:
    one = cell()
    answered(one.extend(5, 1000, "key", 0), one, ["other"] * 5)
    assert len(one.extend(5, 1000, "key", 0)) == 5


def test_an_image_of_the_set_never_has_the_noise_of_an_evaluation() -> None:
    one = cell()
    requests = one.extend(50, 50, "key", 0)
    ids = (one.prompt.neutral_id, keys.prompt_id(one.text))
    evaluated = {keys.sample_seed(i, j, 0) for i in ids for j in range(500)}
    assert not evaluated & {r.seed for r in requests}
    assert len({r.seed for r in requests}) == len({r.image_id for r in requests}) == 50
    assert all(r.neutral_id == ids[0] and r.prompt_id == ids[1] and r.text == one.text for r in requests)
    again = dataclasses.replace(cell()).extend(50, 50, "key", 1)
    assert not {r.seed for r in again} & {r.seed for r in requests}


# --- groups and wordings ---


def labels(name: str = "phantom") -> LabelSpace:
    return LabelSpace(catalog.load_labeller(name).card)


def test_groups_are_the_labellers_own_labels_in_its_order() -> None:
    found = attributes_of("gender_x_race4", labels())
    assert list(found) == ["gender", "race4"]
    assert groups_of(found)[:2] == [("female", "WMELH"), ("female", "Black")]
    assert len(groups_of(found)) == 8
    assert groups_of(attributes_of("gender", labels())) == [("female",), ("male",)]


@pytest.mark.parametrize(
    ("labeller", "name", "words"),
    [
        ("phantom", "rase4", "gives no attribute 'rase4' (did you mean 'race4'?)"),
        ("phantom", "gender_x_gender", "cross different ones"),
        ("fairface", "race7_x_race4", "cross different ones"),
    ],
)
def test_groups_that_cannot_be(labeller: str, name: str, words: str) -> None:
    with pytest.raises(FairbenchError, match="--groups") as caught:
        attributes_of(name, labels(labeller))
    assert words in str(caught.value)


@pytest.mark.parametrize(
    ("group", "words"),
    [
        (("female",), "a female nurse"),
        (("male", "WMELH"), "a male White nurse"),
        (("Latino_Hispanic",), "a Latino Hispanic nurse"),
    ],
)
def test_a_prompt_says_its_group_before_the_subject(group: tuple[str, ...], words: str) -> None:
    assert words in with_group(prompt(), group)


def test_every_subject_gets_every_wording() -> None:
    prompts = [prompt("nurse"), prompt("nurse", "A {subject}"), prompt("maid")]
    found = wordings.reworded(prompts, ["Draw a {subject}", "{subject}"])
    assert [p.text for p in found] == ["Draw a nurse", "nurse", "Draw a maid", "maid"]
    assert all(p.neutral_id == p.prompt_id == keys.prompt_id(p.text) for p in found)
    assert len({p.template_id for p in found}) == 2


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("A nurse\n", "line 1: 'A nurse' must hold {subject} exactly once"),
        ("# wordings\n\nA {subject} or {subject}\n", "line 3: 'A {subject} or {subject}' must hold"),
        ("{subject}\n {subject}\n", "line 2: '{subject}' is in line 1 already"),
        ("# nothing\n", "holds no template"),
    ],
)
def test_wordings_that_cannot_be_used(tmp_path: Path, text: str, words: str) -> None:
    (tmp_path / "wordings.txt").write_text(text)
    with pytest.raises(FairbenchError) as caught:
        wordings.read_templates(tmp_path / "wordings.txt")
    assert words in str(caught.value)
    with pytest.raises(FairbenchError, match="cannot be read"):
        wordings.read_templates(tmp_path / "absent.txt")


# --- the labeller's word ---


def found_by(policy: FacePolicy) -> LabelSpace:
    loaded = catalog.load_labeller("phantom").card
    return LabelSpace(loaded.model_copy(update={"face_policy": policy}))


def stored(store: Store, faces: dict[bytes, list[tuple[str, str, float]]]) -> list[ImageRow]:
    """Store images with faces (gender, race, probability), the first the largest; return the images' rows."""
    rows = []
    for name, people in faces.items():
        boxes = [FoundFace(Face((0, 0, 60 - 9 * i, 60 - 9 * i), 0.9), 0) for i in range(len(people))]
        detected = faces_stage.image_rows("faces", name, boxes, 64, 64)
        store.write("faces", "faces", faces_stage.table(detected))
        for face, (gender, race, prob) in zip(detected, people, strict=False):
            columns: dict[str, list[Any]] = {
                "face_id": [face["face_id"]] * 2,
                "image_id": [name] * 2,
                "neutral_id": [name] * 2,
                "attribute": ["gender", "race4"],
                "status": ["ok"] * 2,
                "label": [gender, race],
                "prob": [prob] * 2,
                "probs": [[prob, 1 - prob], [prob, 1 - prob, 0, 0]],
            }
            store.write("labels", "labels", build("labels", columns))
        rows.append(ImageRow(ImageRequest(name, name, name, "", 0, 0), "ok", None, "", Path()))
    return rows


def name(number: int) -> bytes:
    return keys.digest("image", number)


def judged(store: Store, rows: list[ImageRow], policy: FacePolicy, *attributes: str) -> list[Verdict]:
    group = tuple({"gender": "female", "race4": "Asian"}[a] for a in attributes)
    pairs = [(row, group) for row in rows]
    return verdicts(store, found_by(policy), "faces", "labels", attributes, pairs)


def test_an_image_is_confirmed_only_if_every_face_that_counts_shows_the_group(tmp_path: Path) -> None:
    store = Store(tmp_path)
    right, wrong, unsure = ("female", "Asian", 0.9), ("female", "Black", 0.9), ("female", "Asian", 0.6)
    rows = stored(store, {name(1): [right], name(2): [wrong], name(3): [right, wrong], name(4): [unsure], name(5): []})
    largest, every = FacePolicy(), FacePolicy(select="all")
    both = ("gender", "race4")
    assert judged(store, rows, largest, *both) == ["confirmed", "other", "confirmed", "confirmed", "no_face"]
    assert judged(store, rows, every, *both) == ["confirmed", "other", "other", "confirmed", "no_face"]
    assert judged(store, rows, FacePolicy(min_prob=0.7), *both)[3] == "other"
    assert judged(store, rows, largest, "gender") == ["confirmed"] * 4 + ["no_face"]
    assert judged(store, rows, FacePolicy(min_area=0.95), *both) == ["no_face"] * 5


def test_an_image_that_was_not_made_is_told_from_one_without_a_face(tmp_path: Path) -> None:
    request = ImageRequest(name(1), name(1), name(1), "", 0, 0)
    row = ImageRow(request, "blank", "withheld", None, Path())
    assert judged(Store(tmp_path), [row], FacePolicy(), "gender") == ["no_image"]


def test_the_rate_is_that_of_the_first_images_alone() -> None:
    found: list[Verdict] = ["confirmed", "other", "confirmed", "no_face", "other", "other", "no_image"]
    one = rate(("female",), found, found[:4])
    assert (one.images, one.confirmed, one.other, one.no_face, one.no_image) == (7, 2, 3, 1, 1)
    assert (one.of, one.share) == (4, 0.5)
    assert (one.low, one.high) == pytest.approx(beta(2.5, 2.5).ppf([0.025, 0.975]))
    assert json.loads(json.dumps(one.record()))["group"] == ["female"]


# --- the folder ---


def picture(path: Path, shade: int = 0) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.full((8, 8, 3), shade, dtype=np.uint8)).save(path)
    return path


def exported(out: Path, shades: tuple[int, int] = (1, 2), set_id: str = "a") -> Path:
    contents, rows = [], []
    for label, shade in zip(GENDER["gender"], shades, strict=True):
        file = picture(out.parent / "source" / f"{shade}.png", shade)
        place = export.image_name(0, "Nurse, night-shift", (label,), shade)
        contents.append((place, file.read_bytes()))
        sha256 = own_images.pixels.read(file)[1]
        rows.append(Row(place, sha256, "a nurse", "nurse", (label,)))
    return export.write(out, GENDER, rows, contents, {"set": set_id})


def test_a_set_appears_whole(tmp_path: Path) -> None:
    killed, somebody = tmp_path / ".set.0123abcd.partial", tmp_path / ".set.partial"
    for folder in (killed, somebody):
        (folder / "images").mkdir(parents=True)
        (folder / "images" / "half.png").write_bytes(b"half")
        os.utime(folder, (0, 0))
    out = tmp_path / "set"
    out.mkdir()  # an empty folder is free
    assert export.held(out, "a") is None
    manifest = exported(out)
    files = sorted(p.relative_to(out).as_posix() for p in out.rglob("*") if p.is_file())
    folder = "images/0000-nurse-night-shift"
    assert files == [f"{folder}/female-0001.png", f"{folder}/male-0002.png", "manifest.json", "rows.csv"]
    assert len(balanced.read(manifest).rows) == 2
    assert not killed.exists(), "what a killed process left, long ago"
    assert (somebody / "images" / "half.png").exists(), "what we did not write"
    assert export.held(out, "a") == {"set": "a"}


def test_a_set_that_fails_leaves_nothing(tmp_path: Path) -> None:
    row = Row(Path("images/a.png"), "0" * 64, "a nurse", "nurse", ("female",))
    with pytest.raises(CardError, match="does not have the sha256"):
        export.write(tmp_path / "set", GENDER, [row], [(row.image, b"x")], {"set": "a"})
    assert list(tmp_path.iterdir()) == []


def test_what_is_there_already_is_kept(tmp_path: Path) -> None:
    out = tmp_path / "set"
    exported(out)
    with pytest.raises(FairbenchError, match="holds something else already: name another --out"):
        export.held(out, "b")
    picture(next(out.rglob("*.png")), 9)
    with pytest.raises(CardError, match="does not have the sha256"):
        export.held(out, "a")
    (tmp_path / "file").write_text("")
    with pytest.raises(FairbenchError, match="holds something else already"):
        export.held(tmp_path / "file", "a")
    with pytest.raises(FairbenchError, match="file is a file: name another --out"):
        export.held(tmp_path / "file" / "below" / "set", "a")


# --- one's own images ---


@pytest.fixture
def csv(tmp_path: Path) -> Callable[..., Path]:
    for shade, file in enumerate(("f.png", "g.jpg", "m.png")):
        picture(tmp_path / "mine" / file, 40 * shade)
    (tmp_path / "mine" / "broken.png").write_bytes(b"not an image")

    def write(*lines: str, header: str = "path,prompt,gender") -> Path:
        path = tmp_path / "mine" / "rows.csv"
        path.write_text("\n".join([header, *lines]) + "\n")
        return path

    return write


F, M = "f.png,a nurse,female", "m.png,a nurse,male"


def test_own_images_are_copied_as_they_are(csv: Callable[..., Path], tmp_path: Path) -> None:
    path = csv(F, "g.jpg,a nurse,female", M)
    found = own_images.read(path, GENDER)
    assert [own.subject for own in found] == ["a nurse"] * 3  # none was given
    chosen = own_images.equal_groups(found, GENDER, None)
    assert [own.image.name for own in chosen] == ["f.png", "m.png"]  # as many as the smallest group has
    own = own_images.OwnSet(GENDER, chosen, 1, None, None)
    manifest = own_images.write(own, tmp_path / "set", path)
    held = balanced.read(manifest)
    assert [r.image.read_bytes() for r in held.rows] == [o.image.read_bytes() for o in chosen]
    assert json.loads(manifest.read_text())["provenance"]["left_out"] == 1
    with pytest.raises(CardError, match="has 1 images of the group male, 2 are needed: add some, lower --per-group"):
        own_images.equal_groups(found, GENDER, 2)
    with pytest.raises(CardError, match="has 1 confirmed images of the group male"):
        own_images.equal_groups(found, GENDER, 2, "confirmed ")


@pytest.mark.parametrize(
    ("lines", "words"),
    [
        ((F, "absent.png,a nurse,male"), "line 3, field path: "),
        ((F, "broken.png,a nurse,male"), "is not an image that can be read"),
        ((F, "m.png,a nurse,man"), "line 3, field gender: 'man' is none of its labels (female, male)"),
        ((F, M, "g.jpg,a maid,male"), "line 4: the prompt 'a maid' has 0 images of the group female"),
        ((F, M, "f.png,a nurse,male"), "f.png is listed in "),
        ((F, M, "g.jpg,a maid,female", "f.png,a maid,male"), "f.png is male here and female in "),
        ((F, "m.png,,male"), "line 3, field prompt: it is empty"),
        ((F, "m.png,a nurse"), "another number of fields"),
        ((), "has no images"),
    ],
)
def test_a_csv_that_lies_is_refused(csv: Callable[..., Path], lines: tuple[str, ...], words: str) -> None:
    path = csv(*lines)
    with pytest.raises(CardError) as caught:
        own_images.read(path, GENDER)
    assert words in str(caught.value)
    assert str(path) in str(caught.value)


def test_a_csv_without_the_attributes_is_refused(csv: Callable[..., Path]) -> None:
    with pytest.raises(CardError, match="the column 'gender' is missing"):
        own_images.read(csv("f.png,a nurse", header="path,prompt"), GENDER)


def test_a_file_that_changes_while_it_is_copied(csv: Callable[..., Path], tmp_path: Path) -> None:
    path = csv(F, M)
    own = own_images.OwnSet(GENDER, own_images.read(path, GENDER), 0, None, None)
    picture(tmp_path / "mine" / "m.png", 200)
    with pytest.raises(CardError, match="changed while it was in use"):
        own_images.write(own, tmp_path / "set", path)
    assert not (tmp_path / "set").exists()


def test_a_labeller_that_is_asked_is_part_of_the_set(csv: Callable[..., Path]) -> None:
    images = own_images.read(csv(F, M), GENDER)
    labeller = Labeller(catalog.load_labeller("phantom"))
    plain = own_images.OwnSet(GENDER, images, 0, None, None)
    confirmed = own_images.OwnSet(GENDER, images, 0, [], ("phantom", labeller.id))
    assert plain.set_id != confirmed.set_id
