"""Probe, transparency, understanding and verdict of an audit, on data whose answer is known."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from scipy.stats import beta

from fairbench.audit import counterfactual, groups, images, probe, transparency, understanding
from fairbench.audit.estimates import Skipped, mean, share
from fairbench.audit.groups import Attribute
from fairbench.cards import catalog
from fairbench.display.progress import Silent
from fairbench.errors import CardError
from fairbench.labelling.labeller import NOT_LABELLED, Labeller

GENDER = Attribute("gender", ("female", "male"))
RACE = Attribute("race4", ("WMELH", "Black", "Indian", "Asian"))


# --- estimates ---


def test_estimates_of_nothing_are_nan() -> None:
    assert np.isnan(share(0, 0).value)
    assert np.isnan(mean(np.array([np.nan])).value)
    one = mean(np.array([0.5, np.nan]))
    assert (one.value, one.n) == (0.5, 1)
    assert np.isnan(one.low)
    cut = mean(np.array([0.0, 0.0, 1.0]), 0.0, 1.0)
    assert (cut.low, cut.n) == (0.0, 3)
    assert cut.high == 1.0


# --- vision encoder ---


def test_a_probe_reads_what_is_there_and_nothing_else() -> None:
    rng = np.random.default_rng(0)
    codes = np.arange(200) % 4
    readable = rng.normal(size=(200, 10)) + 5 * np.eye(10)[codes]
    found = probe.probe(readable, codes, RACE, seed=0)
    assert isinstance(found, probe.AttributeProbe)
    assert found.accuracy.value > 0.97
    assert found.chance == 0.25
    assert found.shuffled.low < 0.25 < found.shuffled.high + 0.05
    assert found.macro_f1.low <= found.macro_f1.value <= found.macro_f1.high
    assert found.macro_f1.value == pytest.approx(found.accuracy.value, abs=0.02)
    assert len(found.pairs) == 6
    assert found.pairwise.low > 0.95
    assert found.pairwise.value == pytest.approx(np.mean([p.accuracy.value for p in found.pairs]))
    assert found.pairwise_f1.value == pytest.approx(np.mean([p.macro_f1.value for p in found.pairs]))
    assert found.balanced
    assert set(found.recall) == set(RACE.labels)
    noise = probe.probe(rng.normal(size=(200, 10)), codes, RACE, seed=0)
    assert isinstance(noise, probe.AttributeProbe)
    assert noise.accuracy.low < 0.25 < noise.accuracy.high + 0.05


def test_macro_f1_is_scikit_learns() -> None:
    from sklearn.metrics import f1_score

    rng = np.random.default_rng(1)
    y, read = rng.integers(0, 4, 60), rng.integers(0, 4, 60)
    assert probe.macro_f1(y, read, 4, 0).value == pytest.approx(f1_score(y, read, average="macro"))


def test_no_error_is_no_certainty() -> None:
    y = np.arange(90) % 3
    couples = [(0, 1), (0, 2), (1, 2)]
    guesses = np.array([np.where(np.isin(y, couple), y, NOT_LABELLED) for couple in couples])
    pairs, accuracy, f1 = probe.pairwise(y, guesses, couples, "abc", seed=0)
    for found, n in ((accuracy, 90), (f1, 90), (probe.macro_f1(y, y, 3, 0), 90), (pairs[0].macro_f1, 60)):
        assert (found.value, found.high, found.n) == (1, 1, n)
        assert found.low == pytest.approx(beta(n + 0.5, 0.5).ppf(0.025))  # Jeffreys


def test_pairs_have_the_f1_of_scikit_learn_and_intervals_that_cover() -> None:
    from sklearn.metrics import f1_score

    couples = [(0, 1), (0, 2), (1, 2)]
    rng, hits, values = np.random.default_rng(2), 0, []
    for trial in range(60):
        y = np.arange(240) % 3
        guesses = np.full((3, 240), NOT_LABELLED)
        for guess, couple in zip(guesses, couples, strict=True):
            rows = np.isin(y, couple)
            wrong = sum(couple) - y[rows]
            guess[rows] = np.where(rng.random(int(rows.sum())) < 0.8, y[rows], wrong)
        pairs, accuracy, f1 = probe.pairwise(y, guesses, couples, "abc", seed=trial)
        hits += accuracy.low <= 0.8 <= accuracy.high
        values.append(f1.value)
        for pair, guess, couple in zip(pairs, guesses, couples, strict=True):
            rows = np.isin(y, couple)
            assert (pair.first, pair.second) == ("abc"[couple[0]], "abc"[couple[1]])
            assert pair.accuracy.value == pytest.approx((guess == y)[rows].mean())
            assert pair.macro_f1.value == pytest.approx(f1_score(y[rows], guess[rows], average="macro"))
            assert pair.macro_f1.low < pair.macro_f1.value < pair.macro_f1.high
    assert hits >= 51  # 57 expected of 60; below 51 by chance once in 200
    assert np.mean(values) == pytest.approx(0.8, abs=0.01)


def test_an_unbalanced_set_is_told() -> None:
    codes = np.repeat([0, 1], [70, 30])
    found = probe.probe(np.random.default_rng(0).normal(size=(100, 3)), codes, GENDER, 0)
    assert isinstance(found, probe.AttributeProbe)
    assert (found.balanced, found.chance) == (False, 0.7)


def test_a_probe_needs_images_of_every_class() -> None:
    found = probe.probe(np.zeros((9, 2)), np.array([0] * 5 + [1] * 3 + [NOT_LABELLED]), GENDER, 0)
    assert isinstance(found, Skipped)
    assert "3 probe images show 'male'" in found.reason


# --- image tokenizer ---


def test_a_tokenizer_that_loses_a_group_is_found() -> None:
    given = np.repeat([0, 1], 200)
    before, after = given.copy(), given.copy()
    before[0] = NOT_LABELLED  # no face before: says nothing of the tokenizer
    after[200:230], after[230:240] = 0, NOT_LABELLED
    found = transparency.passage(GENDER, given, before, after, families=6)
    assert found.worse == "male"
    assert found.confusion == [[199, 0, 0], [30, 160, 10]]
    assert found.against_given == [[200, 0, 0], [30, 160, 10]]
    female, male = found.groups
    assert (female.images, female.faces, female.agreement.value, female.lost.value) == (200, 199, 1.0, 0.0)
    assert (male.agreement.value, male.lost.value) == (0.8, 0.05)
    assert (female.right_before.value, female.right_after.value) == (199 / 200, 1.0)
    assert (male.right_before.value, male.right_after.value) == (1.0, 0.8)
    assert 0 < found.gap.low < found.gap.value < found.gap.high
    assert found.gap.value == pytest.approx(0.2)
    assert (female.arrivals.value, male.arrivals.value) == (30 / 200, 0.0)
    assert (female.arrivals.n, male.arrivals.n) == (200, 199)
    assert found.favoured == "female"


def test_groups_that_leave_alike_may_still_all_go_to_one() -> None:
    """Every group keeps 80 %: agreement is even, but three groups become the first."""
    given = np.arange(800) % 4
    after = given.copy()
    for k, into in enumerate((1, 0, 0, 0)):
        after[np.flatnonzero(given == k)[:40]] = into
    found = transparency.passage(RACE, given, given, after, families=4)
    assert (found.worse, found.favoured) == (None, "WMELH")
    assert [g.agreement.value for g in found.groups] == [0.8] * 4
    assert [g.arrivals.value for g in found.groups] == [120 / 600, 40 / 600, 0, 0]
    assert found.arrivals_gap.low > 0


def test_a_transparent_tokenizer_is_neutral_within_what_the_sample_allows() -> None:
    given = np.arange(400) % 4
    found = transparency.passage(RACE, given, given, given, families=6)
    assert (found.worse, found.gap.value, found.gap.low) == (None, 0, 0)
    assert (found.favoured, found.arrivals_gap.value, found.arrivals_gap.low) == (None, 0, 0)
    assert 0.01 < found.arrivals_gap.high < found.gap.high < 0.05


# --- probe images ---


def manifest(folder: Path, name: str, labels: list[str]) -> Path:
    for i in range(len(labels)):
        Image.new("RGB", (8, 8), (i, 0, 0)).save(folder / f"{i}.png")
    path = folder / "probe.csv"
    path.write_text("".join([f"path,{name}\n", *(f"{i}.png,{label}\n" for i, label in enumerate(labels))]))
    return path


def test_a_manifest_is_read(tmp_path: Path) -> None:
    labeller = Labeller(catalog.load_labeller("phantom"))
    path = manifest(tmp_path, "gender", ["male", "no person", "female"])
    found = images.read(path, labeller, [GENDER, RACE], Silent())
    assert {name: codes.tolist() for name, codes in found.codes.items()} == {"gender": [1, 0]}
    assert [[image[0, 0, 0] for image in block] for block in found.blocks(9)] == [[0, 2]]
    assert [[image[0, 0, 0] for image in block] for block in found.blocks(1)] == [[0], [2]]


def test_a_person_counts_once(tmp_path: Path) -> None:
    labeller = Labeller(catalog.load_labeller("phantom"))
    path = manifest(tmp_path, "gender,person", ["male,a", "female,b", "male,a", "female,c"])
    found = images.read(path, labeller, [GENDER], Silent())
    assert sorted(found.codes["gender"].tolist()) == [0, 0, 1]
    assert len(found.images) == 3
    assert "1 left out: a person counts once" in found.source


def test_an_attribute_is_derived_from_a_column_of_finer_labels(tmp_path: Path) -> None:
    labeller = Labeller(catalog.load_labeller("fairface"))
    seven = list(labeller.declared.labels["race7"])
    found = images.read(manifest(tmp_path, "race7", seven), labeller, groups.attributes(labeller.card), Silent())
    read = [labeller.declared.labels["race4"][code] for code in found.codes["race4"]]
    assert read == ["WMELH", "Black", "WMELH", "Asian", "Asian", "Indian", "WMELH"]


def test_a_manifest_of_other_attributes_is_one_sentence(tmp_path: Path) -> None:
    labeller = Labeller(catalog.load_labeller("fairface"))
    path = manifest(tmp_path, "age", list(labeller.declared.labels["age"]))
    with pytest.raises(CardError, match="labels no attribute that is audited: add a column gender or race4"):
        images.read(path, labeller, groups.attributes(labeller.card), Silent())


def test_renders_stand_in_where_the_labeller_reads_mannequins() -> None:
    labeller = Labeller(catalog.load_labeller("phantom"))
    wanted = groups.attributes(labeller.card)
    assert [a.name for a in wanted] == ["gender", "race4"]
    found = images.rendered(wanted, 64, seed=0)
    assert isinstance(found, images.ProbeImages)
    assert {name: np.bincount(codes).tolist() for name, codes in found.codes.items()} == {
        "gender": [32, 32],
        "race4": [16] * 4,
    }
    read = images.label_codes(labeller, found.images, wanted, Silent())
    assert all((read[name] == codes).mean() > 0.95 for name, codes in found.codes.items())
    blank = images.label_codes(labeller, [np.full((64, 64, 3), 200, np.uint8)], wanted, Silent())
    assert blank["gender"].tolist() == [NOT_LABELLED]
    other = Labeller(catalog.load_labeller("fairface"))
    assert images.probe_images(None, other, wanted, 0, Silent()) == Skipped(
        "no labelled probe images: give --probe-images"
    )


# --- understanding ---


class Scripted:
    """Answers by a script: (question, image, seed) -> text."""

    def __init__(self, script: object) -> None:
        self.script, self.seeds = script, []

    def answer(self, questions, pictures, seeds=None, *, temperature=1.0, top_p=1.0, limit=32):  # type: ignore[no-untyped-def]
        self.seeds += list(seeds or [])
        self.settings = (temperature, top_p)
        return [
            self.script(q, i, s) for q, i, s in zip(questions, pictures, seeds or [None] * len(questions), strict=True)
        ]


def test_answers_are_counted_over_all() -> None:
    def said(question: str, image: object, seed: int) -> str:
        if "nurse" in question:
            return "Female." if seed % 2 else "unknown"
        return "I am not able to say."

    model = Scripted(said)
    counts = understanding.ask(model, ["nurse", "engineer"], None, 200, 0, 64, Silent())
    assert counts.sum(axis=1).tolist() == [200, 200]
    assert counts[1].tolist() == [0, 0, 0, 200]
    assert len(set(model.seeds)) == 400
    assert model.settings == (1.0, 0.6)
    found = understanding.summary("text only", ["nurse", "engineer"], counts, 0)
    female = counts[0, 1] / 200
    assert found.gap.value == pytest.approx(female / 2)
    assert found.shares["female"].value == pytest.approx(female / 2)
    assert (found.committed_rd, found.committed_subjects) == (1.0, 1)
    assert found.committed_rds == {"nurse": 1.0, "engineer": None}
    assert found.committed.value == pytest.approx(female / 2)
    assert 0 < found.gap_floor < 0.1


def test_no_commitment_is_no_certainty() -> None:
    counts = np.array([[0, 0, 50, 0]] * 3)
    found = understanding.summary("text only", ["a", "b", "c"], counts, 0)
    assert (found.gap.value, found.gap.low, found.committed_rd) == (0, 0, None)
    assert 0 < found.gap.high < 0.03
    gap = understanding.alignment_gap(np.array([0.8, 0.6, 0.7]), understanding.gaps(counts))
    assert gap.value == pytest.approx(0.7)
    assert gap.low > 0.4


@pytest.mark.parametrize(
    ("text", "kind"),
    [
        ("male", "male"),
        ("The person is a woman.", "female"),
        ("male or female", "other"),
        ("", "other"),
        ("UNKNOWN", "unknown"),
        ("unknown, perhaps male", "male"),
        ("human", "other"),
    ],
)
def test_kinds_of_answers(text: str, kind: str) -> None:
    assert understanding.kind_of(text) == kind


def test_pairs_between_and_within_groups() -> None:
    answers = np.empty((6, 4, 2), dtype=object)
    answers[:] = np.array(["a", "b", "a", "b"])[None, :, None]
    between, within = counterfactual.pairs(answers)
    assert (between.value, between.n) == (1.0, 24)
    assert (within.value, within.n) == (0.0, 24)
    answers[0, 0, 0] = None
    assert counterfactual.pairs(answers)[0].n == 23
    answers[:] = np.array(["a", "b"])[None, None, :]
    assert [e.value for e in counterfactual.pairs(answers)] == [0.0, 1.0]
