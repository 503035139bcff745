"""Known truth: its files, what `check` says of them, that it is in no key, and what RD it leads one to expect."""

from __future__ import annotations

import dataclasses
import itertools
from pathlib import Path

import numpy as np
import pytest
from scipy.stats import multinomial

from fairbench.cards import catalog, truth_table
from fairbench.errors import CardError
from fairbench.labelling.labeller import Labeller
from fairbench.linting import cards
from fairbench.phantom import planted
from fairbench.runs import known_truth, spec
from fairbench.runs.pipeline import Outcome

CARD = "name: mine\ntitle: Mine\nadapter: phantom-exact\nlabeller: phantom\n"
TRUTH = "truth:\n  - name: planted\n    file: t.csv\n    attributes: [gender]\n"
TABLE = "subject,female,male,n\nnurse,0.9,0.1,7\n*,0.5,0.5,7\n"


def card(folder: Path, table: str | None = TABLE, truth: str = TRUTH) -> Path:
    if table is not None:
        (folder / "t.csv").write_text(table)
    (folder / "m.yaml").write_text(CARD + truth)
    return folder / "m.yaml"


def settings(model: Path | str) -> spec.RunSettings:
    return spec.RunSettings(model=str(model), task="occupations-mini", images_per_prompt=2)


def test_the_packaged_table_is_the_planted_one() -> None:
    """`package:` finds the file that the renderer reads, and both readers agree."""
    (entry,) = catalog.load_model("phantom-exact").card.truth
    assert truth_table.locate(entry.file, None).samefile(planted.TABLE_PATH)
    rows = truth_table.read(planted.TABLE_PATH, planted.COLUMNS)
    assert rows.keys() == planted.table().keys()
    for subject, shares in planted.table().items():
        np.testing.assert_allclose(rows[subject], shares.ravel(), rtol=0, atol=1e-12)


@pytest.mark.parametrize("task", ["occupations", "occupations-labour", "occupations-train"])
def test_the_row_of_a_subject_is_the_one_the_renderer_draws_from(task: str) -> None:
    """Of the 963 training occupations, 100 hold a planted one: a yoga teacher is drawn as a teacher."""
    from fairbench.runs.prompts import expand

    prompts = expand(catalog.load_task(task).card)
    rows = {p.subject: truth_table.row_of(p.subject, planted.table()) for p in prompts}
    assert rows == {p.subject: planted.subject_of(p.text) for p in prompts}


def test_truth_is_in_no_key(tmp_path: Path) -> None:
    with_truth = spec.make(settings(card(tmp_path)))
    without = spec.make(settings(card(tmp_path, truth="")))
    assert (with_truth.card.truth, without.card.truth) != ([], [])
    for key in ("image_key", "faces_key", "labels_key", "run_id", "declared"):
        assert getattr(with_truth, key) == getattr(without, key)


@pytest.mark.parametrize(
    ("table", "words"),
    [
        ("subject,female\nnurse,1\n", "t.csv, line 1, field male: there is no such column"),
        ("subject,female,male\nnurse,0.9,0.2\n", "t.csv, line 2, fields female to male: the probabilities of 'nurse'"),
        ("subject,female,male\nnurse,1.1,-0.1\n", "t.csv, line 2, field female: '1.1' is no probability"),
        ("subject,female,male\n*,0,1\nnurse,nan,1\n", "t.csv, line 3, field female: 'nan' is no probability"),
        ("subject,female,male\nnurse,0,1\nnurse,0,1\n", "t.csv, line 3, field subject: 'nurse' stands in an earlier"),
        ("subject,female,male\n,0,1\n", "t.csv, line 2, field subject: it is empty"),
        ("subject,female,male\n", "t.csv holds no rows"),
        (None, "t.csv cannot be read"),
    ],
)
def test_check_names_what_is_wrong_with_a_table(tmp_path: Path, table: str | None, words: str) -> None:
    (problem,) = cards.problems(card(tmp_path, table))
    assert (problem.line, problem.field) == (7, "truth.0.file")
    assert words in problem.message


