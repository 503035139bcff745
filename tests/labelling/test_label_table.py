"""Tables of labels made elsewhere: which columns count, which classes there are, and what is refused in which words."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from fairbench.cards import catalog
from fairbench.cards.cards import LabellerCard
from fairbench.display.dictionary import TABLES
from fairbench.errors import CardError, FairbenchError
from fairbench.labelling import label_table
from fairbench.labelling.label_table import LabelTable
from fairbench.labelling.table_labeller import TableLabeller
from fairbench.notices import collecting

ROWS = "a.png,a nurse,0,female,Black\nb.png,a nurse,0,male,unclear\nc.png,a nurse,,,\n"
HEADER = "image,prompt,face,gender,race4\n"


def written(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "labels.csv"
    path.write_text(text, encoding="utf-8")
    return path


def read(tmp_path: Path, text: str, card: str | None = None) -> LabelTable:
    return label_table.read(written(tmp_path, text), None if card is None else catalog.load_labeller(card).card)


def card_of(tmp_path: Path, text: str, card: str | None = None) -> LabellerCard:
    declared = None if card is None else catalog.load_labeller(card).card
    return TableLabeller(label_table.read(written(tmp_path, text), declared), declared).card


def test_rows_are_faces_and_images_without_one(tmp_path: Path) -> None:
    rows = read(tmp_path, HEADER + ROWS + "d.png,a nurse,0,female,Asian\nd.png,a nurse,1,male,Asian\n").rows
    assert [(r.line, r.image, r.face) for r in rows][2:] == [(4, "c.png", None), (5, "d.png", 0), (6, "d.png", 1)]
    assert dict(rows[1].labels) == {"gender": "male", "race4": "unclear"}
    assert dict(rows[2].labels) == {}


def test_no_column_of_collected_labels_is_taken_for_an_attribute(tmp_path: Path) -> None:
    """What `annotate --collect` writes beside the labels says nothing of a face."""
    columns = [c for c in TABLES["labels.csv"][1] if c != "ATTRIBUTE"]
    cells = [["0" if c == "run_id" else str(i) for c in columns] for i in range(2)]
    rows = "".join(f"{','.join(row)},{label}\n" for row, label in zip(cells, ("male", "female"), strict=True))
    assert [dict(r.labels) for r in read(tmp_path, f"{','.join(columns)},gender\n{rows}").rows] == [
        {"gender": "male"},
        {"gender": "female"},
    ]


@pytest.mark.parametrize(
    "text",
    [
        "image,gender\na,male\nb,female\nc,no face\n",
        "path,Gender,status\na,male,ok\nb,female,\nc,,no face\n",
        "image_id,gender,face\na,male,0\nb,female,0\nc,,\n",
        "prompt,sample,gender\np,0,male\np,1,female\np,2,no person\n",
        "prompt,gender\np,male\np,female\np,no face\n",
    ],
)
def test_the_ways_to_say_that_nobody_is_seen(tmp_path: Path, text: str) -> None:
    assert [(r.face, dict(r.labels)) for r in read(tmp_path, text).rows] == [
        (0, {"gender": "male"}),
        (0, {"gender": "female"}),
        (None, {}),
    ]


def test_the_key_is_the_content(tmp_path: Path) -> None:
    """Order of rows and columns, blanks, line ends and columns that say nothing of a face are no content."""
    text = HEADER + ROWS + "d.png,a nurse,0,male,Asian\n"
    sha256 = read(tmp_path, text).sha256
    reordered = "gender,race4 , image,prompt,face,stratum\nmale,cannot tell,b.png,a nurse,0,x\n"
    reordered += "male,Asian,d.png,a nurse,0,\nfemale, Black,a.png,a nurse,0,y\r\n,,c.png,a nurse,,z\n"
    assert read(tmp_path, reordered).sha256 == sha256
    assert read(tmp_path, text.replace("male,unclear", "female,unclear")).sha256 != sha256
    assert read(tmp_path, text.replace("b.png", "e.png")).sha256 != sha256


def test_classes_that_nobody_declared_are_said(tmp_path: Path) -> None:
    text = "image,gender,race4\na,male,Black\nb,female,Asian\n"
    with collecting() as notices:
        table = read(tmp_path, text)
    assert table.columns.classes == {"gender": ("female", "male"), "race4": ("Asian", "Black")}
    (assumed,) = notices
    assert assumed.strict and "gender has 2 (female, male); race4 has 2 (Asian, Black)" in assumed.text
    with collecting() as notices:
        table = read(tmp_path, text, "phantom")
    assert not notices
    assert len(table.columns.classes["race4"]) == 4


def test_a_card_declares_classes_derived_attributes_and_crosses(tmp_path: Path) -> None:
    card = card_of(tmp_path, "image,race7,gender\na,White,female\nb,Black,male\n", "fairface")
    declared = catalog.load_labeller("fairface").card
    assert card.attributes["race7"] == declared.attributes["race7"]
    assert card.attributes["race4"] == declared.attributes["race4"]  # derived, and so counted without a column
    assert "age" not in card.attributes
    assert card.crosses == [cross for cross in declared.crosses if "age" not in cross]
    alone = card_of(tmp_path, "image,race4\na,WMELH\nb,Black\n", "fairface")
    assert alone.attributes["race4"].source is None
    assert alone.attributes["race4"].labels == declared.attributes["race4"].labels
    assert card_of(tmp_path, "image,gender,hair\na,x,short\nb,y,long\n").crosses == [["gender", "hair"]]


def test_probabilities_declare_classes_and_give_labels(tmp_path: Path) -> None:
    text = "image,gender[male],gender[female],gender\na,.2,.8,\nb,.9,.1,male\nc,.4,.6,male\nd,,,unclear\ne,.5,.505,\n"
    with collecting() as notices:
        table = read(tmp_path, text)
    assert not notices
    assert table.columns.classes == {"gender": ("male", "female")}
    assert [r.labels["gender"] for r in table.rows] == ["female", "male", "male", "unclear", "female"]
    labeller = TableLabeller(table)
    labeller.assign({b"%016d" % i: [row] for i, row in enumerate(table.rows)}, [])
    (row,) = labeller.label_rows("0" * 32, b"%016d" % 2, b"p" * 16)
    assert (row["status"], row["label"], round(row["prob"], 6)) == (
        "ok",
        "male",
        0.4,
    )  # the label that was given counts
    assert [round(p, 6) for p in row["probs"]] == [0.4, 0.6]
    (row,) = labeller.label_rows("0" * 32, b"%016d" % 3, b"p" * 16)
    assert (row["status"], row["label"], row["prob"], row["probs"]) == ("unclear", None, None, None)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "nothing says which images the labels are of; add a column image or prompt"),
        ("image,gender\n", "holds no rows: add one for each face"),
        ("gender\nmale\n", "line 1: nothing says which images"),
        ("image;gender\na;male\n", "the fields are separated by semicolons: save the file with commas"),
        ("image\na\n", "there is no column of labels; add one per attribute"),
        ("imgae,prompt,gender\na,p,male\n", "line 1, field imgae: there is no such column (did you mean 'image'?)"),
        ("image,gender,gender\na,male,male\n", "the column 'gender' stands twice"),
        ("image,image_id,gender\na,b,male\n", "the column 'image' stands twice"),
        ("image,gender\na,male\nb,female\na,male\n", "line 4, field image: a is labelled in line 2 already"),
        ("image,gender\na,male\nb,female\na,no face\n", "line 4, field image: a is labelled in line 2 already"),
        ("prompt,sample,gender\np,1,male\np,1,female\n", "line 3, field sample: sample 1 of 'p' is labelled in line 2"),
        (
            "image,gender\na,male\nb,female\nc,\n",
            "line 4, field gender: it is empty; write a class, unclear, or no face",
        ),
        ("image,gender\na,male\n,female\n", "line 3, field image: it is empty; name the image's file or id"),
        ("image,face,gender\na,0,male\nb,,female\n", "line 3, field face: it is empty, but the row has labels"),
        ("image,face,gender\na,0,male\nb,one,female\n", "line 3, field face: 'one' is no whole number from 0"),
        (
            "image,status,gender\na,ok,male\nb,failed,female\n",
            "line 3, field status: 'failed' is neither ok nor no face",
        ),
        ("image,status,gender\na,ok,female\nb,no face,male\n", "line 3, field gender: it says 'male', where another"),
        (
            "image,gender,age\na,male,no face\nb,female,old\nc,male,new\n",
            "line 2, field gender: it says 'male', where another field",
        ),
        ("image,gender\na,male\nb,male\n", "field gender: all faces are 'male', so its other classes cannot be known"),
        ("image,gender\na,male\nb,Male\nc,female\n", "field gender: 'Male' and 'male' differ in their letters' case"),
        ("image,gender,score\na,male,.1\nb,female,.2\n", "field score: it holds only numbers, which are no classes"),
        ("image,gender,my note\na,male,x\n", "field my note: this is no name of an attribute"),
        ("image,gender[male]\na,1\n", "field gender[male]: it is the only class; add a column per class"),
        ("image,gender[m],gender[f]\na,.5,.2\n", "field gender[m]: the probabilities of gender sum to 0.7"),
        ("image,gender[m],gender[f]\na,x,.2\n", "line 2, field gender[m]: 'x' is no probability"),
        ("image,gender[m],gender[f],gender\na,.5,.5,x\n", "line 2, field gender: 'x' is no class of gender"),
        ("prompt,face,gender\np,0,male\np,1,female\n", "line 3, field face: nothing says which image of the prompt"),
        ("prompt,sample,gender\np,0,male\np,,female\n", "line 3, field sample: nothing says which image"),
        ("image,run_id,gender\na,x,male\nb,x,male\nc,y,female\n", "line 4, field run_id: the labels are of 2 runs"),
        ("image,model,gender\na,x,male\nb,,female\n", "line 3, field model: it is empty"),
        ("image,gender\na,male\nb,female,x\n", "line 3: the row has another number of fields (3) than line 1 (2)"),
    ],
)
def test_what_does_not_hold_is_one_sentence(tmp_path: Path, text: str, words: str) -> None:
    with pytest.raises(CardError) as caught:
        read(tmp_path, text)
    assert words in str(caught.value)
    assert str(caught.value).startswith(str(tmp_path / "labels.csv"))


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("image,hair\na,short\n", "no column is an attribute of fairface; add race7 or gender or age"),
        ("image,gender\na,Femal\n", "line 2, field gender: 'Femal' is no class of gender (did you mean 'female'?)"),
        ("image,race7,race4\na,White,WMELH\n", "field race4: fairface derives it from race7; leave the column out"),
        ("image,gender[male],gender[other]\na,1,0\n", "the columns of gender have to be gender["),
    ],
)
def test_what_does_not_fit_the_card_is_one_sentence(tmp_path: Path, text: str, words: str) -> None:
    with pytest.raises(CardError) as caught:
        read(tmp_path, text, "fairface")
    assert words in str(caught.value)


def test_another_encoding_is_one_sentence(tmp_path: Path) -> None:
    path = tmp_path / "labels.csv"
    for encoding, words in (("latin-1", "line 2 is not UTF-8 text"), ("utf-16", "is UTF-16 text: save it as UTF-8")):
        path.write_bytes("image,gender\nä.png,male\n".encode(encoding))
        with pytest.raises(CardError, match=words):
            label_table.read(path)
    path.write_bytes("\ufeffimage,gender\nä.png,male\nb.png,female\n".encode())
    assert label_table.read(path).rows[0].image == "ä.png"


def test_a_table_looks_at_no_images(tmp_path: Path) -> None:
    labeller = TableLabeller(read(tmp_path, "image,gender\na,male\nb,female\n"))
    with pytest.raises(FairbenchError, match="it cannot look at others: name a --labeller"):
        labeller.read([np.zeros((8, 8, 3), dtype=np.uint8)])
