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
from fairbench.errors import FairbenchError
from fairbench.labelling.confusion import NO_FACE, Calibration
from fairbench.planning.analysis import IMAGES
from fairbench.planning.inputs import LabellerErrors, PilotRun
from fairbench.runs import evidence, registration
from fairbench.runs.registration import Arm
from fairbench.stats import list_power
from fairbench.stats.difference import concentration_difference
from fairbench.stats.power import Plan, power, shares_at
from fairbench.stats.sizes import detectable
from tests.builders.cli import Cli
from tests.builders.fake_runs import SIDED, FakeRun, draw_cells
from tests.builders.plans import BASE, call, planned

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
    """Return a run of twelve prompts, one of them without a face, labelled by phantom, whose card has a calibration."""
    shown = draw_cells(SIDED, 1, 12, 40)
    shown[3], shown[:3, :20] = -1, -1
    return FakeRun(shown, calibrated=True).write(tmp_path / "pilot")


def gender(found: dict[str, Any]) -> dict[str, Any]:
    return next(row for row in found["attributes"] if row["attribute"] == "gender")


def simulated(values: tuple[float, float], table: NDArray[np.float64], prompts: int, faces: int, level: float) -> float:
    """Return how often the test of a comparison over this list finds the difference of two simulated runs."""
    random, found = np.random.default_rng(7), 0
    for _ in range(300):
        a, b = (random.multinomial(faces, shares_at(value, 2) @ table, prompts) for value in values)
        found += concentration_difference(a, b).effect.p_value() <= level
    return found / 300


def test_the_planned_images_find_the_change_as_often_as_asked(cli: Cli, tiny: Path) -> None:
    """Through a labeller that errs, with images without a face: the simulated test finds it in 80 % of runs."""
    options = ("--detect", 0.1, "--baseline", 0.6, "--prompts", 20, "--face-rate", 0.8)
    row = gender(planned(cli, tiny, *GENDER, *options))
    assert row["level"] == pytest.approx(0.05 / 3)  # three primary attributes, of which one is planned for
    table, faces = np.array(row["confusion"]), round(0.8 * row["images_per_prompt_needed"])
    error = 3 * math.sqrt(0.8 * 0.2 / 300)
    assert abs(simulated((0.6, 0.5), table, 20, faces, row["level"]) - 0.8) < error + 0.03
    assert simulated((0.6, 0.5), table, 20, round(0.6 * faces), row["level"]) < 0.8 - error
    assert simulated((0.6, 0.6), table, 20, faces, row["level"]) < 0.05  # or it would find anything


def test_five_prompts_are_never_planned_for_other_prompts(cli: Cli) -> None:
    """What compare cannot find is not planned: over other prompts from ten prompts on, and the plan says so."""
    options = ("--detect", 0.3, "--scope", "other prompts", "-n", 640)
    found = planned(cli, "phantom", *options)  # eight prompts
    for row in found["attributes"]:
        assert row["images_per_prompt_needed"] is None
        assert row["prompts_needed"] >= 10
        assert row["level"] == 0.05  # an interval: nothing is adjusted
        assert row["note"].startswith("impossible with 8 prompts: a difference over other prompts takes at least 10")


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
    needs = [gender(planned(cli, "phantom", *GENDER, "--detect", d, "--scope", "this list")) for d in (0.05, 0.1)]
    assert needs[0]["images_per_prompt_needed"] > needs[1]["images_per_prompt_needed"]
    assert needs[0]["prompts_needed"] > needs[1]["prompts_needed"]
    assert needs[0]["smallest_change"] == needs[1]["smallest_change"]  # of the design alone
    erring = gender(planned(cli, tiny, *GENDER, "--detect", 0.1, "--scope", "this list"))
    assert erring["images_per_prompt_needed"] > needs[1]["images_per_prompt_needed"]
    assert erring["face_rate"] == pytest.approx(5.3 / 6)
    more_power = gender(planned(cli, tiny, *GENDER, "--detect", 0.1, "--power", 0.95))
    assert more_power["images_per_prompt_needed"] > erring["images_per_prompt_needed"]


