"""Where text stands on a page in a browser: which texts overlap, and which are cut off."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final

_LOOK: Final = Path(__file__).with_suffix(".js").read_text(encoding="utf-8")


def problems(page: Any) -> list[str]:
    """Return what is wrong with the texts of a page, HTML or SVG, as it is shown: those that overlap, that something
    with hidden overflow cuts, and whether the page is wider than the window. With a dialog open, only those in it.

    page: of Playwright. Raises AssertionError for an empty page.
    """
    found = page.evaluate(_LOOK)
    assert found["texts"] > 0, f"{page.url} shows no text"
    return list(found["problems"])
