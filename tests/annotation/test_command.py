"""`fairbench annotate` from runs to files: nothing that annotators get says where a picture comes from."""

from __future__ import annotations

import base64
import csv
import io
import json
import re
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pytest
from PIL import Image, PngImagePlugin

from fairbench.annotation import images, record, sampling, words
from fairbench.runs.result import Run
from tests.builders.cli import Cli, make_run

SUBJECTS = ("midwife", "bricklayer", "astronomer")


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory, mannequin_runs: Path) -> tuple[Path, Path]:
    """A run of mannequins, and one of files whose names, folders and metadata say the prompt and the model."""
    root = tmp_path_factory.mktemp("files")
    first = Run(mannequin_runs / "phantom")
    ids = [bytes.fromhex(image) for image in first.images()["image_id"].head(12)]
    for i, (_, picture) in enumerate(first.pictures(ids)):
        subject = SUBJECTS[i % 3]
        text = PngImagePlugin.PngInfo()
        text.add_text("parameters", f"a photo of a {subject}, stable-diffusion-xl, balanced-prompting")
        exif = picture.getexif()
        exif[0x010E] = f"a photo of a {subject}"
        path = root / "made-by-gossamer" / f"photo of a {subject}" / f"{subject}-{i}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        picture.save(path, pnginfo=text, exif=exif)
    model = f"folder:{root / 'made-by-gossamer'}"
    return mannequin_runs / "phantom", make_run(root / "run", "--model", model, "--labeller", "phantom")


def sent(folder: Path) -> dict[str, bytes]:
    """Return what annotators get: every file name and content, base64 decoded and put behind it."""
    contents = {}
    for path in sorted(folder.rglob("*")):
        if path.is_file():
            data = path.read_bytes()
            pictures = re.findall(rb"[A-Za-z0-9+/]{400,}={0,2}", data)
            contents[str(path.relative_to(folder.parent))] = data + b"".join(map(base64.b64decode, pictures))
    return contents


@pytest.mark.parametrize("how", ["html", "label-studio", "csv"])
def test_nothing_sent_says_where_a_picture_comes_from(cli: Cli, runs: tuple[Path, Path], how: str) -> None:
    args = ("--per-prompt", 3, "--annotators", 2, "--attributes", "gender,race4", "--format", how)
    cli("annotate", *runs, *args, "--out", "a study").succeeded()
    folder = next(p for p in Path("a study").iterdir() if p.is_dir())
    secrets = {*SUBJECTS, "gossamer", "diffusion", "balanced", "folder:", "phantom", "a study", "fairbench_store"}
    for path in runs:
        run = Run(path)
        secrets |= {run.id, run.record.labeller_id, run.record.keys.images, str(path), run.record.model.name}
        for row in run.images().to_dict("records"):
            secrets |= {row["image_id"], row["prompt_id"], row["prompt"], row["subject"], row["text"]}
    secrets |= set(sampling.read(Path("a study"))["face_id"].to_pylist()) - {None}
    contents = sent(folder)
    assert len(contents) == {"html": 2, "label-studio": 2, "csv": 2 + 21}[how]
    for name, data in contents.items():
        text = f"{name}\n".encode() + data
        leaked = [s for s in secrets if s.encode().lower() in text.lower()]
        assert not leaked, (name, leaked)
    everything = b"".join(contents.values())
    assert everything.count(b"JFIF") >= 21 and b"Exif" not in everything and b"parameters" not in everything


def test_each_annotator_sees_all_images_in_an_order_of_their_own(cli: Cli, runs: tuple[Path, Path]) -> None:
    cli("annotate", *runs, "--per-prompt", 3, "--annotators", 3, "--out", "a").succeeded()
    sample = sampling.read(Path("a"))
    run_of = dict(zip(sample["item"].to_pylist(), sample["run_id"].to_pylist(), strict=True))
    orders = [[i["item"] for i in page_data(Path("a"), n)["items"]] for n in (1, 2, 3)]
    assert all(sorted(order) == sorted(run_of) for order in orders)
    assert len({tuple(order) for order in orders}) == 3
    for order in orders:  # runs are mixed: neither comes first as a block
        runs_in_order = [run_of[item] for item in order]
        assert len(set(runs_in_order[:12])) == 2
        assert runs_in_order != sorted(runs_in_order) and runs_in_order != sorted(runs_in_order, reverse=True)