def test_the_curve_falls_and_agrees_with_the_rows(cli: Cli) -> None:
    found = planned(cli, "phantom", "--detect", 0.05)
    assert [row["attribute"] for row in found["attributes"]] == ["gender", "race4", "gender_x_race4"]
    for row, curve in zip(found["attributes"], found["curves"], strict=True):
        values = curve["smallest_change"]
        assert list(values) == ["4", "8", "16"]
        assert values["8"][IMAGES.index(160)] == pytest.approx(row["smallest_change"])
        numbers = np.array([[math.inf if v is None else v for v in line] for line in values.values()])
        assert np.isfinite(numbers[:, -1]).all()
        with np.errstate(invalid="ignore"):
            assert not (np.diff(numbers, axis=0) >= 0).any()
            assert not (np.diff(numbers, axis=1) >= 0).any()


def test_a_curve_is_where_the_power_is_the_target(monkeypatch: pytest.MonkeyPatch) -> None:
    """Interpolated changes against the power of each; fifty like prompts against one."""
    monkeypatch.setattr(list_power, "_LISTS", 2000)
    monkeypatch.setattr(list_power, "_POOL", 4000)
    one = Plan(shares_at(0.5, 8))
    many = Plan(np.tile(one.baseline, (50, 1)))
    prompts, images = [[5], [40]], [20, 160, 640]
    found = detectable(one, prompts, images, 0.9)
    np.testing.assert_allclose(detectable(many, prompts, images, 0.9), found, rtol=0.05)
    for i, p in enumerate((5, 40)):
        for j, n in enumerate(images):
            assert float(power(one, -float(found[i, j]), p, n)) == pytest.approx(0.9, abs=0.02)


def test_what_is_impossible_is_said_in_one_sentence(cli: Cli) -> None:
    code, out, err = call(cli, "phantom", "--detect", 0.3, "--baseline", 0.2)
    assert (code, out) == (2, "")
    assert "gender: a change of 0.3 is impossible: run A's concentration of 0.200 is too small" in err


def test_no_number_of_images_is_enough_where_prompts_differ(cli: Cli) -> None:
    options = (*GENDER, "--detect", 0.05, "--between-prompt-sd", 0.2, "--scope", "other prompts")
    row = gender(planned(cli, "phantom", *options, "--prompts", 30))
    assert row["images_per_prompt_needed"] is None
    assert f"too few or differ too much; with 160 images each, {row['prompts_needed']:,} are" in row["note"]
    alone = gender(planned(cli, "phantom", *GENDER, "--detect", 0.05, "--prompts", 1))
    assert "impossible with 1 prompt: a difference over this list takes at least 2" in alone["note"]
    few = gender(planned(cli, "phantom", *GENDER, "--detect", 0.1, "-n", 3))
    assert few["prompts_needed"] is None
    assert "fewer than 4 faces per prompt" in few["note"]


def test_a_budget_is_split_over_the_prompts_there_are(cli: Cli) -> None:
    split = gender(planned(cli, "phantom", *GENDER, "--detect", 0.05, "--budget", 1_000))["best_split"]
    assert (split["prompts"], split["images_per_prompt"]) == (8, 125)  # this list is not shortened
    out = " ".join(cli(*BASE, "phantom", *GENDER, "--detect", 0.05, "--budget", 1_000).out.split())
    assert f"8 x 125: {number(split['smallest_change'])}" in out
    others = (*GENDER, "--detect", 0.05, "--scope", "other prompts", "--prompts", 40)
    few = gender(planned(cli, "phantom", *others, "--budget", 800))["best_split"]
    assert few["prompts"] == 40 and few["images_per_prompt"] == 20  # prompts that differ: use all of them
    none = gender(planned(cli, "phantom", *others[:-1], 9, "--budget", 1_000))
    assert none["best_split"] is None


