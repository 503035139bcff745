"""Tables that people write: a misspelt column is never ignored, and whatever a spreadsheet makes is read or refused."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fairbench.cards import csvfile
from fairbench.errors import CardError
from fairbench.notices import collecting

COLUMNS = (("path",), ("prompt", "prompt_id", "sample_index"))


def rows(file: Path, content: str | bytes) -> list[dict[str, str]]:
    file.write_bytes(content.encode() if isinstance(content, str) else content)
    read = csvfile.read_jsonl if file.suffix == ".jsonl" else csvfile.read_csv
    return [row for _, row in read(file, csvfile.Columns(*COLUMNS))]


@pytest.mark.parametrize(
    "header", ["path,prompt", "path, prompt", "Path ,PROMPT", "\ufeffpath,prompt", '"path","prompt"']
)
def test_names_are_matched_without_blanks_and_case(tmp_path: Path, header: str) -> None:
    assert rows(tmp_path / "m.csv", f"{header}\na.png, a nurse \n") == [{"path": "a.png", "prompt": "a nurse"}]


@pytest.mark.parametrize(
    ("header", "name", "meant"),
    [
        ("path,promt", "promt", "prompt"),
        ("path,Prompts", "Prompts", "prompt"),
        ("path,pormpt", "pormpt", "prompt"),
        ("path,sample index", "sample index", "sample_index"),
        ("path,prompt,prompt-id", "prompt-id", "prompt_id"),
        ("pat,prompt", "pat", "path"),
    ],
)
@pytest.mark.parametrize("suffix", [".csv", ".jsonl"])
def test_a_misspelt_name_is_an_error_that_names_both(
    tmp_path: Path, header: str, name: str, meant: str, suffix: str
) -> None:
    content = f"{header}\n" + ",".join("x" for _ in header.split(","))
    if suffix == ".jsonl":
        content = "{" + ", ".join(f'"{n}": "x"' for n in header.split(",")) + "}"
    with pytest.raises(CardError, match=rf"line 1, field {name}: there is no such column \(did you mean '{meant}'\?\)"):
        rows(tmp_path / f"m{suffix}", content)


@pytest.mark.parametrize("suffix", [".csv", ".jsonl"])
def test_an_unknown_name_is_a_notice(tmp_path: Path, suffix: str) -> None:
    content = "path,gender,prompt,licence\na.png,female,a nurse,mit\n"
    if suffix == ".jsonl":
        content = '{"path": "a.png", "gender": "female"}\n{"path": "b.png", "prompt": "x", "licence": "mit"}'
    with collecting() as notices:
        rows(tmp_path / f"m{suffix}", content)
    (notice,) = notices
    assert (notice.code, notice.count, notice.examples) == ("ignored-column", 2, ("gender", "licence"))


def test_names_that_differ_in_a_digit_are_different_names(tmp_path: Path) -> None:
    (tmp_path / "m.csv").write_text("image,race4\na.png,Black\n")
    with collecting() as notices:
        assert list(csvfile.read_csv(tmp_path / "m.csv", csvfile.Columns(("image",), ("race7",))))
    assert [n.code for n in notices] == ["ignored-column"]


def test_a_known_name_beside_one_like_it_is_no_misspelling(tmp_path: Path) -> None:
    with collecting() as notices:
        assert rows(tmp_path / "m.csv", "path,prompt,prompts\na.png,x,y\n")[0]["prompt"] == "x"
    assert notices[0].examples == ("prompts",)


def test_labels_that_differ_in_case_alone_stay_apart(tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text("subject,A,a\nx,1,2\n")
    ((_, row),) = csvfile.read_csv(tmp_path / "t.csv", csvfile.Columns(("subject",), ("a", "A")))
    assert row == {"subject": "x", "A": "1", "a": "2"}


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("path;prompt\na.png;x\n", "the fields are separated by semicolons: save the file with commas"),
        ("path\tprompt\na.png\tx\n", "separated by tabs"),
        ("path,prompt\na.png,x\n".encode("utf-16"), "is UTF-16 text: save it as UTF-8"),
        ("path,prompt\na.png,x\n".encode("utf-16-le"), "line 1 holds a NUL character"),
        ("path,prompt\na.png,x\n".encode("utf-32"), "is UTF-32 text"),
        ("path,prompt\na.png,é\n".encode("latin-1"), r"line 2 is not UTF-8 text \(byte 0xe9\)"),
        ("path,prompt\na.png,a\0b\n", "line 2 holds a NUL character"),
        ("path,prompt,Prompt \na.png,x,y\n", "the column 'prompt' stands twice"),
        ("path,note,note\na.png,x,y\n", "the column 'note' stands twice"),
        ("path,prompt\na.png\n", r"line 2: the row has another number of fields \(1\) than line 1 \(2\)"),
        ("path,prompt\na.png,a nurse, tall\n", r"line 2: the row has another number of fields \(3\)"),
        ('path,prompt\n"a.png,x\n', "line 2 is not CSV"),
        ("path,\na.png,x\n", "line 1: column 2 has no name"),
        ("", "the column 'path' is missing"),
        ("path,prompt\na.png," + "x" * (2 << 20), "line 2 is not CSV .field larger"),
    ],
)
def test_what_cannot_be_read_is_one_sentence(tmp_path: Path, content: str | bytes, words: str) -> None:
    with pytest.raises(CardError, match=words) as caught:
        rows(tmp_path / "m.csv", content)
    assert "m.csv" in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ('{"path": "a", "path": "b"}', "line 1: the column 'path' stands twice"),
        ('\n[["path", "a"]]', "line 2: each line is one object"),
        ("5", "line 1: each line is one object"),
        ("[" * 100_000, "line 1: not valid JSON"),
        ('{"prompt": "x"}', "line 1: the column 'path' is missing"),
    ],
)
def test_json_lines_that_lie(tmp_path: Path, content: str, words: str) -> None:
    with pytest.raises(CardError, match=words):
        rows(tmp_path / "m.jsonl", content)


def test_quoted_line_ends_and_empty_lines(tmp_path: Path) -> None:
    (tmp_path / "m.csv").write_bytes(b'path,prompt,,\r\n\r\na.png,"one\ntwo, three",,\r\n , ,,\r\nb.png,x,,\r\n')
    with collecting() as notices:
        found = list(csvfile.read_csv(tmp_path / "m.csv", csvfile.Columns(*COLUMNS)))
    assert found == [(3, {"path": "a.png", "prompt": "one\ntwo, three"}), (6, {"path": "b.png", "prompt": "x"})]
    assert not notices


def test_either_name_of_the_column_of_images(tmp_path: Path) -> None:
    (tmp_path / "m.csv").write_text("Image,prompt\na.png,x\n")
    read = csvfile.read_csv(tmp_path / "m.csv", csvfile.Columns(("path",), ("prompt",), aliases=csvfile.IMAGE_IS_PATH))
    assert [row["path"] for _, row in read] == ["a.png"]
    (tmp_path / "m.csv").write_text("path,image\na.png,b.png\n")
    with pytest.raises(CardError, match="'path' stands twice"):
        list(csvfile.read_csv(tmp_path / "m.csv", csvfile.Columns(("path",), aliases=csvfile.IMAGE_IS_PATH)))


def test_only_regular_files_of_a_bounded_size(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    os.mkfifo(tmp_path / "pipe.csv")
    for path in (Path("/dev/zero"), tmp_path / "pipe.csv", tmp_path):
        with pytest.raises(CardError, match="is not a regular file"):
            list(csvfile.read_csv(path, csvfile.Columns(("path",))))
    with pytest.raises(CardError, match="cannot be read"):
        list(csvfile.read_csv(Path("a\0b.csv"), csvfile.Columns(("path",))))
    from fairbench.cards import textfile

    (tmp_path / "big.csv").write_text("path\n" + "a\n" * 100)
    with pytest.raises(CardError, match=r"is larger than .* MiB"):
        textfile.read_text(tmp_path / "big.csv", 100)


@given(st.text("abc", max_size=6), st.text("abc", max_size=6))
def test_edit_distance_is_a_metric_like_the_recursive_definition(one: str, other: str) -> None:
    def slow(a: str, b: str) -> int:
        if not a or not b:
            return len(a) + len(b)
        least = min(slow(a[:-1], b) + 1, slow(a, b[:-1]) + 1, slow(a[:-1], b[:-1]) + (a[-1] != b[-1]))
        if len(a) > 1 and len(b) > 1 and a[-1] == b[-2] and a[-2] == b[-1]:
            least = min(least, slow(a[:-2], b[:-2]) + 1)
        return least

    assert csvfile.edit_distance(one, other, 2) == min(3, slow(one, other))
