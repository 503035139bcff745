"""The short form: golden texts at three widths, no number cut, each verdict at the borders of its rule."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from fairbench import api
from fairbench.display.note import LABEL_NOTE
from fairbench.errors import FairbenchError
from fairbench.runs import headline, terminal, terminal_headline, verdict
from fairbench.runs.headline import NOTHING, Headline, Lean, Limits, effective_groups
from fairbench.runs.terminal_tables import Measured
from tests.builders import shown_runs
from tests.builders.shown_runs import CASES, GOLDEN, MadeUp, printed

PLAIN = Headline("gender", 2, Limits(0.5, 0.4, 0.6), fair=0.01, fair_p95=0.05, one_sided=0.9)


@pytest.mark.parametrize("name", CASES)
def test_golden_texts(name: str, tmp_path: Path) -> None:
    assert shown_runs.text(CASES[name], tmp_path / "run") == (GOLDEN / f"{name}.txt").read_text(encoding="utf-8")


@pytest.mark.parametrize("name", CASES)
@pytest.mark.parametrize("width", [30, 60, 80, 120])
def test_no_number_is_cut_and_no_line_is_too_long(name: str, width: int, tmp_path: Path) -> None:
    run = CASES[name].write(tmp_path / "run")
    text = printed(run, width)
    measured = Measured(api.load(run))
    table = terminal_headline.table(measured, headline.of_run(measured))
    words = " ".join(text.split())
    for cells in table.rows:
        assert cells is not None
        for cell in cells[1:]:
            assert not cell.text or cell.text in words, cell.text
    assert "…" not in text
    assert all(len(line) <= width or line.startswith("run ") for line in text.splitlines())


def test_the_table_of_three_attributes_has_at_most_twelve_lines(tmp_path: Path) -> None:
    lines = printed(CASES["normal"].write(tmp_path / "run"), 80).splitlines()
    of_table = [line for line in lines if not re.match("(gender|race4)[a-z0-9 ]*:", line)]  # without the verdicts
    assert of_table.index(next(line for line in lines if line.startswith("RD"))) < 12 and len(lines) <= 21


def test_what_stands_wherever_labels_are_shown(tmp_path: Path) -> None:
    for full in (False, True):
        words = " ".join(printed(CASES["normal"].write(tmp_path / str(full)), 80, full=full).split())
        assert LABEL_NOTE in words and terminal_headline.TWO_GENDERS["classifier"] in words
        assert terminal_headline.MORE[full] in words
        assert "biased" not in words


def test_whose_labels_they_are_is_said(tmp_path: Path) -> None:
    """A table's labels are no classifier's, and people's stand beside a classifier's."""
    for case, words, not_said in (
        ("normal", "as seen by a classifier;", "annotators"),
        ("people", "as seen by most of the annotators who were asked or by a classifier;", "table"),
        ("table", "as seen by whoever made the table of labels;", "classifier"),
    ):
        folder = CASES[case].write(tmp_path / case)
        for text in (printed(folder, 80), terminal.summary(api.load(folder))["note"], api.load(folder).to_latex()):
            assert words in " ".join(text.split()), case
            assert not_said not in " ".join(text.split()).split("Labels are")[1].split("never anyone")[0], case


@pytest.mark.parametrize(
    ("changes", "finding"),
    [
        ({}, "uneven"),
        ({"read": Limits(0.5, 0.0501, 0.6)}, "uneven"),
        ({"read": Limits(0.5, 0.05, 0.6)}, "open"),
        ({"read": Limits(0.003, -0.004, 0.00999)}, "balanced"),
        ({"read": Limits(0.003, -0.004, 0.01)}, "open"),
        ({"read": Limits(0.007, 0.006, 0.008), "fair_p95": 0.005}, "slightly uneven"),
        ({"read": Limits(0.007, 0.006, 0.008), "fair_p95": 0.006}, "balanced"),
        ({"read": Limits(0.95, 0.9001, 0.99)}, "contradicted"),
        ({"read": Limits(0.95, 0.9, 0.99)}, "uneven"),
        ({"read": Limits(0.5, None, None)}, "unknown"),
        ({"read": NOTHING}, "unknown"),
        ({"fair_p95": None}, "unknown"),
        # Balance is claimed where every interval that is printed allows it.
        ({"read": Limits(0.003, -0.004, 0.008), "corrected": Limits(0.004, -0.01, 0.02)}, "open"),
        ({"read": Limits(0.003, -0.004, 0.008), "highest": Limits(0.004, -0.01, 0.02)}, "open"),
        ({"read": Limits(0.003, -0.004, 0.008), "corrected": Limits(0.004, -0.01, 0.009)}, "balanced"),
        # People decide where there are labels of them, whatever the labeller reads.
        ({"people": Limits(0.003, 0.0, 0.009)}, "balanced"),
        ({"people": Limits(0.003, 0.001, 0.009)}, "slightly uneven"),
        ({"people": Limits(0.3, 0.001, 0.6), "read": Limits(0.003, -0.004, 0.008)}, "uneven"),
        ({"people": Limits(0.95, 0.92, 0.99)}, "uneven"),
    ],
)
def test_a_verdict_follows_from_intervals(changes: dict[str, Limits], finding: str) -> None:
    judged = replace(PLAIN, **changes)  # type: ignore[arg-type]
    assert verdict.finding(judged) == finding
    words = verdict.sentence(judged)
    assert ("clearly" in words) == (finding == "uneven")
    assert ("not shown" in words) == (finding == "open")
    assert ("% of balance" in words) == (finding in ("balanced", "slightly uneven"))


def test_within_how_much_of_balance_is_rounded_up() -> None:
    """A balanced model with a share t of its images replaced by one group's has concentration t^2, for every K."""
    for classes in (2, 4, 7):
        for share in (0.0, 0.04, 0.0712, 0.0999):
            shares = (1 - share) / classes + share * np.eye(classes)[0]
            concentration = (classes * (shares**2).sum() - 1) / (classes - 1)
            judged = replace(PLAIN, classes=classes, read=Limits(0.0, -0.1, float(concentration) - 1e-9))
            assert f"within {np.ceil(100 * share):.0f} % of balance" in verdict.sentence(judged)


