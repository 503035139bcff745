"""What a command prints, as HTML, Markdown and LaTeX: all of it, and nothing in it is markup."""

from __future__ import annotations

from html.parser import HTMLParser

from rich.console import Console

from fairbench.display.note import LABEL_NOTE
from fairbench.display.page import Page, Shown
from fairbench.display.plain import say
from fairbench.display.tables import Cell, Column, Table, numbers

HOSTILE = "<script>alert(1)</script> | 50 % & $x_1$ `a` \\ \x1b[31m"


class Result(Shown):
    """A result with a grouped table, a hostile label and two sentences."""

    def _print(self, console: Console) -> None:
        table = Table([Column("attribute"), Column("class"), *numbers("this\nlist")], "a title", "a note", grouped=True)
        table.add(Cell("gender\n2 classes"), HOSTILE, ".5")
        table.add("", "male", ".25")
        table.section()
        table.add("race", "", ".1")
        table.section()
        table.show(console)
        console.print()
        say(console, HOSTILE, lead="note: ")
        say(console, LABEL_NOTE, "dim")


class Cells(HTMLParser):
    """Collects the tags and the texts of HTML."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.words: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: object) -> None:
        self.tags.append(tag)

    def handle_data(self, data: str) -> None:
        self.words.append(data)


def test_html_has_tables_and_sentences_as_text() -> None:
    cells = Cells(Result()._repr_html_())
    assert "script" not in cells.tags
    assert cells.tags.count("tr") == 4
    shown = HOSTILE.replace("\x1b", "\\x1b")
    for text in ("a title", "gender", "2 classes", shown, ".5", "male", "a note", "note: ", LABEL_NOTE):
        assert text in cells.words
    assert "\x1b" not in Result()._repr_html_()


def test_markdown_keeps_every_cell_in_its_column() -> None:
    text = Result().to_markdown()
    table = [line for line in text.splitlines() if line.startswith("|")]
    assert len(table) == 5
    assert table[0] == "| attribute | class | this list |"
    assert table[1] == "| --- | --- | ---: |"
    for row in table:
        assert row.replace("\\|", "").count("|") == 4
    assert table[2].startswith("| gender | \\<script\\>alert(1)")
    assert table[3] == "| 2 classes | male | .25 |"
    assert LABEL_NOTE in text


def test_latex_is_balanced_and_says_what_labels_are() -> None:
    text = Result().to_latex()
    assert LABEL_NOTE in text
    assert r"\caption{a title}" in text
    assert r"\textless{}script\textgreater{}" in text
    assert r"50 \% \& \$x\_1\$" in text
    plain = text.replace(r"\{", "").replace(r"\}", "")
    assert plain.count("{") == plain.count("}")
    for name in ("table", "tabular"):
        assert plain.count(rf"\begin{{{name}}}") == plain.count(rf"\end{{{name}}}") == 1
    rows = [line for line in text.splitlines() if line.endswith(r" \\")]
    assert len(rows) == 4
    assert text.count(r"\addlinespace") == 1
    assert all(row.replace(r"\&", "").count("&") == 2 for row in rows)


def test_repr_is_what_is_printed() -> None:
    text = repr(Result())
    assert "a title" in text
    assert LABEL_NOTE.split()[0] in text
    assert "\x1b" not in text
    assert text.splitlines()[0] == "a title"


def test_a_page_keeps_no_blank_lines() -> None:
    page = Page()
    Result()._print(page)
    assert [type(item).__name__ for item in page.items] == ["Table", "Text", "Text"]
