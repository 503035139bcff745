"""The labeller `vqa` with each kind of judge, over pictures that one colour fills, and in commands that use it."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest
import yaml
from PIL import Image

import fairbench
from fairbench.cards import catalog
from fairbench.labelling import judges
from fairbench.labelling.labeller import Labeller
from fairbench.networks import hub, vlm
from fairbench.serving import patience
from fairbench.types import RgbImage
from tests.builders import annotators
from tests.builders.chat_server import ChatServer, parsed, said
from tests.builders.cli import Cli, Result
from tests.builders.folders import ROOT
from tests.builders.image_server import MODEL, Reply
from tests.builders.vlms import save_tiny_vlm
from tests.builders.workers import STUBS, write_card

COLOURS = {"red": (220, 30, 30), "green": (20, 200, 40), "blue": (10, 20, 230)}
PER_PROMPT = 6


@pytest.fixture
def pictures(tmp_path: Path) -> Path:
    """A folder of two prompts, each with two pictures of every colour; no two are equal."""
    for p, prompt in enumerate(("a field", "a wall")):
        (tmp_path / "pictures" / prompt).mkdir(parents=True)
        for i in range(PER_PROMPT):
            pixels = np.full((24, 32 + p, 3), list(COLOURS.values())[i % 3], dtype=np.uint8)
            pixels[0, 0] = i
            Image.fromarray(pixels).save(tmp_path / "pictures" / prompt / f"{i}-{list(COLOURS)[i % 3]}.png")
    return tmp_path / "pictures"


def labeller(folder: Path, name: str = "colours", form: str | None = None, **judge: Any) -> Path:
    """Write a card that asks for the colour of a whole picture, and for its brightness; return its path."""
    questions = {
        "colour": {"text": "Which colour fills the picture?", "answers": {"red": ["red", "crimson"]}},
        "light": {"text": "How bright is the picture?"},
    }
    classifier: dict[str, Any] = {"type": "vqa", "judge": judge, "questions": questions}
    card = {
        "name": name,
        "title": "Colours",
        "routes": [{"detector": {"type": "whole-image"}, "crop": {"type": "box", "padding": 0.0}}],
        "classifiers": [classifier | ({} if form is None else {"form": form})],
        "attributes": {"colour": {"labels": list(COLOURS)}, "light": {"labels": ["bright", "dim"]}},
    }
    path = folder / f"{name}.yaml"
    path.write_text(yaml.safe_dump(card))
    return path


def colour_of(image: RgbImage) -> str:
    return list(COLOURS)[int(image[-1, -1].argmax())]


def sees(question: str, image: RgbImage | None) -> str:
    """Answer with the letter of what is seen, as the options stand in this very question."""
    assert image is not None
    wanted = colour_of(image) if "colour" in question else "bright"
    match = re.search(rf"([A-Z])\. {wanted}\n", question)
    assert match is not None
    return match[1]


def rows(run: Path) -> pd.DataFrame:
    """Return the label rows of a run, as they are stored, with what the pictures of a folder show (`shown`)."""
    shards = sorted((run / "evidence" / "labels").rglob("*.parquet"))
    table = pd.concat([pq.read_table(shard).to_pandas() for shard in shards])
    samples = fairbench.load(run).images().set_index("image_id")["sample_index"]
    ids = [i.hex() for i in table["image_id"]]
    return table.assign(image_id=ids, shown=[list(COLOURS)[samples[i] % 3] for i in ids])


def colours(run: Path) -> pd.DataFrame:
    return rows(run)[lambda table: table["attribute"] == "colour"]


def test_a_server_on_this_machine_may_see_files_and_reads_them(cli: Cli, pictures: Path, tmp_path: Path) -> None:
    with ChatServer(sees) as server:
        card = labeller(tmp_path, endpoint={"model": MODEL, "base_url": server.url, "price_per_question": 0.01})
        plan = cli("run", "--model", "folder:pictures", "--labeller", card, "--dry-run").succeeded()
        assert "questions: at most 24 of the labeller, if each image shows one face, about $0.24" in plan.out
        assert server.requests == []
        done = cli("run", "--model", "folder:pictures", "--labeller", card, "--out", "run").succeeded()
        assert len(server.requests) == 24
        texts = {question for question, _ in server.asked}
        assert not any(word in text for text in texts for word in ("field", "wall", "png"))
        assert len(texts) > 6  # orders of the options
        cli("run", "--model", "folder:pictures", "--labeller", card, "--store", "other", "--out", "b").succeeded()
        assert len(server.requests) == 24  # nothing is asked, or paid, twice
        port = server.origin.rsplit(":", 1)[1]
    read = rows(tmp_path / "run").set_index("attribute")
    assert len(read) == 24 and (read.loc["colour", "label"] == read.loc["colour", "shown"]).all()
    assert (read.loc["light", "label"] == "bright").all()
    assert "not judged: the labels are a model's answers" in " ".join(done.out.split())
    cli("leaderboard", "add", tmp_path / "run", "--leaderboard", "board.csv").succeeded()
    published = [p.read_bytes() for p in (tmp_path / "evidence").rglob("*") if p.is_file()]
    assert published and not any(port.encode() in data for data in published)


def test_an_answer_that_is_no_option_is_counted_and_never_guessed(
    cli: Cli, pictures: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(patience, "FIRST_WAIT", 0.0)

    def answers(question: str, image: RgbImage | None) -> str:
        assert image is not None
        if "colour" not in question:
            return "I cannot tell"
        return {"red": sees(question, image), "green": "Z", "blue": "either red or blue"}[colour_of(image)]

    def behave(number: int, body: Mapping[str, Any]) -> Reply | None:
        question, image = parsed(dict(body))
        assert image is not None
        refused = "colour" in question and image[0, 0, 0] == 0  # the first picture of each prompt, which is red
        return Reply(said(None, refusal="no")) if refused else Reply({}, 503) if number == 3 else None

    with ChatServer(answers, behave) as server:
        card = labeller(tmp_path, endpoint={"model": MODEL, "base_url": server.url, "concurrency": 1})
        done = cli("run", "--model", "folder:pictures", "--labeller", card, "--out", "run").succeeded()
    read = rows(tmp_path / "run")
    assert (read["status"] == np.where(read["label"].isna(), "unclear", "ok")).all()
    known = read[read["label"].notna()]
    assert len(known) == 2 and set(known["label"]) == set(known["shown"]) == {"red"}
    assert (known["attribute"] == "colour").all() and len(read) == 24
    words = " ".join(done.out.split())
    assert "unread-answers" in words and "'Z'" in words and "either red or blue" in words


def test_a_worker_is_asked_and_its_code_is_in_the_key(cli: Cli, pictures: Path, tmp_path: Path) -> None:
    recipe = Path(shutil.copy(STUBS / "sees_colours.py", tmp_path / "sees_colours.py"))
    model = write_card(tmp_path, "stub", "seer", recipe=str(recipe))
    card = labeller(tmp_path, model=str(model))
    first = Labeller(catalog.load_labeller(str(card))).id
    cli("run", "--model", "folder:pictures", "--labeller", card, "--limit-prompts", 1, "--out", "run").succeeded()
    read = colours(tmp_path / "run")
    assert len(read) == PER_PROMPT and (read["label"] == read["shown"]).all()
    recipe.write_text(recipe.read_text() + "\n# changed\n")
    assert Labeller(catalog.load_labeller(str(card))).id != first


def test_a_vision_language_model_is_asked(
    cli: Cli, pictures: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = save_tiny_vlm(tmp_path / "vlm")
    card = labeller(tmp_path, transformers={"path": str(folder)})
    done = cli("run", "--model", "folder:pictures", "--labeller", card, "--limit-prompts", 1, "--out", "r").succeeded()
    assert set(colours(tmp_path / "r")["status"]) <= {"ok", "unclear"}  # random weights: it says anything
    assert "by a model that was asked about each picture" in " ".join(done.out.split())
    missing = labeller(tmp_path, "missing", transformers={"repo": "org/none", "revision": "0" * 40})
    for offline, how in (("0", "the first run downloads it"), ("1", hub.OFF)):
        monkeypatch.setenv("HF_HUB_OFFLINE", offline)
        plan = cli("run", "--model", "folder:pictures", "--labeller", missing, "--dry-run").succeeded()
        assert f"missing: labeller missing: The model org/none is not on this machine; {how}" in plan.out


def test_a_dry_run_loads_no_weights(cli: Cli, pictures: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = save_tiny_vlm(tmp_path / "vlm")

    def fail(*_: object) -> None:
        raise AssertionError("the weights were loaded")

    monkeypatch.setattr(vlm.VisionLanguageModel, "_loaded", property(fail))
    card = labeller(tmp_path, transformers={"path": str(folder)})
    assert "missing" not in cli("run", "--model", "folder:pictures", "--labeller", card, "--dry-run").succeeded().out


def test_what_a_judge_lacks_is_told_before_anything_is_made(cli: Cli, tmp_path: Path) -> None:
    run = ("run", "--model", "phantom-exact", "--limit-prompts", 1, "-n", 2)
    worker = write_card(tmp_path, "sees_colours", "seer", python="/nowhere/python")
    for judge, part in (
        ({"endpoint": {"model": MODEL, "base_url": "http://127.0.0.1:9", "key_variable": "NO_KEY"}}, "NO_KEY"),
        ({"endpoint": {"model": MODEL, "url_variable": "NO_URL"}}, "set the environment variable NO_URL"),
        ({"transformers": {"path": "/nowhere"}}, "/nowhere does not exist"),
        ({"model": str(worker)}, "/nowhere/python"),
        ({"model": "self"}, "phantom-exact answers no questions about images"),
    ):
        refused = cli(*run, "--labeller", labeller(tmp_path, **judge), "--out", "run")
        assert refused.code == 2 and part in refused.err and "Traceback" not in refused.err, refused.err
        assert not (tmp_path / "run").exists()


def test_a_manifest_may_say_that_all_images_were_generated(cli: Cli, pictures: Path, tmp_path: Path) -> None:
    address = "http://192.0.2.1:9/v1"  # of no machine
    judge = {"model": MODEL, "base_url": address, "timeout": 0.1, "attempts": 1}
    card = labeller(tmp_path, endpoint=judge)
    files = [f"{path},{path.parent.name}" for path in sorted(pictures.rglob("*.png"))]

    def plan(origins: list[str]) -> Result:
        rows = [f"{file},{origin}" for file, origin in zip(files, origins, strict=True)]
        (tmp_path / "m.csv").write_text("\n".join(["path,prompt,origin", *rows]) + "\n")
        return cli("run", "--model", "folder:m.csv", "--labeller", card, "--dry-run")

    for origins in ([""] * 12, ["generated"] * 11 + [""]):
        refused = plan(origins)
        assert refused.code == 2 and address in refused.err
        assert "write `generated` into a column `origin` of their manifest" in refused.err
    wrong = plan(["generated"] * 11 + ["photograph"])
    assert wrong.code == 2 and "line 13, field origin: 'photograph' is not 'generated'" in wrong.err
    allowed = plan(["generated"] * 12)
    assert allowed.code == 0 and "declared-generated" in allowed.err and address in allowed.err
    here = labeller(tmp_path, "here", endpoint=judge | {"base_url": "http://127.0.0.1:9/v1"})
    stays = cli("run", "--model", "folder:m.csv", "--labeller", here, "--dry-run").succeeded()
    assert "asked-labels" in stays.err and "declared-generated" not in stays.err


def test_photographs_of_an_audit_are_not_sent_away(cli: Cli, pictures: Path, tmp_path: Path) -> None:
    address = "https://api.example.com/v1"
    card = labeller(tmp_path, endpoint={"model": MODEL, "base_url": address})
    files = sorted(pictures.rglob("*.png"))
    (tmp_path / "people.csv").write_text("path,colour\n" + "".join(f"{f},red\n" for f in files))
    refused = cli("audit", "--model", "phantom", "--labeller", card, "--probe-images", "people.csv")
    assert refused.code == 2 and address in refused.err, refused.err


def test_no_table_confuses_labels_that_are_not_there(cli: Cli, tmp_path: Path) -> None:
    data = yaml.safe_load((ROOT / "models/labellers/phantom-vqa.yaml").read_text())
    inner = data["classifiers"][0] | {"judge": {"endpoint": {"model": MODEL, "base_url": "https://api.example.com"}}}
    data["classifiers"] = [
        {"type": "confused", "classifier": inner, "attributes": ["gender"], "table": np.eye(2).tolist()}
    ]
    (tmp_path / "nested.yaml").write_text(yaml.safe_dump(data))
    refused = cli("run", "--model", "phantom-exact", "--labeller", tmp_path / "nested.yaml", "--dry-run")
    assert refused.code == 2 and "vqa gives some chips no label" in refused.err


@pytest.mark.long
def test_labels_by_people_give_the_verdict_back(cli: Cli, tmp_path: Path) -> None:
    run = ("run", "--limit-prompts", 4, "--images-per-prompt", 12, "--labeller", "phantom-vqa", "--out", "run")
    assert "not judged" in cli(*run).succeeded().out
    shown = rows(tmp_path / "run")
    truth: dict[str, dict[str, str]] = {}
    for row in shown.itertuples():
        label = row.label if isinstance(row.label, str) else annotators.words.NO_PERSON
        truth.setdefault(str(row.image_id), {})[str(row.attribute)] = label
    made = cli("annotate", "run", "--per-prompt", 8, "--annotators", 2, "--format", "csv", "--out", "study")
    made.succeeded()
    annotators.answer(tmp_path / "study", truth, [0.0, 0.05])
    cli("annotate", "--collect", "study").succeeded()
    cli("calibrate", "--from", "study").succeeded()
    text = " ".join(cli("show", "run").succeeded().out.split())
    assert "not judged" not in text and "By people: what most of 2 annotators perceive, from 32 images." in text
    assert "as seen by most of the annotators who were asked or by a model that was asked about each picture" in text
    record = json.loads((tmp_path / "run" / "run.json").read_text())
    assert "self-judged" in {notice["code"] for notice in record["notices"]}


@pytest.mark.long
def test_pages_show_who_was_asked(cli: Cli, pictures: Path, tmp_path: Path) -> None:
    run = ("run", "--limit-prompts", 2, "-n", 3, "--labeller", "phantom-vqa", "--no-sheets", "--out", "run")
    cli(*run, "--report").succeeded()
    page = (tmp_path / "run" / "index.html").read_text()
    for words in ("self-judged", "asked about each picture", "not judged"):
        assert words in page, words
    cli("export", "run", "--to", "hf-dataset", "--out", "data").succeeded()
    readme = (tmp_path / "data" / "README.md").read_text()
    assert "machine-generated" in readme and "asked about each picture" in readme
    cli("export", "run", "--to", "dossier", "--out", "dossier").succeeded()
    assert "- asked: phantom" in (tmp_path / "dossier" / "dossier.md").read_text()


def test_whom_a_card_asks_is_named_without_paths_and_addresses(tmp_path: Path) -> None:
    for judge, name in (
        ({"endpoint": {"model": "org/served", "base_url": "http://gpu7:8000/v1"}}, "org/served"),
        ({"transformers": {"repo": "org/vlm", "revision": "0" * 40}}, "org/vlm"),
        ({"transformers": {"path": "/home/me/vlm"}}, "vlm"),
        ({"model": "phantom"}, "phantom"),
    ):
        assert judges.names(catalog.load_labeller(str(labeller(tmp_path, **judge))).card) == [name]
    assert judges.names(catalog.load_labeller("phantom").card) == []