def test_no_plan_rests_on_a_handful_of_faces(cli: Cli) -> None:
    """Between one-sided runs the normal approximation would ask for a few images per prompt."""
    options = (*GENDER, "--detect", 0.3, "--baseline", 1, "--prompts", 50)
    assert gender(planned(cli, "phantom", *options))["images_per_prompt_needed"] == 20
    assert gender(planned(cli, "phantom", *options, "--face-rate", 0.3))["images_per_prompt_needed"] == 67


def test_a_run_stands_for_run_a(cli: Cli, pilot: Path) -> None:
    found = planned(cli, "phantom", *GENDER, "--detect", 0.1, "--baseline", pilot)
    row = gender(found)
    truth = (2 * SIDED[:4].sum() - 1) ** 2
    assert row["baseline_concentration"] == pytest.approx(truth, abs=0.06)  # not larger, as few faces would make it
    assert row["face_rate"] == pytest.approx((8 * 40 + 3 * 20) / 480)
    assert any(f"{pilot}, read by phantom, without its known errors" in sentence for sentence in found["assumptions"])
    given = gender(planned(cli, "phantom", *GENDER, "--detect", 0.1, "--baseline", pilot, "--face-rate", 1))
    assert given["images_per_prompt_needed"] < row["images_per_prompt_needed"]


def test_the_errors_of_the_runs_own_labeller_are_taken_out(cli: Cli, pilot: Path, tmp_path: Path) -> None:
    """Whatever labeller is planned for, run A is the same: its errors come in after those of the pilot are out."""
    for names in (["gender"], ["race4"], ["gender", "race4"]):
        run = PilotRun(pilot)
        shares = [
            run.shares(names, LabellerErrors(catalog.load_labeller(each))) for each in ("phantom", "phantom-noisy")
        ]
        np.testing.assert_allclose(shares[0], shares[1])
    rows = [
        gender(planned(cli, each, *GENDER, "--detect", 0.1, "--baseline", pilot))
        for each in ("phantom", "phantom-noisy")
    ]
    assert rows[0]["baseline_concentration"] == pytest.approx(rows[1]["baseline_concentration"])
    assert rows[1]["images_per_prompt_needed"] > rows[0]["images_per_prompt_needed"]  # the planned one errs
    # A noisy pilot's own errors are undone: what was shown comes back.
    noisy = FakeRun(draw_cells(SIDED, 3, 12, 2_000), labeller="phantom-noisy", calibrated=True)
    folder = noisy.write(tmp_path / "noisy")
    table = LabellerErrors(catalog.load_labeller("phantom-noisy")).confusion(["gender"])
    counts = evidence.read(folder).counts.of(["gender"])
    assert table is not None
    expected = (counts / counts.sum(axis=1, keepdims=True)) @ np.linalg.inv(table)
    np.testing.assert_allclose(
        PilotRun(folder).shares(["gender"], LabellerErrors(catalog.load_labeller("phantom"))), expected, atol=0.02
    )


def test_a_run_whose_labellers_errors_are_unknown_is_refused(tmp_path: Path) -> None:
    folder = FakeRun(draw_cells(SIDED, 1, 12, 40)).write(tmp_path / "run")
    errors = LabellerErrors(catalog.load_labeller("phantom-noisy"))
    with pytest.raises(FairbenchError, match="errors of its labeller phantom in gender are not known"):
        PilotRun(folder).shares(["gender"], errors)


def test_a_run_with_other_labels_is_refused(cli: Cli, pilot: Path) -> None:
    code, _, err = call(cli, "fairface", "--attribute", "age", "--detect", 0.05, "--baseline", pilot)
    assert code == 2
    assert "its labeller phantom does not give age as fairface does" in err


def test_what_is_assumed_is_said(cli: Cli, tiny: Path) -> None:
    said = " ".join(planned(cli, tiny, "--detect", 0.1)["assumptions"])
    assert "calibration on drawings (read right, mean over groups: gender .900" in said
    assert "88.3 % of images" in said and "concentration is .56" in said
    assert "at level .0167, the first step of Holm's adjustment for 3 tests" in said
    assert "nothing is said of other prompts" in said
    free = " ".join(
        planned(cli, "fairface", *GENDER, "--detect", 0.1, "--scope", "other prompts", "--prompts", 20)["assumptions"]
    )
    assert "assumed free of errors for gender, as the labeller's card names no calibration" in free
    assert "100.0 % of images" in free and "must exclude 0" in free and "SD 0.05" in free


