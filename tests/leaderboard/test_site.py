"""The pages of leaderboards in a real browser, from disk: numbers, checks, filters, hostile words, people's needs."""

from __future__ import annotations

import csv
import io
import re
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from fairbench.leaderboard import board as leaderboard_board
from fairbench.leaderboard.columns import COLUMNS, Row
from fairbench.leaderboard.site import pages as site
from fairbench.leaderboard.site import words
from fairbench.storage.cells import bare
from tests.builders import boards as build
from tests.builders.runs import rewrite_shard
from tests.reporting.test_browser import Visit

HOSTILE = "=cmd|<script>alert(1)</script>[/red]\"'\u202e"
SHOWN = HOSTILE.replace("\u202e", "\\u202e")
TWIN, OTHER = "f" * 32, "e" * 32
"""Runs without evidence: the measured one under another calibration, and one of another model."""


def rows_of(measured: Row) -> list[Row]:
    """Return a row that its evidence confirms, its twin, another, and three of papers."""
    twin = {"run_id": TWIN, "calibration_sha": "c" * 64, "gender_x_race4.concentration-corrected": "0.4321"}
    other = {"run_id": OTHER, "labels_sha256": OTHER * 2, "model": HOSTILE, "licence": HOSTILE}
    paper = {"source": "published", "task": measured["task"], "labeller": "as published", "published_in": "A T1"}
    empty = dict.fromkeys(COLUMNS, "")
    near, far = "0.97", "-0.9"
    return [
        measured,
        {**measured, **twin},
        {**measured, **other, leaderboard_board.RANKED_BY: "0.9"},
        {**empty, **paper, "model": "Phantom Exact", "method": "baseline", "gender.concentration": near}
        | {"race4.concentration": far, "gender.rd": "0.5"},
        {**empty, **paper, "model": measured["model"], "method": "another", "gender.rd": "0.5"},
        {**empty, **paper, "model": HOSTILE, "method": HOSTILE, "note": HOSTILE, "gender.rd": "0.25"},
    ]


def relabelled(table: pa.Table) -> pa.Table:
    labels = table.to_pylist()
    first = next(r for r in labels if r["attribute"] == "gender")
    first["label"] = "male" if first["label"] == "female" else "female"
    return pa.Table.from_pylist(labels, table.schema)


