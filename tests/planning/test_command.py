"""`fairbench plan`: the number it gives finds the change in simulation; what it assumes, refuses and writes."""

from __future__ import annotations

import builtins
import csv
import io
import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from fairbench.cards import catalog
from fairbench.display.numbers import number
from fairbench.labelling.confusion import NO_FACE, Calibration
from fairbench.metrics._rd import relative_diversity
from fairbench.planning.analysis import IMAGES
from fairbench.planning.inputs import LabellerErrors
from fairbench.stats.paired import effect_random, pair
from fairbench.stats.power import Plan, detectable, power, shares_at_rd
from tests.builders.cli import Cli

BASE = ("plan", "--task", "occupations-mini", "--labeller")
GENDER = ("--attribute", "gender")
CARD = """\
name: tiny
title: Two attributes, one of them merged from another
routes:
  - detector: {type: phantom, weights: {path: nowhere.onnx}}
    crop: {type: box, padding: 0.0}
classifiers:
  - {type: onnx, weights: {path: nowhere.onnx}}
attributes:
  gender: {labels: [f, m]}
  kind: {labels: [a, b, c]}
  kind2: {labels: [ab, c], from: kind, map: {a: ab, b: ab, c: c}}
crosses:
  - [gender, kind2]
calibration: tiny.json
"""
CELLS = tuple((g, k) for g in "fm" for k in "abc")
# Rows f a, f b, f c, m a, m b, m c; the last column is "no face".
COUNTS = np.array(
    [
        [60, 10, 10, 20, 0, 0, 0],
        [20, 70, 0, 0, 10, 0, 0],
        [0, 0, 45, 0, 0, 5, 50],
        [10, 0, 0, 80, 10, 0, 0],
        [0, 0, 10, 0, 90, 0, 0],
        [0, 0, 0, 40, 0, 40, 20],
    ]
)


@pytest.fixture
def tiny(tmp_path: Path) -> Path:
    """Return a labeller card with a calibration, whose weights do not exist."""
    table = Calibration("tiny", "0" * 12, "drawings", ("gender", "kind"), CELLS, (*CELLS, NO_FACE), COUNTS, "none", 0)
    table.write(tmp_path / "tiny.json")
    (tmp_path / "tiny.yaml").write_text(CARD)
    return tmp_path / "tiny.yaml"


@pytest.fixture
def pilot(tmp_path: Path) -> Path:
    """Return a run folder: three prompts, the last without a face, labelled by phantom."""
    folder = tmp_path / "pilot"
    folder.mkdir()
    (folder / "prompts.csv").write_text(
        "prompt,n_images,n_with_face,gender.n,gender.share female,gender.share male\n"
        "one,40,40,40,0.100000,0.900000\ntwo,40,20,20,0.300000,0.700000\nthree,40,0,0,,\n"
    )
    return folder


def call(cli: Cli, labeller: object, *options: object) -> tuple[int, str, str]:
    done = cli(*BASE, labeller, *options)
    return done.code, done.out, done.err


def planned(cli: Cli, labeller: object, *options: object) -> dict[str, Any]:
    code, out, err = call(cli, labeller, *options, "--json")
    assert (code, err) == (0, "")
    found: dict[str, Any] = json.loads(out)
    return found


def gender(found: dict[str, Any]) -> dict[str, Any]:
    return next(row for row in found["attributes"] if row["attribute"] == "gender")


def simulated(rd: tuple[float, float], table: NDArray[np.float64], prompts: int, faces: int) -> float:
    """Return how often the test of a comparison finds the difference of two simulated runs, K = 2."""
    random, values = np.random.default_rng(7), []
    for value in rd:
        counts = random.multinomial(faces, np.array([1 + value, 1 - value]) / 2 @ table, (2_000, prompts))
        values.append(relative_diversity(counts / faces))
    return float(np.mean([effect_random(pair(a, b)).p_value() <= 0.05 for a, b in zip(*values, strict=True)]))


def test_the_planned_images_find_the_change_as_often_as_asked(cli: Cli, tiny: Path) -> None:
    """Through a labeller that errs, with images without a face: the simulated test finds it in 80 % of runs."""
    row = gender(
        planned(
            cli,
            tiny,
            *GENDER,
            "--detect",
            0.1,
            "--baseline",
            0.6,
            "--prompts",
            20,
            "--face-rate",
            0.8,
            "--between-prompt-sd",
            0,
        )
    )
    table, faces = np.array(row["confusion"]), round(0.8 * row["images_per_prompt_needed"])
    error = 3 * math.sqrt(0.8 * 0.2 / 2_000)
    assert abs(simulated((0.6, 0.5), table, 20, faces) - 0.8) < error + 0.02
    assert simulated((0.6, 0.5), table, 20, round(0.7 * faces)) < 0.8 - error
    assert simulated((0.6, 0.6), table, 20, faces) == pytest.approx(0.05, abs=0.02)  # or it would find anything


