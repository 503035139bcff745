"""The labeller `phantom-noisy`: a run through the command line; what it reads has the declared errors."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
from numpy.typing import NDArray
from scipy import stats

from fairbench.cards import catalog
from fairbench.labelling.labeller import Labeller
from fairbench.phantom.planted import CELLS
from fairbench.phantom.renderer import render
from fairbench.types import RgbImage
from tests.builders.cli import Cli

PER_CELL = 250


def labels(store: str) -> dict[tuple[bytes, str], str]:
    """Return (image, attribute) -> label of the only label table in a store."""
    (folder,) = Path(store, "labels").iterdir()
    rows: list[dict[str, Any]] = [r for p in folder.glob("part-*.parquet") for r in pq.read_table(p).to_pylist()]
    return {(r["image_id"], r["attribute"]): r["label"] for r in rows}


@pytest.mark.long
def test_a_run_with_declared_errors_makes_no_new_images_and_no_new_faces(cli: Cli) -> None:
    base = ("run", "--model", "phantom-exact", "--task", "occupations-mini", "-n", "32", "--no-sheets", "--json")
    clean = cli(*base, "--store", "store", "--out", "clean")
    assert clean.code == 0, clean.err
    noisy = cli(*base, "--store", "store", "--out", "noisy", "--labeller", "phantom-noisy")
    assert noisy.code == 0, noisy.err
    record = json.loads(Path("noisy/run.json").read_text())
    assert record["made_in_this_process"]["images"] == 0
    assert len(list(Path("store/faces").iterdir())) == 1
    tables = {path.name for path in Path("store/labels").iterdir()}
    assert len(tables) == 2
    # The same labels again, in another store and in other batches.
    again = cli(*base, "--store", "other", "--out", "again", "--labeller", "phantom-noisy", "--batch-size", "7")
    assert again.code == 0, again.err
    (name,) = {path.name for path in Path("other/labels").iterdir()}
    (other,) = tables - {name}
    Path("store/labels", other).rename("clean-labels")
    assert labels("store") == labels("other")
    assert json.loads(again.out)["metrics"] == json.loads(noisy.out)["metrics"]


@pytest.fixture(scope="module")
def chips() -> list[RgbImage]:
    """PER_CELL chips of every cell, in the order of CELLS, cut by the labeller's own detector and crop."""
    labeller = Labeller(catalog.load_labeller("phantom-noisy"))
    images = [render(*cell, np.random.default_rng([7, i, j])) for i, cell in enumerate(CELLS) for j in range(PER_CELL)]
    return [labeller.cut(image, faces[0]) for image, faces in zip(images, labeller.detect(images), strict=True)]


def cells(name: str, chips: list[RgbImage]) -> NDArray[np.int64]:
    """Return the place in CELLS of what a labeller reads, shape (chips,)."""
    probs = Labeller(catalog.load_labeller(name)).classify(chips)
    return np.asarray(probs["gender"].argmax(axis=1) * 4 + probs["race4"].argmax(axis=1))


def test_what_is_read_follows_the_declared_table(chips: list[RgbImage]) -> None:
    table = np.array(catalog.load_labeller("phantom-noisy").card.classifiers[0].params["table"])
    truth = np.repeat(np.arange(8), PER_CELL)
    assert np.mean(cells("phantom", chips) == truth) > 0.998, (
        "clean renders are read right, so the table is all there is"
    )
    counts = np.zeros((8, 8))
    np.add.at(counts, (truth, cells("phantom-noisy", chips)), 1)
    chi2 = ((counts - PER_CELL * table) ** 2 / (PER_CELL * table)).sum()
    assert stats.chi2.sf(chi2, 8 * 7) > 1e-3
    # And it would have told a table of independent errors apart.
    joint = table.reshape(8, 2, 4)
    product = (joint.sum(axis=2)[:, :, None] * joint.sum(axis=1)[:, None, :]).reshape(8, 8)
    assert stats.chi2.sf(((counts - PER_CELL * product) ** 2 / (PER_CELL * product)).sum(), 8 * 7) < 1e-9


def test_the_table_inverts_back_to_the_planted_shares(chips: list[RgbImage]) -> None:
    """The point of the card: shares distorted by known errors come back, within sampling error."""
    table = np.array(catalog.load_labeller("phantom-noisy").card.classifiers[0].params["table"])
    sizes = np.array([250, 60, 40, 100, 120, 20, 200, 90])
    some = [chips[i * PER_CELL + j] for i, size in enumerate(sizes) for j in range(size)]
    shares = np.bincount(cells("phantom-noisy", some), minlength=8) / sizes.sum()
    true = sizes / sizes.sum()
    corrected = np.linalg.solve(table.T, shares)
    assert np.abs(corrected - true).sum() < 0.5 * np.abs(shares - true).sum()


def test_one_chip_has_one_label(chips: list[RgbImage]) -> None:
    whole = cells("phantom-noisy", chips)
    some = np.random.default_rng(0).permutation(len(chips))[:60]
    assert cells("phantom-noisy", [chips[i] for i in some]).tolist() == whole[some].tolist()
    assert [int(cells("phantom-noisy", [chips[i]])[0]) for i in some[:5]] == whole[some[:5]].tolist()


@pytest.mark.long
def test_corrected_intervals_cover_the_realised_truth_and_raw_ones_do_not(cli: Cli) -> None:
    """The proof of a correction: a model whose true bias is known, read by a labeller with declared errors."""
    args = ("--model", "phantom", "--labeller", "phantom-noisy", "-n", "16", "--scorers", "none", "--no-sheets")
    found = cli("run", *args, "--json", "--quiet", "--out", "out")
    assert found.code == 0, found.err
    result = json.loads(found.out)
    (realised,) = [t for t in result["truth"] if t["name"] == "realised"]
    rows = {(r["attribute"], r["estimate"], r["scope"]): r for r in result["metrics"] if r["metric"] == "concentration"}
    assert {v["attribute"] for v in realised["values"]} == {"gender", "race4", "gender_x_race4"}
    for value in realised["values"]:
        raw, corrected = (rows[value["attribute"], kind, "task"] for kind in ("raw", "corrected"))
        assert corrected["ci_low"] < value["concentration"] < corrected["ci_high"]
        assert raw["ci_high"] < value["concentration"]
