"""The one table of all commands. A number in it is never cut or broken, however narrow the terminal.

Layouts are tried in this order: side by side; the same with each group's name on a line of its own; and, where even
that is too wide, a paragraph for each row, in which each value follows the head of its column. Bars stand beside shares
where there is room for them.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Final

from fairbench.display.bars import bar, has_blocks
from fairbench.display.plain import Style, line, say, shown

if TYPE_CHECKING:
    from rich.console import Console
    from rich.text import Text

LONGEST_WORD: Final = 24
"""Width that a column of words keeps for its longest word; longer words are broken over lines."""
_GAPS: Final = (2, 1)
"""Blank columns between two columns: as many as fit."""
_BAR_WIDTH: Final = 8


@dataclass(frozen=True, slots=True)
class Column:
    """A column. number: right-aligned; wraps: of words that may take several lines. Line breaks in `head` hold."""

    head: str
    number: bool = False
    wraps: bool = False

    @property
    def words(self) -> str:
        """The head on one line; a word that it hyphenates is put together."""
        return self.head.replace("-\n", "").replace("\n", " ")


def numbers(*heads: str) -> list[Column]:
    """Return columns of numbers."""
    return [Column(head, number=True) for head in heads]


@dataclass(frozen=True, slots=True)
class Cell:
    """A cell with a style; its line breaks hold. share: the number in `text`, of which a terminal also draws a bar."""

    text: str
    style: Style = ""
    share: float | None = None


@dataclass(slots=True)
class Table:
    """Rows of text under heads.

    grouped: the first column names a group, and is empty in the group's further rows. The lines of such a name stand
    beside the rows of its group.
    """

    columns: Sequence[Column]
    title: str = ""
    note: str = ""
    grouped: bool = False
    rows: list[list[Cell] | None] = field(default_factory=list)
    """None: a gap between sections."""

    def add(self, *cells: str | Cell) -> None:
        """Add a row; a plain string is data, so it stays on one line."""
        row = [cell if isinstance(cell, Cell) else Cell(line(cell)) for cell in cells]
        self.rows.append([*row, *[Cell("")] * (len(self.columns) - len(row))])

    def section(self) -> None:
        """Leave a gap below the last row."""
        self.rows.append(None)

    def show(self, console: Console) -> None:
        """Print the table in the first layout that fits the console; a `page.Page` keeps it as it is."""
        keep = getattr(console, "keep", None)
        if keep is not None:
            keep(self)
            return
        if self.title:
            say(console, self.title, "bold")
        barred = self._with_bars(has_blocks(console))
        for candidate in [layout for table in (barred, self) for layout in table._layouts()]:
            fit = candidate._fit(console.width)
            if fit is not None:
                console.print(candidate._rich(*fit))
                break
        else:
            for paragraph in self._paragraphs(console.width):
                console.print(paragraph)
        if self.note:
            say(console, self.note, "dim")

    def _layouts(self) -> list[Table]:
        return [self.spread(), self._ungrouped()] if self.grouped else [self]

    def _with_bars(self, blocks: bool) -> Table:
        """Return the same with a column of bars after each column of shares. blocks: as `bar` takes it."""
        given = [row for row in self.rows if row is not None]
        shares = [i for i in range(len(self.columns)) if any(row[i].share is not None for row in given)]
        columns, rows = list(self.columns), [None if row is None else list(row) for row in self.rows]
        for i in reversed(shares):
            columns.insert(i + 1, Column(""))
            for row in rows:
                if row is not None:
                    row.insert(i + 1, Cell(bar(row[i].share, _BAR_WIDTH, blocks=blocks)))
        return replace(self, columns=columns, rows=rows)

    def spread(self) -> Table:
        """Return the same with the lines of a group's name beside its rows, the first beside the first."""
        table, lines = Table(self.columns), list[str]()
        for row in [*self.rows, None]:
            if lines and (row is None or row[0].text):  # a group with fewer rows than its name has lines
                table.rows += [[Cell(rest), *[Cell("")] * (len(self.columns) - 1)] for rest in lines]
            if row is None:
                table.section()
                lines = []
                continue
            lines = row[0].text.split("\n") if row[0].text else lines
            name = Cell(lines.pop(0), row[0].style) if lines else Cell("")
            table.rows.append([name, *row[1:]])
        table.rows.pop()
        return table

    def with_full_names(self) -> Table:
        """Return the same for layouts without indents: below "a", a row called "  b" is called "a b"."""
        table, last, parent = replace(self, rows=[]), self._keys() - 1, ""
        for row in self.rows:
            if row is not None and row[last].text.startswith(" "):
                full_name = Cell(f"{parent} {row[last].text.strip()}", row[last].style)
                row = [*row[:last], full_name, *row[last + 1 :]]
            elif row is not None:
                parent = row[last].text
            table.rows.append(row)
        return table

    def _keys(self) -> int:
        """Return how many columns name a row: those before the first number."""
        return next((i for i, column in enumerate(self.columns) if column.number), 1) or 1

    def _ungrouped(self) -> Table:
        """Return the same with the names of groups on lines of their own, and the rows below them indented."""
        _, second, *others = self.columns
        table = Table([Column(second.head, wraps=second.wraps), *others])
        for row in self.rows:
            if row is None:
                table.section()
                continue
            name, key, *cells = row
            if name.text:
                table.rows.append([_one_line(name), *[Cell("")] * (len(self.columns) - 2)])
            table.rows.append([Cell(f"  {key.text}", key.style), *cells])
        return table

    def _fit(self, width: int) -> tuple[list[int], int] | None:
        """Return the columns' widths and the gap between them, or None where the table is too wide."""
        natural = [max(map(_width, self._texts(i))) for i in range(len(self.columns))]
        narrowest = [
            _narrowest(c, self._texts(i)) if c.wraps else n
            for i, (c, n) in enumerate(zip(self.columns, natural, strict=True))
        ]
        for gap in _GAPS:
            room = width - gap * (len(natural) - 1)
            if sum(narrowest) <= room:
                return _shrunk(natural, narrowest, room), gap
        return None

    def _texts(self, index: int) -> Iterator[str]:
        yield self.columns[index].head
        yield from (row[index].text for row in self.rows if row is not None)

    def _rich(self, widths: Sequence[int], gap: int) -> object:
        from rich.box import SIMPLE_HEAD
        from rich.table import Table as RichTable

        has_head = any(column.head for column in self.columns)
        padding = (0, gap - 1, 0, 0)
        table = RichTable(box=SIMPLE_HEAD, show_edge=False, show_header=has_head, pad_edge=False, padding=padding)
        for column, width in zip(self.columns, widths, strict=True):
            table.add_column(
                _text(Cell(column.head)),
                justify="right" if column.number else "left",
                vertical="bottom" if column.number else "top",
                width=max(width, 1),
                overflow="fold",
            )
        for row in self.rows:
            if row is None:
                table.add_section()
            else:
                table.add_row(*map(_text, row))
        return table

    def _paragraphs(self, width: int) -> Iterator[Text]:
        """Yield for each row the cells that name it, and below them `head: value` pairs, of which none is broken."""
        keys = self._keys()
        group = Cell("")
        for row in self.with_full_names().rows:
            if row is None:
                continue
            group = row[0] if row[0].text else group
            names = [_one_line(group), *row[1:keys]] if self.grouped else row[:keys]
            yield _joined([cell for cell in names if cell.text], width, "")
            pairs = [
                Cell(f"{column.words}: {_flat(cell)}" if column.head else _flat(cell), cell.style)
                for column, cell in zip(self.columns[keys:], row[keys:], strict=True)
                if cell.text
            ]
            if pairs:
                yield _joined(pairs, width, "  ")


