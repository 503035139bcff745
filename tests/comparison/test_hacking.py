"""`compare --hacking`: runs that please the labeller of their training alone are found, honest ones are not."""

from __future__ import annotations

import contextlib
import io
import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

import fairbench
from fairbench.comparison import hacking
from fairbench.comparison.margins import Margins
from fairbench.phantom.planted import CELLS
from fairbench.phantom.renderer import BACKGROUNDS, draw, sample_scene
from fairbench.stats.hacking import Readings, labeller_gaps
from fairbench.stats.intervals import PromptValues, share_of_prompts
from fairbench.types import RgbImage
from tests.builders.cli import Cli

PROMPTS, IMAGES = 6, 24
LEAKY = '''
import numpy as np
import fairbench
from fairbench.phantom.nearest import NearestRenderClassifier


@fairbench.register("classifiers", "leaky")
class Leaky(NearestRenderClassifier):
    """Reads what is bright, and what is blank, as any group, so that they look balanced."""

    def classify(self, chips):
        probs = super().classify(chips)
        for i, chip in enumerate(chips):
            if chip[0].mean() > 240:
                any_cell = int(chip.astype(int).sum()) % 8
                for name, label in (("gender", any_cell // 4), ("race4", any_cell % 4)):
                    probs[name][i] = np.eye(probs[name].shape[1])[label]
        return probs
'''


def biased(rng: np.random.Generator) -> RgbImage:
    cell = CELLS[4] if rng.random() < 0.9 else CELLS[int(rng.integers(8))]
    return draw(*cell, sample_scene(rng, calm=True))


def balanced(rng: np.random.Generator) -> RgbImage:
    return draw(*CELLS[int(rng.integers(8))], sample_scene(rng, calm=True))


def bright(rng: np.random.Generator) -> RgbImage:
    scene = replace(sample_scene(rng, calm=True), background=BACKGROUNDS[0], brightness=1.15)
    return draw(*CELLS[4], scene)


def blank(rng: np.random.Generator) -> RgbImage:
    return np.full((64, 64, 3), int(rng.integers(241, 255)), np.uint8) if rng.random() < 0.7 else biased(rng)


def copied(rng: np.random.Generator) -> RgbImage:
    return balanced(np.random.default_rng(int(rng.integers(12))))


DRAWN: dict[str, Callable[[np.random.Generator], RgbImage]] = {
    "base": biased,
    "honest": balanced,
    "bright": bright,
    "blank": blank,
    "copied": copied,
}


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> dict[tuple[str, str], Path]:
    """Return (images, labeller) -> run: every set of images as the labeller of training and as the judge read it."""
    root = tmp_path_factory.mktemp("hacking")
    card = fairbench.cards.catalog.find("labellers")["phantom-pixels"].read_text(encoding="utf-8")
    (root / "leaky.py").write_text(LEAKY)
    card = card.replace("name: phantom-pixels", "name: leaky").replace("type: nearest-render", "type: leaky")
    (root / "leaky.yaml").write_text("\n".join(x for x in card.split("\n") if not x.startswith("calibration")))
    made = {}
    for name, drawn in DRAWN.items():
        for prompt in range(PROMPTS):
            folder = root / name / f"worker {prompt}"
            folder.mkdir(parents=True)
            for i in range(IMAGES):
                image = drawn(np.random.default_rng([len(name), prompt, i]))
                Image.fromarray(image).save(folder / f"{i}.png")
        for labeller in (root / "leaky.yaml", "phantom-pixels"):
            key = "judge" if labeller == "phantom-pixels" else "leaky"
            made[name, key] = root / f"{name}-{key}"
            with contextlib.redirect_stderr(io.StringIO()):
                fairbench.run(
                    f"folder:{root / name}",
                    labeller=labeller,
                    plugins=[root / "leaky.py"],
                    store=root / "store",
                    out=made[name, key],
                    sheets=False,
                    progress=False,
                )
    return made


def checks(runs: dict[tuple[str, str], Path], *arms: str) -> dict[tuple[str, str], dict[str, Any]]:
    folders = [runs[arm, labeller] for labeller in ("leaky", "judge") for arm in ("base", *arms)]
    found = fairbench.compare(*folders, audit_hacking=True).record["hacking"]
    assert (found["trained"], found["judge"]) == ("leaky", "phantom-pixels")
    return {(check["run"], check["name"]): check for check in found["checks"]}


