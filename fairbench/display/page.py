"""What a command prints, for Python: in a notebook as HTML, and as Markdown or LaTeX.

There is one code path: a result is printed on a `Page` as on a terminal, and the page writes the tables and sentences
that it was given. So each form says the same, the note on what labels are included.
"""

from __future__ import annotations

import html
import io
import re
import shutil
from abc import ABC, abstractmethod
from collections.abc import Iterator
from typing import Any, Final

from rich.console import Console
from rich.text import Text

from fairbench.display.note import LABEL_NOTE, NEVER
from fairbench.display.plain import shown
from fairbench.display.tables import Cell, Column, Table

_STYLE: Final = {"dim": "color:gray;font-size:smaller", "bold": "font-weight:bold"}
"""CSS of the styles in which sentences are printed."""
_LATEX: Final = {
    **{c: f"\\{c}" for c in "&%$#_{}"},
    "\\": "\\textbackslash{}",
    "~": "\\textasciitilde{}",
    "^": "\\textasciicircum{}",
    "<": "\\textless{}",
    ">": "\\textgreater{}",
    "·": "\\textperiodcentered{}",
}
_MARKDOWN: Final = re.compile(r"([\\`*_{}\[\]<>|#~&$]|^[-+=])")


class Page(Console):
    """A console that keeps the tables and sentences that are printed on it.

    label_note: what LaTeX says of labels where no sentence of the page does.
    """

    def __init__(self, label_note: str = LABEL_NOTE) -> None:
        super().__init__(file=io.StringIO(), force_jupyter=False)
        self._label_note = label_note
        self.items: list[Table | Text] = []

    def print(self, *objects: Any, **_: Any) -> None:
        """Keep a sentence; blank lines are the reader's business."""
        self.items += [each for each in objects if isinstance(each, Text)]

    def keep(self, table: Table) -> None:
        """Keep a table; `Table.show` calls it."""
        self.items.append(table)

    def html(self) -> str:
        """Return everything as HTML."""
        parts = (_html_table(i) if isinstance(i, Table) else _html_sentence(i) for i in self.items)
        return "<div>" + "\n".join(parts) + "</div>"

    def markdown(self) -> str:
        """Return everything as Markdown."""
        parts = (_markdown_table(i) if isinstance(i, Table) else in_markdown(i.plain) for i in self.items)
        return "\n\n".join(parts) + "\n"

    def latex(self) -> str:
        """Return the tables as LaTeX (package booktabs), each with its note and the note on what labels are."""
        said = (item.plain for item in self.items if isinstance(item, Text) and NEVER in item.plain)
        note = next(said, self._label_note)
        return "\n".join(_latex_table(item, note) for item in self.items if isinstance(item, Table))


class Shown(ABC):
    """A result that Python shows as its command prints it."""

    @abstractmethod
    def _print(self, console: Console) -> None:
        """Print the result on a console."""

    def _page(self) -> Page:
        page = Page()
        self._print(page)
        return page

    def show(self) -> None:
        """Print what the command prints."""
        self._print(Console())

    def to_markdown(self) -> str:
        """Return what the command prints as Markdown."""
        return self._page().markdown()

    def to_latex(self) -> str:
        """Return the tables that the command prints as LaTeX, for the package booktabs."""
        return self._page().latex()

    def _repr_html_(self) -> str:
        return self._page().html()

    def __repr__(self) -> str:
        width, text = shutil.get_terminal_size((80, 24)).columns, io.StringIO()
        self._print(Console(file=text, width=width, force_jupyter=False, color_system=None))
        return text.getvalue().rstrip("\n")


def _rows(table: Table) -> Iterator[list[Cell]]:
    """Yield a table's rows without the gaps between sections."""
    yield from (row for row in _sections(table) if row is not None)


