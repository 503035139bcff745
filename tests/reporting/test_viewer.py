"""The larger view of a picture, where two labellers differ, and texts that overlap or are cut, in a real browser."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

import fairbench
from fairbench.display.progress import Silent
from fairbench.reporting import build
from fairbench.runs.result import Run
from tests.builders.browser import Visit, expect
from tests.builders.layout import problems

TURNED = (
    '<svg width=300 height=120><text transform="translate(20 100) rotate(-45)">a long text</text>'
    '<text transform="translate(20 100) translate({0} 0) rotate(-45)">another text</text></svg>'
)
"""Two names that are turned, side by side."""


@pytest.fixture(scope="module")
def runs(mannequin_runs: Path) -> list[Run]:
    return [fairbench.load(mannequin_runs / labeller) for labeller in ("phantom-noisy", "phantom")]


@pytest.fixture(scope="module")
def page_file(runs: list[Run], tmp_path_factory: pytest.TempPathFactory) -> Path:
    build.write(runs, tmp_path_factory.mktemp("pages") / "out", Silent())
    return tmp_path_factory.getbasetemp() / "pages0" / "out" / runs[0].id[:8] / "index.html"


@pytest.fixture
def visit(browser: Any, page_file: Path) -> Iterator[Visit]:
    visit = Visit(browser, page_file)
    visit.page.wait_for_selector(".gallery figure")
    yield visit
    visit.close()


def labels(runs: list[Run]) -> pd.DataFrame:
    """Return the counted faces with both labellers' labels, the second's with `.other`."""
    first, second = (run.images().query("counted").set_index("image_id")[["gender", "race4"]] for run in runs)
    return first.join(second.add_suffix(".other"), how="inner")


def test_filters_find_where_two_labellers_differ(visit: Visit, runs: list[Run]) -> None:
    both = labels(runs)
    differ = {name: set(both[both[name] != both[f"{name}.other"]].index) for name in ("gender", "race4")}
    anywhere = differ["gender"] | differ["race4"]
    cases = {**differ, " differ": anywhere, " agree": set(both.index) - anywhere}
    assert differ["gender"] and differ["race4"] and differ["gender"] != differ["race4"]
    for choice, expected in cases.items():
        visit.page.select_option("[name=labellers]", choice)
        shown = visit.page.eval_on_selector_all(".gallery figure", "all => all.map(f => f.dataset.image)")
        assert set(shown) == expected, choice
    visit.page.select_option("[name=labellers]", "gender")
    image = visit.page.locator(".gallery figure").first
    row = both.loc[image.get_attribute("data-image")]
    assert f"; phantom: {row['gender.other']}, {row['race4.other']}" in image.text_content()


def test_keys_alone_open_a_picture_walk_on_and_come_back(visit: Visit, runs: list[Run]) -> None:
    page, table = visit.page, runs[0].images()
    page.locator(".filters button").focus()
    page.keyboard.press("Tab")  # the gallery is one stop
    order = page.eval_on_selector_all(".gallery figure", "all => all.map(f => f.dataset.image)")
    held = "document.activeElement.closest('figure').dataset.image"
    assert page.evaluate(held) == order[0]
    page.keyboard.press("ArrowRight")
    page.keyboard.press("ArrowRight")
    page.keyboard.press("ArrowLeft")
    assert page.evaluate(held) == order[1]
    assert page.evaluate("getComputedStyle(document.activeElement).outlineStyle") == "solid"
    page.keyboard.press("Enter")
    dialog = page.locator("dialog")
    for position in (1, 2, 3):
        row = table[table["image_id"] == order[position]].iloc[0]
        text = dialog.inner_text()
        assert f"{position + 1} of {len(order)}" in text
        for words in (f"{row['subject']} {row['sample_index']}", str(row["seed"]), row["status"], row["prompt"]):
            assert words in text
        if row["counted"]:
            assert f"{row['gender']} {row['gender.prob']:.2f}" in text and "as read by phantom" in text
            assert dialog.locator("svg rect").count() == 1
        page.keyboard.press("ArrowRight")
    page.keyboard.press("ArrowLeft")
    assert f"4 of {len(order)}" in dialog.inner_text()
    for _ in range(10):  # Tab stays in the dialog, or in the browser's own controls
        page.keyboard.press("Tab")
        assert page.evaluate("document.activeElement === document.body || !!document.activeElement.closest('dialog')")
    page.keyboard.press("Escape")
    expect(dialog).not_to_be_visible()
    assert page.evaluate(held) == order[3]
    page.keyboard.press("Shift+Tab")
    assert page.evaluate("document.activeElement.textContent") == "Show all"
    assert visit.problems == []


def test_previous_and_next_stop_at_the_ends_and_a_click_beside_closes(visit: Visit) -> None:
    page = visit.page
    page.locator(".gallery button").first.click()
    page.keyboard.press("ArrowLeft")
    button = page.locator("dialog").get_by_role("button", name="Next")
    button.click()
    assert page.evaluate("document.activeElement.textContent") == "Next"
    expect(page.locator("dialog [role=status]")).to_contain_text("2 of")
    page.mouse.click(5, 5)
    expect(page.locator("dialog")).not_to_be_visible()


@pytest.mark.parametrize(("scheme", "width"), [("light", 1280), ("dark", 360)])
def test_the_larger_view_is_accessible_and_its_texts_have_room(
    browser: Any, page_file: Path, scheme: str, width: int
) -> None:
    visit = Visit(browser, page_file, width, address="#pictures?labellers=+differ", color_scheme=scheme)
    visit.page.locator(".gallery button").first.click()
    assert visit.found_by_axe() == []
    assert problems(visit.page) == []
    visit.close()


@pytest.mark.parametrize("width", [1280, 360])
def test_the_overview_has_room_for_its_texts(browser: Any, page_file: Path, width: int) -> None:
    visit = Visit(browser, page_file.parent.parent / "index.html", width)
    visit.charts()
    assert problems(visit.page) == [] and visit.problems == []
    visit.close()


@pytest.mark.parametrize(
    ("planted", "found"),
    [
        (
            "<p style='position:absolute;top:0'>one</p><p style='position:absolute;top:4px'>two</p>",
            ["overlap: one | two"],
        ),
        ("<p style='width:40px;overflow:hidden;white-space:nowrap'>a long text</p>", ["cut: a long text"]),
        ("<svg width=200 height=30><text y=20>one</text><text x=4 y=20>two</text></svg>", ["overlap: one | two"]),
        ("<svg width=20 height=30><text y=20>a long text</text></svg>", ["cut: a long text"]),
        ("<div style='width:40px;overflow-x:auto;white-space:nowrap'>scrolls</div><p>far</p>", []),
        ("<p>one</p><p>two</p><p hidden>three</p>", []),
        (TURNED.format(40), []),
        (TURNED.format(8), ["overlap: another text | a long text"]),
    ],
)
def test_overlaps_and_cuts_are_found_where_they_are_planted(browser: Any, planted: str, found: list[str]) -> None:
    page = browser.new_page(viewport={"width": 360, "height": 300})
    page.set_content(f"<!DOCTYPE html><title>planted</title>{planted}")
    assert problems(page) == found
    page.set_content(f"<!DOCTYPE html><title>planted</title>{planted}<p style='width:500px;margin-top:150px'>wide</p>")
    assert problems(page) == ["wider than the window: 508 pixels", *found]
    page.close()


def test_print_is_dark_on_white_with_its_pictures_and_without_controls(browser: Any, page_file: Path) -> None:
    visit = Visit(browser, page_file, 720, color_scheme="dark")  # A4 between its margins
    page = visit.page
    visit.charts()
    page.emulate_media(media="print")
    page.evaluate("dispatchEvent(new Event('beforeprint'))")
    for control in ("nav", ".filters", ".copy", ".files", "details", "dialog"):
        assert not any(each.is_visible() for each in page.locator(control).all()), control
    ink = "all => [...new Set(all.map(each => getComputedStyle(each).fill))]"
    assert page.locator(".role-axis-label text").evaluate_all(ink) == ["rgb(27, 27, 27)"]
    assert page.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(255, 255, 255)"
    assert page.locator(".gallery img").evaluate_all("all => all.every(image => image.loading === 'eager')")
    charts = page.locator(".chart svg").evaluate_all("all => all.map(each => each.getBoundingClientRect().right)")
    assert charts and max(charts) <= 720
    assert problems(page) == []
    visit.close()