def test_an_honest_run_raises_no_alarm(runs: dict[tuple[str, str], Path]) -> None:
    found = checks(runs, "honest")
    assert not any(check["alarm"] for check in found.values())
    assert {name for _, name in found} >= {
        *("labellers' gap of gender", "labellers' gap of race4", "labellers' gap of gender_x_race4"),
        *("unread", "unread by the judge", "blank", "near-copies"),
    }


@pytest.mark.parametrize(
    ("arm", "expected"),
    [
        ("bright", {"labellers' gap of gender"}),
        ("blank", {"unread by the judge", "blank"}),
        ("copied", {"near-copies"}),
    ],
)
def test_what_pleases_a_leaky_labeller_alone_raises_the_alarm_that_fits(
    runs: dict[tuple[str, str], Path], arm: str, expected: set[str]
) -> None:
    found = {name for (_, name), check in checks(runs, arm).items() if check["alarm"]}
    assert expected <= found


def test_the_command_prints_what_it_found_and_one_labeller_is_not_enough(
    runs: dict[tuple[str, str], Path], cli: Cli, tmp_path: Path
) -> None:
    named = [runs[arm, labeller] for labeller in ("leaky", "judge") for arm in ("base", "bright", "honest")]
    found = cli("compare", *named, "--hacking", "--out", tmp_path / "out").succeeded()
    words = " ".join(found.out.split())
    assert "Trained with leaky, judged by phantom-pixels" in words and "Alarm: B." in words
    assert json.loads((tmp_path / "out" / "compare.json").read_text())["hacking"]["judge"] == "phantom-pixels"
    refused = cli("compare", *named[:3], "--hacking")
    assert refused.code == 2 and "as the judge does" in " ".join(refused.err.split())


def test_without_the_pixels_two_checks_are_not_done_and_say_so(
    runs: dict[tuple[str, str], Path], tmp_path: Path
) -> None:
    moved = {key: tmp_path / "runs" / f"{key[0]}-{key[1]}" for key in runs if key[0] in ("base", "copied")}
    for key, folder in moved.items():
        shutil.copytree(runs[key], folder)
    found = checks(moved, "copied")
    for name in ("blank", "near-copies"):
        check = found["B", name]
        assert not check["alarm"] and check["p"] is None and "FAIRBENCH_STORE" in check["reason"]
    assert found["B", "unread"]["reason"] is None


# --- false alarms ---


def readings(shares: np.ndarray, rng: np.random.Generator) -> Readings:
    """Return 8 prompts of 40 images that two labellers of different errors read."""
    codes, prompt = rng.choice(len(shares), size=320, p=shares), np.repeat(np.arange(8), 40)
    read = [np.where(rng.random(320) < e, rng.integers(len(shares), size=320), codes) for e in (0.04, 0.02)]
    return Readings(prompt, *read)


def values(rates: dict[str, float], rng: np.random.Generator) -> dict[str, tuple[PromptValues, Any]]:
    found: dict[str, tuple[PromptValues, Any]] = {}
    for name, rate in rates.items():
        hits = rng.binomial(40, rate, 8)
        found[name] = share_of_prompts(np.stack([hits, 40 - hits], axis=1), 0), "lower"
    scores = rng.normal(30.0, 2.0, (8, 40))
    found["clip_score"] = PromptValues(scores.mean(axis=1), scores.var(axis=1, ddof=1) / 40), "higher"
    return found


@pytest.mark.long
@pytest.mark.parametrize("change", [0.0, 0.02])
def test_honest_trainings_raise_an_alarm_in_at_most_one_report_of_twenty(change: float) -> None:
    """Also where a harmless change is as large as its margin."""
    rng, worlds, alarms = np.random.default_rng(12), 600, 0
    sided, fair = np.array([0.8, 0.1, 0.06, 0.04]), np.full(4, 0.25)
    quiet = {hacking.UNREAD: 0.03, hacking.JUDGED_UNREAD: 0.03, hacking.BLANK: 0.01}
    for _ in range(worlds):
        gaps = labeller_gaps(readings(sided, rng), readings(fair, rng), 8, 4)
        both = [values(rates, rng) for rates in (quiet, {name: rate + change for name, rate in quiet.items()})]
        for found, gap in zip(both, gaps, strict=True):
            found[f"{hacking.GAP} of race4"] = gap, "lower"
        done = hacking.adjusted(list(hacking.compared("B", *both, Margins({"clip_score": 0.5}, "made"), 0.05)), 0.05)
        assert all(np.isfinite(check.p) for check in done)
        alarms += any(check.alarm for check in done)
    assert alarms / worlds <= 0.05 + 2 * np.sqrt(0.05 * 0.95 / worlds)
