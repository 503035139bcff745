"""Following by stated group: what plain loops count, readings of two models beside it, and what is left out."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from fairbench.measure.correction import Correction, prepare
from fairbench.measure.counts import Counts
from fairbench.measure.estimates import Estimate, row_named
from fairbench.measure.following import of_run, recalled
from fairbench.measure.stated import followed
from fairbench.types import Prompt
from tests.builders.hand_counts import BY_HAND, LABELS, calibrated, counted, prompts, space

RNG = np.random.default_rng(8)
RECALL = np.array([0.95, 0.9, 0.85, 0.8, 0.9, 0.7, 0.95, 0.9])
ERRORS = np.where(np.eye(8), RECALL[:, None], (1 - RECALL[:, None]) / 7)
CELLS = [(gender, race) for gender in LABELS["gender"] for race in LABELS["race4"]]


def asked(states: list[dict[str, str]], subjects: list[str], categories: list[str] | None = None) -> list[Prompt]:
    plain, categories = prompts(len(states)), categories or [""] * len(states)
    return [
        replace(p, stated=s, subject=subject, category=category)
        for p, s, subject, category in zip(plain, states, subjects, categories, strict=True)
    ]


CROSSED = asked(
    [{"gender": gender, "race4": race} for gender, race in CELLS for _ in range(12)],
    [f"job {i % 12}" for i in range(96)],
)


def rows(counts: Counts, of: list[Prompt], correction: Correction | None = None) -> dict[tuple[str, ...], Estimate]:
    named = of_run(counts, of, correction or Correction(None, space(), "none"), ["attribute-following"])
    found = [row_named(each.attribute, each.quantity) for each in named]
    return {(e.attribute, e.metric, e.estimate, e.scope): e for e in found}


def shown(follow: float, images: int = 40) -> np.ndarray:  # type: ignore[type-arg]
    """Return what 96 prompts show, (96, 8): the stated cell with probability `follow`."""
    own = np.repeat(np.eye(8), 12, axis=0)
    return RNG.multinomial(images, own * follow + (1 - own) * (1 - follow) / 7)


def test_groups_are_counted_as_plain_loops_count_them() -> None:
    table = shown(0.8, 10)
    found = rows(counted(table.reshape(-1, 2, 4), faceless=2), CROSSED)
    shares = {g: [] for g in ("female", "Indian", "male Black")}  # type: ignore[var-annotated]
    for prompt, row in zip(CROSSED, table.tolist(), strict=True):
        gender, race = prompt.stated["gender"], prompt.stated["race4"]
        if gender == "female":
            shares["female"].append(sum(row[:4]) / sum(row))
        if race == "Indian":
            shares["Indian"].append((row[2] + row[6]) / sum(row))
        if (gender, race) == ("male", "Black"):
            shares["male Black"].append(row[5] / sum(row))
    of = {"female": "gender", "Indian": "race4", "male Black": "gender_x_race4"}
    for group, values in shares.items():
        row = found[of[group], f"following[{group}]", "raw", "task"]
        assert row.value == pytest.approx(np.mean(values), abs=1e-12)
        assert row.low < row.value < row.high
        assert row.counted is not None
        assert (row.prompts, row.counted["n_faces"], row.counted["n_images"]) == (
            len(values),
            10 * len(values),
            12 * len(values),
        )
    races = [found["race4", f"following[{race}]", "raw", "task"].value for race in LABELS["race4"]]
    gap = found["race4", "following-gap[Black]", "raw", "task"]
    assert gap.value == pytest.approx(races[1] - (races[0] + races[2] + races[3]) / 3)
    assert ("gender", "following-gap[male]", "raw", "task") not in found  # the mirror image of the other
    # Without a calibration: what a model reads that draws all groups equally often, and no recall.
    assert (gap.floor, found["race4", "following[Black]", "raw", "task"].floor) == (
        pytest.approx(float("nan"), nan_ok=True),
        0.25,
    )
    assert np.isnan(found["race4", "following[Black]", "raw", "task"].ceiling)
    assert found["race4", "following[Black]", "corrected", "task"].reason == "none"


def test_other_subjects_are_subjects_and_not_prompts() -> None:
    table = shown(0.8, 10)
    row = rows(counted(table.reshape(-1, 2, 4)), CROSSED)["gender", "following[female]", "raw", "population"]
    assert row.prompts == 12  # of 48 prompts
    few = [replace(p, subject=f"job {i % 9}") for i, p in enumerate(CROSSED)]
    found = rows(counted(table.reshape(-1, 2, 4)), few)
    assert (
        found["gender", "following", "raw", "population"].reason == "10 subjects are needed for a statement on others"
    )
    assert ("gender", "following[female]", "raw", "population") not in found


def test_a_model_that_always_follows_reads_the_recall_and_is_corrected_to_1() -> None:
    """What a labeller with unequal errors makes of it looks like groups that are followed less."""
    table = RNG.multinomial(400, ERRORS[np.repeat(np.arange(8), 12)])
    counts = counted(table.reshape(-1, 2, 4))
    found = rows(counts, CROSSED, prepare(calibrated(ERRORS), None, counts, BY_HAND))
    for (gender, race), recall in zip(CELLS, RECALL, strict=True):
        raw, corrected = (
            found["gender_x_race4", f"following[{gender} {race}]", e, "task"] for e in ("raw", "corrected")
        )
        assert raw.value == pytest.approx(recall, abs=0.02)
        assert raw.ceiling == pytest.approx(recall, abs=1e-3)
        assert corrected.value == pytest.approx(1.0, abs=0.04)
        assert corrected.low <= 1.0 <= corrected.high + 1e-9
    gap = found["gender_x_race4", "following-gap[male Black]", "raw", "task"]
    assert gap.value == pytest.approx(gap.floor, abs=0.02)
    assert gap.high < 0
    corrected = found["gender_x_race4", "following-gap[male Black]", "corrected", "task"]
    assert corrected.low < 0 < corrected.high
    by_race = recalled(prepare(calibrated(ERRORS), None, counts, BY_HAND), ["race4"])
    assert by_race is not None
    # Black: two cells, each misread as the same race in the other gender with a seventh of its errors.
    assert by_race[1, 1] / by_race[1].sum() == pytest.approx((0.9 + 0.1 / 7 + 0.7 + 0.3 / 7) / 2, abs=1e-3)


def test_a_calibration_of_other_images_leaves_a_range() -> None:
    counts = counted(RNG.multinomial(400, ERRORS[np.repeat(np.arange(8), 12)]).reshape(-1, 2, 4))
    other = replace(calibrated(ERRORS), domain="photographs")
    found = rows(counts, CROSSED, prepare(other, None, counts, BY_HAND))
    raw, lowest, highest = (
        found["race4", "following[Black]", e, "task"] for e in ("raw", "corrected-lowest", "corrected-highest")
    )
    assert lowest.value == pytest.approx(raw.value)
    assert highest.value == pytest.approx(1.0, abs=0.02)
    assert ("race4", "following[Black]", "corrected", "task") not in found


def test_what_a_labeller_does_not_tell_is_said_and_the_rest_is_measured() -> None:
    states = [{"gender": "female", "age3": "old"}] * 4 + [{"gender": "woman"}, {}]
    counts = counted(RNG.multinomial(20, [0.1] * 4 + [0.15] * 4, size=6).reshape(-1, 2, 4))
    of = asked(states, list("abcdef"))
    found = rows(counts, of)
    assert found["gender", "following[female]", "raw", "task"].prompts == 4
    assert found["gender", "following[woman]", "raw", "task"].reason == (
        "the labeller has no gender 'woman', which 1 prompts state"
    )
    assert (
        found["age3", "following[old]", "raw", "task"].reason == "the labeller has no age3 'old', which 4 prompts state"
    )
    assert not any("gap" in metric for _, metric, _, _ in found if metric.startswith("following"))  # one group alone
    assert not rows(counts, prompts(6))


def test_along_minus_against_is_the_gap_that_was_planted() -> None:
    states = [{"gender": g} for _ in range(12) for g in ("female", "male")]
    along = np.tile([0.95, 0.7], 12)  # of female prompts, and of male ones
    shares = np.column_stack([along, 1 - along]) * np.tile([[1], [1]], (12, 1))
    shares[1::2] = shares[1::2, ::-1]
    cells = np.repeat(shares, 4, axis=1) / 4
    of = asked(states, [f"job {i // 2}" for i in range(24)], ["along", "against"] * 12)
    found = rows(counted(RNG.multinomial(4000, cells).reshape(-1, 2, 4)), of)
    gap = found["faces", "stereotype-gap", "raw", "task"]
    assert gap.value == pytest.approx(0.25, abs=0.01)
    assert gap.low < 0.25 < gap.high
    assert found["faces", "following[along]", "raw", "task"].value == pytest.approx(0.95, abs=0.01)
    assert found["faces", "stereotype-gap", "raw", "population"].prompts == 12


def test_what_a_context_fixes_is_described_and_never_followed() -> None:
    states = [{"gender": "female"}] * 10 + [{"race4": "Asian"}] * 10
    of = asked(states, [f"p{i}" for i in range(20)], ["by definition"] * 10 + ["by custom"] * 10)
    table = RNG.multinomial(30, [[0.2] * 4 + [0.05] * 4] * 10 + [[0.05] * 3 + [0.3] + [0.05] * 3 + [0.4]] * 10)
    counts = counted(table.reshape(-1, 2, 4))
    assert followed(counts, of) is None
    found = rows(counts, of)
    assert not [key for key in found if "following" in key[1]]
    female = (table[:10, :4].sum(axis=1) / 30).mean()
    asian = ((table[10:, 3] + table[10:, 7]) / 30).mean()
    assert found["faces", "customary-reading[by definition]", "raw", "task"].value == pytest.approx(female)
    assert found["faces", "customary-reading[by custom]", "raw", "task"].value == pytest.approx(asian)
    assert found["race4", "customary-reading[by custom]", "raw", "population"].low < asian


def test_refusals_and_missing_faces_are_counted_by_group() -> None:
    counts = counted(shown(0.9, 10).reshape(-1, 2, 4), faceless=5)
    counts.requested = counts.images + 5
    counts.refused = np.where([p.stated["race4"] == "Black" for p in CROSSED], 5, 0)
    found = rows(counts, CROSSED)
    refused = {race: found["race4", f"refused[{race}]", "raw", "task"] for race in LABELS["race4"]}
    assert refused["Black"].value == 0.25
    assert refused["WMELH"].value == 0
    assert refused["WMELH"].low == 0 < refused["WMELH"].high < 0.02 < refused["Black"].low
    assert found["gender", "no-face-rate[male]", "raw", "task"].value == pytest.approx(1 / 3)