def page_data(folder: Path, annotator: int) -> dict[str, list[dict[str, str]]]:
    text = (folder / "pages" / f"annotator-{annotator}.html").read_text()
    found = re.search(r'<script type="application/json" id="data">(.*?)</script>', text, re.DOTALL)
    assert found
    return json.loads(found[1])


def test_the_same_command_writes_the_same_and_another_sample_is_refused(cli: Cli, runs: tuple[Path, Path]) -> None:
    command = ("annotate", runs[0], "--per-prompt", 2, "--out", "a")
    cli(*command).succeeded()
    before = {p: p.read_bytes() for p in Path("a").rglob("*") if p.is_file()}
    cli(*command).succeeded()
    assert {p: p.read_bytes() for p in Path("a").rglob("*") if p.is_file()} == before
    cli(*command, "--annotators", 2, "--format", "csv").succeeded()  # the pages stay
    cli(*command).succeeded()
    added = {p for p in Path("a").rglob("*") if p.is_file()} - set(before)
    assert added == set(Path("a/csv").glob("*.csv")) | set(Path("a/csv/images").glob("*.jpg"))
    refused = cli(*command, "--seed", 1)
    assert refused.code == 2 and "a holds another annotation, whose answers would belong to no image" in refused.err
    assert {p: p.read_bytes() for p in before} == before