@pytest.fixture(scope="module")
def boards(published_run: Path, tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """A leaderboard of many kinds of rows, one whose evidence was relabelled, and one whose evidence was cut."""
    root = tmp_path_factory.mktemp("boards")
    found = [root / name / f"{name}.csv" for name in ("b", "relabelled", "cut")]
    for path in found:
        shutil.copytree(published_run / "published", path.parent)
        (path.parent / "b.csv").rename(path)
    (measured,) = leaderboard_board.read(found[0])
    found[0].write_text(leaderboard_board.render(rows_of(measured)), encoding="utf-8")
    shards = [next((build.evidence(path) / "evidence" / "labels").glob("*/*.parquet")) for path in found[1:]]
    rewrite_shard(shards[0], relabelled)
    shards[1].write_bytes(shards[1].read_bytes()[:-9])
    return found


@pytest.fixture(scope="module")
def measured(boards: list[Path]) -> Row:
    return leaderboard_board.read(boards[0])[0]


@pytest.fixture(scope="module")
def pages(boards: list[Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    return site.write(boards, tmp_path_factory.mktemp("site") / "out").parent


@pytest.fixture(scope="module")
def opened(browser: Any, pages: Path, measured: Row) -> Iterator[dict[str, Visit]]:
    """A page of each kind, with its charts drawn."""
    at = pages / "pages"
    folders = {
        "first": pages,
        "submit": at / "submit",
        "board": at / "b",
        "measured": at / "b" / measured["run_id"][:12],
        "published": next(path for path in (at / "b").glob("row-*") if "Phantom Exact" in source(path)),
        "damaged": next((at / "cut").glob("row-*")),
    }
    visits = {name: Visit(browser, folder / "index.html") for name, folder in folders.items()}
    yield visits
    for visit in visits.values():
        visit.close()


@pytest.fixture
def visit(browser: Any, pages: Path) -> Iterator[Visit]:
    """The page of a leaderboard, which a test may change."""
    visit = Visit(browser, pages / "pages" / "b" / "index.html")
    yield visit
    visit.close()


def source(folder: Path) -> str:
    return (folder / "index.html").read_text(encoding="utf-8")


def test_pages_are_quiet_draw_their_charts_fit_phones_and_paper_and_stay_in_their_folder(
    opened: dict[str, Visit], pages: Path
) -> None:
    drawn = {name: visit.charts() for name, visit in opened.items()}
    assert drawn == {"first": 0, "submit": 0, "board": 2, "measured": 1, "published": 1, "damaged": 1}
    for name, visit in opened.items():
        for chart in visit.page.locator("[data-chart]").all():
            assert chart.locator("svg .mark-symbol path").count() > 0
            assert chart.locator(":scope > [role=img][aria-label]").count() == 1
        for media, width in (("screen", 360), ("print", 720)):  # of a phone, and of A4 between its margins
            visit.page.emulate_media(media=media)
            visit.page.set_viewport_size({"width": width, "height": 800})
            assert visit.page.evaluate("document.documentElement.scrollWidth") <= width, name
        visit.page.emulate_media(media="screen")
        assert visit.problems == []
        assert all(url.startswith(pages.resolve().as_uri()) for url in visit.asked)


def test_accessibility_has_nothing_to_say(opened: dict[str, Visit]) -> None:
    axe = pytest.importorskip("axe_playwright_python.sync_playwright", reason="axe-playwright-python is not installed")
    for name, scheme in (("board", "light"), ("published", "light"), ("board", "dark")):
        opened[name].page.emulate_media(color_scheme=scheme)
        options: dict[str, Any] = {"resultTypes": ["violations"]}
        if scheme == "dark":
            options["runOnly"] = ["color-contrast"]  # no other rule knows of it
        found = axe.Axe().run(opened[name].page, options=options).response["violations"]
        assert [f"{each['id']}: {each['nodes'][0]['html'][:200]}" for each in found] == []


def test_every_link_leads_to_a_file_and_every_page_is_linked(pages: Path) -> None:
    files = {path.resolve() for path in pages.rglob("index.html")}
    links = {
        (file.parent / link.split("#")[0]).resolve()
        for file in files
        for link in re.findall(r'(?:href|src)="([^"#][^"]*)"', file.read_text(encoding="utf-8"))
    }
    assert len(files) == 2 + 3 + 6 + 2
    assert all(link.is_file() for link in links)
    assert files <= links


def test_numbers_are_those_of_the_file(opened: dict[str, Visit], measured: Row) -> None:
    read = "all => all.map(each => each.value)"
    cells = opened["board"].page.eval_on_selector_all("#standings tbody tr:first-child data", read)
    names = ("rank", "gender.concentration", "race4.concentration", "gender_x_race4.concentration")
    assert set(cells) >= {measured[name] for name in names if measured[name]}
    read = "all => all.map(r => [r.cells[0].textContent, r.cells[1].textContent])"
    stated = opened["measured"].page.eval_on_selector_all("#h-values ~ .table tbody tr", read)
    assert dict(stated) == {column: text for column, text in measured.items() if text}


def test_two_calibrations_are_two_columns_of_one_place(opened: dict[str, Visit], measured: Row) -> None:
    table = opened["board"].page.locator("#standings table")
    assert table.locator("tbody tr").count() == 2
    heads = [head.strip() for head in table.locator("th").all_inner_texts()]
    adjusted = [heads.index(f"adjusted ({sha[:8]})") for sha in (measured["calibration_sha"], "c" * 64)]
    first = table.locator("tbody tr").first.locator("td")
    assert first.nth(adjusted[1]).locator("a").get_attribute("href") == f"{TWIN[:12]}/index.html"
    assert first.nth(adjusted[1]).inner_text().startswith(".43")


@pytest.mark.parametrize(
    ("folder", "badge", "said"),
    [
        ("b/*", "confirmed", "agrees"),
        ("b/e*", "unverifiable", f"evidence/{OTHER} is not there"),
        ("relabelled/*", "differs", "labels_sha256: "),
        ("cut/*", "damaged", "is damaged"),
    ],
)
def test_a_row_says_what_its_check_found(
    pages: Path, boards: list[Path], measured: Row, folder: str, badge: str, said: str
) -> None:
    found = [source(each) for each in (pages / "pages").glob(folder) if (each / "index.html").is_file()]
    (text,) = [each for each in found if f"</span> {badge}</span>" in each][:1]
    assert said in text
    assert str(boards[0].parent.parent) not in text  # the machine's folders are nobody's business
    assert (words.NO_EVIDENCE in text) == (badge in ("unverifiable", "damaged"))
    assert f"</span> 1 {badge}</span>" in source(pages) or badge == "unverifiable"


def test_published_values_stand_beside_measured_ones_with_what_chance_would_do(
    opened: dict[str, Visit], measured: Row
) -> None:
    for name in ("board", "published"):
        page = opened[name].page
        table = page.locator("[role=region][aria-label='Published and measured']")
        cells = [row.locator("td").all_inner_texts() for row in table.locator("tbody tr").all()]
        reading = {row[2]: row[-1] for row in cells}
        assert reading["gender concentration"] == "no farther apart than by chance"
        assert reading["race4 concentration"] == "farther apart than by chance"
        assert "gender rd" in reading
        low, high = (float(measured[f"gender.concentration.{end}"]) for end in ("low", "high"))
        reach = float(next(row[-2] for row in cells if row[2] == "gender concentration").removeprefix("up to "))
        assert reach == pytest.approx(2**0.5 * (high - low) / 2 + 0.005, abs=6e-4)
        said = page.locator("main").inner_text()
        assert words.HOW_ONE_WOULD_KNOW in said
        assert "labeller: as published there, phantom here" in said and "prompts: not stated there, 2 here" in said
        assert "another" not in {row[0].split(" + ")[-1] for row in cells}  # no number of another method is held up


def test_filters_choose_rows_and_sorting_orders_them(visit: Visit) -> None:
    page = visit.page
    assert page.locator(".count").inner_text() == "5 of 5 rows"
    page.select_option("[name=licence]", label=SHOWN)
    assert page.locator(".count").inner_text() == "1 of 5 rows"
    assert page.locator("tr[data-facets]:visible").count() == 1
    page.select_option("[name=licence]", "")
    page.select_option("[name=source]", "=published")
    assert page.locator(".count").inner_text() == "3 of 5 rows"
    assert not page.locator("#standings .group").is_visible()
    head = page.locator("#published th button").nth(4)
    head.focus()
    page.keyboard.press("Enter")
    cells = "#published .group tbody td:nth-child(5) data"
    values = page.eval_on_selector_all(cells, "all => all.map(d => Number(d.value))")
    assert values == sorted(values) and len(set(values)) == 2


def test_tables_are_copied_with_hostile_words_as_text(visit: Visit, measured: Row) -> None:
    page = visit.page
    page.evaluate("document.addEventListener('copy', e => { document.title = document.activeElement.value; })")
    copied = {}
    for form in ("CSV", "Markdown", "LaTeX"):
        button = page.locator("#standings .copy button", has_text=f"Copy as {form}")
        button.focus()
        page.keyboard.press("Enter")
        copied[form] = page.evaluate("document.querySelector('title').textContent")
    table = list(csv.reader(io.StringIO(copied["CSV"])))
    ours, hostile = (dict(zip(table[0], row, strict=True)) for row in table[1:])
    assert ours["gender"] == measured["gender.concentration"]  # unrounded
    assert hostile["model"].startswith(f"'{SHOWN}") and bare(hostile["model"]).startswith(SHOWN)
    assert all("\u202e" not in text and "phantom-exact" in text for text in copied.values())
    assert "<script>" not in copied["Markdown"] and "=cmd" in copied["Markdown"] and "=cmd" in copied["LaTeX"]


def test_hostile_words_are_text(opened: dict[str, Visit], pages: Path) -> None:
    assert SHOWN in opened["board"].page.locator("#published").inner_text()
    assert opened["board"].page.locator("main script").count() == 0
    for file in (*pages.rglob("*.html"), *pages.rglob("*.js"), *pages.rglob("*.svg")):
        text = file.read_text(encoding="utf-8")
        assert "\u202e" not in text and (file.name == "vega.js" or "<script>alert" not in text)


def test_rows_of_earlier_versions_say_what_they_lack(pages: Path, measured: Row) -> None:
    own = source(pages / "pages" / "b" / measured["run_id"][:12])
    assert "The row does not state a check of the model&#39;s card.<" in own
    before = {**measured, **dict.fromkeys(("licence", "verified", "way_in", "notices"), "")}
    assert words.unstated([before]).endswith(
        "the notices of the run: what was measured before there were these columns has none."
    )
    assert words.unstated([before, {**measured, "verified": "signatures"}]) == "" and words.unstated([]) == ""


def test_without_scripts_the_tables_stand(browser: Any, pages: Path) -> None:
    visit = Visit(browser, pages / "pages" / "b" / "index.html", java_script_enabled=False)
    assert visit.page.locator("tr[data-facets]").count() == 5
    assert visit.page.locator("[data-chart] img").count() == 2
    visit.close()
