"""Blurring the pictures of one perceived group is found, from drawing to finding; pictures of one quality are not."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

import fairbench
from fairbench.phantom.renderer import GENDERS, RACES
from fairbench.runs import evidence, quality
from fairbench.runs.evidence import FinishedRun
from fairbench.runs.quality import GroupQuality
from fairbench.stats.multiplicity import holm
from fairbench.stats.within_prompts import beyond, contrast
from tests.builders import sharpness
from tests.builders.fake_runs import FAIR, FakeRun, draw_cells

LEVEL = 0.05


def drawn(
    folder: Path, name: str, blurred: Sequence[str], radius: float, reference: Path | None = None
) -> fairbench.Run:
    """Draw, label and score pictures. The headwear of women has more edges than that of men."""
    return fairbench.run(
        sharpness.drawer(blurred, radius),
        name=name,
        version=1,
        task="phantom-occupations",
        labeller="phantom",
        limit_prompts=3,
        images_per_prompt=36,
        seed=len(name),
        scorers="sharpness",
        scorer_reference=reference,
        plugins=[sharpness.plugin_file(folder)],
        store=folder / "store",
        out=folder / name,
        sheets=False,
        progress=False,
    )


def test_a_blurred_group_is_found_though_the_scorer_prefers_it(tmp_path: Path) -> None:
    """Blurred a little, women look as sharp as men, because the scorer likes their headwear; the reference shows it."""
    reference = drawn(tmp_path, "ref", [], 0.0)
    sharp = drawn(tmp_path, "sharp", [], 0.0, reference.folder).quality().set_index("class")
    soft = drawn(tmp_path, "blurred", ["female"], 1.0, reference.folder).quality().set_index("class")
    assert sharp.loc["female", "ci_low"] > 0 and sharp.loc["female", "p"] < 0.01  # the scorer's own
    assert (
        sharp.loc["female", "net_p"] > 0.05
        and sharp.loc["female", "net_ci_low"] < 0 < sharp.loc["female", "net_ci_high"]
    )
    assert soft.loc["female", "p"] > 0.05
    assert soft.loc["female", "net_p"] < 0.01 and soft.loc["female", "net_ci_high"] < 0
    own = reference.quality().set_index("class")
    for name in ("difference", "ci_low", "ci_high"):
        column = "reference_difference" if name == "difference" else f"reference_{name}"
        assert soft[column].to_numpy() == pytest.approx(own[name].to_numpy(), nan_ok=True)
    assert (soft["net"] - (soft["difference"] - own["difference"])).abs().max() < 1e-12


@pytest.mark.long
@pytest.mark.parametrize("group", ["female", "Black"])
def test_a_group_that_is_blurred_more_is_the_worst(group: str, tmp_path: Path) -> None:
    found = drawn(tmp_path, "blurred", [group], 2.0).quality().set_index("class")
    assert found["difference"].idxmin() == group
    assert found.loc[group, "p"] < 1e-3 and found.loc[group, "ci_high"] < 0


@pytest.fixture(scope="module")
def pool() -> dict[float, np.ndarray]:
    """Radius of blur -> sharpness (cells, pictures) of drawn pictures; cells are gender x race."""
    scope: dict[str, object] = {}
    exec(sharpness.SHARPNESS.split("@register")[0] + "def steps" + sharpness.SHARPNESS.split("def steps")[1], scope)
    steps = scope["steps"]
    assert callable(steps)
    rng = np.random.default_rng(5)
    return {
        radius: np.array(
            [[steps(sharpness.mannequin(g, r, rng, radius)) for _ in range(250)] for g in GENDERS for r in RACES]
        )
        for radius in (0.0, 1.5)
    }


def findings(run: FinishedRun, cells: np.ndarray, value: np.ndarray) -> list[GroupQuality]:
    """Return what differs when the images of a made-up run have these values (prompts, images)."""
    at = {p.neutral_id: i for i, p in enumerate(run.prompts)}
    index = {r.request.image_id: (at[r.request.neutral_id], r.request.sample_index) for r in run.rows}
    table = run.scores["clip-score"]
    ordered = np.array([value[index[image]] for image in table["image_id"].to_pylist()])
    scores = {"clip-score": table.set_column(table.column_names.index("value"), "value", [ordered])}
    return [each for each in quality.of_run(replace(run, scores=scores)) if each.p <= LEVEL]


@pytest.mark.long
@pytest.mark.parametrize(("prompts", "images"), [(4, 24), (8, 40)])
def test_level_and_power_on_drawn_pictures(
    prompts: int, images: int, pool: dict[float, np.ndarray], tmp_path: Path
) -> None:
    """Runs whose pictures' sharpness has nothing to do with the group, and runs with one group blurred by 1.5 pixels.

    Prompts differ in sharpness and in shares. The level is that of all classes of all attributes together.
    """
    rng = np.random.default_rng(11)
    false, found, other, repeats = 0, 0, 0, 1500
    cells = draw_cells(FAIR, 3, prompts=prompts, images=images)
    cells[:2] = np.where(rng.random(cells[:2].shape) < 0.5, cells[:2] % 4, cells[:2])  # more of the first gender there
    run = evidence.read(FakeRun(cells, score=28.0).write(tmp_path / "run"))
    level = rng.normal(0, 1, (prompts, 1)) - 0.6 * (np.arange(prompts) < 2)[:, None]
    factor = pool[1.5].mean() / pool[0.0].mean()
    for _ in range(repeats):
        anyones = pool[0.0][rng.integers(8, size=cells.shape), rng.integers(250, size=cells.shape)] + level
        false += bool(findings(run, cells, anyones))
        blurred = anyones * np.where(cells // 4 == 0, factor, 1.0)
        shown = findings(run, cells, blurred)
        found += any(each.attribute == "gender" and each.contrast.estimate < 0 for each in shown)
        other += any(each.attribute != "gender" for each in shown)
    tolerance = 3 * np.sqrt(LEVEL * (1 - LEVEL) / repeats)
    assert false / repeats <= LEVEL + tolerance and other / repeats <= LEVEL + tolerance
    assert found / repeats >= 0.95


@pytest.mark.long
def test_beyond_the_reference_level_and_power(pool: dict[float, np.ndarray]) -> None:
    """Drawn women are sharper, in the reference, too: net finds that in at most 5 %, and a blur nearly always."""
    rng = np.random.default_rng(12)
    found = {0.0: 0, 1.5: 0}
    own, repeats, factor = 0, 1000, pool[1.5].mean() / pool[0.0].mean()
    for radius in found:
        for _ in range(repeats):
            gaps = []
            for blurred in (radius, 0.0):  # the run's pictures, the reference's
                prompt = np.repeat(np.arange(5), 32)
                cell = rng.integers(8, size=160)
                value = pool[0.0][cell, rng.integers(250, size=160)] + rng.normal(size=5)[prompt]
                value = np.where((cell // 4 == 0) & (blurred > 0), value * factor, value)
                races = [contrast(prompt, value, (cell % 4 == race).astype(np.int64)) for race in range(4)]
                gaps.append([contrast(prompt, value, (cell // 4 == 0).astype(np.int64)), *races])
            net = holm([beyond(one, other).p for one, other in zip(*gaps, strict=True)])
            found[radius] += bool(net[0] <= LEVEL if radius else (net <= LEVEL).any())
            own += radius == 0 and gaps[0][0].p <= LEVEL
    tolerance = 3 * np.sqrt(LEVEL * (1 - LEVEL) / repeats)
    assert found[0.0] / repeats <= LEVEL + tolerance < 0.5 < own / repeats
    assert found[1.5] / repeats >= 0.95
