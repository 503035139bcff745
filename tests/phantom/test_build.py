"""A whole build of the phantom at toy size: what comes out, that it resumes exactly, and what says no to it."""

from __future__ import annotations

import csv
import functools
import json
import re
import shlex
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors import safe_open

from fairbench.cards import catalog, truth_table
from fairbench.display.progress import SILENT
from fairbench.errors import FairbenchError
from fairbench.labelling import confusion
from fairbench.networks import janus
from fairbench.phantom import check, drawing, figures, layout, planted, reading, text
from fairbench.phantom.making import build, report, train_clip, train_labeller, train_model, train_tokenizer
from tests.builders.cli import Cli
from tests.builders.phantom import SHIPPED, SIZE, toy_sizes
from tests.builders.progress import Recorder

SEED = 3
JANUS = {
    "chat_template.jinja",
    "config.json",
    "generation_config.json",
    "model.safetensors",
    "processor_config.json",
    "tokenizer.json",
    "tokenizer_config.json",
}
CLIP = {"open_clip_config.json", "open_clip_model.safetensors", "tokenizer.json", "tokenizer_config.json"}


@pytest.fixture(scope="module", autouse=True)
def toy() -> Iterator[None]:
    """Every stage as it is, with a handful of steps, rows, subjects and images."""
    with toy_sizes():
        yield


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A build without interruption, with its report."""
    out = tmp_path_factory.mktemp("whole") / "build"
    report.write(out, build.Builder(out, SEED, SILENT, SIZE).run())
    return out


def files(folder: Path, *without: str) -> dict[str, bytes]:
    """Name -> content of all files below a folder, but for those below `without`."""
    found = {p.relative_to(folder).as_posix(): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()}
    return {name: data for name, data in found.items() if not name.startswith(without)}


@pytest.fixture
def copy(built: Path, tmp_path: Path) -> Path:
    """The parts of the build that ship, elsewhere."""
    shutil.copytree(built, tmp_path / "copy", ignore=shutil.ignore_patterns("work", "report"))
    return tmp_path / "copy"


# --- what comes out ---


def test_the_folder_has_the_layout_of_models(built: Path) -> None:
    names = set(files(built, "work/", "report/"))
    weights = {"phantom_detector.onnx", "phantom_classifier.onnx", "phantom_calibration.json"}
    assert names == {
        *build.CARDS,
        layout.REALISED,
        *(f"phantom/janus/{n}" for n in JANUS),
        *(f"phantom/clip/{n}" for n in CLIP),
        *(f"labellers/weights/{n}" for n in weights),
    }
    assert all((SHIPPED / card).is_file() for card in build.CARDS)
    assert not list(built.rglob(".*"))  # no temporary files


@pytest.fixture
def implausible(monkeypatch: pytest.MonkeyPatch) -> None:
    """After four steps of training a labeller reads nothing right: its calibration would rightly be refused."""
    monkeypatch.setattr(confusion, "refuse_implausible", lambda *_: None)


@pytest.mark.usefixtures("implausible")
def test_the_cards_parse_and_name_this_builds_files(built: Path, cli: Cli) -> None:
    found = cli("check", built)
    assert (found.code, found.out) == (0, "3 cards, 0 problems\n")
    card = catalog.load_model(str(built / "phantom.yaml")).card
    shares = json.loads((built / "report" / "guidance.json").read_text())
    assert set(shares) == {"1.0", "2.0", "3.0"}
    choosable = {float(g): row["total_variation"] for g, row in shares.items() if float(g) <= build.CHOOSABLE}
    assert card.sampling["guidance"] == min(choosable, key=lambda g: choosable[g])
    detector = (SHIPPED / "labellers" / "weights" / layout.DETECTOR_FILE).read_bytes()
    for name in build.CARDS[1:]:
        ours, shipped = ((folder / name).read_text().splitlines() for folder in (built, SHIPPED))
        changed = [line for line, other in zip(ours, shipped, strict=True) if line != other]
        own = ["sha256", "calibration"] if "noisy" in name else ["sha256"]  # detectors differ, and so their errors
        assert [line.split(":")[0].strip() for line in changed] == own, name
    assert (built / "labellers" / "weights" / layout.DETECTOR_FILE).read_bytes() != detector


def test_the_checkpoint_is_float16_and_loads(built: Path) -> None:
    path = built / "phantom" / "janus" / "model.safetensors"
    with safe_open(path, framework="pt") as stored:
        assert {stored.get_tensor(name).dtype for name in stored.keys()} == {torch.float16}  # noqa: SIM118
        assert stored.metadata() == {"format": "pt"}
    model = janus.load(path.parent, "cpu", "float32")
    shown = drawing.images(model, ["a nurse", "Draw a sailor", "a nurse"], [1, 2, 1], 2.0)
    assert (shown.shape, shown.dtype) == ((3, 64, 64, 3), np.uint8)
    assert np.array_equal(shown[0], shown[2])
    assert not np.array_equal(shown[0], shown[1])


def test_the_calibration_counts_every_render(built: Path) -> None:
    found = confusion.read(built / layout.CALIBRATION)
    assert found.cells == planted.CELLS
    assert found.counts.sum(axis=1).tolist() == [SIZE.renders] * 8
    assert found.seed == SEED
    assert 0 <= found.independent_check["agreement_with_nearest_render"] <= 1
    assert np.array_equal(np.diag(found.rates()), check.calibrated_rates(built / layout.CALIBRATION))


def test_the_realised_truth_is_what_was_counted(built: Path) -> None:
    shares = truth_table.read(built / layout.REALISED, planted.COLUMNS)
    assert tuple(shares) == text.EVALUATED
    counted = json.loads((built / "work" / "drawn" / "realised-truth.json").read_text())["cells"]
    for row, cells in zip(shares.values(), counted, strict=True):
        assert np.bincount(cells, minlength=8) / SIZE.realised == pytest.approx(row, abs=1e-6)
    with (built / layout.REALISED).open(newline="") as file:
        assert {row["n"] for row in csv.DictReader(file)} == {str(SIZE.realised)}


def test_the_report_shows_every_bar_and_its_pictures_open(built: Path) -> None:
    folder = built / "report"
    bars = json.loads((folder / "bars.json").read_text())
    page = (folder / "report.md").read_text()
    assert len(bars) >= 18
    for bar in bars:
        line = next(line for line in page.splitlines() if line.startswith(f"| {bar['name']} |"))
        assert line.endswith("| yes |" if bar["holds"] else "| **no** |")
    pictures = re.findall(r"\]\((\w+\.png)\)", page)
    assert sorted(pictures) == ["curves.png", "drawn.png", "guidance.png", "guidances.png", "tokenizer.png"]
    for name in pictures:
        with Image.open(folder / name) as picture:
            assert np.asarray(picture.convert("L")).std() > 1
    assert set(files(folder)) == {*pictures, "bars.json", "guidance.json", "report.md"}


@pytest.mark.usefixtures("implausible")
def test_building_again_trains_nothing_and_its_run_command_works(
    built: Path, cli: Cli, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = files(built)

    def refuse(*_: object, **__: object) -> None:
        raise AssertionError("a finished stage was done again")

    for module in (train_labeller, train_tokenizer, train_model, train_clip):
        monkeypatch.setattr(module, "train", refuse)
    records = [json.loads(p.read_text()) for p in (built / "work" / "drawn").iterdir()]
    counted = [record["cells"] for record in records if "cells" in record]
    assert len(counted) == 8  # three guidances, the realised truth, four templates
    found = cli("phantom", "build", "--out", built, "--seed", SEED, "--quiet")
    assert (found.code, found.err) == (1, "")  # four steps of training meet no bar
    assert files(built) == before
    (missed,) = re.findall(r"^\d+ bars, (\d+) not met$", found.out, re.M)
    assert len(re.findall(r" NO *$", found.out, re.M)) == int(missed) > 5
    (line,) = re.findall(r"^use it: fairbench (.+)$", found.out, re.M)
    run = cli(*shlex.split(line), "--limit-prompts", "1", "-n", "2", "--no-sheets", "--out", "out")
    assert run.code == 0, run.err
    assert "Truth, realised: " in run.out
    assert json.loads(Path("out/run.json").read_text())["made_in_this_process"]["images"] == 2


# --- resuming ---


class Stop(Exception):
    """Somebody pressed Ctrl-C."""


@pytest.mark.long
def test_a_build_that_is_stopped_in_every_stage_gives_the_same_files(built: Path, tmp_path: Path) -> None:
    """Once in each training and each kind of count, in one folder, each time by a new builder."""
    out = tmp_path / "build"
    # Stage and its total -> what is left of it after a stop. Of a training, the state after two steps was kept, and the
    # third is taken again; of a count, every caption.
    left_of = {
        ("labeller", 1): 1,
        ("image", 4): 2,
        ("image", 5): 3,
        ("language", 4): 2,
        ("clip", 4): 2,
        ("guidance", 4): 1,
        ("decoded", 32): 32,
        ("realised", 4): 1,
        ("held-out", 4): 1,
    }
    starts: list[tuple[str, int]] = []
    starts_before_stop: dict[tuple[str, int], int] = {}

    def stop_each_once(name: str, done: int, total: int) -> None:
        stage = (name.split()[0], total)
        if done == 0:
            starts.append(stage)
        if stage in left_of and stage not in starts_before_stop and done >= min(3, total - 1):
            starts_before_stop[stage] = len(starts)
            raise Stop

    bars = None
    while bars is None:
        try:
            bars = build.Builder(out, SEED, Recorder(stop_each_once), SIZE).run()
        except Stop:
            assert len(starts_before_stop) < 20
    report.write(out, bars)
    assert list(starts_before_stop) == list(left_of)
    for (name, total), before in starts_before_stop.items():
        left = next(left for started, left in starts[before:] if started == name and left)
        assert left == left_of[name, total], name
    ours, whole = files(out), files(built)
    assert ours.keys() == whole.keys()
    assert [name for name, data in ours.items() if data != whole[name] and not name.endswith("state.pt")] == []


def test_a_build_of_another_seed_is_refused(built: Path, cli: Cli) -> None:
    before = files(built)
    found = cli("phantom", "build", "--out", built, "--seed", SEED + 1)
    assert found.code == 2
    assert found.err == f"Error: {built} holds a build with seed {SEED}: name that seed, or another folder.\n"
    assert files(built) == before


def test_another_seed_trains_on_other_renders(built: Path, tmp_path: Path) -> None:
    def after_the_first_state(name: str, done: int, total: int) -> None:
        if (name, done) == ("image tokenizer", 2):
            raise Stop

    with pytest.raises(Stop):
        build.Builder(tmp_path, SEED + 1, Recorder(after_the_first_state), SIZE).run()
    name = "work/tokenizer/autoencoder/history.jsonl"
    ours, whole = ([json.loads(line) for line in (folder / name).open()] for folder in (tmp_path, built))
    assert [row["step"] for row in ours] == [0, 1]
    assert all(row["loss"] != other["loss"] for row, other in zip(ours, whole, strict=False))


def test_a_folder_that_cannot_be_written_is_named(tmp_path: Path, cli: Cli) -> None:
    (tmp_path / "file").write_text("")
    found = cli("phantom", "build", "--out", tmp_path / "file")
    assert found.code == 2
    assert re.fullmatch(r"Error: --out .+/file is a file: name a folder\.\n", found.err)


# --- checking ---


def test_a_check_names_the_bars_that_are_missed(copy: Path, cli: Cli) -> None:
    found = cli("phantom", "check", "--dir", copy, "--quiet")
    assert (found.code, found.err) == (1, "")
    missed = re.findall(r"^ *(\S.*?)  .*\bNO *$", found.out, re.M)
    assert "understanding: gender of an image" in missed
    as_json = cli("phantom", "check", "--dir", copy, "--quiet", "--json")
    assert as_json.code == 1
    bars = json.loads(as_json.out)
    assert [bar["name"] for bar in bars if not bar["holds"]] == missed
    assert {bar["slack"] for bar in bars if bar["error"]} == {check.SLACK}


@pytest.mark.parametrize(("value", "code", "words"), [(0.5, 0, "All 1 bars are met."), (0.2, 1, "1 bars, 1 not met")])
def test_the_exit_code_is_that_of_the_bars(
    copy: Path, cli: Cli, monkeypatch: pytest.MonkeyPatch, value: float, code: int, words: str
) -> None:
    monkeypatch.setattr(check, "check", lambda *_: [figures.Bar("a bar", value, "at least", 0.5, 0.01, 3.0)])
    found = cli("phantom", "check", "--dir", copy)
    assert found.code == code
    assert words in found.out
    assert "at least 0.5 (3 s.e.)" in found.out


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def edit(path: Path, pattern: str, new: str) -> None:
    changed, times = re.subn(pattern, new, path.read_text(), flags=re.M)
    assert times, f"{pattern} is not in {path}"
    path.write_text(changed)


DAMAGES: dict[str, tuple[str, Callable[[Path], None]]] = {
    "no card": ("phantom.yaml", Path.unlink),
    "no number in the card": ("phantom.yaml", lambda p: edit(p, r"guidance: .*", "guidance: much")),
    "a field that is unknown": ("phantom.yaml", lambda p: edit(p, r"guidance:", "guidence:")),
    "truncated weights": ("phantom/janus/model.safetensors", cut),
    "no weights": ("phantom/janus/model.safetensors", Path.unlink),
    "no configuration": ("phantom/janus/config.json", Path.unlink),
    "no text tokenizer": ("phantom/janus/tokenizer.json", Path.unlink),
    "no calibration": ("labellers/weights/phantom_calibration.json", Path.unlink),
    "truncated calibration": ("labellers/weights/phantom_calibration.json", cut),
    "a calibration of other labels": (
        "labellers/weights/phantom_calibration.json",
        lambda p: edit(p, '"WMELH"', '"Grey"'),
    ),
    "no realised truth": ("phantom/realised.csv", Path.unlink),
    "no column n": ("phantom/realised.csv", lambda p: edit(p, r",n,", ",m,")),
    "an n that is no number": ("phantom/realised.csv", lambda p: edit(p, r",4,", ",four,")),
    "an n that is too small": ("phantom/realised.csv", lambda p: edit(p, r",4,", ",1,")),
    "no row of a subject": ("phantom/realised.csv", lambda p: edit(p, r"^barber,.*\n", "")),
    "truncated detector": ("labellers/weights/phantom_detector.onnx", cut),
    "no classifier": ("labellers/weights/phantom_classifier.onnx", Path.unlink),
    "no clip": ("phantom/clip", shutil.rmtree),
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_part_is_named_in_one_sentence(copy: Path, cli: Cli, damage: str) -> None:
    name, harm = DAMAGES[damage]
    harm(copy / name)
    found = cli("phantom", "check", "--dir", copy, "--quiet")
    assert (found.code, found.out) == (2, ""), found.out
    assert re.fullmatch(r"Error: [^\n]+\.\n", found.err), found.err
    part = "phantom/janus" if name.startswith("phantom/janus") else name  # of a checkpoint, the folder
    assert f"{copy.name}/{part}" in found.err


def test_a_folder_that_is_not_there_is_named(tmp_path: Path, cli: Cli) -> None:
    found = cli("phantom", "check", "--dir", tmp_path / "nowhere")
    assert (found.code, found.out) == (2, "")
    assert re.fullmatch(r"Error: .*nowhere/phantom\.yaml[^\n]*\n", found.err)


# --- a model that cannot be measured ---


def test_a_caption_without_any_face_is_named(built: Path, tmp_path: Path) -> None:
    class Blind:
        def read(self, images: np.ndarray) -> np.ndarray:
            return np.full(len(images), reading.NOBODY)

    model = janus.load(built / "phantom" / "janus", "cpu", "float32")
    keep = tmp_path / "kept.json"
    with pytest.raises(FairbenchError, match=r"any of 3 images of 'a nurse' at guidance 1: .*another seed"):
        drawing.read_back(model, Blind(), ["a nurse"], 3, 0, 1.0, keep)  # type: ignore[arg-type]
    assert not keep.exists()


def test_weights_that_are_no_numbers_are_told(built: Path) -> None:
    model = janus.load(built / "phantom" / "janus", "cpu", "float32")
    with torch.no_grad():
        model.net.model.generation_head.vision_head.weight.fill_(float("nan"))
    with pytest.raises(FairbenchError, match="not finite"):
        drawing.images(model, ["a nurse"], [0], 1.0)


def test_a_count_of_other_images_is_not_taken_for_this_one(built: Path, tmp_path: Path) -> None:
    model, reader = (
        janus.load(built / "phantom" / "janus", "cpu", "float32"),
        reading.reader(built / "labellers" / "weights"),
    )
    keep, progress = tmp_path / "kept.json", Recorder()
    again = functools.partial(drawing.read_back, model, reader, record_path=keep, progress=progress)
    first = again(["a nurse", "a sailor"], 3, 0, 1.0)
    assert np.array_equal(again(["a nurse", "a sailor"], 3, 0, 1.0), first)
    assert progress.events == [("drawn", 0, 2), ("drawn", 1, 2), ("drawn", 2, 2), ("drawn", 0, 0)]
    for other in ((["a nurse", "a maid"], 3, 0, 1.0), (["a nurse"], 4, 0, 1.0), (["a nurse"], 4, 1, 1.0)):
        progress.events.clear()
        assert again(*other).shape == (len(other[0]), other[1])
        assert progress.events[-1] == ("drawn", len(other[0]), len(other[0]))
    assert drawing.count_cells(np.array([[0, 0, reading.NOBODY, 7]])).tolist() == [[2, 0, 0, 0, 0, 0, 0, 1]]