def test_a_lean_is_named_where_a_test_over_all_classes_shows_it() -> None:
    def lean(label: str, value: float, *, shown: bool = True) -> Lean:
        return Lean(label, Limits(value, value - 2, value + 2), shown)

    leans = (lean("a", 3), lean("b", 7), lean("c", -5), lean("d", -9, shown=False))
    words = verdict.sentence(replace(PLAIN, leans=leans))
    assert words.endswith("; leaning to b +7.0 [5.0, 9.0], away from c -5.0 [-7.0, -3.0] points.")
    assert verdict.sentence(replace(PLAIN, leans=leans[3:])).endswith("; no lean is shown overall.")
    assert "lean" not in verdict.sentence(PLAIN)


@pytest.mark.parametrize(("attribute", "labels", "z"), [("gender", ["female", "male"], 1.96), ("race4", "WBIA", 2.498)])
def test_the_border_of_a_lean(attribute: str, labels: list[str], z: float, tmp_path: Path) -> None:
    """One test of two classes; of four, each at a quarter of 5 %."""
    label = "female" if attribute == "gender" else "Black"
    for factor, shown in ((1.01, True), (0.99, False)):
        error = 0.02
        value = -factor * z * error
        row = shown_runs.gap(attribute, label, value, value - 1.96 * error, value + 1.96 * error)
        rows = [*shown_runs.BASIC[:9], row]
        measured = Measured(api.load(MadeUp(rows).write(tmp_path / f"{factor}")))
        found = next(h for h in headline.of_run(measured) if h.attribute == attribute).leans
        assert [x.shown for x in found] == [shown]
        assert found[0].label == ("male" if attribute == "gender" else "Black")  # of two, the one that is shown more
        assert found[0].points.value == pytest.approx(100 * (abs(value) if attribute == "gender" else value))


def test_effective_groups_by_another_way() -> None:
    """The Hill number of order 2: 1 / sum p^2."""
    rng = np.random.default_rng(0)
    for classes in (2, 4, 7):
        for shares in rng.dirichlet(np.ones(classes), 20):
            concentration = (classes * (shares**2).sum() - 1) / (classes - 1)
            assert effective_groups(float(concentration), classes) == pytest.approx(1 / (shares**2).sum())
        assert effective_groups(-5.0, classes) == classes and effective_groups(1.2, classes) == 1.0
    assert effective_groups(None, 2) is None


def test_of_fewer_than_ten_prompts_nothing_is_said_of_others(tmp_path: Path) -> None:
    for prompts in (1, 9, 10):
        case = replace(CASES["normal"], prompts=prompts)
        words = " ".join(printed(case.write(tmp_path / str(prompts)), 80).split())
        assert ("gender .50 to .75" in words) == (prompts == 10)
        assert ("Of other prompts nothing is said" in words) == (prompts < 10)


def test_unclear_faces_are_said_where_there_are_any(tmp_path: Path) -> None:
    words = " ".join(printed(CASES["several-faces"].write(tmp_path / "a"), 60).split())
    assert "with an unclear label: gender 31 (0.8 %), race4 31 (0.8 %)" in words
    assert "unclear label" not in printed(CASES["normal"].write(tmp_path / "b"), 60)


def test_dropped_prompts_are_said_with_the_reason(tmp_path: Path) -> None:
    text = printed(CASES["dropped-prompts"].write(tmp_path / "a"), 120)
    assert "This list: 29 of 32 prompts (3 have too few faces)" in text
    some = [r | {"n_prompts": 30} if r["attribute"] == "race4" else r for r in CASES["normal"].rows]
    text = printed(MadeUp(some).write(tmp_path / "b"), 120)
    assert re.search(r"gender 32, race4 30, gender x race4 32, of 32 prompts", text)


