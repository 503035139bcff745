"""`export --to latex|markdown|dossier|images`: numbers are those of the run, and what comes from outside is text."""

from __future__ import annotations

import csv
import hashlib
import json
import re
import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image

import fairbench
from fairbench.display.numbers import number
from fairbench.exporting.images import _name
from fairbench.exporting.markdown import fenced
from fairbench.types import Prompt
from tests.builders.cli import Cli
from tests.exporting.test_hf_dataset import hostile

DOCUMENTS = {"latex": "results.tex", "markdown": "results.md", "dossier": "dossier.md"}


def exported(cli: Cli, run: Path, to: str, *options: object) -> Path:
    said = cli("export", run, "--to", to, "--out", to, *options).succeeded().out
    assert said.startswith(f"{to}: {to}")
    return Path(said.removeprefix(f"{to}: ").strip())


def of_run(run: Path) -> pd.DataFrame:
    table = fairbench.load(run).metrics
    return table[(table["scope"] == "task") & table["value"].notna()]


def numbers_in(text: str) -> list[str]:
    return re.findall(r"-?\d*\.?\d+", text.replace("\\", ""))


@pytest.mark.parametrize("to", DOCUMENTS)
def test_every_value_of_the_main_attributes_stands_in_the_document(run: Path, cli: Cli, to: str) -> None:
    file = exported(cli, run, to)
    text = "".join(
        path.read_text(encoding="utf-8") for path in file.parent.glob("*.*") if path.suffix in (".md", ".tex")
    )
    rows = of_run(run)
    shown = set(numbers_in(text))
    for _, row in rows[rows["metric"].isin(["concentration", "rd", "share[female]", "entropy"])].iterrows():
        assert number(row["value"]).lstrip("+") in shown, (row["metric"], row["attribute"], row["estimate"])
    assert "never anyone's identity" in text.replace("\\", "")


def test_the_dossier_says_what_on_what_how_well_and_where_it_ends(run: Path, cli: Cli, tmp_path: Path) -> None:
    text = exported(cli, run, "dossier").read_text(encoding="utf-8").replace("\\", "")
    record = fairbench.load(run).record
    for words in (
        "counted on 40,000 images",
        f"task {record.task.name} (version {record.task.version})",
        "A fair model would read",
        "no proof that a model is safe, accurate or lawful",
        "fairbench run --model phantom",
        record.run_id,
        record.declared.calibration,
        record.model.licence,
        "@software{fairbench",
    ):
        assert words in text
    heads = re.findall(r"^## \d\. (.+)$", text, flags=re.MULTILINE)
    assert len(heads) == 7 and len(set(heads)) == 7
    assert (tmp_path / "dossier" / "metrics.csv").read_bytes() == (run / "metrics.csv").read_bytes()
    assert (tmp_path / "dossier" / "prompts.csv").read_bytes() == (run / "prompts.csv").read_bytes()


@pytest.mark.parametrize("to", DOCUMENTS)
def test_hostile_words_are_text_in_documents(run: Path, cli: Cli, tmp_path: Path, to: str) -> None:
    file = exported(cli, hostile(run, tmp_path / "odd"), to)
    for path in (p for p in file.parent.iterdir() if p.suffix in (".md", ".tex")):
        text = path.read_text(encoding="utf-8")
        assert "\x1b" not in text and "\u202e" not in text
        if path.suffix == ".md":
            outside = re.sub(r"^(`{3,}).*?^\1$", "", text, flags=re.MULTILINE | re.DOTALL)
            assert "<script>" not in outside and "\\<script\\>" in outside
            assert "\n---\n" not in outside
        elif path.name in ("methods.tex", "tables.tex"):
            # Every special character of LaTeX stands behind a backslash, or is a command that prints it.
            bare = re.sub(r"\\[#$%&_{}]|\\text[a-z]+\{\}|\\(sp|item|caption|label|begin|end)\b", "", text)
            assert not re.search(r"[#$^~]", bare)


def test_latex_labels_differ_and_braces_balance(run: Path, cli: Cli) -> None:
    folder = exported(cli, run, "latex").parent
    text = (folder / "tables.tex").read_text(encoding="utf-8")
    labels = re.findall(r"\\label\{(.+?)\}", text)
    assert len(labels) == len(set(labels)) == text.count(r"\begin{table}") > 3
    assert text.count(r"\caption{") == len(labels)
    plain = re.sub(r"\\[{}]", "", text)
    assert plain.count("{") == plain.count("}")
    for table in re.findall(r"\\begin\{tabular\}\{([lr]+)\}(.+?)\\end\{tabular\}", text, flags=re.DOTALL):
        rows = [row for row in table[1].split(r"\\") if "&" in row]
        assert {len(re.findall(r"(?<!\\)&", row)) + 1 for row in rows} == {len(table[0])}