def _sections(table: Table) -> list[list[Cell] | None]:
    """Return a table's rows, None between sections; the lines of a group's name stand beside the rows of the group."""
    table = table.with_full_names()
    rows = (table.spread() if table.grouped else table).rows
    return rows[:-1] if rows and rows[-1] is None else rows


def _heads(table: Table) -> list[str]:
    return [column.words for column in table.columns]


def _html_table(table: Table) -> str:
    def cell(tag: str, text: str, column: Column) -> str:
        align = "right" if column.number else "left"
        return f'<{tag} style="text-align:{align}">{_html(text)}</{tag}>'

    head = "".join(cell("th", column.words, column) for column in table.columns)
    rows = ("".join(cell("td", c.text, col) for c, col in zip(row, table.columns, strict=True)) for row in _rows(table))
    body = "\n".join(f"<tr>{row}</tr>" for row in rows)
    title = f"<caption style='text-align:left'><b>{_html(table.title)}</b></caption>" if table.title else ""
    note = f'<p style="{_STYLE["dim"]}">{_html(table.note)}</p>' if table.note else ""
    return f"<table>{title}<thead><tr>{head}</tr></thead>\n<tbody>{body}</tbody></table>{note}"


def _html_sentence(text: Text) -> str:
    lead = text.spans[0].end if text.spans else 0  # what `say` prints in bold
    words = f"<b>{_html(text.plain[:lead])}</b>{_html(text.plain[lead:])}" if lead else _html(text.plain)
    return f'<p style="{_STYLE.get(str(text.style), "")}">{words}</p>'


def _html(text: str) -> str:
    return html.escape(shown(text)).replace("\n", "<br>")


def _markdown_table(table: Table) -> str:
    def line(cells: list[str]) -> str:
        return "| " + " | ".join(cells) + " |"

    rule = line(["---:" if column.number else "---" for column in table.columns])
    rows = [line([in_markdown(c.text) for c in row]) for row in _rows(table)]
    grid = "\n".join([line([in_markdown(head) for head in _heads(table)]), rule, *rows])
    parts = [f"**{in_markdown(table.title)}**" if table.title else "", grid, in_markdown(table.note)]
    return "\n\n".join(part for part in parts if part)


def in_markdown(text: str) -> str:
    """Return text that Markdown shows as it is, on one line: no HTML, link, formula or list."""
    return _MARKDOWN.sub(r"\\\1", shown(text)).replace("\n", " ")


def _latex_table(table: Table, label_note: str) -> str:
    columns = "".join("r" if column.number else "l" for column in table.columns)
    rows = [r"\addlinespace" if row is None else _latex_row([cell.text for cell in row]) for row in _sections(table)]
    head = _latex_row(_heads(table))
    note = in_latex(f"{table.note} {label_note}".strip())
    caption = [rf"\caption{{{in_latex(table.title)}}}\label{{{_label(table.title)}}}"] if table.title else []
    grid = [rf"\begin{{tabular}}{{{columns}}}", r"\toprule", head, r"\midrule", *rows, r"\bottomrule", r"\end{tabular}"]
    start = [r"\begin{table}", r"\centering\footnotesize\setlength{\tabcolsep}{4pt}"]
    lines = [*start, *caption, *grid, rf"\par\footnotesize {note}", r"\end{table}"]
    return "\n".join(lines) + "\n"


def _latex_row(cells: list[str]) -> str:
    r"""Return a line of a table; one that begins with [ or * would be taken for an argument of the \\\\ above it."""
    row = " & ".join(map(in_latex, cells)) + r" \\"
    return f"{{}}{row}" if row.startswith(("[", "*")) else row


def _label(title: str) -> str:
    r"""Return a name for \ref: the title's letters and digits."""
    return "tab:" + (re.sub(r"[^a-z0-9]+", "-", title.lower()).strip("-") or "results")


def in_latex(text: str) -> str:
    """Return text that LaTeX prints as it is, on one line: no command, comment or formula."""
    return "".join(_LATEX.get(character, character) for character in shown(text)).replace("\n", " ")
