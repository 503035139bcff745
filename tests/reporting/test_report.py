"""A report's files: its numbers are those of the run, everything from outside is text, nothing leaves the folder."""

from __future__ import annotations

import csv
import html
import json
import re
import shlex
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

import fairbench
from fairbench.display.numbers import number
from fairbench.display.progress import Silent
from fairbench.errors import FairbenchError
from fairbench.reporting import build, paper
from fairbench.reporting.content import Content
from fairbench.runs.result import Run
from tests.builders.cli import Cli, exit_code, make_run
from tests.builders.folders import ROOT

HOSTILE = "nurse <script>alert(1)</script> [/red] \u202e =cmd()"


@pytest.fixture(scope="module")
def work(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("report")


@pytest.fixture(scope="module")
def run(work: Path) -> Run:
    args = ("--model", "phantom-exact", "--task", "phantom-occupations", "--limit-prompts", "3", "-n", "6")
    return fairbench.load(make_run(work / "run", *args))


@pytest.fixture(scope="module")
def page(run: Run, work: Path) -> Path:
    return build.write([run], work / "out", Silent())


def data_of(page: Path) -> dict[str, Any]:
    found = re.fullmatch(r'fairbench\.give\("page",(.*)\);\n', (page.parent / "report/data/page.js").read_text(), re.S)
    assert found
    return dict(json.loads(found[1]))


def test_charts_hold_the_numbers_of_the_run(run: Run, page: Path) -> None:
    specs = data_of(page)["charts"]
    for attribute, first in (("gender", ["female"]), ("race4", ["WMELH", "Black", "Indian", "Asian"])):
        drawn = {
            (v["name"], v["class"]): (v["share"], v["low"], v["high"], v["faces"])
            for v in specs[f"shares-{attribute}"]["data"]["values"]
        }
        table = run.shares(attribute)
        table = table[table["class"].isin(first)]
        expected = {
            (row["subject"], row["class"]): (row["share"], row["ci_low"], row["ci_high"], row["n"])
            for row in table.to_dict("records")
        }
        assert drawn == expected and len(drawn) == 3 * len(first)
    metrics = run.metrics
    of_prompts = metrics[(metrics["scope"] == "prompt") & (metrics["metric"] == "concentration")]
    expected = sorted(of_prompts[of_prompts["attribute"] == "race4"]["value"])
    assert sorted(v["concentration"] for v in specs["concentration-race4"]["data"]["values"]) == expected


def test_a_workforce_stands_beside_the_shares_and_is_no_target(tmp_path: Path) -> None:
    args = ("--model", "phantom-exact", "--task", "occupations-labour", "--limit-prompts", "4", "-n", "4")
    labour = fairbench.load(make_run(tmp_path / "labour", *args))
    page = build.write([labour], tmp_path / "out", Silent())
    with (ROOT / "tasks" / "occupations-labour" / "reference_gender.csv").open() as file:
        women = {row["subject"]: float(row["female"]) for row in csv.DictReader(file)}
    charts = data_of(page)["charts"]
    drawn = charts["shares-gender"]["data"]["values"]
    assert len(drawn) == 4 and all(v["reference"] == women[v["name"]] for v in drawn)
    assert all(v["reference"] is None for v in charts["shares-race4"]["data"]["values"])
    text = page.read_text()
    assert "what people report of themselves" in text and "they are no target" in text
    below, mean = sum(v["share"] < v["reference"] for v in drawn), sum(v["reference"] for v in drawn) / 4
    assert f"the reference {mean:.0%}; it lies below the reference in {below} of them" in text


def test_static_charts_are_drawn_and_stand_on_the_page_with_their_numbers_in_words(page: Path) -> None:
    text = page.read_text()
    for name in data_of(page)["charts"]:
        svg = (page.parent / f"report/charts/{name}.svg").read_text()
        assert svg.startswith("<svg") and svg.count("<path") > 3, name
        assert re.search(rf'<img src="report/charts/{name}\.svg" alt="[^"]+\d', text), name


def test_the_page_says_all_that_the_short_form_says(run: Run, page: Path) -> None:
    text = html.unescape(page.read_text())
    assert "Of other prompts nothing is said: that takes 10 prompts." in text
    assert "RD (if fair): gender" in text and "Adjusted, as a range: if errors are no larger than on images" in text


def test_every_image_is_there_with_its_labels(run: Run, page: Path) -> None:
    script = (page.parent / "report/data/images-000.js").read_text()
    images = json.loads(script.removeprefix('fairbench.give("images",').removesuffix(");\n"))
    table = run.images()
    assert len(images) == table["image_id"].nunique() == 18
    seen = {(i["id"], f["labels"]["gender"][0]) for i in images for f in i["faces"]}
    faces = table[table["face"].notna()]
    assert seen == set(zip(faces["image_id"], faces["gender"], strict=True)) and seen
    for image in images:
        with Image.open(page.parent / image["file"]) as thumbnail:
            assert thumbnail.format == "WEBP" and max(thumbnail.size) <= 192
        assert image["size"] == list(run.picture(image["id"]).size)


def test_the_command_on_the_page_makes_the_same_run(run: Run, page: Path, cli: Cli) -> None:
    found = re.search(r"<pre tabindex=\"0\">(fairbench run .*?)</pre>", page.read_text())
    assert found
    words = shlex.split(html.unescape(found[1]))
    assert json.loads(cli(*words[1:], "--dry-run", "--json").succeeded().out)["run_id"] == run.id
    assert run.id in page.read_text() and "never anyone" in page.read_text()
    calibration = json.loads((run.folder / "evidence" / "calibration.json").read_text())
    counted, domain = sum(map(sum, calibration["counts"])), calibration["domain"]
    assert f"whose errors were counted on {counted:,} images (domain: {domain})" in html.unescape(page.read_text())


def test_text_from_outside_is_text(work: Path, run: Run, tmp_path: Path) -> None:
    task = tmp_path / "task"
    task.mkdir()
    (task / "task.yaml").write_text(
        "name: odd\nversion: 1\ntitle: odd\nsource: me\nlicence: CC0-1.0\nsubjects: subjects.csv\n"
        'templates:\n  - {id: face, text: "A {subject}"}\n'
    )
    subject = HOSTILE.replace("\u202e ", "")  # cards refuse what cannot be seen
    (task / "subjects.csv").write_text(f'subject\n"{subject}"\nsenator\n')
    args = ("--model", "phantom-exact", "--task", task, "-n", "3", "--labeller", "phantom")
    odd = fairbench.load(make_run(tmp_path / "odd", *args))
    page = build.write([odd], tmp_path / "out", Silent())
    for path in (page, *sorted(page.parent.rglob("*.js"))):
        if path.name not in ("vega.js", "report.js", "viewer.js"):
            assert "<script>alert" not in path.read_text(), path
    assert html.escape("<script>alert(1)</script>") in page.read_text()
    assert subject in [prompt["subject"] for prompt in data_of(page)["prompts"]]


def test_a_run_has_its_page_in_its_own_folder_and_keeps_its_files(run: Run, work: Path, cli: Cli) -> None:
    before = {path: path.read_bytes() for path in run.folder.rglob("*") if path.is_file()}
    cli("report", run.folder, "--quiet").succeeded()
    assert (run.folder / "index.html").is_file()
    assert all(path.read_bytes() == content for path, content in before.items())
    assert fairbench.load(run.folder).id == run.id


def test_from_python(run: Run, tmp_path: Path) -> None:
    page = fairbench.report(run, out=tmp_path / "page")
    assert page == tmp_path / "page" / "index.html" and run.id in page.read_text()
    with pytest.raises(FairbenchError, match="Name the runs"):
        fairbench.report()


def test_several_runs_stand_side_by_side(run: Run, tmp_path: Path) -> None:
    args = ("--model", "phantom-exact", "--task", "phantom-occupations", "--limit-prompts", "2", "-n", "4")
    other = fairbench.load(make_run(tmp_path / "other", *args))
    page = build.write([run, other], tmp_path / "out", Silent())
    charts = data_of(page)["charts"]
    drawn = charts["compared"]["data"]["values"]
    compared = fairbench.compare(run, other)
    table = compared.table
    table = table[(table["estimand"] == "concentration") & (table["scope"] == "this list")]
    table = table[table["attribute"].isin(compared.result.primary)]
    shown = charts["differences"]["data"]["values"]
    assert [(v["a"], v["b"], v["effect"], v["verdict"]) for v in shown] == [
        (row["a"], row["b"], row["effect"], row["verdict"]) for row in table.to_dict("records")
    ]
    assert len(charts["prompts-gender"]["data"]["values"]) == 2
    text = page.read_text()
    assert all(html.escape(v["verdict"]) in text for v in shown)
    landmarks = re.findall(r'<section aria-label="([^"]+)"', text)  # runs of one model have the same heading
    assert len(landmarks) == len(set(landmarks)) == 2
    assert "--full" not in text  # what terminals are told of options
    for name in charts:
        assert (
            f'href="report/charts/{name}.svg" download' in text
            and (page.parent / f"report/charts/{name}.svg").is_file()
        )
    for each in (run, other):
        table = each.summary()
        table = table[(table["metric"] == "concentration") & (table["estimate"] == "raw")]
        own = [v for v in drawn if v["run"].endswith(each.id[:6])]
        for name, column in (("value", "value"), ("low", "ci_low"), ("high", "ci_high"), ("fair", "floor")):
            assert [v[name] for v in own] == table[column].to_list()
        for fair, most in zip(table["floor"], table["floor_p95"], strict=True):
            assert f"A fair model would read {number(fair)} on average, and at most {number(most)} in 95 of" in text
        assert (page.parent / each.id[:8] / "index.html").is_file()
        assert f'href="{each.id[:8]}/index.html"' in page.read_text()


def test_tables_to_copy_say_whose_labels_they_show(run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Run, "seen_by", property(lambda _: ("people",)))
    tables = data_of(build.write([run], tmp_path / "out", Silent()))["tables"]
    assert len(tables) > 3
    for table in tables:
        assert "by most of the annotators" in table["latex"] and "by a classifier" not in table["latex"]


def test_two_labellers_of_the_same_images_show_how_often_they_agree(run: Run, work: Path, tmp_path: Path) -> None:
    args = ("--model", "phantom-exact", "--task", "phantom-occupations", "--limit-prompts", "3", "-n", "6")
    other = fairbench.load(make_run(work / "noisy", *args, "--labeller", "phantom-noisy"))
    charts = data_of(build.write([run, other], tmp_path / "out", Silent()))["charts"]
    labels = [each.images().set_index("image_id")[["gender", "race4"]] for each in (run, other)]
    for attribute in ("gender", "race4"):
        pairs = labels[0].join(labels[1].add_suffix(".other")).dropna()
        counted = pairs.groupby([attribute, f"{attribute}.other"], observed=True).size()
        drawn = charts[f"agreement-{attribute}"]["data"]["values"]
        assert {(v["row"], v["column"]): v["count"] for v in drawn if v["count"]} == counted.to_dict()
        assert counted.sum() == 18


def test_pictures_of_files_are_left_out_unless_asked_for(tmp_path: Path) -> None:
    (tmp_path / "pictures").mkdir()
    for i in range(3):
        Image.new("RGB", (40, 30), (i * 50, 20, 20)).save(tmp_path / "pictures" / f"{i}.jpg")
    (tmp_path / "pictures" / "jane-doe.jpg").write_bytes(b"no picture")
    of_pictures = ("--model", f"folder:{tmp_path / 'pictures'}", "--labeller", "phantom")
    assert (
        exit_code("run", *of_pictures, "--no-sheets", "--store", tmp_path / "store", "--out", tmp_path / "run") == 2
    )  # one of four is unreadable
    mine = fairbench.load(tmp_path / "run")
    page = build.write([mine], tmp_path / "out", Silent())
    assert not list(page.parent.rglob("*.webp"))
    assert "may show real people" in page.read_text()
    written = [path.read_text(encoding="utf-8") for path in page.parent.rglob("*.js") if path.name != "vega.js"]
    assert any("could not be used" in text for text in written)
    assert "plain-image" in page.read_text()
    assert not any("jane-doe" in text or "/0.jpg" in text for text in [*written, page.read_text()])
    page = build.write([mine], tmp_path / "out", Silent(), with_images=True)
    assert len(list(page.parent.rglob("*.webp"))) == 3
    words = paper.methods(Content(mine))
    assert words.startswith("We measured 4 images of pictures, for 1 prompts of")
    assert str(tmp_path) not in words + Content(mine).name


def test_without_the_store_the_page_says_that_pictures_are_gone(run: Run, tmp_path: Path) -> None:
    page = build.write([Run(run.folder, tmp_path / "nothing")], tmp_path / "out", Silent())
    assert "There are no pictures: Image" in html.unescape(page.read_text())
    assert not list(page.parent.rglob("*.webp"))


def test_what_others_wrote_is_never_replaced(run: Run, tmp_path: Path) -> None:
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "index.html").write_text("mine")
    with pytest.raises(FairbenchError, match="holds files that are not a report"):
        build.write([run], tmp_path / "mine", Silent())
    assert (tmp_path / "mine" / "index.html").read_text() == "mine"
    with pytest.raises(FairbenchError, match="named twice"):
        build.write([run, run], tmp_path / "out", Silent())


def test_pictures_of_a_task_with_a_content_note_are_left_out_unless_asked_for(work: Path, tmp_path: Path) -> None:
    run = fairbench.load(make_run(work / "traits", "--task", "traits", "--limit-prompts", "2", "-n", "2"))
    page = build.write([run], tmp_path / "out", Silent())
    assert not list(page.parent.rglob("*.webp"))
    assert "comes with a content note" in page.read_text() and "a refusal is no bias" in page.read_text()
    page = build.write([run], tmp_path / "out", Silent(), with_images=True)
    assert len(list(page.parent.rglob("*.webp"))) == 4
