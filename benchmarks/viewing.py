"""The page of a large run in a browser: seconds to the first view, of a filter, and of walking through all pictures.

The page of a small run is built, and its data are repeated until there are as many images; they share the thumbnails.
Needs Playwright's Python package and Chromium. Usage: python benchmarks/viewing.py [--images 8000].
Targets at 8,000: first view 2 s (also with all charts and the first pictures), a
filter 0.1 s, the longest pause while scrolling 0.2 s.
"""

from __future__ import annotations

import argparse
import json
import shutil
import statistics
import tempfile
import time
from pathlib import Path
from typing import Any

from common import machine, show, verdict

import fairbench
from fairbench.pages import frame

PROMPTS, EACH, CHUNK = 50, 8, 1000
FILTER = """
async ([name, value]) => {
  const control = document.querySelector(`[name="${name}"]`), start = performance.now();
  control.value = value;
  control.dispatchEvent(new Event("input", { bubbles: true }));
  await new Promise((done) => requestAnimationFrame(() => setTimeout(done)));
  return performance.now() - start;
}
"""
SCROLL = """
async () => {
  let longest = 0, most = 0, before = performance.now();
  const start = before, more = document.querySelector(".more");
  while (!more.hidden) {
    more.scrollIntoView({ block: "end" });
    await new Promise((done) => requestAnimationFrame(done));
    const now = performance.now(), there = document.querySelectorAll(".gallery figure").length;
    longest = Math.max(longest, now - before);
    before = now;
    most = Math.max(most, there - (window.there || 0));
    window.there = there;
  }
  return { longest, most, all: before - start, there: window.there };
}
"""


def _page(folder: Path, images: int) -> Path:
    run = fairbench.run(
        "phantom-exact",
        task="phantom-occupations",
        labeller="phantom-noisy",
        images_per_prompt=EACH,
        store=folder / "store",
        out=folder / "run",
        sheets=False,
        limit_prompts=PROMPTS,
    )
    page = fairbench.report(run, out=folder / "page")
    data = page.parent / "report" / "data"
    made: list[dict[str, Any]] = []
    for path in sorted(data.glob("images-*.js")):
        made += json.loads(path.read_text().removeprefix('fairbench.give("images",').removesuffix(");\n"))
    repeated = [
        {**made[i % len(made)], "id": f"{i:032x}", "sample": made[i % len(made)]["sample"] + EACH * (i // len(made))}
        for i in range(images)
    ]
    chunks = [f"report/data/images-{i // CHUNK:03d}.js" for i in range(0, images, CHUNK)]
    for name, i in zip(chunks, range(0, images, CHUNK), strict=True):
        (page.parent / name).write_text(frame.script("images", repeated[i : i + CHUNK]))
    text = (data / "page.js").read_text()
    content = json.loads(text.removeprefix('fairbench.give("page",').removesuffix(");\n"))
    (data / "page.js").write_text(frame.script("page", content | {"chunks": chunks}))
    return page


def _first_view(browser: Any, page: Path) -> tuple[float, float]:
    """Return seconds until the verdict stands there, and until the charts and the first pictures do."""
    opened = browser.new_page(viewport={"width": 1280, "height": 900})
    start = time.perf_counter()
    opened.goto(f"{page.as_uri()}", wait_until="commit")
    opened.wait_for_selector(".verdicts li")
    first = time.perf_counter() - start
    opened.wait_for_selector("[data-chart] svg")
    opened.wait_for_selector(".gallery figure", state="attached")
    whole = time.perf_counter() - start
    opened.close()
    return first, whole


def main() -> None:
    """Build the page, look at it, and print."""
    from playwright.sync_api import sync_playwright

    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=int, default=8000)
    parser.add_argument("--chromium", default=shutil.which("chromium"), help="the browser's path")
    args = parser.parse_args()
    print(machine())
    with tempfile.TemporaryDirectory() as name, sync_playwright() as playwright:
        page = _page(Path(name), args.images)
        browser = playwright.chromium.launch(executable_path=args.chromium, args=["--no-sandbox"])
        views = [_first_view(browser, page) for _ in range(5)]
        opened = browser.new_page(viewport={"width": 1280, "height": 900})
        opened.goto(page.as_uri())
        opened.wait_for_selector(".gallery figure", state="attached")
        opened.locator(".count").scroll_into_view_if_needed()
        choices = [
            ["label gender", "male"],
            ["label race4", "Black"],
            ["sure", "0.9"],
            ["sure", ""],
            ["label gender", ""],
        ]
        filters = [opened.evaluate(FILTER, choice) / 1000 for choice in choices * 3]
        opened.evaluate(FILTER, ["label race4", ""])
        scrolled = opened.evaluate(SCROLL)
        browser.close()
    rows = [
        ["verdict", *(f"{first:.2f}" for first, _ in views)],
        ["charts, pictures", *(f"{all_:.2f}" for _, all_ in views)],
    ]
    show(["seconds until", *map(str, range(1, 6))], rows)
    print(
        f"{scrolled['there']} pictures were scrolled through in {scrolled['all'] / 1000:.1f} s; at most "
        f"{scrolled['most']} were added at once"
    )
    print(verdict("first view, verdict", statistics.median(first for first, _ in views), 2, True, " s"))
    print(verdict("first view, charts and pictures", statistics.median(whole for _, whole in views), 2, True, " s"))
    print(verdict("slowest filter", max(filters), 0.1, True, " s"))
    print(verdict("longest pause while scrolling", scrolled["longest"] / 1000, 0.2, True, " s"))


if __name__ == "__main__":
    main()
