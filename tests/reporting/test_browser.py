"""The report in a real browser, from disk: charts, pictures, filters, and what people with other needs meet."""

from __future__ import annotations

import html
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import fairbench
from fairbench.display.progress import Silent
from fairbench.reporting import build
from fairbench.runs.result import Run
from tests.builders.cli import make_run


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    args = ("--model", "phantom-exact", "--task", "phantom-occupations", "--limit-prompts", "3", "-n", "60")
    return fairbench.load(make_run(tmp_path_factory.mktemp("browser") / "run", *args))


@pytest.fixture(scope="module")
def page_file(run: Run, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build.write([run], tmp_path_factory.mktemp("page") / "out", Silent())


def until_there_are(count: int, elements: Any) -> None:
    """Wait for a number of elements; the page's policy forbids the scripts by which a page is polled."""
    from playwright.sync_api import expect

    expect(elements).to_have_count(count, timeout=60_000)


class Visit:
    """A page that was opened, with what went wrong and what was asked for."""

    def __init__(self, browser: Any, file: Path, width: int = 1100, **options: Any) -> None:
        self.context = browser.new_context(viewport={"width": width, "height": 900}, **options)
        self.page = self.context.new_page()
        self.problems: list[str] = []
        self.asked: list[str] = []
        self.page.on("console", lambda message: self.problems.append(message.text))
        self.page.on("pageerror", lambda error: self.problems.append(str(error)))
        self.page.on("request", lambda request: self.asked.append(request.url))
        self.page.goto(file.resolve().as_uri())

    def charts(self) -> int:
        """Wait for the charts that scripts draw and return their number."""
        until_there_are(0, self.page.locator("[data-chart] img"))
        return int(self.page.locator("[data-chart]").count())

    def close(self) -> None:
        self.context.close()


@pytest.fixture
def visit(browser: Any, page_file: Path) -> Iterator[Visit]:
    visit = Visit(browser, page_file)
    yield visit
    visit.close()


def test_charts_are_drawn_and_nothing_leaves_the_folder(visit: Visit, page_file: Path) -> None:
    assert visit.charts() == 9
    alt_of = dict(re.findall(r'data-chart="([^"]+)".*?alt="([^"]+)"', page_file.read_text()))
    for chart in visit.page.locator("[data-chart]").all():
        said = chart.locator(":scope > [role=img]").get_attribute("aria-label")
        assert said == html.unescape(alt_of[chart.get_attribute("data-chart")])  # the numbers, not the library's words
        assert chart.locator("svg .mark-rect path, svg .mark-symbol path").count() > 0
    assert visit.problems == []
    assert all(url.startswith(page_file.parent.resolve().as_uri()) for url in visit.asked)


def test_filters_show_what_the_run_has(visit: Visit, run: Run) -> None:
    table = run.images()
    visit.page.wait_for_selector(".gallery figure")
    assert visit.page.locator(".count").inner_text() == "180 of 180 images"
    assert visit.page.locator(".gallery figure").count() == 120  # more come when they are scrolled to
    visit.page.locator(".more").scroll_into_view_if_needed()
    until_there_are(180, visit.page.locator(".gallery figure"))
    visit.page.select_option("[name='label gender']", "male")
    expected = set(table[(table["gender"] == "male") & table["counted"]]["image_id"])
    assert visit.page.locator(".count").inner_text() == f"{len(expected)} of 180 images"
    visit.page.select_option("[name=prompt]", "1")
    subject = fairbench.load(run.folder).prompts["subject"].iloc[1]
    expected = set(table[(table["gender"] == "male") & table["counted"] & (table["subject"] == subject)]["image_id"])
    shown = visit.page.eval_on_selector_all(".gallery figure", "all => all.map(f => f.dataset.image)")
    assert set(shown) == expected and expected


def test_a_click_on_a_prompt_shows_its_pictures(visit: Visit, run: Run) -> None:
    visit.charts()
    visit.page.wait_for_selector(".gallery figure")
    bar = visit.page.locator("[data-chart='shares-gender'] svg .mark-rect path").nth(1)
    bar.scroll_into_view_if_needed()
    box = bar.bounding_box()
    visit.page.mouse.click(box["x"] + 3, box["y"] + box["height"] / 2)
    assert visit.page.locator(".count").inner_text() == "60 of 180 images"
    chosen = visit.page.locator("[name=prompt]").evaluate("choice => choice.selectedOptions[0].textContent")
    captions = visit.page.eval_on_selector_all(".gallery figcaption", "all => all.map(c => c.textContent)")
    assert all(caption.startswith(chosen) for caption in captions) and len(captions) == 60


def test_tables_are_sorted_and_their_numbers_are_those_of_the_run(visit: Visit, run: Run) -> None:
    first = visit.page.locator("#verdict table tbody tr").all()
    summary = run.summary()
    raw = summary[(summary["metric"] == "concentration") & (summary["estimate"] == "raw")]
    for row, value in zip(first, raw["value"], strict=True):
        assert row.locator("td").nth(2).inner_text().split()[0] == f"{value:.2f}".replace("0.", ".")
    table = visit.page.locator("#tables table").nth(1)
    table.locator("th button").nth(2).click()
    values = [float(text) for text in table.locator("tbody td:nth-child(3)").all_inner_texts() if text.strip()]
    assert values == sorted(values) and len(set(values)) > 3


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_accessibility_has_nothing_to_say(browser: Any, page_file: Path, scheme: str) -> None:
    axe = pytest.importorskip("axe_playwright_python.sync_playwright", reason="axe-playwright-python is not installed")
    visit = Visit(browser, page_file, color_scheme=scheme)
    visit.charts()
    visit.page.wait_for_selector(".gallery figure")
    found = axe.Axe().run(visit.page).response["violations"]
    assert [f"{each['id']}: {each['nodes'][0]['html'][:200]}" for each in found] == []
    visit.close()


def test_a_phone_scrolls_one_way(browser: Any, page_file: Path) -> None:
    visit = Visit(browser, page_file, width=360)
    visit.charts()
    visit.page.wait_for_selector(".gallery figure")
    assert visit.page.evaluate("document.documentElement.scrollWidth") <= 360
    visit.close()


def test_without_scripts_the_result_is_there(browser: Any, page_file: Path) -> None:
    visit = Visit(browser, page_file, java_script_enabled=False)
    assert "uneven" in visit.page.locator(".verdicts").inner_text()
    assert visit.page.locator("[data-chart] img").count() == 9
    visit.close()