def test_confusion_is_the_calibrations_summed_to_the_attribute(tiny: Path) -> None:
    errors = LabellerErrors(catalog.load_labeller(str(tiny)))
    # Of found faces, each true cell of a gender weighs a third: (80, 90, 45 of 50) and (90, 90, 40 of 80) read right.
    expected = [[(0.8 + 0.9 + 0.9) / 3, (0.2 + 0.1 + 0.1) / 3], [(0.1 + 0.1 + 0) / 3, (0.9 + 0.9 + 1) / 3]]
    np.testing.assert_allclose(errors.confusion(["gender"]), expected)
    merged = errors.confusion(["kind2"])  # from kind, which is calibrated
    np.testing.assert_allclose(merged, [[(0.9 + 1 + 1 + 0.9) / 4, (0.1 + 0.1) / 4], [0.25, 0.75]])
    cross = errors.confusion(["gender", "kind2"])
    assert cross is not None
    np.testing.assert_allclose(cross[1], [0, 0.9, 0, 0.1])
    assert errors.space.classes(["gender", "kind2"]) == ["f ab", "f c", "m ab", "m c"]
    assert errors.face_rate() == pytest.approx((1 + 1 + 0.5 + 1 + 1 + 0.8) / 6)


def test_a_larger_change_needs_fewer_and_errors_need_more(cli: Cli, tiny: Path) -> None:
    needs = [gender(planned(cli, "phantom", *GENDER, "--detect", d, "--between-prompt-sd", 0)) for d in (0.05, 0.1)]
    assert needs[0]["images_per_prompt_needed"] > needs[1]["images_per_prompt_needed"]
    assert needs[0]["prompts_needed"] > needs[1]["prompts_needed"]
    assert needs[0]["smallest_change"] == needs[1]["smallest_change"]  # of the design alone
    erring = gender(planned(cli, tiny, *GENDER, "--detect", 0.1, "--between-prompt-sd", 0))
    assert erring["images_per_prompt_needed"] > needs[1]["images_per_prompt_needed"]
    assert erring["face_rate"] == pytest.approx(5.3 / 6)
    more_power = gender(planned(cli, tiny, *GENDER, "--detect", 0.1, "--between-prompt-sd", 0, "--power", 0.95))
    assert more_power["images_per_prompt_needed"] > erring["images_per_prompt_needed"]


def test_the_curve_falls_and_agrees_with_the_rows(cli: Cli) -> None:
    found = planned(cli, "phantom", "--detect", 0.05, "--scope", "this list", "--estimand", "concentration")
    assert [row["attribute"] for row in found["attributes"]] == ["gender", "race4", "gender_x_race4"]
    for row, curve in zip(found["attributes"], found["curves"], strict=True):
        values = curve["smallest_change"]
        assert list(values) == ["2", "4", "8", "16"]
        assert values["8"][IMAGES.index(160)] == pytest.approx(row["smallest_change"])
        numbers = np.array([[math.inf if v is None else v for v in line] for line in values.values()])
        assert np.isfinite(numbers[:, -1]).all()
        with np.errstate(invalid="ignore"):
            assert not (np.diff(numbers, axis=0) >= 0).any()
            assert not (np.diff(numbers, axis=1) >= 0).any()


def test_a_curve_is_where_the_power_is_the_target() -> None:
    """Interpolated changes against the power of each; fifty like prompts, with fewer points each, against one."""
    one = Plan(shares_at_rd(0.15, 8), between_prompt_sd=0.01)
    many = Plan(np.tile(one.baseline, (50, 1)), between_prompt_sd=0.01)
    prompts, images = [[5], [40]], [20, 160, 640]
    found = detectable(one, prompts, images, 0.9)
    np.testing.assert_allclose(detectable(many, prompts, images, 0.9), found, rtol=0.02)
    for i, p in enumerate((5, 40)):
        for j, n in enumerate(images):
            assert float(power(one, -float(found[i, j]), p, n)) == pytest.approx(0.9, abs=0.01)


def test_what_is_impossible_for_one_attribute_is_said_in_its_row(cli: Cli) -> None:
    found = planned(cli, "phantom", "--detect", 0.3, "--baseline", 0.45)
    by_name = {row["attribute"]: row for row in found["attributes"]}
    assert by_name["gender"]["possible"] and by_name["race4"]["possible"]
    assert by_name["gender_x_race4"] | {"note": None} == by_name["gender_x_race4"] | {
        "possible": False,
        "note": None,
        "baseline_rd": None,
        "images_per_prompt_needed": None,
    }
    assert "above the maximum 0.250" in by_name["gender_x_race4"]["note"]
    code, out, _ = call(cli, "phantom", "--detect", 0.3)
    assert code == 0
    assert "gender x race4: a change of 0.3 is impossible" in " ".join(out.split())


