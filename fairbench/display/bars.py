"""Small bars of block characters, in steps of an eighth; of `#` where the output's encoding has no blocks.

No meaning is in a bar alone: the number stands beside it.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from rich.console import Console

_BLOCKS: Final = " ▏▎▍▌▋▊▉█"
"""0 to 8 eighths of a character."""


def bar(share: float | None, width: int, *, blocks: bool = True) -> str:
    """Return a bar for a share in [0, 1], padded to `width` characters; nothing is drawn where there is no number.

    blocks: whether eighths of characters can be shown; otherwise whole ones are, of `#`.

    >>> [bar(share, 4) for share in (0, 0.03, 0.5, 0.66, 1)]
    ['    ', '▏   ', '██  ', '██▋ ', '████']
    >>> bar(0.5, 4, blocks=False)
    '##  '
    """
    if share is None or not math.isfinite(share):
        return " " * width
    share = min(max(share, 0.0), 1.0)
    if not blocks:
        return ("#" * math.floor(share * width + 0.5)).ljust(width)
    eighths = math.floor(share * width * 8 + 0.5)
    if share > 0 and eighths == 0:
        eighths = 1  # a rare class is no absent one
    whole, rest = divmod(eighths, 8)
    return ("█" * whole + (_BLOCKS[rest] if rest else "")).ljust(width)


def has_blocks(console: Console) -> bool:
    """Return whether the console's encoding can write the blocks."""
    try:
        _BLOCKS.encode(console.encoding)
    except (UnicodeEncodeError, LookupError):
        return False
    return True
