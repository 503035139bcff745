"""The annotation page in a real browser, from disk: used by keyboard, reloaded, exported, collected."""

from __future__ import annotations

import csv
import io
import json
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from fairbench.annotation import images, page, record
from fairbench.annotation.annotate import Settings, annotate, collect
from fairbench.annotation.record import AnnotatedRun, Annotators, Design
from tests.builders.images import noise

GENDERS, RACES = ("female", "male"), ("WMELH", "Black", "Indian", "Asian")


@pytest.fixture
def tab(browser: Any) -> Iterator[Any]:
    """A page of its own, in a window of 1280 x 800; errors of its script fail the test."""
    context = browser.new_context(viewport={"width": 1280, "height": 800}, accept_downloads=True)
    opened = context.new_page()
    opened.set_default_timeout(20_000)
    opened.errors = []
    opened.on("pageerror", lambda error: opened.errors.append(str(error)))
    yield opened
    assert not opened.errors
    context.close()


def write(folder: Path, shown: list[images.Shown], attributes: dict[str, tuple[str, ...]]) -> Path:
    """Write the page of one annotator for pictures of no run."""
    names = [f"{i:012x}" for i in range(len(shown))]
    run, people = AnnotatedRun(id="0", folder="0"), Annotators(number=1, described="")
    annotation = record.make((run,), 0, Design(per_prompt=2, stratify=None), attributes, people, names)
    path = folder / "annotator-1.html"
    path.write_text("".join(page.page(annotation, dict(zip(names, shown, strict=True)), 1)), encoding="utf-8")
    return path


def pictures(count: int, side: int = 64) -> list[images.Shown]:
    made = [Image.fromarray(pixels) for pixels in noise(*[(side, side)] * count)]
    return [images.shown(image, [8, 8, 40, 48] if i % 3 else None) for i, image in enumerate(made)]


def open_page(tab: Any, path: Path) -> None:
    tab.goto(path.as_uri())
    tab.click("#start")
    ready(tab)


def ready(tab: Any) -> None:
    """Wait until the picture that is shown is decoded, as a person does."""
    tab.wait_for_function("!document.querySelector('#frame img') || document.querySelector('#frame img').complete")


def press(tab: Any, *keys: str) -> None:
    for key in keys:
        ready(tab)
        tab.keyboard.press(key)


def exported(tab: Any, click: str = "text=Export answers") -> list[dict[str, str]]:
    with tab.expect_download() as download:
        tab.click(f"{click} >> visible=true")
    text = Path(download.value.path()).read_text(encoding="utf-8")
    return list(csv.DictReader(io.StringIO(text, newline="")))


def items(path: Path) -> list[str]:
    text = path.read_text(encoding="utf-8")
    data = text.partition('id="data">')[2].partition("</script>")[0]
    return [item["item"] for item in json.loads(data)["items"]]


def test_twenty_images_by_keyboard_are_exported_and_collected(tab: Any, mannequin_runs: Path, tmp_path: Path) -> None:
    annotated = annotate([mannequin_runs / "phantom"], tmp_path / "a", Settings(per_prompt=5, annotators=2))
    order = items(annotated.sent[0])
    expected = {item: (GENDERS[i % 2], RACES[i % 4]) for i, item in enumerate(order)}
    open_page(tab, annotated.sent[0])
    for i in range(8):
        press(tab, str(i % 2 + 1), str(i % 4 + 1))
    assert tab.inner_text("#count") == "Picture 9 of 20, 8 done"
    press(tab, "2", "4", "u")  # one question undone: the picture is there again, with the other answer
    assert tab.inner_text("#count") == "Picture 9 of 20, 8 done"
    assert pressed(tab) == ["2male"]
    press(tab, "Backspace")
    assert pressed(tab) == []
    press(tab, "1", "1")

    tab.reload()
    assert tab.inner_text("#start") == "Go on (9 of 20 done)"
    tab.click("#start")
    assert tab.inner_text("#count") == "Picture 10 of 20, 9 done"
    press(tab, "u", "1")  # what was done before the reload can be undone, too
    for i in range(9, 18):
        press(tab, str(i % 2 + 1), str(i % 4 + 1))
    press(tab, "s", "n")
    assert tab.is_visible("#end")
    press(tab, "ArrowLeft", "ArrowLeft", "ArrowLeft", "0")  # three back: the first answer is another one now
    assert tab.is_visible("#end")
    expected[order[17]] = ("cannot tell", RACES[17 % 4])
    expected[order[18]], expected[order[19]] = ("skipped",) * 2, ("no person",) * 2
    rows = exported(tab, "#save")
    assert [row["item"] for row in rows] == order and {row["annotator"] for row in rows} == {"1"}
    assert {row["item"]: (row["gender"], row["race4"]) for row in rows} == expected

    returned = tmp_path / "a" / "returned"
    returned.mkdir()
    for number in (1, 2):
        with (returned / f"annotations-{number}.csv").open("w", newline="") as file:
            out = csv.DictWriter(file, list(rows[0]))
            out.writeheader()
            out.writerows({**row, "annotator": str(number)} for row in rows)
    labels = collect(tmp_path / "a", []).labels.set_index("item")
    for item, (gender, race) in expected.items():
        label = labels.loc[item]
        got = [None if pd.isna(label[name]) else label[name] for name in ("gender", "race4")]
        assert got == ([gender, race] if gender != "skipped" else [None, None])


