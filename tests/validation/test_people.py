"""The worlds of labels by people, and that a wrong estimate does not pass there."""

from __future__ import annotations

import numpy as np
import pytest

from fairbench.stats import prediction_powered
from fairbench.validation import people
from fairbench.validation.cells import Cell, Measure
from fairbench.validation.people_worlds import WORLDS, draw, majority


@pytest.mark.parametrize(("classes", "annotators", "error"), [(2, 1, 0.1), (2, 3, 0.2), (4, 3, 0.3)])
def test_the_majority_is_that_of_simulated_annotators(classes: int, annotators: int, error: float) -> None:
    rng = np.random.default_rng(0)
    shown = rng.integers(classes, size=100_000)
    wrong = rng.random((annotators, len(shown))) < error
    answers = np.where(wrong, (shown + rng.integers(1, classes, size=wrong.shape)) % classes, shown)
    votes = (answers[..., None] == np.arange(classes)).sum(axis=0)
    said = np.where(votes.max(axis=1) * 2 > annotators, votes.argmax(axis=1), classes)
    rates = [[np.mean(said[shown == k] == j) for j in range(classes + 1)] for k in range(classes)]
    assert np.array(rates) == pytest.approx(majority(classes, annotators, error), abs=0.01)


@pytest.mark.parametrize("name", WORLDS)
def test_samples_follow_their_world(name: str) -> None:
    world = WORLDS[name](np.random.default_rng(0))
    k = world.joint.shape[-1]
    assert world.joint.sum(axis=(1, 2)) == pytest.approx(1)
    assert world.calibrated.sum(axis=1) == pytest.approx(1)
    sample = draw(world, 10, majority(k, 3, 0.0), 200, np.random.default_rng(1))
    assert (sample.counts == 10).all() and (sample.sizes == 160).all()
    assert sample.labelled[:, :, 0, :k, :k].mean(axis=0) / 10 == pytest.approx(world.joint, abs=0.05)
    assert sample.images[:, :, 0, :k].mean(axis=0) / 160 == pytest.approx(world.joint.sum(axis=1), abs=0.02)


def measures(world: str, replicates: int = 150, **settings: object) -> dict[str, Measure]:
    cell = Cell(
        "labels by people", {"world": world, "labels": 500, "annotators": 3, "error": 0.0, **settings}, replicates
    )
    return {m.name: m for m in people.run(cell)}


def test_what_people_say_recovers_what_a_calibration_elsewhere_does_not() -> None:
    better = measures("read better")
    assert all(m.holds for m in better.values())
    assert better["rmse"].value < 0.02 < 0.1 < better["rmse calibrated elsewhere"].value
    stereotyped = measures("stereotyped")
    assert stereotyped["rmse"].value < 0.03 < 0.06 < stereotyped["rmse local table"].value
    assert stereotyped["flagged"].value > 0.8
    alone = measures("read better", annotators=1, error=0.03)
    assert -0.1 < alone["bias against what is shown"].value < -0.06
    three = measures("read better", error=0.03)
    assert abs(three["bias against what is shown"].value) < 0.012


def test_an_estimate_that_squares_what_it_should_not_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without taking off what the draw of the labels adds, concentration is too high."""
    right = prediction_powered.totals

    def plugged_in(*args: object, **more: object) -> prediction_powered.Totals:
        estimated = right(*args, **more)  # type: ignore[arg-type]
        estimated.design[:] = 0
        return estimated

    monkeypatch.setattr(prediction_powered, "totals", plugged_in)
    assert not measures("stereotyped")["bias"].holds
