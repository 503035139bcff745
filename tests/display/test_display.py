"""Numbers and tables as every command prints them."""

from __future__ import annotations

import io
import logging
import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from rich.console import Console

from fairbench.cli import logs
from fairbench.display.figure import drawing, heat, png
from fairbench.display.numbers import number, p_value, percent, span, with_interval
from fairbench.display.plain import fitted, line, say, shown
from fairbench.display.tables import Cell, Column, Table, numbers

VALUES = st.one_of(
    st.none(), st.sampled_from([-0.111, 1.0, -1.0, 10.853, -10.5, 0.0, -1e-9, 99.996, 9.9996]), st.floats(-2000, 2000)
)


def printed(table: Table, width: int) -> str:
    out = io.StringIO()
    table.show(Console(file=out, width=width))
    return out.getvalue()


@given(VALUES, st.sampled_from([2, 3, 4]))
def test_a_number_reads_back_as_the_value_rounded(value: float | None, places: int) -> None:
    words = number(value, places)
    if value is None:
        assert words == "none"
        return
    decimals = len(words.partition(".")[2])
    read = float(words.replace(",", ""))
    assert abs(read - value) <= 0.5 * 10**-decimals * (1 + 1e-9)
    assert decimals == (0 if abs(value) >= 1000 else min(places, 2) if abs(value) >= 10 else places)
    assert not words.startswith(("0.", "-0."))


def test_numbers_in_words() -> None:
    values = (0.1234, -0.05, 1.5, 10.25, 30.567, 10.853, -10.853, 0.0, -1e-9, None, float("inf"))
    words = [".123", "-.050", "1.500", "10.25", "30.57", "10.85", "-10.85", ".000", ".000", "none", "none"]
    assert [number(v) for v in values] == words
    assert number(10.5) == "10.50" and number(20.0) == "20.00" and number(12345.6) == "12,346"
    assert number(0.04, sign=True) == "+.040" and number(-1e-9, sign=True) == ".000"
    assert p_value(1e-5) == "<.001" and p_value(0.0421) == ".042" and p_value(None) == "none"
    assert span(-0.1, 0.2) == "-.100 .200" and span(float("nan"), 1) == "" and span(None, None) == ""
    assert with_interval(10.853, -0.111, 1.0) == "10.85 [-.111, 1.000]" and with_interval(0.5, None, None) == ".500"
    assert percent(0.1234) == "12.3 %" and percent(None) == "none"


CELLS = st.text(st.characters(codec="utf-8", exclude_categories=["Cs", "Cc", "Zs"]), min_size=1, max_size=24)


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.tuples(CELLS, CELLS, *[VALUES] * 4, st.text("abcdefgh ", max_size=70)), min_size=1, max_size=4),
    st.sampled_from([20, 40, 60, 80, 120]),
    st.booleans(),
)
def test_no_number_is_cut_at_any_width(rows: list[tuple[object, ...]], width: int, grouped: bool) -> None:
    table = Table(
        [
            Column("attribute"),
            Column("estimate"),
            *numbers("value", "other\nprompts", "fair", "most"),
            Column("verdict", wraps=True),
        ],
        title="a title",
        note="a note",
        grouped=grouped,
    )
    for name, kind, *values, words in rows:
        table.add(str(name), str(kind), *(number(v) for v in values), str(words))  # type: ignore[arg-type]
        table.section()
    text = printed(table, width)
    assert "…" not in text.replace("…", "", sum(str(c).count("…") for row in rows for c in row))
    assert all(len(x) <= width or not x.isascii() for x in text.splitlines())
    # Every value stands there whole, in order.
    values = [number(v) for row in rows for v in row[2:6]]  # type: ignore[arg-type]
    at = 0
    for value in values:
        hit = re.compile(rf"(?<![\w.,+-]){re.escape(value)}(?![\w.,])").search(text, at)
        assert hit, f"{value} is not in\n{text}"
        at = hit.end()


def test_a_table_too_wide_puts_groups_on_lines_of_their_own_and_then_rows_into_paragraphs() -> None:
    table = Table([Column("attribute"), Column("estimate"), *numbers("value", "these\nprompts", "fair")], grouped=True)
    table.add("gender x race4", "rd corrected", "-.111", "-.120 1.000", "10.85")
    table.add("", "rd", "none", "", ".031")
    wide, middle, narrow = (printed(table, w) for w in (80, 44, 24))
    assert "gender x race4  rd corrected" in wide
    assert "gender x race4\n" in re.sub(r" +\n", "\n", middle) and "  rd corrected  -.111  -.120 1.000  10.85" in middle
    assert [part.rstrip() for part in narrow.splitlines()] == [
        "gender x race4",
        "rd corrected",
        "  value: -.111",
        "  these prompts: -.120",
        "1.000",
        "  fair: 10.85",
        "gender x race4   rd",
        "  value: none",
        "  fair: .031",
    ]