def pressed(tab: Any) -> list[str]:
    return tab.eval_on_selector_all("fieldset button[aria-pressed=true]", "all => all.map(b => b.textContent)")


def test_answers_by_mouse_and_a_picture_that_was_passed_over(tab: Any, tmp_path: Path) -> None:
    path = write(tmp_path, pictures(3), {"gender": GENDERS})
    open_page(tab, path)
    tab.click("text=male >> visible=true >> nth=1")
    press(tab, "ArrowRight")  # passes over the second picture
    tab.click("fieldset >> text=cannot tell")
    assert tab.inner_text("#count") == "Picture 2 of 3, 2 done"  # asked again at the end
    half = exported(tab)
    assert [row["gender"] for row in half] == ["male", "", "cannot tell"]
    press(tab, "1")
    assert tab.is_visible("#end")


def test_words_from_outside_are_text(tab: Any, tmp_path: Path) -> None:
    labels = ("</script><script>window.hacked = 1</script>", '<img src=x onerror="window.hacked = 1">', 'a "b", c')
    path = write(tmp_path, pictures(3), {"<b>odd</b>": labels, "constructor": ("__proto__", "toString")})
    open_page(tab, path)
    for key in "123":
        press(tab, key, "1")
    assert tab.evaluate("window.hacked") is None
    assert labels[0] in tab.text_content("#questions") and tab.locator("fieldset img, fieldset script").count() == 0
    rows = exported(tab, "#save")
    assert [row["<b>odd</b>"] for row in rows] == list(labels)
    assert [row["constructor"] for row in rows] == ["__proto__"] * 3


def test_nothing_is_asked_of_the_network_and_nothing_may_be(tab: Any, tmp_path: Path) -> None:
    requests: list[str] = []
    tab.on("request", lambda request: requests.append(request.url))
    path = write(tmp_path, pictures(4), {"gender": GENDERS})
    open_page(tab, path)
    press(tab, "1", "2")
    assert {url.partition(":")[0] for url in requests} <= {"file", "data"} and requests
    blocked = """async () => {
        const image = () => new Promise((good, bad) => {
            const i = new Image(); i.onload = good; i.onerror = bad; i.src = "https://example.org/a.png";
        });
        const refused = [];
        for (const attempt of [() => fetch("https://example.org/"), image]) {
            try { await attempt(); refused.push(false); } catch { refused.push(true); }
        }
        setTimeout("window.evaluated = 1");
        document.body.append(Object.assign(document.createElement("script"), { textContent: "window.injected = 1" }));
        document.body.append(Object.assign(document.createElement("style"), { textContent: "body { display: none }" }));
        await new Promise((done) => setTimeout(done, 50));
        return [...refused, window.evaluated, window.injected, getComputedStyle(document.body).display];
    }"""
    assert tab.evaluate(blocked) == [True, True, None, None, "block"]