def test_what_it_says_and_records(cli: Cli, runs: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    describe = ("--describe", "two students, paid 15 an hour")
    done = cli("annotate", *runs, "--per-prompt", 9, "--annotators", 2, *describe, "--out", "a", "--quiet").succeeded()
    text = " ".join(done.out.split())
    assert "48 images of 7 prompts and 2 runs, drawn at random within each prompt (seed 0)" in text
    assert "3 prompts have fewer than 9 images: all of them are taken." in text
    assert "Asked: gender, race4, of 2 annotators." in text and words.NOTE in text
    assert "sample.parquet and annotation.json say where each picture comes from" in text
    assert max(map(len, done.out.splitlines())) <= 80
    kept = record.read(Path("a"))
    assert kept.annotators.described == describe[1] and [run.id for run in kept.runs] == [Run(r).id for r in runs]
    summary = cli("annotate", *runs, "--per-prompt", 9, "--annotators", 2, "--out", "a", "--json").json()
    assert record.read(Path("a")) == kept  # who they are is not forgotten
    assert (summary["images"], summary["prompts"], len(summary["files"])) == (48, 7, 2)


@pytest.mark.parametrize(
    ("args", "words_"),
    [
        (("--out", "a"), "Name the folder of a finished run"),
        (("RUN",), "Name a folder with --out"),
        (("RUN", "RUN", "--out", "a"), "is a run that is named already"),
        (("nowhere", "--out", "a"), "name the folder of a finished run"),
        (("RUN", "--out", "a", "--per-prompt", 1), "--per-prompt 1: two images or more"),
        (("RUN", "--out", "a", "--annotators", 1), "3 % of wrong single annotations move the estimates by .07"),
        (("RUN", "--out", "a", "--annotators", 0), "--annotators 0: from 1 to 100"),
        (("RUN", "--out", "a", "--attributes", "gendre"), "has no such attribute (did you mean 'gender'?)"),
        (("RUN", "--out", "a", "--stratify", "hair"), "--stratify hair: labeller phantom"),
        (("RUN", "--out", "a", "--per-prompt", 2, "--stratify", "race4"), "--per-prompt 2 is too few"),
        (("RUN", "--out", "a", "--format", "pdf"), "--format pdf: name html, label-studio or csv"),
        (("RUN", "--out", "a", "--store", "elsewhere"), "is in none of the stores elsewhere: name the run's store"),
        (("RUN", "--out", "RUN"), "name a folder that is new, empty, or holds an annotation"),
        (("--collect", "nowhere"), "name a folder that `fairbench annotate --out` has written"),
    ],
)
def test_what_cannot_be_annotated_is_one_sentence(
    cli: Cli, runs: tuple[Path, Path], args: tuple[object, ...], words_: str
) -> None:
    done = cli("annotate", *(runs[0] if a == "RUN" else a for a in args), "--quiet")
    assert done.code == 2 and words_ in done.err, done.err
    assert done.err.count("\n") == 1 and "Traceback" not in done.err
    assert not Path("a").exists()


def test_a_csv_comes_back_filled(cli: Cli, runs: tuple[Path, Path]) -> None:
    args = ("--per-prompt", 3, "--annotators", 2, "--format", "csv", "--out", "a")
    cli("annotate", runs[0], *args).succeeded()
    for number in (1, 2):
        path = Path("a/csv") / f"annotator-{number}.csv"
        rows = list(csv.reader(path.open(newline="")))
        assert rows[0] == ["annotator", "item", "image", "gender", "race4"] and len(rows) == 13
        assert all((path.parent / row[2]).is_file() for row in rows[1:])
        filled = [[*row[:3], "female", "cannot tell"] for row in rows[1:]]
        with path.open("w", newline="") as file:
            csv.writer(file).writerows([rows[0], *filled])
    done = cli("annotate", "--collect", "a", "a/csv/annotator-1.csv", "a/csv/annotator-2.csv", "--json").json()
    assert [a["outcomes"] for a in done["attributes"]] == [{"female": 12}, {"cannot tell": 12}]


def test_label_studio_comes_back_as_it_exports(cli: Cli, runs: tuple[Path, Path]) -> None:
    cli("annotate", runs[0], "--per-prompt", 3, "--format", "label-studio", "--out", "a").succeeded()
    config = ElementTree.fromstring(Path("a/label-studio/config.xml").read_text())
    choices = {c.attrib["name"]: [x.attrib["value"] for x in c] for c in config.iter("Choices")}
    assert choices["gender"] == ["female", "male", "cannot tell", "no person"] and list(choices) == ["gender", "race4"]
    tasks = json.loads(Path("a/label-studio/tasks.json").read_text())
    picture = Image.open(io.BytesIO(base64.b64decode(tasks[0]["data"]["image"].partition(",")[2])))
    assert (picture.format, max(picture.size)) == ("JPEG", images.LEAST)

    def annotation(user: object, **chosen: str) -> dict[str, object]:
        result = [
            {"from_name": name, "type": "choices", "value": {"choices": [value]}} for name, value in chosen.items()
        ]
        return {"completed_by": user, "result": result, "was_cancelled": not chosen}

    for i, task in enumerate(tasks):
        task["annotations"] = [
            annotation(3, gender="male", race4="Black"),
            annotation({"id": 4, "email": "person@example.org"}, gender="male", race4="Asian"),
            *([annotation(5)] if i < 4 else []),
        ]
    Path("export.json").write_text(json.dumps(tasks))
    done = cli("annotate", "--collect", "a", "export.json", "--json").json()
    assert [p["annotator"] for p in done["annotators"]] == ["user 3", "user 4", "user 5"]
    assert [(p["answered"], p["skipped"]) for p in done["annotators"]] == [(12, 0), (12, 0), (0, 4)]
    assert [a["outcomes"] for a in done["attributes"]] == [{"male": 12}, {"unclear": 12}]
    assert "example.org" not in Path("a/annotations.csv").read_text()
    Path("export.json").write_text('{"tasks": 3}')
    done = cli("annotate", "--collect", "a", "export.json")
    assert done.code == 2 and "export.json is not an export of Label Studio" in done.err


def test_small_faces_are_shown_large_enough_and_big_pictures_small() -> None:
    big = Image.new("RGB", (4000, 3000))
    assert images.shown(big, None).width == images.SIDE
    assert images.shown(big, [0, 0, 2000, 2000]).width == images.SIDE
    small_face = images.shown(big, [1000, 1000, 1400, 1500])
    assert small_face.box == (0.25, 0.3333, 0.1, 0.1667)
    assert small_face.box[3] * small_face.height == pytest.approx(images.FACE, abs=1)
    assert images.shown(big, [0, 0, 40, 40]).width == images.MOST
    assert images.shown(Image.new("RGB", (64, 48)), None).width == images.LEAST
    over_the_edge = images.shown(Image.new("RGB", (500, 500)), [-50, 100, 700, 300])
    assert (over_the_edge.width, over_the_edge.box) == (500, (0.0, 0.2, 1.0, 0.4))


@pytest.mark.parametrize("colour", ["black", "white"])
def test_a_drawn_mark_is_seen_on_every_picture(colour: str) -> None:
    grey = []
    for marked in (False, True):
        shown = images.shown(Image.new("RGB", (400, 400), colour), [100, 100, 300, 300], marked=marked)
        grey.append(np.asarray(Image.open(io.BytesIO(shown.jpeg)).convert("L"), dtype=int))
    assert (abs(grey[0] - grey[1]) > 150).sum() > 4 * 200
