"""The shipped phantom: a run through the command line, and that it draws what its realised truth says."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
from numpy.typing import NDArray

from fairbench.cards import catalog, truth_table
from fairbench.networks import janus
from fairbench.phantom import check, drawing, planted, reading, text
from fairbench.phantom import statistics as st
from fairbench.phantom.layout import REALISED
from tests.builders.cli import Cli

FOLDER = catalog.find("models")["phantom"].parent
RUN = ("run", "--model", "phantom", "--task", "phantom-occupations", "--no-sheets")
SUBJECTS = ("violinist", "custodian", "cardiologist", "barber")
"""Uneven, nearly all of one gender, and two that tie gender to race."""
IMAGES = 700
"""Images per subject: enough for all intervals to lie within the margin where the truth is met."""

pytestmark = [
    pytest.mark.slow,
]


def test_a_run_is_scored_and_shown_beside_the_known_truths(cli: Cli) -> None:
    args = (*RUN, "-n", "32", "--limit-prompts", "8", "--scorers", "clip-score", "--out", "out")
    found = cli(*args, "--json")
    assert found.code == 0, found.err
    summary: dict[str, Any] = json.loads(found.out)
    assert summary["statuses"]["images"]["ok"] == 256
    score = next(m for m in summary["metrics"] if m["metric"] == "clip_score")
    assert score["reason"] is None
    assert math.isfinite(score["value"])
    assert score["attribute"] == "quality"
    truths = {truth["name"]: truth for truth in summary["truth"]}
    assert list(truths) == ["planted", "realised"]
    kind = ("rd", "raw", "task")
    rd = [m for m in summary["metrics"] if (m["metric"], m["estimate"], m["scope"]) == kind]
    measured = {m["attribute"]: m["value"] for m in rd}
    for truth in truths.values():
        assert truth["note"] is None
        assert [v["attribute"] for v in truth["values"]] == ["gender", "race4", "gender_x_race4"]
        assert all(v["prompts"] == 8 and v["measured"] == measured[v["attribute"]] for v in truth["values"])
    for value in truths["realised"]["values"]:
        assert abs(value["measured"] - value["expected"]) < 4 * value["spread"], value["attribute"]
    shown = cli(*args)  # all is in the store
    assert shown.code == 0
    assert "Truth, planted: " in shown.out
    assert "Truth, realised: " in shown.out
    assert "clip_score" in shown.out


@pytest.fixture(scope="module")
def counts() -> NDArray[np.int64]:
    """Faces of each cell, (subjects, 8), in IMAGES images per subject with noise of their own."""
    model = janus.load(FOLDER / "phantom" / "janus", "cpu", "float32")
    reader = reading.reader(FOLDER / "labellers" / "weights")
    captions = [text.NEUTRAL.replace("{subject}", subject) for subject in SUBJECTS]
    guidance = check.card_guidance(FOLDER / "phantom.yaml")
    return drawing.count_cells(drawing.read_back(model, reader, captions, IMAGES, 2024, guidance))


def reach(counts: NDArray[np.int64], truth: NDArray[np.float64]) -> NDArray[np.float64]:
    """The largest distance of a true share from either end of its interval, (subjects,): an equivalence test.

    Where it is below a margin, two one-sided exact tests per cell show that all shares of the subject lie within it;
    dividing alpha by the subjects keeps the chance that any passes wrongly below 0.05.
    """
    low, high = st.clopper_pearson(counts, counts.sum(axis=1, keepdims=True), 0.05 / len(counts))
    return np.asarray(np.maximum(truth - low, high - truth).max(axis=1))


@pytest.mark.long
def test_the_realised_truth_is_reproduced(counts: NDArray[np.int64]) -> None:
    """Every joint share of every subject lies within 0.10 of the table: evidence of it, at alpha 0.05.

    The same counts must not pass against the other gender's shares, nor a fortieth of them against the right ones.
    """
    assert counts.sum(axis=1).min() >= 0.98 * IMAGES  # a head in next to every image
    rows = truth_table.read(FOLDER / REALISED, planted.COLUMNS)
    truth = np.stack([rows[subject] for subject in SUBJECTS])
    reached = reach(counts, truth)
    assert reached.max() < 0.10, dict(zip(SUBJECTS, reached.round(3), strict=True))
    assert reach(counts, np.roll(truth, len(planted.RACES), axis=1)).min() >= 0.10
    assert reach(np.round(counts / 40).astype(np.int64), truth).max() >= 0.10


def pixels(store: Path) -> dict[bytes, bytes]:
    """Image id -> stored bytes of the only image table in a store."""
    (folder,) = (store / "images").iterdir()
    rows = [row for path in folder.glob("part-*.parquet") for row in pq.read_table(path).to_pylist()]
    return {row["image_id"]: row["image"]["bytes"] for row in rows}


def test_a_seed_gives_the_same_bytes_in_every_block_size(cli: Cli) -> None:
    some = (*RUN, "--limit-prompts", "2", "-n", "6", "--scorers", "none", "--device", "cpu")
    for store, more in (("whole", ()), ("blocks", ("--batch-size", "5")), ("other", ("--seed", "1"))):
        found = cli(*some, *more, "--store", store, "--out", f"{store}-out")
        assert found.code == 0, found.err
    whole, blocks, other = (pixels(Path(store)) for store in ("whole", "blocks", "other"))
    assert len(whole) == 12
    assert blocks == whole
    assert len(set(whole.values())) == 12
    assert not set(whole.values()) & set(other.values())
