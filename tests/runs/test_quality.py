"""Quality by perceived group: against a regression by least squares on made-up runs, and who counts as what."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from fairbench.runs import evidence, quality
from fairbench.runs.evidence import FinishedRun
from tests.builders.fake_runs import FAIR, FakeRun, draw_cells

CELLS = draw_cells(FAIR, 4, prompts=6, images=40)
CELLS[:, :3] = -1  # no face


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> FinishedRun:
    return evidence.read(FakeRun(CELLS, score=28.0).write(tmp_path_factory.mktemp("quality") / "run"))


def scored(run: FinishedRun) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return prompt, cell and score of each image, in the order of the table of scores."""
    at = {p.neutral_id: i for i, p in enumerate(run.prompts)}
    where = {r.request.image_id: (at[r.request.neutral_id], r.request.sample_index) for r in run.rows}
    table = run.scores["clip-score"]
    prompt, sample = np.array([where[image] for image in table["image_id"].to_pylist()]).T
    return prompt, CELLS[prompt, sample], np.asarray(table["value"].to_numpy())


def with_values(run: FinishedRun, values: np.ndarray) -> FinishedRun:
    table = run.scores["clip-score"]
    return replace(run, scores={"clip-score": table.set_column(table.column_names.index("value"), "value", [values])})


def test_each_class_is_compared_with_the_others_of_its_prompts(run: FinishedRun) -> None:
    prompt, cell, value = scored(run)
    found = {(each.attribute, each.label): each for each in quality.of_run(run)}
    genders, races = (run.counts.labeller.declared.labels[name] for name in ("gender", "race4"))
    assert set(found) == {("gender", genders[0]), *(("race4", label) for label in races)}
    seen = cell >= 0
    for (attribute, label), each in found.items():
        own = cell // 4 == 0 if attribute == "gender" else cell % 4 == races.index(label)
        design = np.column_stack([own[seen], prompt[seen][:, None] == np.arange(6)]).astype(float)
        assert each.contrast.estimate == pytest.approx(np.linalg.lstsq(design, value[seen], rcond=None)[0][0])
        counted = (each.contrast.prompts, each.contrast.of_class, each.contrast.of_others)
        assert counted == (6, (own & seen).sum(), (~own & seen).sum()) and seen.sum() == 6 * 37
        assert each.p >= each.contrast.p


def test_a_blurred_group_is_found_and_no_other(run: FinishedRun) -> None:
    _, cell, value = scored(run)
    blurred = quality.of_run(with_values(run, value - 1.5 * (cell % 4 == 1)))
    worst = min(blurred, key=lambda each: each.contrast.estimate)
    label = run.counts.labeller.declared.labels["race4"][1]
    assert (worst.attribute, worst.label) == ("race4", label) and worst.p < 1e-6
    low, high = worst.contrast.interval()
    assert low < -1.5 < high < 0
    assert all(each.p > 0.05 for each in quality.of_run(run))


def test_an_image_of_faces_of_two_classes_is_left_out_of_both(tmp_path: Path) -> None:
    shown, beside = np.tile([0, 4, 1, 5], (2, 6)), np.full((2, 24), -1)
    beside[0, 0], beside[0, 1], beside[1, 2] = 4, 4, 0  # female and male; male twice; two races, both female
    made = FakeRun(shown, score=28.0, beside=beside)
    run = evidence.read(made.write(tmp_path / "run"))
    space = run.counts.labeller
    policy = space.card.face_policy.model_copy(update={"select": "all"})
    labeller = space.card.model_copy(update={"face_policy": policy})
    run = replace(run, counts=replace(run.counts, labeller=type(space)(labeller)))
    found = {(each.attribute, each.label): each.contrast for each in quality.of_run(run)}
    races = space.declared.labels["race4"]
    female = found["gender", space.declared.labels["gender"][0]]
    assert (female.of_class, female.of_others) == (23, 24)
    assert (found["race4", races[0]].of_class, found["race4", races[0]].of_others) == (24, 23)
