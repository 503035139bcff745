"""A chart of a page: a Vega-Lite specification that holds its data, and what it shows in words.

Colours are those of Okabe and Ito (2008), which people with every kind of colour vision tell apart; none means anything
that position or text does not say, too.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

Spec = dict[str, Any]
BLUE, ORANGE, GREEN, GREY = "#0072B2", "#D55E00", "#009E73", "#767676"
PALETTE: Final = (BLUE, ORANGE, GREEN, "#CC79A7", "#56B4E9", "#8C6D00", "#000000")


@dataclass(frozen=True, slots=True)
class Chart:
    """A chart. name: of its file, without an ending. alt: its numbers in words. click: the field of a mark that names
    a prompt whose images are shown where it is clicked.
    """

    name: str
    title: str
    caption: str
    alt: str
    spec: Spec
    click: bool = False
