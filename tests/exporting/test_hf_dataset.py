"""`export --to hf-dataset`: read back with the real `datasets` and `mlcroissant`."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path
from typing import Any

import datasets
import mlcroissant
import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import yaml
from huggingface_hub import DatasetCard

import fairbench
from fairbench.storage import atomic
from tests.builders.cli import Cli
from tests.builders.runs import rewrite_shard

RAI = "http://mlcommons.org/croissant/RAI/"
HOSTILE = "<script>alert(1)</script> [/red] =cmd : - # | `x` \"y\" 'z' {a} --- &amp; $x$ ünï"
ACTS = HOSTILE + " \x1b[31m \u202e\n---\nkey: value"


@pytest.fixture(autouse=True)
def _own_caches(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(datasets.config, "HF_DATASETS_OFFLINE", True)
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")
    datasets.disable_progress_bars()


def loaded(folder: Path, config: str | None = None) -> Any:
    return datasets.load_dataset(str(folder), config, split="test", cache_dir=str(datasets.config.HF_DATASETS_CACHE))


def same(value: object, expected: object) -> bool:
    """Whether a value that was read back is that of the run; what is absent is None."""
    missing = expected is None or (not isinstance(expected, (list, np.ndarray)) and pd.isna(expected))
    return value is None if missing else bool(value == expected)


def check_labels(rows: list[dict[str, Any]], run: fairbench.Run) -> None:
    expected = run.images().to_dict("records")
    assert len(rows) == len(expected) > 0
    for row, wanted in zip(rows, expected, strict=True):
        assert set(row) == {*wanted, "category", "box"}
        assert all(same(row[name], value) for name, value in wanted.items()), (row, wanted)


def test_labels_come_back_as_the_run_has_them_and_there_are_no_pixels(run: Path, labels_alone: Path) -> None:
    labels = loaded(labels_alone)  # the default
    original = fairbench.load(run)
    check_labels(labels.to_list(), original)
    assert labels.features["seed"].dtype == "int64"
    assert labels.features["gender.prob"].dtype == "float64"
    boxes = {row["image_id"]: row["bbox_xyxy"] for row in _faces(run)}
    assert {row["image_id"]: row["box"] for row in labels} == boxes
    assert all(len(box) == 4 for box in boxes.values())
    assert not any(b"PNG" in path.read_bytes() for path in labels_alone.rglob("*.parquet"))
    card = DatasetCard.load(labels_alone / "README.md")
    assert [config["config_name"] for config in card.data.to_dict()["configs"]] == ["labels"]
    assert "The pictures are left out; an export with --with-images includes them." in card.text
    assert "never anyone's identity" in card.text


def _faces(run: Path) -> list[dict[str, Any]]:
    tables = [pq.read_table(path) for path in (run / "evidence" / "faces").rglob("*.parquet")]
    rows = pa.concat_tables(tables).to_pylist()
    return [{**row, "image_id": row["image_id"].hex()} for row in rows if row["face_index"] is not None]


def test_pictures_come_back_pixel_by_pixel(run: Path, with_pictures: Path) -> None:
    original = fairbench.load(run)
    pictures = loaded(with_pictures, "images")
    assert isinstance(pictures.features["image"], datasets.Image)
    table = original.images().drop_duplicates("image_id").set_index("image_id")
    assert sorted(pictures["image_id"]) == sorted(table.index)
    for row in pictures:
        assert np.array_equal(row["image"], original.picture(row["image_id"]))
        assert row["image"].size == (row["width"], row["height"])
        assert row["image"].info == {}  # no metadata
        assert all(row[name] == table.loc[row["image_id"], name] for name in ("prompt", "seed", "sample_index", "text"))
    check_labels(loaded(with_pictures, "labels").to_list(), original)
    assert len(loaded(with_pictures)) == len(original.images())  # labels stay the default


def test_croissant_is_valid_and_gives_the_records(run: Path, with_pictures: Path) -> None:
    original = fairbench.load(run)
    dataset = mlcroissant.Dataset(str(with_pictures / "croissant.json"))
    issues = dataset.metadata.ctx.issues
    assert (issues.errors, issues.warnings) == (set(), set())
    assert dataset.metadata.ctx.is_v0() is False
    rows = list(dataset.records("labels"))
    expected = original.images().to_dict("records")
    fields = {field.id: field.source.extract.column for field in _records(dataset, "labels").fields}
    assert len(set(fields.values())) == len(fields) == len(expected[0]) + 2
    for row, wanted in zip(rows, expected, strict=True):
        read = {fields[name]: value.decode() if isinstance(value, bytes) else value for name, value in row.items()}
        assert all(same(read[name], value) for name, value in wanted.items())
        assert len(read["box"]) == 4
    pictures = {row["images/image_id"].decode(): row["images/image"] for row in dataset.records("images")}
    assert set(pictures) == {row["image_id"] for row in expected}
    assert all(np.array_equal(image, original.picture(name)) for name, image in pictures.items())


def _records(dataset: mlcroissant.Dataset, name: str) -> Any:
    return next(records for records in dataset.metadata.record_sets if records.id == name)


def test_responsible_ai_fields_are_true_of_the_run(run: Path, labels_alone: Path) -> None:
    path = labels_alone / "croissant.json"
    said = mlcroissant.Dataset(str(path)).metadata
    record = fairbench.load(run).record
    assert "was asked for 16 images, for 2 prompts of the task phantom-occupations" in said.data_collection
    assert record.labeller_id in said.machine_annotation_tools[0]
    assert said.annotator_demographics == ["None: a classifier gave the labels."]
    assert "never anyone's identity" in said.data_annotation_protocol[0]
    assert said.data_annotation_protocol[1] == "gender: female, male."
    assert any(sentence.startswith("gender: ") for sentence in said.data_biases)
    assert said.personal_sensitive_information[0] == "Perceived gender, race4 of faces in pictures."
    assert "ok 16" in said.data_collection_missing_data
    assert "2 prompts" in " ".join(said.data_limitations)
    fields = json.loads(path.read_text())
    assert fields["@context"]["rai"] == RAI
    assert fields["license"] == ["of the model: Apache-2.0", "of the labeller: Apache-2.0"]
    assert "of the model: Apache-2.0" in (labels_alone / "README.md").read_text()
    assert len([name for name in fields if name.startswith("rai:")]) >= 14


def outside_of_code(text: str) -> str:
    """Return Markdown without its blocks of code, where all is text."""
    assert text.count("\n```") % 2 == 0
    return re.sub(r"\n```.*?\n```\n", "\n", text, flags=re.DOTALL)


def hostile(run: Path, folder: Path) -> Path:
    """Return a copy of a run in which every text from outside is hostile."""
    shutil.copytree(run, folder)
    record = json.loads((folder / "run.json").read_text())
    record["model"] |= {"title": HOSTILE, "licence": HOSTILE}
    record["labeller"] |= {"title": HOSTILE, "licence": HOSTILE}
    atomic.write_text(folder / "run.json", json.dumps(record))
    prompts = pq.read_table(folder / "prompts.parquet")
    for column in ("text", "subject", "category"):
        texts = pa.array([f"{ACTS} {i}" for i in range(len(prompts))])
        prompts = prompts.set_column(prompts.schema.get_field_index(column), prompts.schema.field(column), texts)
    pq.write_table(prompts, folder / "prompts.parquet", write_page_checksum=True)

    def change(table: pa.Table) -> pa.Table:
        for column in ("text", "error"):
            texts = pa.array([f"{ACTS} {i}" for i in range(len(table))])
            table = table.set_column(table.schema.get_field_index(column), table.schema.field(column), texts)
        return table

    for shard in list((folder / "evidence" / "images").rglob("*.parquet")):
        rewrite_shard(shard, change)
    return folder


def test_hostile_text_comes_back_as_text(run: Path, cli: Cli, tmp_path: Path) -> None:
    copy = hostile(run, tmp_path / "odd")
    result = cli("export", copy, "--to", "hf-dataset", "--out", "a").succeeded()
    assert "\x1b" not in result.out + result.err
    rows = loaded(tmp_path / "a").to_list()
    check_labels(rows, fairbench.load(copy))
    assert rows[0]["prompt"] == rows[0]["category"] == f"{ACTS} 0"
    assert all(row["text"].startswith(ACTS) and row["error"].startswith(ACTS) for row in rows)
    text = (tmp_path / "a" / "README.md").read_text(encoding="utf-8")
    card = DatasetCard(text)
    assert card.data.pretty_name == f"{HOSTILE}: labels of phantom-occupations"
    assert card.data.license == "other"
    assert card.data.to_dict()["license_details"] == f"model: {HOSTILE}; labeller: {HOSTILE}"
    assert "<script>" not in outside_of_code(card.text)
    assert "\u202e" not in text
    assert "\x1b" not in text
    dataset = mlcroissant.Dataset(str(tmp_path / "a" / "croissant.json"))
    assert HOSTILE in dataset.metadata.license[0]
    assert next(iter(dataset.records("labels")))["labels/prompt"].decode() == f"{ACTS} 0"


def test_pictures_of_the_users_are_left_out_unless_asked_for(cli: Cli, tmp_path: Path, run: Path) -> None:
    folder = tmp_path / "mine" / "a judge in private"
    folder.mkdir(parents=True)
    original = fairbench.load(run)
    for i, image_id in enumerate(original.images()["image_id"].unique()):
        original.picture(image_id).save(folder / f"secret-name-{i}.png")
    (folder / "secret-broken.png").write_bytes(b"no picture")
    measured = tmp_path / "files" / "run"
    options = ["--labeller", "phantom", "--no-sheets", "--store", measured.parent / "store", "--out", measured]
    assert "secret-broken.png" in cli("run", "--model", f"folder:{folder.parent}", *options).err
    result = cli("export", measured, "--to", "hf-dataset", "--out", "a").succeeded()
    text = (tmp_path / "a" / "README.md").read_text()
    assert "which may show real people, and are left out" in text
    assert not (tmp_path / "a" / "data" / "images.parquet").exists()
    everything = b"".join(path.read_bytes() for path in (tmp_path / "a").rglob("*") if path.is_file())
    assert b"secret" not in everything + (result.out + result.err).encode()
    assert str(tmp_path).encode() not in everything
    said = mlcroissant.Dataset(str(tmp_path / "a" / "croissant.json")).metadata
    assert "Files that were there already: 17 images, for 1 prompt of" in said.data_collection
    assert "may show real people" in said.personal_sensitive_information[1]
    cli("export", measured, "--to", "hf-dataset", "--out", "b", "--with-images").succeeded()
    assert len(loaded(tmp_path / "b", "images")) == 16


def test_a_run_whose_store_is_gone(run: Path, cli: Cli, tmp_path: Path) -> None:
    shutil.copytree(run, tmp_path / "moved" / "run")
    result = cli("export", tmp_path / "moved" / "run", "--to", "hf-dataset", "--with-images", "--out", "a")
    assert result.code == 2
    assert "is in none of the stores" in result.err
    assert not (tmp_path / "a").exists()


def test_the_same_run_is_exported_to_the_same_bytes(run: Path, cli: Cli, tmp_path: Path, with_pictures: Path) -> None:
    assert "hf-dataset: a" in cli("export", run, "--to", "hf-dataset", "--with-images", "--out", "a").succeeded().out
    files = [
        {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*.*") if path.is_file()}
        for folder in (with_pictures, tmp_path / "a")
    ]
    assert files[0] == files[1]
    assert len(files[0]) == 5


def test_the_head_is_yaml_that_any_parser_reads(run: Path, with_pictures: Path) -> None:
    head = yaml.safe_load((with_pictures / "README.md").read_text().split("---\n")[1])
    assert head["configs"][0]["default"] is True
    assert (head["license"], head["size_categories"]) == ("apache-2.0", ["n<1K"])


def test_a_run_of_labels_alone_says_so(cli: Cli, tmp_path: Path) -> None:
    rows = [f"study,occupation {i // 6},{('female', 'male')[i % 3 > 0]}" for i in range(12)]
    (tmp_path / "study.csv").write_text("\n".join(["model,prompt,gender", *rows]))
    cli("run", "--labels", "study.csv", "--out", "run").succeeded()
    cli("export", "run", "--to", "hf-dataset", "--out", "a").succeeded()
    read = loaded(tmp_path / "a").to_list()
    check_labels(read, fairbench.load(tmp_path / "run"))
    assert {row["box"] for row in read} == {None}
    said = mlcroissant.Dataset(str(tmp_path / "a" / "croissant.json")).metadata
    assert said.data_collection.startswith("A table that was there already, with labels of 12 images, for 2 prompts of")
    assert said.data_collection_raw_data == "There are no pictures: the run has labels alone."
    assert said.annotator_demographics == ["Unknown: the labels come from a table that was made elsewhere."]
    assert said.machine_annotation_tools is None
    assert "by whoever made the table" in said.data_annotation_protocol[0]
    assert DatasetCard.load(tmp_path / "a" / "README.md").data.to_dict()["annotations_creators"] == ["other"]
    result = cli("export", "run", "--to", "hf-dataset", "--with-images", "--out", "b")
    assert (result.code, (tmp_path / "b").exists()) == (2, False)
    assert "has no pixels: the run has labels alone" in result.err


def test_a_function_of_a_file_is_named_without_its_path(cli: Cli, tmp_path: Path) -> None:
    code = "import numpy as np; version = 1\ndef draw(prompt, seed):\n    return np.full((9, 9, 3), seed % 256, 'u1')\n"
    (tmp_path / "drawing.py").write_text(code)
    asked = ("--task", "phantom-occupations", "--labeller", "phantom", "--limit-prompts", 1, "-n", 2, "--no-sheets")
    cli("run", "--model", f"{tmp_path / 'drawing.py'}:draw", *asked, "--scorers", "none", "--out", "run")
    cli("export", "run", "--to", "hf-dataset", "--out", "a").succeeded()
    everything = b"".join(path.read_bytes() for path in (tmp_path / "a").rglob("*") if path.is_file())
    assert not any(
        text in everything for text in (str(tmp_path).encode(), b"drawing.py", tmp_path.parent.name.encode())
    )
    assert b"drawing.draw" in everything
