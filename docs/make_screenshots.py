"""Take the screenshots of the docs, from pages that are really built: `make screenshots`. Needs Chromium.

A page whose texts overlap or are cut is an error, and no screenshot of it is written.
"""

from __future__ import annotations

import contextlib
import io
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

from PIL import Image

from tests.builders.browser import Visit, chromium
from tests.builders.layout import problems

ROOT: Final = Path(__file__).parents[1]
IMAGES: Final = ROOT / "docs" / "images"
MOST: Final = 150_000
"""Bytes of a screenshot."""
_RUN: Final = (
    "run",
    "--model",
    "phantom-exact",
    "--task",
    "phantom-occupations",
    "--images-per-prompt",
    "24",
    "--no-report",
)


def _fairbench(*args: object) -> None:
    subprocess.run([sys.executable, "-m", "fairbench", *map(str, args)], check=True, capture_output=True, cwd=ROOT)


def _build(folder: Path) -> dict[str, Path]:
    """Return the first page of one run, of two, and of the leaderboards."""
    store = ("--store", folder / "store")
    _fairbench(*_RUN, *store, "--labeller", "phantom-noisy", "--out", folder / "noisy")
    _fairbench(*_RUN, *store, "--labeller", "phantom", "--out", folder / "clean")
    _fairbench("report", folder / "noisy", folder / "clean", "--out", folder / "both")
    _fairbench("leaderboard", "site", *sorted((ROOT / "leaderboards").glob("*.csv")), "--out", folder / "boards")
    (one, *_) = sorted((folder / "both").glob("*/index.html"))
    (board,) = (folder / "boards").rglob("*phantom-occupations*/index.html")
    return {"run": one, "both": folder / "both" / "index.html", "board": board}


def _to(selector: str) -> Callable[[Any], None]:
    """Scroll to an element."""

    def act(page: Any) -> None:
        page.locator(selector).first.evaluate("element => element.scrollIntoView()")

    return act


def _differing(page: Any) -> None:
    page.select_option("[name=labellers]", " differ")
    _to("#h-pictures")(page)


def _larger(page: Any) -> None:
    _differing(page)
    page.locator(".gallery button").nth(2).click()


SHOTS: Final[dict[str, tuple[str, int, str, Callable[[Any], None] | None]]] = {
    "report-verdict": ("run", 1280, "light", None),
    "report-pictures": ("run", 1280, "dark", _differing),
    "report-picture": ("run", 1280, "light", _larger),
    "report-labellers": ("both", 1280, "light", _to("#h-comparison")),
    "leaderboard-site": ("board", 1280, "light", None),
}
"""Name -> page, width in pixels, colours, and what is done first."""


def _take(browser: Any, file: Path, width: int, scheme: str, act: Callable[[Any], None] | None) -> bytes:
    visit = Visit(browser, file, width, color_scheme=scheme, reduced_motion="reduce")
    visit.charts()
    if act is not None:
        act(visit.page)
    visit.page.wait_for_timeout(500)  # pictures that come into view are loaded
    if found := [*problems(visit.page), *visit.problems]:
        raise SystemExit(f"{file} at {width} pixels, {scheme}: {found}")
    out = io.BytesIO()
    Image.open(io.BytesIO(visit.page.screenshot())).convert("RGB").save(out, format="WEBP", quality=80, method=6)
    visit.close()
    return out.getvalue()


def main() -> None:
    """Build the pages, and write every screenshot once all of them are good."""
    with tempfile.TemporaryDirectory() as name, contextlib.contextmanager(chromium)() as browser:
        pages = _build(Path(name))
        taken = {shot: _take(browser, pages[page], *how) for shot, (page, *how) in SHOTS.items()}
    for shot, content in taken.items():
        if len(content) > MOST:
            raise SystemExit(f"{shot} has {len(content)} bytes, more than {MOST}")
        (IMAGES / f"{shot}.webp").write_bytes(content)
        print(f"{shot}.webp: {len(content) // 1000} KB")


if __name__ == "__main__":
    main()