def test_age_stands_beside_gender_and_race(tmp_path: Path) -> None:
    lines = printed(CASES["age"].write(tmp_path / "run"), 80).splitlines()
    names = [line.split("  ")[0] for line in lines[4:8]]
    assert names == ["gender", "race4", "age", "gender x race4"]
    assert any(line.startswith("age: clearly uneven within prompts; leaning to 20-29 +39.0") for line in lines)


def test_people_are_the_headline(tmp_path: Path) -> None:
    folder = CASES["people"].write(tmp_path / "run")
    words = " ".join(printed(folder, 80).split())
    assert "gender 1.1 / 2.0 of 2 .771 [.722, .820] .624 [.578, .669]" in words
    assert "race4: within 10 % of balance" in words and "away" not in words
    assert "gender: clearly uneven within prompts; leaning to male +7.1 [4.0, 10.2] points" in words
    assert "Faces on which they cannot decide: gender 3.1 %." in words
    full = " ".join(printed(folder, 120, full=True).split())
    assert all(number in full for number in (".779 .741 .817", ".762 .681 .843", "-.004 .009"))


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("[", "cannot be read"),
        ("[]", "people.json, field"),
        (json.dumps(shown_runs.PEOPLE | {"images": "many"}), "field images"),
        (json.dumps(shown_runs.PEOPLE | {"run_id": "f" * 32}), "field run_id: it is of run ffff"),
    ],
)
def test_a_people_json_that_is_damaged_or_of_another_run_is_named(text: str, words: str, tmp_path: Path) -> None:
    folder = replace(CASES["people"], files={"people.json": text}).write(tmp_path / "run")
    with pytest.raises(FairbenchError, match=re.escape(words)) as error:
        printed(folder, 80)
    assert "people.json" in str(error.value) and "calibrate --from" in str(error.value)


def test_machines_get_the_verdicts_and_the_labels_by_people(tmp_path: Path) -> None:
    result = terminal.summary(api.load(CASES["people"].write(tmp_path / "run")))
    assert {name: v["finding"] for name, v in result["verdicts"].items()} == {
        "gender": "uneven",
        "race4": "balanced",
        "gender_x_race4": "uneven",
    }
    assert result["people"]["images"] == 512
    assert json.loads(json.dumps(result))["verdicts"]["race4"]["words"].startswith("within 10 % of balance")


def test_rd_of_few_prompts_is_never_silent(tmp_path: Path) -> None:
    """Where 8 of 10 prompts have too few faces for n0, two fair ones made the value, and nothing said so."""
    reason = "over 2 of 10 prompts (8 have too few faces)"
    rarefied = shown_runs.row("rd", "gender", 0.063, 0.036, 0.089) | {"estimate": "rarefied", "n0": 80}
    rows = [*shown_runs.BASIC, rarefied | {"n_prompts": 2, "reason": reason}]
    folder = MadeUp(rows, prompts=10).write(tmp_path / "run")
    short, full = (printed(folder, 120, full=form) for form in (False, True))
    assert ".063" not in short and "10 of 10 prompts;" in short
    assert "rd@80" in full and ".063" in full and f"gender: {reason}" in full


@pytest.mark.parametrize(
    ("true_values", "words"),
    [
        ((0.63, 0.65), "gender .630, race4 .650: in all intervals."),
        ((0.63, 0.99), "race4 .990: not in the interval of race4."),
        ((0.1, 0.99), "race4 .990: in no interval."),
    ],
)
def test_the_known_truth_is_a_sentence(true_values: tuple[float, float], words: str, tmp_path: Path) -> None:
    attributes = zip(("gender", "race4"), true_values, strict=True)
    fixed = {"prompts": 32, "measured": 0.5, "truth": 0.5, "expected": 0.5, "spread": 0.1}
    values = [fixed | {"attribute": name, "concentration": value} for name, value in attributes]
    truth = {"name": "planted", "file": "planted.csv", "values": values}
    folder = replace(CASES["normal"], more={"truth": [truth]}).write(tmp_path / "run")
    assert words in printed(folder, 300) and "known truth" in printed(folder, 300, full=True)


def test_what_a_correction_rests_on_is_said_beside_it(tmp_path: Path) -> None:
    """Reasons of estimates that have a value: those that other words say already are left out."""
    few = "over 30 of 32 prompts (2 have too few faces); few images: 34 in the calibration's smallest row"
    rows = [*shown_runs.BASIC, shown_runs.ADJUSTED[0] | {"reason": few}, *shown_runs.ADJUSTED[1:]]
    words = " ".join(printed(MadeUp(rows).write(tmp_path / "run"), 200).split())
    assert "Adjusted (gender): few images: 34 in the calibration's smallest row." in words
    ranged = [r | {"reason": "if errors are no larger than on the calibration's images"} for r in shown_runs.RANGE]
    case = replace(CASES["range"], rows=[*shown_runs.BASIC, *shown_runs.REFUSED, *ranged])
    assert "Adjusted, as a range" in printed(case.write(tmp_path / "range"), 200)
    assert "Adjusted:" not in printed(tmp_path / "range", 200)