def _text(cell: Cell) -> Text:
    from rich.text import Text

    return Text(shown(cell.text), cell.style)


def _one_line(name: Cell) -> Cell:
    return Cell(name.text.replace("\n", ", "), name.style)


def _flat(cell: Cell) -> str:
    return " ".join(cell.text.split())


def _joined(cells: Sequence[Cell], width: int, indent: str) -> Text:
    """Return the cells one after the other; a new line starts where the next one would not fit."""
    from rich.text import Text

    text, used = Text(overflow="fold"), 0
    for cell in cells:
        words = _flat(cell)
        if used and used + 3 + _width(words) > width:
            text.append("\n")
            used = 0
        lead = "   " if used else indent
        text.append(lead).append(shown(words), cell.style)
        used += len(lead) + _width(words)
    return text


def _width(text: str) -> int:
    """Return the columns of the longest line of a text."""
    from rich.cells import cell_len

    return max((cell_len(part) for part in shown(text).split("\n")), default=0)


def _narrowest(column: Column, texts: Iterator[str]) -> int:
    """Return how narrow a column of words may become: its longest word, of at most LONGEST_WORD columns."""
    words = (word for text in texts for word in text.split())
    return max(min(max(map(_width, words), default=0), LONGEST_WORD), min(_width(column.head), LONGEST_WORD))


def _shrunk(natural: Sequence[int], narrowest: Sequence[int], room: int) -> list[int]:
    """Return widths that fit into the room, taken from the widest that may shrink."""
    widths = list(natural)
    while sum(widths) > room:
        spare = [w - low for w, low in zip(widths, narrowest, strict=True)]
        widest = max((i for i, s in enumerate(spare) if s > 0), key=lambda i: widths[i])
        widths[widest] -= 1
    return widths