@pytest.mark.parametrize(
    "data", ["[/]", "[/red]", "[bold]x", "\x1b[31mred", "a\u202eb", "$x$", "a\nb", ":smile:", "\x9b1m"]
)
def test_data_is_neither_markup_nor_a_command_to_the_terminal(data: str) -> None:
    out = io.StringIO()
    console = Console(file=out, width=80, force_terminal=True, color_system=None)
    table = Table([Column(data), *numbers(data)], title=data, note=data)
    table.add(data, data)
    table.add(Cell(data, "red"), "1")
    table.show(console)
    say(console, f"a sentence of {data}", "bold")
    text = out.getvalue()
    assert text.count(line(data)) >= (5 if "\n" not in data else 2)
    assert not re.search(r"\x1b\[31m|\u202e|\x9b", text)


def test_what_is_hidden_is_written_out() -> None:
    assert shown("a\x1bb\x00\x7f\u202e\u2066\u200b\ufeff\u2028\ud800") == (
        "a\\x1bb\\x00\\x7f\\u202e\\u2066\\u200b\\ufeff\\u2028\\ud800"
    )
    assert shown("é 日本 \u200d👩 [/red]\n\t") == "é 日本 \u200d👩 [/red]\n\t"
    assert line("a\nb\tc\r") == "a\\nb\\tc\\r"


def test_a_row_of_a_heat_map_without_faces_is_empty_and_says_so() -> None:
    with drawing("A picture", "report") as pyplot:
        figure, axis = pyplot.subplots()
        heat(axis, [[3, 1], [0, 0]], ["$a", "b$\x1b"], ["$\\frac{$", "y"], "{:.0f}".format)
        assert [text.get_text() for text in axis.texts] == ["75", "25"]
        shown_rows = axis.images[0].get_array().mask
        assert shown_rows.tolist() == [[False, False], [True, True]]
        assert [label.get_text() for label in axis.get_yticklabels()] == ["$a", "b$\\x1b\n(no faces)"]
        axis.set(title="$\\frac{$ costs 5$")  # no formula, which could not be set
        assert png(pyplot, figure).startswith(b"\x89PNG")


class TestBarsBesideShares:
    @staticmethod
    def shown(width: int, encoding: str = "utf-8") -> list[str]:
        table = Table([Column("attribute"), Column("class"), *numbers("value", "this\nlist")], grouped=True)
        table.add("gender", "female", Cell(".250", share=0.25), ".200 .300")
        table.add("", "male", Cell(".750", share=0.75), ".700 .800")
        table.add("", "unknown", Cell(""), "")
        file = io.TextIOWrapper(io.BytesIO(), encoding=encoding)
        table.show(Console(file=file, width=width))
        file.seek(0)
        return [row.rstrip() for row in file.read().splitlines()]

    def test_they_follow_the_numbers_where_there_is_room(self) -> None:
        *_, female, male, unknown = self.shown(80)
        assert re.fullmatch(r"gender +female +\.250 +██ +\.200 \.300", female)
        assert re.fullmatch(r" +male +\.750 +██████ +\.700 \.800", male)
        assert unknown.strip() == "unknown", "no number, no bar"

    def test_they_are_hashes_where_the_encoding_has_no_blocks(self) -> None:
        assert re.search(r"male[ |]+\.750[ |]+######[ |]+\.700 \.800", self.shown(80, "latin-1")[-2])

    def test_they_give_way_to_numbers(self) -> None:
        narrow = "\n".join(self.shown(30))
        assert ".750" in narrow and ".700 .800" in narrow and "█" not in narrow


def test_nothing_is_in_colour() -> None:
    """No colour can be read on every background."""
    out = io.StringIO()
    console = Console(file=out, width=80, force_terminal=True, color_system="truecolor", theme=logs._THEME)
    logs.set_up_logging(console, verbose=True)
    logging.getLogger("fairbench").warning("GET 12 of /a/path: None, True, https://example.org 'text'")
    say(console, "three words", lead="note: ")
    Table([Column("class"), *numbers("value")], "a title", "a note").show(console)
    styles = set(re.findall(r"\x1b\[([\d;]*)m", out.getvalue()))
    assert {"1", "2"} <= {part for style in styles for part in style.split(";")} <= {"0", "1", "2", "7"}
    assert "\x1b[1mnote: \x1b[0mthree words" in out.getvalue()


@pytest.mark.parametrize(
    ("text", "width", "max_width", "expected"),
    [
        ("模型", 6, None, "模型  "),
        ("模型模型", 0, 5, "模型…"),
        ("模型模型", 0, 6, "模型…"),  # half a character is none
        ("نموذج", 6, None, "نموذج "),
        ("e\u0301t", 3, None, "e\u0301t "),
        ("🙂🙂", 5, None, "🙂🙂 "),
        ("🙂🙂", 0, 3, "🙂…"),
        ("a\u202eb", 0, 8, "a\\u202eb"),
        ("a\nb", 5, 5, "a\\nb "),
    ],
)
def test_texts_are_as_wide_as_a_terminal_shows_them(
    text: str, width: int, max_width: int | None, expected: str
) -> None:
    assert fitted(text, width, max_width) == expected