def test_where_storage_is_blocked_a_sentence_says_so_and_export_works(tab: Any, tmp_path: Path) -> None:
    tab.add_init_script(
        "Object.defineProperty(window, 'localStorage', {get() { throw new DOMException('no', 'SecurityError'); }})"
    )
    path = write(tmp_path, pictures(2), {"gender": GENDERS})
    tab.goto(path.as_uri())
    assert "keeps nothing for this page: export your answers before you close it" in tab.inner_text("#storage")
    tab.click("#start")
    press(tab, "1", "2")
    assert [row["gender"] for row in exported(tab, "#save")] == ["female", "male"]


@pytest.mark.parametrize(("width", "height"), [(1280, 800), (390, 844), (320, 568)])
def test_it_is_readable_on_small_screens_and_by_keyboard_alone(
    tab: Any, tmp_path: Path, width: int, height: int
) -> None:
    tab.set_viewport_size({"width": width, "height": height})
    path = write(tmp_path, pictures(3, side=700), {"gender": GENDERS, "race4": RACES})
    tab.goto(path.as_uri())
    for section in ("#intro", "#work"):
        assert tab.is_visible(section)
        assert tab.evaluate("document.documentElement.scrollWidth <= window.innerWidth")
        if section == "#intro":
            tab.focus("#start")
            tab.keyboard.press("Enter")
            ready(tab)
    face, frame = (tab.locator(s).bounding_box() for s in ("#frame img", "#frame"))
    assert frame == pytest.approx(face, abs=1.5)  # the mark's percentages are those of the picture
    assert face["width"] == pytest.approx(face["height"], abs=1.5) and face["height"] < height
    smallest = tab.eval_on_selector_all("#work button", "all => Math.min(...all.map(b => b.offsetHeight))")
    assert smallest >= 36
    tab.keyboard.press("Tab")
    assert tab.evaluate("getComputedStyle(document.activeElement).outlineStyle") == "solid"
    assert tab.get_attribute("#frame img", "alt") == "Picture 1 of 3"
    unnamed = "all => all.filter(b => !b.textContent.trim()).length"
    assert tab.eval_on_selector_all("button", unnamed) == 0


def test_five_hundred_pictures(tab: Any, tmp_path: Path, record_property: Callable[[str, object], None]) -> None:
    """The page stays small however many pictures it has. Times are reported, not asserted: machines differ."""
    rng = np.random.default_rng(0)
    blobs = [rng.integers(0, 256, (40, 40, 3), dtype=np.uint8) for _ in range(10)]
    made = [images.shown(Image.fromarray(b).resize((640, 640)), [200, 150, 420, 430]) for b in blobs]
    path = write(tmp_path, [made[i % 10] for i in range(500)], {"gender": GENDERS})
    begin = time.perf_counter()
    open_page(tab, path)
    loaded = time.perf_counter() - begin
    size = tab.evaluate("document.querySelectorAll('*').length")
    tab.evaluate(
        """() => { window.gaps = []; let last = performance.now();
        const tick = (now) => { window.gaps.push(now - last); last = now; requestAnimationFrame(tick); };
        requestAnimationFrame(tick); }"""
    )
    begin = time.perf_counter()
    for i in range(100):
        press(tab, str(i % 2 + 1))
    per_picture = (time.perf_counter() - begin) / 100
    assert tab.inner_text("#count") == "Picture 101 of 500, 100 done"
    assert tab.evaluate("document.querySelectorAll('*').length") == size < 120
    gaps = np.array(tab.evaluate("window.gaps"))
    record_property("page", f"{path.stat().st_size / 2**20:.0f} MiB, loaded in {loaded:.1f} s")
    record_property("frames", f"median {np.median(gaps):.0f} ms, longest {gaps.max():.0f} ms")
    record_property("per picture", f"{1000 * per_picture:.0f} ms")
    print(
        f"\n{path.stat().st_size / 2**20:.0f} MiB: loaded in {loaded:.1f} s, {1000 * per_picture:.0f} ms per picture,"
    )
    print(f"frames: median {np.median(gaps):.0f} ms, longest {gaps.max():.0f} ms")
