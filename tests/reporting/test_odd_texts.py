"""Long and hostile texts in a real browser: prompts, labels, names of models and files, errors."""

from __future__ import annotations

import csv
import random
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import fairbench
from fairbench.display.progress import Silent
from fairbench.pages import drawing
from fairbench.reporting import build
from fairbench.reporting.charts import fields
from tests.builders.browser import Visit, expect
from tests.builders.cli import exit_code
from tests.builders.label_tables import RACE7
from tests.builders.layout import problems

LABELS = [
    "<script>alert(1)</script>",
    "[/red]",
    "=cmd|' /C calc'!A0",
    "$a_b$ & 5% #1",
    '"><img src=x onerror=alert(1)>',
]
MODEL = """
version = 1

def draw(prompt, seed):
    raise RuntimeError("<script>alert(1)</script> [/red] \\x1b[31m \\u202e =cmd " + str(seed))
"""


def page_of(folder: Path, *args: object) -> Path:
    common = ("--no-sheets", "--quiet", "--store", folder / "store", "--out", folder / "run")
    assert exit_code("run", *args, *common) == 0
    return build.write([fairbench.load(folder / "run")], folder / "page", Silent())


@pytest.fixture(scope="module")
def long_page(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two dozen prompts with long names, and seven labels, of races and odd ones, as a table of labels has them."""
    folder, rng = tmp_path_factory.mktemp("long"), random.Random(0)
    rows = [
        {
            "prompt": f"A photo of a person who works as number {i} of the assistants of deputies {'long' * (i % 9)}",
            "sample": sample,
            "group": rng.choice([*LABELS, *RACE7[2:5:2], "unclear"]),
        }
        for i in range(24)
        for sample in range(8)
    ]
    with (folder / "labels.csv").open("w", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    name = "a-model-with-a-name-that-takes-more-than-the-width-of-a-phone-and-says-very-little-x"
    return page_of(folder, "--labels", folder / "labels.csv", "--model", f"labels-only:{name}")


@pytest.mark.parametrize("width", [1280, 360])
def test_long_names_many_prompts_and_seven_labels_have_room(browser: Any, long_page: Path, width: int) -> None:
    visit = Visit(browser, long_page, width)
    visit.charts()
    visit.page.wait_for_selector(".gallery figure")
    visit.page.locator("#shares-group summary").click()
    assert problems(visit.page) == []
    visit.page.locator(".gallery button").first.click()
    assert problems(visit.page) == [] and visit.problems == []
    visit.close()


def test_charts_as_files_have_room(browser: Any, long_page: Path, tmp_path: Path) -> None:
    page = browser.new_page(viewport={"width": 1280, "height": 900})
    found = {}
    for names in (RACE7, LABELS):
        for chart in (
            fields.plane("plane", [(row, column, 0.5) for row in names for column in names]),
            fields.confusion(
                "confusion", "", "", ("a", "b"), (names, names), np.full((len(names), len(names)), 10_000)
            ),
        ):
            (tmp_path / f"{chart.name}-{len(names)}.svg").write_text(drawing.svg(chart.spec))
    for path in (*long_page.parent.rglob("*.svg"), *tmp_path.glob("*.svg")):
        page.goto(path.as_uri())
        found[path.name] = problems(page)
    assert len(found) > 5 and not any(found.values()), found
    page.close()


def test_hostile_labels_are_text_wherever_they_are_shown_or_copied(browser: Any, long_page: Path) -> None:
    visit = Visit(browser, long_page)
    page = visit.page
    visit.charts()
    options = page.locator("[name='label group'] option").all_text_contents()
    assert set(LABELS) <= set(options)
    page.select_option("[name='label group']", LABELS[0])
    assert LABELS[0] in page.locator(".gallery figcaption").first.text_content()
    page.locator(".gallery button").first.click()
    assert LABELS[0] in page.locator("dialog table").inner_text()
    page.keyboard.press("Escape")
    chart = page.locator("[data-chart='shares-group'] [role=img]")
    assert "cmd" in chart.inner_text() and chart.locator("img, script").count() == 0
    page.evaluate("document.execCommand = () => { copied = document.activeElement.value; }; var copied")
    table = page.locator("[data-table]", has_text="shares of classes").last
    texts = {}
    for form in ("CSV", "Markdown", "LaTeX"):
        table.get_by_role("button", name=f"Copy as {form}").click()
        texts[form] = page.evaluate("copied")
    cells = [cell for row in csv.reader(texts["CSV"].splitlines()) for cell in row]
    assert f"'{LABELS[2]}" in cells and LABELS[0] in cells and LABELS[4] in cells
    assert r"\$a\_b\$ \& 5\% \#1" in texts["LaTeX"] and "<img" not in texts["Markdown"].replace("\\<", "")
    assert visit.problems == [] and len(page.context.pages) == 1
    visit.close()


def test_hostile_labels_are_text_in_files_of_charts(browser: Any, long_page: Path) -> None:
    visit = Visit(browser, long_page.parent / "report" / "charts" / "shares-group.svg")
    text = visit.page.evaluate("document.documentElement.textContent")
    assert "[/red]" in text and "=cmd" in text
    assert visit.page.evaluate("document.querySelectorAll('script, img, foreignObject, [onerror]').length") == 0
    assert visit.problems == []
    visit.close()


def test_hostile_errors_are_text_and_their_commands_are_written_out(browser: Any, tmp_path: Path) -> None:
    model = tmp_path / "<img src=x onerror=alert(1)>=x.py"
    model.write_text(MODEL)
    page = page_of(tmp_path, "--model", f"{model}:draw", "--limit-prompts", 2, "-n", 2, "--labeller", "phantom")
    visit = Visit(browser, page)
    expect(visit.page.locator(".count")).to_have_text("4 of 4 images")
    picture = visit.page.locator(".gallery figure").first
    words = r"<script>alert(1)</script> [/red] \x1b[31m \u202e =cmd"
    assert words in picture.text_content()
    picture.locator("button").click()
    assert words in visit.page.locator("dialog dl").inner_text()
    visit.page.set_viewport_size({"width": 360, "height": 900})
    assert problems(visit.page) == []
    assert visit.page.locator("[onerror], main script").count() == 0 and visit.problems == []
    visit.close()