def test_a_plan_is_registered_once(cli: Cli, tmp_path: Path) -> None:
    file = tmp_path / "registered.json"
    arms = ("--arm", "phantom-exact", "--arm", "phantom-exact:balanced-prompting", "--arm", "phantom")
    done = cli(*BASE, "phantom", "--detect", 0.1, "-n", 80, *arms, "--register", file).succeeded()
    made = registration.read(file)
    assert made.sha256 in " ".join(done.out.split())
    assert made.arms[1] == Arm(model="phantom-exact", method="balanced-prompting")
    assert (made.task, made.prompts, made.images_per_prompt) == ("occupations-mini", 8, 80)
    assert made.attributes == ["gender", "race4", "gender_x_race4"]
    assert made.margins["concentration.gender"] == 0.05 and made.margins["groups.race4"] == 0.1
    assert "0.00833" in done.out or ".0083" in done.out  # two variants, three attributes
    before = file.read_bytes()
    for options, said in (
        ((*arms, "--register", file), "exists, and a registration replaces nothing"),
        (("--arm", "phantom", "--register", tmp_path / "new.json"), "name the runs that will be compared"),
        ((*arms, "--prompts", 9, "--register", tmp_path / "new.json"), "--prompts 9: task occupations-mini has 8"),
    ):
        code, out, err = call(cli, "phantom", "--detect", 0.1, *options)
        assert (code, out) == (2, "")
        assert said in err
    assert file.read_bytes() == before and not (tmp_path / "new.json").exists()


def test_files_are_written_whole(cli: Cli, tmp_path: Path) -> None:
    code, out, _ = call(cli, "phantom", "--detect", 0.05, "--out", tmp_path / "plan")
    assert code == 0
    assert "perceived presentation" in out
    assert sorted(path.name for path in (tmp_path / "plan").iterdir()) == ["plan.csv", "plan.json", "plan.png"]
    picture = np.asarray(Image.open(tmp_path / "plan" / "plan.png").convert("L"))
    assert picture.shape[1] > 1_000 and picture.std() > 10
    found = json.loads((tmp_path / "plan" / "plan.json").read_text())
    rows = list(csv.DictReader(io.StringIO((tmp_path / "plan" / "plan.csv").read_text())))
    assert len(rows) == 3 * 3 * len(IMAGES)
    first = found["curves"][0]["smallest_change"]["4"][-1]
    assert float(rows[len(IMAGES) - 1]["smallest_change"]) == pytest.approx(first, abs=1e-5)


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
        (("--baseline", "-0.2"), "--baseline -0.2: give a concentration from 0 to 1"),
        (("--baseline", "nowhere"), "--baseline nowhere: give the concentration of run A as a number, or the folder"),
        (("--attribute", "gendr"), "no attribute 'gendr' (did you mean 'gender'?)"),
        (("--attribute", ","), "no attribute ','"),
        (("--scope", "this lst"), "(did you mean 'this list'?)"),
        (("--task", "occupation"), "no task 'occupation' (did you mean 'occupations'?)"),
        (("--labeller", "fantom"), "no labeller 'fantom' (did you mean 'phantom'?)"),
        (("--arm", "fantom"), "no model 'fantom' (did you mean 'phantom'?)"),
        (("--detect", 0.8), "gender_x_race4: a change of 0.8 is impossible"),
    ],
)
def test_what_is_wrong_is_said_in_one_sentence(cli: Cli, options: tuple[object, ...], said: str) -> None:
    code, out, err = call(cli, "phantom", "--detect", 0.05, *options)
    assert (code, out) == (2, "")
    assert said in err
    assert err.startswith("Error: ") and err.endswith(".\n") and err.count("\n") == 1
