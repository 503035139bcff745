"""The report in a real browser, from disk: charts, pictures, filters, and what people with other needs meet."""

from __future__ import annotations

import html
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl

import pytest

import fairbench
from fairbench.display.progress import Silent
from fairbench.reporting import build
from fairbench.runs.result import Run
from tests.builders.browser import Visit, expect, until_there_are
from tests.builders.cli import make_run
from tests.builders.layout import problems


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    args = ("--model", "phantom-exact", "--task", "phantom-occupations", "--limit-prompts", "3", "-n", "60")
    return fairbench.load(make_run(tmp_path_factory.mktemp("browser") / "run", *args))


@pytest.fixture(scope="module")
def page_file(run: Run, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build.write([run], tmp_path_factory.mktemp("page") / "out", Silent())


@pytest.fixture
def visit(browser: Any, page_file: Path) -> Iterator[Visit]:
    visit = Visit(browser, page_file)
    yield visit
    visit.close()


def test_charts_are_drawn_and_nothing_leaves_the_folder(visit: Visit, page_file: Path) -> None:
    assert visit.charts() == 10
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
    assert visit.page.locator(".gallery figure").count() == 60  # more come when they are scrolled to
    visit.page.locator(".more").scroll_into_view_if_needed()
    until_there_are(120, visit.page.locator(".gallery figure"))
    visit.page.locator(".more").scroll_into_view_if_needed()
    until_there_are(180, visit.page.locator(".gallery figure"))
    visit.page.select_option("[name='label gender']", "male")
    expected = set(table[(table["gender"] == "male") & table["counted"]]["image_id"])
    assert visit.page.locator(".count").inner_text() == f"{len(expected)} of 180 images"
    subject = fairbench.load(run.folder).prompts["subject"].iloc[1]
    visit.page.select_option("[name=prompt]", subject)
    expected = set(table[(table["gender"] == "male") & table["counted"] & (table["subject"] == subject)]["image_id"])
    shown = visit.page.eval_on_selector_all(".gallery figure", "all => all.map(f => f.dataset.image)")
    assert set(shown) == expected and expected
    visit.page.fill("[name=sure]", "0")
    assert visit.page.locator(".count").inner_text().startswith("None of 180 images is like this")
    visit.page.get_by_role("button", name="Show all").click()
    assert visit.page.locator(".count").inner_text() == "180 of 180 images"
    for name, label in (("faces", "none"), ("counted", "nothing")):
        visit.page.select_option(f"[name={name}]", label)
    nobody = table[~table["counted"]]["image_id"].nunique()
    assert visit.page.locator(".count").inner_text().startswith(f"{nobody or 'None'} of 180")


def test_the_address_holds_the_choice_and_the_back_button_works(visit: Visit) -> None:
    page = visit.page
    page.wait_for_selector(".gallery figure")
    page.select_option("[name='label race4']", "Black")
    page.select_option("[name='label gender']", " unclear")
    assert parse_qsl(page.evaluate("location.hash.split('?')[1]")) == [
        ("label gender", " unclear"),
        ("label race4", "Black"),
    ]
    page.go_back()
    expect(page.locator("[name='label gender']")).to_have_value("")
    expect(page.locator("[name='label race4']")).to_have_value("Black")
    count = page.locator(".count").inner_text()
    page.reload()
    page.wait_for_selector(".gallery figure")
    assert page.locator(".count").inner_text() == count != "180 of 180 images"
    page.get_by_role("link", name="Tables").click()
    assert page.locator(".count").inner_text() == count  # other places of the page keep the choice
    page.go_back()
    page.go_back()
    expect(page.locator(".count")).to_have_text("180 of 180 images")


@pytest.mark.parametrize(
    "address",
    [
        "#pictures?prompt=<script>alert(1)</script>&faces=__proto__&counted=constructor",
        "#pictures?sure=1e999&labellers=x&status=%00&label+gender=%E0%A4%A",
        "#%3Cimg src=x onerror=alert(1)%3E",
        "#pictures?__proto__=1&toString=2&sure=abc",
    ],
)
def test_a_hostile_address_chooses_nothing(browser: Any, page_file: Path, address: str) -> None:
    visit = Visit(browser, page_file, address=address)
    expect(visit.page.locator(".count")).to_have_text("180 of 180 images")
    assert visit.page.locator(".filters select").evaluate_all("all => all.every(s => s.selectedIndex === 0)")
    assert visit.problems == []
    visit.close()


def test_a_click_on_a_prompt_shows_its_pictures(visit: Visit, run: Run) -> None:
    visit.charts()
    visit.page.wait_for_selector(".gallery figure")
    bar = visit.page.locator("[data-chart='shares-gender'] svg .mark-rect path").nth(1)
    bar.scroll_into_view_if_needed()
    box = bar.bounding_box()
    visit.page.mouse.click(box["x"] + 3, box["y"] + box["height"] / 2)
    expect(visit.page.locator(".count")).to_have_text("60 of 180 images")
    chosen = visit.page.locator("[name=prompt]").evaluate("choice => choice.selectedOptions[0].textContent")
    captions = visit.page.eval_on_selector_all(".gallery figcaption", "all => all.map(c => c.textContent)")
    assert all(caption.startswith(chosen) for caption in captions) and len(captions) == 60


def test_what_a_click_on_a_chart_does_is_a_link_for_the_keyboard(visit: Visit, run: Run) -> None:
    page = visit.page
    visit.charts()
    page.wait_for_selector(".gallery figure")
    details = page.locator("#shares-gender details")
    details.locator("summary").focus()
    page.keyboard.press("Enter")
    links = details.get_by_role("link")
    assert sorted(links.all_inner_texts()) == sorted(run.prompts["subject"])
    page.keyboard.press("Tab")
    page.keyboard.press("Tab")
    page.keyboard.press("Enter")
    expect(page.locator(".count")).to_have_text("60 of 180 images")
    assert page.locator("[name=prompt]").input_value() == links.nth(1).inner_text()
    assert page.evaluate("document.activeElement.id") == "h-pictures"
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.name") == "prompt"


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
    visit = Visit(browser, page_file, color_scheme=scheme)
    visit.charts()
    visit.page.wait_for_selector(".gallery figure")
    assert visit.found_by_axe() == []
    visit.close()


@pytest.mark.parametrize("width", [1280, 360])
def test_no_text_overlaps_or_is_cut_and_a_phone_scrolls_one_way(visit: Visit, width: int) -> None:
    visit.page.set_viewport_size({"width": width, "height": 900})
    visit.charts()
    visit.page.wait_for_selector(".gallery figure")
    assert problems(visit.page) == []


def test_without_scripts_the_result_is_there(browser: Any, page_file: Path) -> None:
    visit = Visit(browser, page_file, java_script_enabled=False)
    assert "uneven" in visit.page.locator(".verdicts").inner_text()
    assert visit.page.locator("[data-chart] img").count() == 10
    visit.close()
