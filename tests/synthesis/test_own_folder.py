"""A folder of one's own images: what its folders' names say, and what they may not say."""

from __future__ import annotations

import unicodedata
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from fairbench import keys
from fairbench.errors import CardError, FairbenchError
from fairbench.synthesis import own_folder, own_images
from fairbench.synthesis.balanced import Row
from fairbench.types import Prompt

GENDER = {"gender": ("female", "male")}
CROSS = {"gender": ("female", "male"), "race4": ("WMELH", "Latino_Hispanic")}


def prompt(subject: str, text: str = "A photo of a {subject}", stated: dict[str, str] | None = None) -> Prompt:
    filled = text.replace("{subject}", subject)
    return Prompt(keys.prompt_id(filled), keys.prompt_id(filled), "task", 1, text, filled, subject, "", stated or {})


@pytest.fixture
def mine(tmp_path: Path) -> Path:
    return fill(tmp_path / "mine", ["nurse/female/b.png", "nurse/female/a.jpg", "nurse/male/c.png"])


def fill(root: Path, names: Sequence[str]) -> Path:
    """Put a picture of its own at every path."""
    for name in names:
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        shade = int.from_bytes(keys.digest("shade", name)[:3], "big")
        Image.fromarray(np.full((8, 8, 3), [shade % 256, shade // 256 % 256, shade >> 16], np.uint8)).save(path)
    return root


def said(images: Sequence[Row]) -> list[tuple[str, str, str, str, str]]:
    return [(i.image.name, i.prompt, i.subject, "-".join(i.group), i.source_prompt) for i in images]


def test_names_say_prompt_and_group_in_order(mine: Path) -> None:
    fill(mine, ["a chef, smiling/Male/d.png", "a chef, smiling/FEMALE/e.png"])
    for name in (".DS_Store", "Thumbs.db", "nurse/desktop.ini", "nurse/male/Thumbs.db"):
        (mine / name).write_bytes(b"x")
    (mine / "nurse" / ".hidden").mkdir()
    (mine / "nurse" / "male" / "._c.png").write_bytes(b"x")
    chef, nurse = ["a chef, smiling"] * 2, ["nurse"] * 2
    assert said(own_folder.read(mine, GENDER, None)) == [
        ("e.png", *chef, "female", ""),
        ("d.png", *chef, "male", ""),
        ("a.jpg", *nurse, "female", ""),
        ("b.png", *nurse, "female", ""),
        ("c.png", *nurse, "male", ""),
    ]


def test_an_image_stands_under_every_wording_of_its_subject(mine: Path) -> None:
    fill(mine, ["Police_Officer/female/d.png", "Police_Officer/male/e.png"])
    of_task = [
        prompt(s, t) for s in ("police officer", "nurse", "maid") for t in ("A photo of a {subject}", "{subject}!")
    ]
    found = said(own_folder.read(mine, GENDER, of_task))
    assert len(found) == 10
    assert (
        "d.png",
        "A photo of a police officer",
        "police officer",
        "female",
        "A photo of a female police officer",
    ) in found
    assert ("d.png", "police officer!", "police officer", "female", "female police officer!") in found
    words = ["Draw a {subject}"]
    with_task, alone = own_folder.read(mine, GENDER, of_task, words), own_folder.read(mine, GENDER, None, words)
    nurse = ("c.png", "Draw a nurse", "nurse", "male", "Draw a male nurse")
    assert nurse in said(with_task) and nurse in said(alone)
    assert {i.subject for i in with_task} == {"nurse", "police officer"}
    assert {i.subject for i in alone} == {"nurse", "Police_Officer"}


@pytest.mark.parametrize("style", ["female-WMELH", "Female White", "female_wmelh", "FEMALE - white"])
def test_a_group_is_its_labels_or_the_words_for_them(tmp_path: Path, style: str) -> None:
    rest = ["female-Latino_Hispanic", "male-white", "male-latino-hispanic"]
    found = own_folder.read(fill(tmp_path, [f"nurse/{g}/a.png" for g in (style, *rest)]), CROSS, None)
    assert {i.image.parent.name: i.group for i in found} == {
        style: ("female", "WMELH"),
        rest[0]: ("female", "Latino_Hispanic"),
        rest[1]: ("male", "WMELH"),
        rest[2]: ("male", "Latino_Hispanic"),
    }


def test_names_may_be_of_any_script(tmp_path: Path) -> None:
    labels = {"gender": ("женщина", "homme âgé")}
    apart = unicodedata.normalize("NFD", "homme âgé")
    fill(tmp_path, ["infirmière/Женщина/a.png", f"infirmière/{apart}/b.png"])
    found = own_folder.read(tmp_path, labels, [prompt(unicodedata.normalize("NFD", "infirmière"))])
    assert [i.group for i in found] == [("homme âgé",), ("женщина",)]


def test_groups_that_names_cannot_tell_apart_are_refused(mine: Path) -> None:
    with pytest.raises(CardError, match=r"cannot tell the groups <20 and 20 apart: use images\.csv"):
        own_folder.read(mine, {"age": ("<20", "20")}, None)
    with pytest.raises(CardError, match=r"mine/nurse may be nurse or nurse\?: use images\.csv"):
        own_folder.read(mine, GENDER, [prompt("nurse"), prompt("nurse?")])


@pytest.mark.parametrize(
    ("name", "sentence"),
    [
        ("nurse/femle/d.png", "nurse/femle is named after no group (did you mean 'female'?): name it by its labels"),
        ("maid/female/d.png", "maid has no folder of the group male: add "),
        ("d.png", "d.png is not a folder, where one is expected: the layout is PROMPT/GROUP/image"),
        ("nurse/d.png", "nurse/d.png is not a folder, where one is expected"),
        ("nurse/male/deep/d.png", "nurse/male/deep is a folder where images are expected"),
        ("nurse/male/a\nb.png", "has a name that is not plain text"),
    ],
)
def test_what_stands_in_the_wrong_place(mine: Path, name: str, sentence: str) -> None:
    fill(mine, [name])
    with pytest.raises(CardError) as caught:
        own_folder.read(mine, GENDER, None)
    assert sentence in str(caught.value) and str(mine) in str(caught.value)


def test_files_must_be_images(mine: Path) -> None:
    odd = mine / "nurse" / "male" / "notes.txt"
    odd.write_text("x")
    with pytest.raises(CardError, match=r"male/notes\.txt is no image \(\.jpg"):
        own_folder.read(mine, GENDER, None)
    broken = odd.rename(odd.with_name("broken.png"))
    with pytest.raises(CardError) as caught:
        own_folder.read(mine, GENDER, None)
    assert str(caught.value) == f"{broken} is not an image that can be read: replace or remove it."
    broken.unlink()
    broken.symlink_to("nowhere.png")
    with pytest.raises(CardError, match=r"broken\.png is no image"):
        own_folder.read(mine, GENDER, None)


@pytest.mark.parametrize("name", ["", "maid", "nurse/male"])
def test_empty_folders_are_refused(tmp_path: Path, name: str) -> None:
    root = fill(tmp_path, ["nurse/female/a.png"]) if name else tmp_path
    (root / name).mkdir(parents=True, exist_ok=True)
    (root / name / ".DS_Store").write_bytes(b"x")
    with pytest.raises(CardError, match="has no images: the layout is PROMPT/GROUP/image") as caught:
        own_folder.read(root, GENDER, None)
    assert str(caught.value).startswith(f"{root / name} ")


def test_a_picture_stands_once_and_has_one_group(mine: Path) -> None:
    picture = mine / "nurse" / "male" / "c.png"
    copy = picture.with_name("copy.png")
    copy.write_bytes(picture.read_bytes())
    with pytest.raises(CardError, match=r"male/copy\.png is listed in .*male/c\.png already"):
        own_folder.read(mine, GENDER, None)
    copy.unlink()
    fill(mine, ["maid/female/d.png", "maid/male/e.png"])
    (mine / "maid" / "female" / "d.png").write_bytes(picture.read_bytes())
    with pytest.raises(CardError, match=r"nurse/male/c\.png is male here and female in .*maid/female/d\.png"):
        own_folder.read(mine, GENDER, None)


def test_subjects_must_be_the_tasks_and_its_prompts_neutral(mine: Path) -> None:
    with pytest.raises(CardError, match=r"mine/nurse: the task has no subject 'nurse' \(did you mean 'nurses'\?\)"):
        own_folder.read(mine, GENDER, [prompt("nurses")])
    stated = [prompt("nurse", "A male {subject}", {"gender": "male"})]
    with pytest.raises(FairbenchError, match="the prompt 'A male nurse' states gender, a balanced set needs neutral"):
        own_folder.read(mine, GENDER, stated)
    assert {i.prompt for i in own_folder.read(mine, GENDER, stated, ["A {subject}"])} == {"A nurse"}


def test_the_set_is_the_same_wherever_the_folder_lies(mine: Path, tmp_path: Path) -> None:
    def set_id(root: Path) -> str:
        return own_images.OwnSet(GENDER, own_folder.read(root, GENDER, None), 0, None, None).set_id

    first = set_id(mine)
    assert set_id(mine.rename(tmp_path / "elsewhere")) == first
