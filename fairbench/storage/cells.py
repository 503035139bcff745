"""Text in the cells of a CSV that a spreadsheet would take for a formula: an apostrophe stands before it.

Whatever fairbench writes as CSV goes through `guarded`, whatever it reads through `bare`, which gives back the same
text. A text that begins with apostrophes and then such a sign gets one more, so that its own are not taken off.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    import pyarrow as pa

_GUARDED: Final = r"^'*[=+\-@\t]"
_NUMBER: Final = r"^[+-]?((\d+\.?\d*|\.\d+)([eE][+-]?\d+)?|inf|nan)$"
_IS_GUARDED, _IS_NUMBER = re.compile(_GUARDED), re.compile(_NUMBER, re.ASCII)


def guarded(cell: object) -> object:
    """Return a cell as it is written: text that begins with = + - @ or a tab behind an apostrophe, all else as it is.

    >>> [guarded(cell) for cell in ("=1+1", "-", "-0.5", "-inf", -2, "'=x", "it's")]
    ["'=1+1", "'-", '-0.5', '-inf', -2, "''=x", "it's"]
    """
    is_number = not isinstance(cell, str) or _IS_NUMBER.fullmatch(cell)
    return cell if is_number or not _IS_GUARDED.match(str(cell)) else f"'{cell}"


def bare(text: str) -> str:
    """Return what `guarded` was given.

    >>> [bare(text) for text in ("'=1+1", "'-", "-0.5", "''=x", "=1+1", "'tis")]
    ['=1+1', '-', '-0.5', "'=x", '=1+1', "'tis"]
    """
    return text[1:] if text.startswith("'") and _IS_GUARDED.match(text) else text


def guarded_table(table: pa.Table) -> pa.Table:
    """Return a table whose columns of text, and their names, are as `guarded` writes them."""
    import pyarrow as pa
    import pyarrow.compute as pc

    for index, field in enumerate(table.schema):
        if pa.types.is_string(field.type):
            texts = table.column(index)
            acts = pc.and_(
                pc.match_substring_regex(texts, _GUARDED), pc.invert(pc.match_substring_regex(texts, _NUMBER))
            )
            written = pc.if_else(acts, pc.binary_join_element_wise("'", texts, ""), texts)
            table = table.set_column(index, field, written)
    return table.rename_columns([str(guarded(name)) for name in table.column_names])