def test_no_number_of_images_is_enough_where_prompts_differ(cli: Cli) -> None:
    options = (*GENDER, "--detect", 0.05, "--between-prompt-sd", 0.2)
    row = gender(planned(cli, "phantom", *options))
    assert row["images_per_prompt_needed"] is None
    assert f"the prompts themselves differ too much; with 160 images each, {row['prompts_needed']} are" in row["note"]
    alone = gender(planned(cli, "phantom", *options, "--prompts", 1))
    assert "one prompt is no sample of prompts" in alone["note"]
    fixed = gender(planned(cli, "phantom", *options, "--prompts", 1, "--scope", "this list"))
    assert fixed["images_per_prompt_needed"] > 0
    few = gender(planned(cli, "phantom", *GENDER, "--detect", 0.1, "--between-prompt-sd", 0, "-n", 1))
    assert few["prompts_needed"] is None
    assert "fewer than two faces per prompt" in few["note"]


def test_a_budget_is_split_over_the_prompts_there_are(cli: Cli) -> None:
    split = gender(planned(cli, "phantom", *GENDER, "--detect", 0.05, "--budget", 1_000))["best_split"]
    assert split["prompts"] * split["images_per_prompt"] <= 1_000
    assert split["prompts"] == 8  # prompts that differ: use all of them
    _, out, _ = call(cli, "phantom", *GENDER, "--detect", 0.05, "--budget", 1_000)
    assert f"8 x 125: {number(split['smallest_change'])}" in out
    few = gender(planned(cli, "phantom", *GENDER, "--detect", 0.05, "--budget", 100, "--face-rate", 0.9))
    assert (few["best_split"]["prompts"], few["best_split"]["images_per_prompt"]) == (4, 25)  # 20 faces each or more
    none = gender(planned(cli, "phantom", *GENDER, "--detect", 0.05, "--budget", 30))
    assert none["best_split"] is None


def test_no_plan_rests_on_a_handful_of_faces(cli: Cli) -> None:
    """Between one-sided runs the normal approximation would ask for two images a prompt."""
    options = (*GENDER, "--detect", 0.05, "--baseline", 1, "--prompts", 50, "--between-prompt-sd", 0)
    assert gender(planned(cli, "phantom", *options))["images_per_prompt_needed"] == 20
    assert gender(planned(cli, "phantom", *options, "--face-rate", 0.3))["images_per_prompt_needed"] == 67
    assert simulated((1.0, 0.95), np.eye(2), 50, 20) > 0.8
    assert simulated((1.0, 0.95), np.eye(2), 50, 2) < 0.5


def test_a_run_stands_for_run_a(cli: Cli, pilot: Path) -> None:
    found = planned(cli, "phantom", *GENDER, "--detect", 0.1, "--baseline", pilot)
    row = gender(found)
    assert row["baseline_rd"] == pytest.approx((0.8 + 0.4) / 2, abs=0.01)  # the prompt without a face is left out
    assert row["face_rate"] == pytest.approx(60 / 120)
    assert any("prompts.csv" in sentence for sentence in found["assumptions"])
    given = gender(planned(cli, "phantom", *GENDER, "--detect", 0.1, "--baseline", pilot, "--face-rate", 1))
    assert given["images_per_prompt_needed"] < row["images_per_prompt_needed"]


def test_a_runs_errors_are_taken_out_before_they_are_added(cli: Cli, tiny: Path, tmp_path: Path) -> None:
    table = LabellerErrors(catalog.load_labeller(str(tiny))).confusion(["gender"])
    assert table is not None
    read = np.array([0.2, 0.8]) @ table
    (tmp_path / "prompts.csv").write_text(
        "prompt,n_images,n_with_face,gender.n,gender.share f,gender.share m\n"
        f"one,100000,100000,100000,{read[0]:.6f},{read[1]:.6f}\n"
    )
    row = gender(planned(cli, tiny, *GENDER, "--detect", 0.1, "--baseline", tmp_path))
    assert row["baseline_rd"] == pytest.approx(0.6, abs=0.001)


def test_what_is_assumed_is_said(cli: Cli, tiny: Path) -> None:
    said = " ".join(planned(cli, tiny, "--detect", 0.1)["assumptions"])
    assert "calibration on drawings (read right, mean over groups: gender .900" in said
    assert "88.3 % of images" in said and "0.75 of its maximum" in said and "SD 0.05" in said
    free = " ".join(planned(cli, "fairface", *GENDER, "--detect", 0.1, "--scope", "this list")["assumptions"])
    assert "assumed free of errors for gender, as the labeller's card names no calibration" in free
    assert "100.0 % of images" in free and "nothing is said of other prompts" in free


