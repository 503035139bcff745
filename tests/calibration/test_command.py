"""`fairbench calibrate` through the command line: the phantom's mannequins, and five photographs."""

from __future__ import annotations

import csv
import importlib.util
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from fairbench.cards import catalog
from fairbench.display.note import LABEL_NOTE
from fairbench.errors import CardError
from fairbench.labelling import confusion
from fairbench.labelling.labeller import Labeller
from fairbench.linting import cards
from fairbench.phantom.planted import CELLS
from fairbench.phantom.renderer import render
from fairbench.storage import pixels
from tests.builders.cards import copy_labeller
from tests.builders.cli import Cli
from tests.builders.folders import ROOT, SHARED

PER_CELL = 60
NOBODY = 32


@pytest.fixture(scope="module")
def mannequins(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The manifest of PER_CELL renders a cell, and of NOBODY renders without a head."""
    folder = tmp_path_factory.mktemp("mannequins")
    rows: list[tuple[str, str, str]] = []
    for i, cell in enumerate(CELLS):
        for j in range(PER_CELL):
            rows.append((f"{i}-{j}.png", *cell))
            image = render(*cell, np.random.default_rng([7, i, j]))
            (folder / rows[-1][0]).write_bytes(pixels.encode(image))
    for j in range(NOBODY):
        rows.append((f"nobody-{j}.png", "no person", "no person"))
        image = render(*CELLS[j % 8], np.random.default_rng([8, j]), head=False)
        (folder / rows[-1][0]).write_bytes(pixels.encode(image))
    return written(folder / "manifest.csv", rows)


def written(path: Path, rows: list[tuple[str, str, str]]) -> Path:
    with path.open("w", newline="") as file:
        csv.writer(file).writerows([("path", "gender", "race4"), *rows])
    return path


def declared() -> NDArray[np.float64]:
    """The errors that the card of phantom-noisy was made with."""
    return np.array(catalog.load_labeller("phantom-noisy").card.classifiers[0].params["table"])


def p_value(counts: NDArray[np.int64], table: NDArray[np.float64]) -> float:
    """Of Pearson's chi-square of counts (8, 8) against multinomial rows, by simulation: many cells are rare."""

    def distance(n: NDArray[Any]) -> NDArray[Any]:
        return np.asarray(((n - PER_CELL * table) ** 2 / (PER_CELL * table)).sum(axis=(-1, -2)))

    drawn = np.random.default_rng(0).multinomial(PER_CELL, table, size=(4000, 8))
    return float((distance(drawn) >= distance(counts)).mean())


def test_clean_and_noisy_labellers_of_mannequins(cli: Cli, mannequins: Path) -> None:
    base = ("calibrate", "--images", mannequins, "--domain", "renders", "--store", "store")
    clean = cli(*base, "--labeller", "phantom", "--out", "clean.json")
    assert clean.code == 0, clean.err
    assert "faces and labels" in clean.err
    assert "phantom on renders · 480 persons" in clean.out and LABEL_NOTE in clean.out
    assert "correction: possible" in clean.out
    found = confusion.read(Path("clean.json"))
    assert np.trace(found.counts[:8, :8]) >= 8 * PER_CELL - 2, "clean renders are read right"
    np.testing.assert_array_equal(found.counts[8], [0] * 8 + [NOBODY])
    noisy = cli(*base, "--labeller", "phantom-noisy", "--out", "made/noisy.json", "--json", "--quiet")
    assert noisy.code == 0, noisy.err
    assert "faces and labels" not in noisy.err
    found, told = confusion.read(Path("made/noisy.json")), json.loads(noisy.out)
    assert found.counts[:8].sum(axis=1).tolist() == [PER_CELL] * 8
    assert p_value(found.counts[:8, :8], declared()) > 1e-3
    joint = declared().reshape(8, 2, 4)
    product = (joint.sum(axis=2)[:, :, None] * joint.sum(axis=1)[:, None, :]).reshape(8, 8)
    assert p_value(found.counts[:8, :8], product) < 1e-3, "a product of margins would have been told apart"
    assert told["correction"]["possible"]
    assert told["correction"]["condition"] == pytest.approx(np.linalg.cond(declared()), rel=0.25)
    assert found.command.startswith("fairbench calibrate --labeller phantom-noisy --images ")
    assert len(list(Path("store/faces").iterdir())) == 1, "both labellers have one detector"
    again = cli(*base, "--labeller", "phantom-noisy", "--out", "again.json", "--store", "other")
    assert again.code == 0, again.err
    assert Path("again.json").read_bytes() == Path("made/noisy.json").read_bytes()


def test_a_manifest_with_swapped_genders_is_refused_and_nothing_is_written(cli: Cli, mannequins: Path) -> None:
    with (mannequins.parent / "manifest.csv").open(newline="") as file:
        rows = [row for row in list(csv.reader(file))[1:] if row[1] != "no person"]
    other = {"female": "male", "male": "female"}
    turned = written(mannequins.parent / "turned.csv", [(name, other[gender], race) for name, gender, race in rows])
    base = ("calibrate", "--labeller", "phantom", "--images", turned, "--out", "c.json", "--domain", "renders")
    refused = cli(*base)
    assert refused.code == 2 and not Path("c.json").exists()
    assert "is read as 'male WMELH' more often" in " ".join(refused.err.split())
    allowed = cli(*base, "--allow-implausible")
    assert allowed.code == 0, allowed.err
    found = confusion.read(Path("c.json"))
    assert found.implausible_allowed and found.command.endswith("--allow-implausible")


def test_the_file_serves_its_labeller_until_that_changes(cli: Cli, mannequins: Path, tmp_path: Path) -> None:
    card = copy_labeller(tmp_path / "phantom.yaml")
    bare = card.read_text()
    made = cli("calibrate", "-l", card, "--images", mannequins, "--out", "c.json", "--domain", "renders", "--json")
    assert made.code == 0, made.err
    told = json.loads(made.out)
    assert (told["card"], told["card_line"]) == (str(card), "calibration: c.json")
    card.write_text(bare + told["card_line"] + "\n")
    assert cards.problems(card) == []
    loaded = catalog.load_labeller(str(card))
    found = confusion.of_labeller(loaded)
    assert found is not None
    confusion.check_labeller(found, Labeller(loaded), "c.json")
    card.write_text(bare.replace("select: largest", "select: central") + told["card_line"] + "\n")
    with pytest.raises(CardError, match=r"^c\.json, field labeller_id: it is \w{12}, the labeller phantom is \w{12}: "):
        confusion.check_labeller(found, Labeller(catalog.load_labeller(str(card))), "c.json")


@pytest.mark.parametrize(
    ("args", "says"),
    [
        (("--out", "c.csv", "--domain", "renders"), "--out c.csv: name a file that ends in .json"),
        (("--out", "c.json", "--domain", " "), "Say what kind of images these are: --domain photographs"),
        (("--out", "c.json"), "Say what kind of images these are: --domain photographs"),
        (("--out", "c.json", "--labeller", "fantom"), "did you mean 'phantom'"),
        (("--out", "c.json", "--domain", "renders", "--images", "none.csv"), "none.csv cannot be read"),
        (("--out", "file/c.json", "--domain", "renders"), "Cannot write file"),
    ],
)
def test_what_the_user_got_wrong_is_one_sentence_and_no_file(
    cli: Cli, mannequins: Path, args: tuple[str, ...], says: str, tmp_path: Path
) -> None:
    (tmp_path / "file").write_text("")
    got = cli("calibrate", "--labeller", "phantom", "--images", mannequins, "--quiet", *args)
    assert got.code == 2 and says in got.err and got.out == ""
    assert len(got.err.splitlines()) == 1
    assert [p.name for p in tmp_path.iterdir()] == ["file"]


def test_a_damaged_image_is_named_and_nothing_is_written(cli: Cli, mannequins: Path, tmp_path: Path) -> None:
    rows = [(str(mannequins.parent / f"{i}-0.png"), *cell) for i, cell in enumerate(CELLS)]
    (tmp_path / "cut.png").write_bytes((mannequins.parent / "0-1.png").read_bytes()[:300])
    path = written(tmp_path / "m.csv", [*rows, ("cut.png", *CELLS[0])])
    got = cli(
        "calibrate", "--labeller", "phantom", "--images", path, "--out", "c.json", "--domain", "renders", "--quiet"
    )
    assert got.code == 2 and f"Error: {path}, line 10, field path: " in got.err and "cut.png is damaged" in got.err
    assert sorted(p.name for p in tmp_path.iterdir()) == ["cut.png", "m.csv"]


PHOTOS = SHARED / "photos"


@pytest.mark.skipif(
    not (SHARED / "weights" / "gear.onnx").exists() or not PHOTOS.exists(),
    reason="shared/weights/gear.onnx and shared/photos are not here",
)
@pytest.mark.skipif(importlib.util.find_spec("dlib") is None, reason="the extra dlib is not installed")
def test_five_photographs(cli: Cli, tmp_path: Path) -> None:
    """GEAR agrees with FairFace's own models on the gender of all five; dlib's HOG detector finds all five faces."""
    with (PHOTOS / "fairface_official_outputs.csv").open() as file:
        official = {Path(r["face_name_align"]).stem.removesuffix("_face0"): r["gender"] for r in csv.DictReader(file)}
    assert len(official) == 5
    path = tmp_path / "photos.csv"
    rows = [f"{PHOTOS / name}.jpg,{gender.lower()}" for name, gender in official.items()]
    path.write_text("\n".join(["path,gender", *rows]) + "\n")
    card = ROOT / "tests" / "data" / "labellers" / "gear-dlib.yaml"
    got = cli("calibrate", "--labeller", card, "--images", path, "--out", "c.json", "--domain", "photographs")
    assert got.code == 0, got.err
    found = confusion.read(Path("c.json"))
    assert (found.attributes, found.domain, found.labeller) == (("gender",), "photographs", "gear-dlib")
    assert found.rows == (("male",), ("female",))
    assert found.counts.tolist() == [[2, 0, 0], [0, 3, 0]]