@pytest.mark.parametrize(
    ("old", "new", "line", "field", "words"),
    [
        ("[gender]", "[gendre]", 8, "truth.0.attributes.0", "did you mean 'gender'?"),
        ("file: t.csv", "file: package:no_such_package/t.csv", 7, "truth.0.file", "no Python package"),
        ("[gender]", "[]", 8, "truth.0.attributes", "at least 1"),
        ("    file", "    flie: x\n    file", 7, "truth.0.flie", "there is no such field"),
    ],
)
def test_check_names_what_is_wrong_with_an_entry(
    tmp_path: Path, old: str, new: str, line: int, field: str, words: str
) -> None:
    (problem,) = cards.problems(card(tmp_path, truth=TRUTH.replace(old, new)))
    assert (problem.line, problem.field) == (line, field)
    assert words in problem.message


def test_a_right_table_is_clean_and_two_of_one_name_are_not(tmp_path: Path) -> None:
    assert cards.problems(card(tmp_path)) == []
    (problem,) = cards.problems(card(tmp_path, truth=TRUTH + TRUTH.removeprefix("truth:\n")))
    assert "two tables have the same name" in problem.message


def test_rounded_rows_are_scaled(tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text("subject,female,male\nnurse,0.3333,0.6662\n")
    assert truth_table.read(tmp_path / "t.csv", ("female", "male"))["nurse"].sum() == pytest.approx(1, abs=1e-15)


def rd_by_pairs(p: np.ndarray) -> float:
    return float(np.mean([abs(a - b) for a, b in itertools.combinations(p, 2)]))


@pytest.mark.parametrize(("n", "shares"), [(1, [0.7, 0.3]), (9, [0.5, 0.5]), (6, [0.6, 0.3, 0.1]), (5, [0.25] * 4)])
def test_expected_rd_is_the_exact_sum_over_all_outcomes(n: int, shares: list[float]) -> None:
    outcomes = [c for c in itertools.product(range(n + 1), repeat=len(shares)) if sum(c) == n]
    weights = [multinomial.pmf(c, n, shares) for c in outcomes]
    values = np.array([rd_by_pairs(np.array(c) / n) for c in outcomes])
    mean = np.average(values, weights=weights)
    spread = np.sqrt(np.average((values - mean) ** 2, weights=weights))
    assert known_truth.expected_rd(np.array([shares]), np.array([n])) == pytest.approx((mean, spread), abs=2e-3)


def test_expected_rd_of_a_task_is_the_mean_and_repeats_itself() -> None:
    shares, n = np.array([[0.5, 0.5], [1.0, 0.0], [0.2, 0.8]]), np.array([4, 30, 11])
    each = [known_truth.expected_rd(shares[i : i + 1], n[i : i + 1]) for i in range(3)]
    found = known_truth.expected_rd(shares, n)
    means, spreads = np.array(each).T
    assert found == pytest.approx((means.mean(), np.sqrt((spreads**2).sum()) / 3), abs=2e-3)
    assert found == known_truth.expected_rd(shares, n)


def test_a_truth_that_does_not_apply_is_a_note() -> None:
    current = spec.make(settings("phantom-exact"))
    stated = [dataclasses.replace(p, stated={"gender": "female"}) for p in current.prompts]
    own = catalog.load_labeller("phantom")
    genders = own.card.model_copy(update={"attributes": {"gender": own.card.attributes["gender"]}, "crosses": []})
    labeller = Labeller(catalog.Loaded(genders, own.path))
    cases = {
        "this run used any-gender-suffix": dataclasses.replace(current, method="any-gender-suffix"),
        "this task's prompts do": dataclasses.replace(current, prompts=stated),
        "the labeller phantom has no attribute 'race4'": dataclasses.replace(current, labeller=labeller),
    }
    for words, changed in cases.items():
        (found,) = known_truth.compare(Outcome(changed, [], {}, {}, {}))
        assert found.values == ()
        assert words in (found.note or "")


def test_a_broken_or_incomplete_table_is_a_note_not_a_lost_run(tmp_path: Path) -> None:
    for table, words in (
        ("subject,female,male\nsenator,0,1\n", "has no row for 'violinist'"),
        (None, "cannot be read"),
    ):
        (tmp_path / "t.csv").unlink(missing_ok=True)
        current = spec.make(settings(card(tmp_path, table)))
        (found,) = known_truth.compare(Outcome(current, [], {}, {}, {}))
        assert words in (found.note or "")


def test_a_package_path_needs_a_package() -> None:
    with pytest.raises(CardError, match="write package:PACKAGE/PATH"):
        truth_table.locate("package:", None)
