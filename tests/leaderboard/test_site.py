"""The pages of leaderboards in a real browser, from disk: numbers, checks, filters, hostile words, people's needs."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from fairbench.leaderboard import board as leaderboard_board
from fairbench.leaderboard.columns import COLUMNS, Row
from fairbench.leaderboard.site import charts, words
from fairbench.leaderboard.site import pages as site
from fairbench.leaderboard.site.rows import Entry
from tests.builders.cli import Cli
from tests.reporting.test_browser import Visit

HOSTILE = "<script>alert(1)</script>\"'=cmd\u202e"
SHOWN = HOSTILE.replace("\u202e", "\\u202e")


def rows_of(measured: Row) -> list[Row]:
    """Return one row that its evidence confirms, one without evidence, and three of papers."""
    empty = dict.fromkeys(COLUMNS, "")
    other = {**measured, "run_id": "f" * 32, "labels_sha256": "f" * 64, "method": "other", "licence": HOSTILE}
    paper = {"source": "published", "task": measured["task"], "labeller": "as published", "published_in": "A T1"}
    inside, outside = measured["gender.concentration"], "0.9999"
    return [
        measured,
        other,
        {**empty, **paper, "model": measured["model"], "method": "baseline", "gender.concentration": inside}
        | {"race4.concentration": outside, "gender.rd": "0.5"},
        {**empty, **paper, "model": measured["model"], "method": "another", "gender.rd": "0.5"},
        {**empty, **paper, "model": HOSTILE, "method": HOSTILE, "note": HOSTILE, "gender.rd": "0.25"},
    ]


@pytest.fixture(scope="module")
def boards(published_run: Path, tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    folder = tmp_path_factory.mktemp("boards")
    shutil.copytree(published_run / "published", folder, dirs_exist_ok=True)
    (measured,) = leaderboard_board.read(folder / "b.csv")
    shutil.copyfile(folder / "b.csv", folder / "alone.csv")
    (folder / "b.csv").write_text(leaderboard_board.render(rows_of(measured)), encoding="utf-8")
    return [folder / "b.csv", folder / "alone.csv"]


@pytest.fixture(scope="module")
def pages(boards: list[Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    return site.write(boards, tmp_path_factory.mktemp("site") / "out").parent


@pytest.fixture
def visit(browser: Any, pages: Path) -> Iterator[Visit]:
    opened = Visit(browser, pages / "pages" / "b" / "index.html")
    yield opened
    opened.close()


def every_page(pages: Path) -> list[Path]:
    return sorted(pages.rglob("index.html"))


def test_the_pages_are_quiet_draw_their_charts_fit_a_phone_and_stay_in_their_folder(browser: Any, pages: Path) -> None:
    assert len(every_page(pages)) == 2 + 2 + 6
    alone = pages / "pages" / "alone"  # of a board without hostile words one row's page stands for all
    for file in (each for each in every_page(pages) if each.parent != alone):
        opened = Visit(browser, file)
        charts = opened.charts()
        for chart in opened.page.locator("[data-chart]").all():
            assert chart.locator("svg .mark-symbol path").count() > 0
        assert charts == 0 or opened.page.locator("[data-chart] [role=img][aria-label]").count() == charts
        opened.page.set_viewport_size({"width": 360, "height": 800})
        assert opened.page.evaluate("document.documentElement.scrollWidth") <= 360, file
        assert opened.problems == []
        assert all(url.startswith(pages.resolve().as_uri()) for url in opened.asked)
        links = opened.page.eval_on_selector_all("a[href]", "all => all.map(a => a.href.split('#')[0])")
        assert all(Path(link.removeprefix("file://")).is_file() for link in links)
        opened.close()


def test_numbers_are_those_of_the_file(visit: Visit, boards: list[Path]) -> None:
    first = leaderboard_board.read(boards[0])[0]
    cells = visit.page.eval_on_selector_all(
        "#standings tbody tr:first-child data", "all => all.map(each => each.value)"
    )
    names = ("rank", "gender.concentration", "race4.concentration", "gender_x_race4.concentration")
    assert set(cells) >= {first[name] for name in names if first[name]}
    visit.page.goto(boards_row(visit, first))
    stated = dict(
        visit.page.eval_on_selector_all(
            "#h-values + .table tbody tr", "all => all.map(r => [r.cells[0].textContent, r.cells[1].textContent])"
        )
    )
    assert stated == {column: text for column, text in first.items() if text}


def boards_row(visit: Visit, row: Row) -> str:
    return visit.page.url.replace("index.html", f"{row['run_id'][:12]}/index.html")


def test_every_row_says_what_its_check_found(visit: Visit, pages: Path) -> None:
    badges = visit.page.locator("#standings tbody .badge").all_inner_texts()
    assert sorted(word.split()[-1] for word in badges) == ["confirmed", "unverifiable"]
    unverifiable = (pages / "pages" / "b" / ("f" * 12) / "index.html").read_text(encoding="utf-8")
    assert f"evidence/{'f' * 32} is not there" in unverifiable
    assert str(pages.parent.parent) not in unverifiable  # the machine's folders are nobody's business
    assert words.NO_EVIDENCE in unverifiable


def test_published_values_are_inside_or_outside_and_no_more(visit: Visit) -> None:
    said = visit.page.locator("#published").inner_text()
    assert "gender concentration" in said and "inside the measured interval" in said
    assert "race4 concentration" in said and "outside the measured interval" in said
    assert words.HOW_ONE_WOULD_KNOW in said
    assert "labeller: as published there" in said
    assert "Another method" in said


def test_filters_choose_rows_and_sorting_orders_them(visit: Visit) -> None:
    page = visit.page
    assert page.locator(".count").inner_text() == "5 of 5 rows"
    page.select_option("[name=licence]", label=SHOWN)
    assert page.locator(".count").inner_text() == "1 of 5 rows"
    assert page.locator("tbody tr:visible").count() == 1
    page.select_option("[name=licence]", "")
    page.select_option("[name=source]", "=published")
    assert page.locator(".count").inner_text() == "3 of 5 rows"
    assert not page.locator("#standings .group").is_visible()
    head = page.locator("#published th button").nth(4)
    head.focus()
    page.keyboard.press("Enter")
    values = page.eval_on_selector_all("#published tbody td:nth-child(5) data", "all => all.map(d => Number(d.value))")
    assert values == sorted(values) and len(set(values)) == 2


def test_hostile_words_are_text(visit: Visit, pages: Path) -> None:
    assert SHOWN in visit.page.locator("#published").inner_text()
    assert visit.page.locator("main script").count() == 0
    for file in (*every_page(pages), *pages.rglob("*.js")):
        text = file.read_text(encoding="utf-8")
        assert "\u202e" not in text and (file.name == "vega.js" or "<script>alert" not in text)


def test_accessibility_has_nothing_to_say(browser: Any, pages: Path) -> None:
    axe = pytest.importorskip("axe_playwright_python.sync_playwright", reason="axe-playwright-python is not installed")
    row = next(file for file in every_page(pages / "pages" / "alone") if file.parent.name != "alone")
    for file in (pages / "pages/b/index.html", row):
        opened = Visit(browser, file)
        opened.charts()
        for scheme in ("light", "dark"):
            opened.page.emulate_media(color_scheme=scheme)
            found = axe.Axe().run(opened.page).response["violations"]
            assert [f"{each['id']}: {each['nodes'][0]['html'][:200]}" for each in found] == []
        opened.close()


def test_without_scripts_the_tables_stand(browser: Any, pages: Path) -> None:
    opened = Visit(browser, pages / "pages" / "b" / "index.html", java_script_enabled=False)
    assert opened.page.locator("tbody tr").count() == 5
    assert opened.page.locator("[data-chart] img").count() == 2
    opened.close()


def test_a_chart_says_its_numbers_and_draws_the_ranks(boards: list[Path]) -> None:
    (alone,) = leaderboard_board.read(boards[1])
    ranks = {"rank": "2", "rank.low": "1", "rank.high": "3"}
    chart = charts.standings("standings-1", "", [Entry({**alone, **ranks}, "x", None, None)])
    assert chart is not None
    (drawn,) = chart.spec["data"]["values"]
    assert (drawn["rank"], drawn["best"], drawn["worst"]) == (2, 1, 3)
    assert drawn["concentration"] == float(alone["gender_x_race4.concentration"])
    assert "rank 2, could be 1 to 3" in chart.alt


def test_every_column_has_a_meaning() -> None:
    assert all(words.meaning(column) for column in COLUMNS)


def test_the_command_writes_again_and_refuses_what_is_not_its_own(cli: Cli, board: Path, tmp_path: Path) -> None:
    said = cli("leaderboard", "site", board, "--out", "pages").succeeded().out
    assert said == f"leaderboards: {Path('pages') / 'index.html'}\n"
    cli("leaderboard", "site", board, "--out", "pages").succeeded()
    assert json.loads((tmp_path / "pages/assets/leaderboards.json").read_text())["leaderboards"] == ["b.csv"]
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "x.txt").write_text("x")
    for args, said in (
        ((board, "--out", "mine"), "holds files that are not pages of leaderboards"),
        ((board, board), "is named twice"),
        (("absent.csv",), "There is no leaderboard absent.csv"),
    ):
        refused = cli("leaderboard", "site", *args)
        assert refused.code == 2 and said in refused.err
    assert [p.name for p in (tmp_path / "mine").iterdir()] == ["x.txt"]