def test_images_are_the_pixels_of_the_run_with_a_line_for_each(run: Path, cli: Cli) -> None:
    manifest = exported(cli, run, "images")
    rows = list(csv.DictReader(manifest.read_text(encoding="utf-8").splitlines()))
    as_json = [json.loads(line) for line in (manifest.parent / "manifest.jsonl").read_text("utf-8").splitlines()]
    original, table = fairbench.load(run), fairbench.load(run).images()
    assert len(rows) == len(as_json) == table["image_id"].nunique() == 16
    for row, record in zip(rows, as_json, strict=True):
        path = manifest.parent / row["file"]
        assert hashlib.sha256(path.read_bytes()).hexdigest() == row["sha256"] == record["sha256"]
        with Image.open(path) as image:
            assert np.array_equal(np.asarray(image), np.asarray(original.picture(row["image_id"])))
        face = table[table["image_id"] == row["image_id"]].iloc[0]
        assert (row["prompt"], row["seed"], row["gender"]) == (face["text"], str(face["seed"]), face["gender"])
        assert float(row["gender.prob"]) == pytest.approx(face["gender.prob"], abs=1e-4)
        assert record["faces"][0]["labels"]["race4"][0] == face["race4"]
        assert "never anyone's identity" in row["labels_are"]
    assert len({row["file"] for row in rows}) == 16


def test_names_of_image_files_are_plain_whatever_the_subject() -> None:
    for subject, words in (
        ("Ärztin *in", "rztin-in"),
        ("参议员", "prompt"),
        ("../..", "prompt"),
        ("a" * 59 + " b", "a" * 59),
    ):
        prompt = Prompt(b"", b"", "t", 1, "x", subject, subject)
        assert (
            _name({"prompt": 0, "sample": 3, "id": "ab" * 16}, prompt) == f"images/0001-{words}/0003-abababababab.png"
        )


def test_a_fence_is_longer_than_what_it_holds() -> None:
    assert fenced("a ```` b", "sh") == "`````sh\na ```` b\n`````"


def test_an_export_replaces_its_own_and_nothing_else(run: Path, cli: Cli, tmp_path: Path) -> None:
    exported(cli, run, "markdown")
    exported(cli, run, "markdown")
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "x.txt").write_text("x", encoding="utf-8")
    for options, words in (
        (("--to", "markdown", "--out", "mine"), "holds files that are not an export as markdown"),
        (("--to", "latex", "--out", "markdown"), "holds files that are not an export as latex"),
        (("--to", "latx"), "did you mean 'latex'"),
        (("--to", "latex:x"), "takes nothing after it"),
        (("--to", "hub"), "say where to"),
    ):
        refused = cli("export", run, *options)
        assert refused.code == 2 and len(refused.err.strip().splitlines()) <= 3
        assert words in " ".join(refused.err.split())
    assert [p.name for p in (tmp_path / "mine").iterdir()] == ["x.txt"]
    assert (tmp_path / "markdown" / "results.md").is_file()


def test_pictures_of_the_users_are_exported_only_if_asked_for(run: Path, cli: Cli, tmp_path: Path) -> None:
    folder = tmp_path / "mine" / "a judge"
    folder.mkdir(parents=True)
    original = fairbench.load(run)
    for i, image_id in enumerate(original.images()["image_id"].unique()[:3]):
        original.picture(image_id).save(folder / f"{i}.png")
    measured = tmp_path / "measured"
    options = ("--labeller", "phantom", "--no-sheets", "--store", tmp_path / "store", "--out", measured)
    cli("run", "--model", f"folder:{folder.parent}", *options).succeeded()
    refused = cli("export", measured, "--to", "images", "--out", "images")
    assert refused.code == 2 and "may show real people" in refused.err
    assert not (tmp_path / "images").exists()
    rows = exported(cli, measured, "images", "--with-images").read_text(encoding="utf-8").splitlines()
    assert len(rows) == 4


def test_documents_need_the_run_folder_alone_wherever_it_was_moved(run: Path, cli: Cli, tmp_path: Path) -> None:
    moved = tmp_path / "elsewhere" / "run"
    shutil.copytree(run, moved)
    for to in DOCUMENTS:
        exported(cli, moved, to)