def test_files_are_written_whole(cli: Cli, tmp_path: Path) -> None:
    code, out, _ = call(cli, "phantom", "--detect", 0.05, "--out", tmp_path / "plan")
    assert code == 0
    assert "perceived presentation" in out
    assert sorted(path.name for path in (tmp_path / "plan").iterdir()) == ["plan.csv", "plan.json", "plan.png"]
    picture = np.asarray(Image.open(tmp_path / "plan" / "plan.png").convert("L"))
    assert picture.shape[1] > 1_000 and picture.std() > 10
    found = json.loads((tmp_path / "plan" / "plan.json").read_text())
    rows = list(csv.DictReader(io.StringIO((tmp_path / "plan" / "plan.csv").read_text())))
    assert len(rows) == 3 * 4 * len(IMAGES)
    first = found["curves"][0]["smallest_change"]["2"][-1]
    assert float(rows[len(IMAGES) - 1]["smallest_change_of_rd"]) == pytest.approx(first, abs=1e-5)


def test_without_matplotlib_nothing_is_written(cli: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real = builtins.__import__

    def absent(name: str, *rest: Any, **more: Any) -> Any:
        if name.split(".")[0] == "matplotlib":
            raise ImportError(name)
        return real(name, *rest, **more)

    monkeypatch.setattr(builtins, "__import__", absent)
    code, _, err = call(cli, "phantom", "--detect", 0.05, "--out", tmp_path / "plan")
    assert code == 2
    assert "fairbench-umm[report]" in err
    assert not (tmp_path / "plan").exists()


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (("--detect", 0), "--detect 0: give a number above 0 and at most 1"),
        (("--detect", "nan"), "--detect nan: give a number"),
        (("--detect", 1.5), "--detect 1.5"),
        (("--detect", -0.1), "--detect -0.1"),
        (("--power", 0.04), "above --alpha (0.05)"),
        (("--power", 1), "--power 1"),
        (("--alpha", 0), "--alpha 0"),
        (("--face-rate", 1.2), "--face-rate 1.2"),
        (("--between-prompt-sd", -1), "--between-prompt-sd -1"),
        (("--prompts", 0), "--prompts 0: give a whole number from 1 to 1,000,000"),
        (("-n", -5), "--images-per-prompt -5"),
        (("--budget", 0), "--budget 0"),
        (("--baseline", "-0.2"), "--baseline -0.2: give an RD from 0 to 1"),
        (("--baseline", "nowhere"), "--baseline nowhere: give the RD of run A as a number, or the folder"),
        (("--attribute", "gendr"), "no attribute 'gendr' (did you mean 'gender'?)"),
        (("--attribute", ","), "no attribute ','"),
        (("--scope", "this lst"), "(did you mean 'this list'?)"),
        (("--estimand", "kl"), "no --estimand 'kl'"),
        (("--task", "occupation"), "no task 'occupation' (did you mean 'occupations'?)"),
        (("--labeller", "fantom"), "no labeller 'fantom' (did you mean 'phantom'?)"),
        (("--detect", 0.8), "gender_x_race4: a change of 0.8 is impossible"),
    ],
)
def test_what_is_wrong_is_said_in_one_sentence(cli: Cli, options: tuple[object, ...], said: str) -> None:
    code, out, err = call(cli, "phantom", "--detect", 0.05, *options)
    assert (code, out) == (2, "")
    assert said in err
    assert err.startswith("Error: ") and err.endswith(".\n") and err.count("\n") == 1


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (("gender.share male", "gender.share man"), "line 1: the column 'gender.share male' is missing; give the"),
        (("0.900000", "0.800000"), "line 2: the shares of gender do not sum to 1"),
        (("0.700000", "much"), "line 3, field gender.share male: 'much' is no count or share"),
        (("40,40,40,", "40,40,-4,"), "line 2, field gender.n: '-4' is no count or share"),
        (("n_with_face", "faces"), "the column 'n_with_face' is missing"),
    ],
)
def test_a_damaged_run_is_named(cli: Cli, pilot: Path, change: tuple[str, str], said: str) -> None:
    table = pilot / "prompts.csv"
    table.write_text(table.read_text().replace(*change))
    code, _, err = call(cli, "phantom", *GENDER, "--detect", 0.05, "--baseline", pilot)
    assert code == 2
    assert str(table) in err and said in err


def test_a_run_without_faces_is_refused(cli: Cli, pilot: Path) -> None:
    lines = (pilot / "prompts.csv").read_text().splitlines()
    for kept in (lines[:1], [lines[0], lines[3]]):
        (pilot / "prompts.csv").write_text("\n".join(kept) + "\n")
        code, _, err = call(cli, "phantom", *GENDER, "--detect", 0.05, "--baseline", pilot)
        assert (code, "no prompt has a face with a label of gender" in err) == (2, True)
