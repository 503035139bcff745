"""Comparisons of runs whose evidence is made up, so that the difference between them is known."""

from __future__ import annotations

import io
import json
import re
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from rich.console import Console

from fairbench.cards import catalog
from fairbench.comparison import files, terminal
from fairbench.comparison.compare import RunComparison, compare
from fairbench.comparison.labellers import BY_FACE, BY_IMAGE, LabellerComparison
from fairbench.comparison.ranks import select
from fairbench.comparison.sides import BY_PROMPT, SAME_BASE, pairing, read
from fairbench.comparison.verdicts import Row
from fairbench.errors import FairbenchError
from fairbench.runs import evidence
from tests.builders.fake_runs import BALANCED, BIASED, FAIR, IMAGES, PROMPTS, SIDED, Cells, FakeRun, draw_cells

LEAST = ("gender", "race4", "gender_x_race4")


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    root = tmp_path_factory.mktemp("runs")
    made = {
        "biased": BIASED,
        "balanced": BALANCED,
        "balanced again": replace(BALANCED, shown=draw_cells(FAIR, 3), model="again", score=25.0),
        "relabelled": replace(BIASED, labeller="phantom-noisy", shown=reread(BIASED.shown)),
    }
    return {name: run.write(root / name.replace(" ", "-")) for name, run in made.items()}


def reread(shown: Cells) -> Cells:
    """Return the same images with every fifth female read as male."""
    changed = shown.copy().reshape(-1)
    women = np.flatnonzero(changed < 4)[::5]
    changed[women] += 4
    return changed.reshape(shown.shape)


@pytest.fixture(scope="module")
def forward(folders: dict[str, Path]) -> RunComparison:
    return of_runs(compare([folders["biased"], folders["balanced"]]))


def of_runs(found: object) -> RunComparison:
    assert isinstance(found, RunComparison)
    return found


def printed(found: RunComparison) -> str:
    out = io.StringIO()
    terminal.show(found, None, Console(file=out, width=80))
    return " ".join(out.getvalue().split())


def row(found: RunComparison, attribute: str, estimand: str, scope: str = "this list", run: str = "B") -> Row:
    return next(r for r in found.rows if (r.attribute, r.estimand, r.scope, r.run) == (attribute, estimand, scope, run))


# --- two runs ---


def test_a_known_difference_is_found(forward: RunComparison) -> None:
    true = (SIDED[4:].sum() - SIDED[:4].sum()) ** 2
    for scope in ("this list", "other prompts"):
        one = row(forward, "gender", "concentration", scope)
        assert one.effect == pytest.approx(-true, abs=0.04)
        assert one.low < one.effect < one.high < 0
    here, there = (row(forward, "gender", "concentration", scope) for scope in ("this list", "other prompts"))
    assert here.verdict == "B less concentrated" and np.isnan(there.p) and there.verdict == "not tested"
    assert there.low < here.low and there.high > here.high
    corrected = row(forward, "gender", "concentration corrected")
    assert corrected.effect == pytest.approx(here.effect, abs=0.03) and corrected.verdict == "B less concentrated"
    assert row(forward, "gender", "rd@n0").verdict == "B lower"
    assert row(forward, "gender", "gap[female]").verdict == "B higher"


def test_only_concentration_of_gender_race_and_their_cross_over_this_list_is_primary(forward: RunComparison) -> None:
    primary = [r for r in forward.rows if r.family == "primary"]
    assert [(r.attribute, r.estimand, r.scope) for r in primary] == [(a, "concentration", "this list") for a in LEAST]
    assert all(r.p_adjusted >= r.p for r in forward.rows if not np.isnan(r.p))
    assert all(np.isnan(r.p) for r in forward.rows if r.scope == "other prompts")
    assert forward.margins.source == "task occupations-mini"


def test_equivalence_is_two_claims_and_rd_is_one_only_where_asked(
    folders: dict[str, Path], forward: RunComparison
) -> None:
    for name, margin in zip(LEAST, (0.05, 0.1, 0.1), strict=True):
        claims = row(forward, name, "root-concentration"), row(forward, name, "total-variation")
        assert [c.margin for c in claims] == [margin] * 2
        assert [c.verdict for c in claims] == [
            f"not shown: equally concentrated within {margin:g}",
            f"not shown: same groups within {margin:g}",
        ]
        assert claims[0].low <= claims[0].effect <= claims[0].high
        assert claims[1].high >= claims[1].effect
        assert row(forward, name, "rd@n0").claim is None
    asked = of_runs(compare([folders["balanced"], folders["balanced again"]], rd_margins=True))
    assert [row(asked, name, "rd@n0").margin for name in LEAST] == [0.05, 0.025, 0.0125]
    alike = row(asked, "race4", "root-concentration")
    assert alike.verdict == "equally concentrated within 0.1"
    other = row(asked, "gender", "total-variation", "other prompts")
    assert other.reason == "a margin of 0.05 needs at least 59 prompts"


def test_models_that_show_opposite_groups_are_equally_concentrated_and_not_alike(tmp_path: Path) -> None:
    women, men = (np.full((12, 40), cell) for cell in (0, 4))
    for shown in (women, men):
        shown[:, ::5] = 8 - 4 - shown[0, 1]  # a fifth of the other gender
    found = of_runs(compare([FakeRun(s, n).write(tmp_path / n) for s, n in ((women, "women"), (men, "men"))]))
    assert row(found, "gender", "concentration").effect == pytest.approx(0)
    assert row(found, "gender", "total-variation").effect == pytest.approx(0.6, abs=0.02)
    assert row(found, "gender", "total-variation").verdict.startswith("not shown")


def test_quality_is_preserved_only_where_that_is_shown(folders: dict[str, Path], forward: RunComparison) -> None:
    kept = row(forward, "quality", "clip_score")
    assert (kept.claim, kept.margin, kept.verdict) == ("preserved", 0.5, "preserved within 0.5")
    lost = of_runs(compare([folders["biased"], folders["balanced again"]]))
    assert row(lost, "quality", "clip_score").verdict == "worse"
    assert row(lost, "faces", "no-face-rate").verdict == "preserved within 0.02"


def test_a_model_that_ignores_what_prompts_state_is_worse_however_balanced_it_is(tmp_path: Path) -> None:
    told = {"race4": "Black", "gender": "female"}  # in another order than the labeller's: cell 1
    obeys = FakeRun(np.where(np.arange(IMAGES) < 2, 0, np.ones((PROMPTS, 1), dtype=int)), "obeys", states=told)
    same = replace(obeys, shown=np.where(np.arange(IMAGES) < 3, 0, obeys.shown), model="same")
    folders = [made.write(tmp_path / made.model) for made in (obeys, same, replace(BALANCED, states=told))]
    kept, lost = (row(of_runs(compare([folders[0], f])), "faces", "attribute-following") for f in folders[1:])
    assert (kept.a, kept.b) == (pytest.approx(58 / 60), pytest.approx(57 / 60))
    assert (kept.margin, kept.verdict) == (0.03, "preserved within 0.03")
    assert (lost.verdict, lost.b) == ("worse", pytest.approx(1 / 8, abs=0.02))


def test_the_order_of_runs_only_flips_signs(folders: dict[str, Path], forward: RunComparison) -> None:
    back = of_runs(compare([folders["balanced"], folders["biased"]]))
    for one, two in zip(forward.rows, back.rows, strict=True):
        assert (one.attribute, one.estimand, one.scope) == (two.attribute, two.estimand, two.scope)
        flipped = [two.effect, two.low, two.high] if one.claim == "same groups" else [-two.effect, -two.high, -two.low]
        np.testing.assert_allclose([one.effect, one.low, one.high], flipped, atol=1e-9)
        np.testing.assert_array_equal([one.a, one.b], [two.b, two.a])
        np.testing.assert_allclose([one.p, one.p_adjusted], [two.p, two.p_adjusted])
        if one.claim in ("equally concentrated", "same groups"):
            assert one.p_equivalence == pytest.approx(two.p_equivalence, abs=1e-9, nan_ok=True)
    assert row(back, "gender", "concentration").verdict == "B more concentrated"


def test_a_run_does_not_differ_from_itself(folders: dict[str, Path]) -> None:
    found = of_runs(compare([folders["balanced"]] * 2))
    assert {r.effect for r in found.rows if r.scope == "this list"} == {0.0}
    assert {r.p for r in found.rows if not np.isnan(r.p)} == {1.0}
    for name in LEAST[1:]:
        assert row(found, name, "root-concentration").verdict == "equally concentrated within 0.1"
        assert row(found, name, "total-variation").verdict == "same groups within 0.1"
    assert not [r for r in found.rows if "lower" in r.verdict or "higher" in r.verdict or r.verdict == "worse"]


def test_fair_runs_with_unequal_face_counts_do_not_differ(folders: dict[str, Path], tmp_path: Path) -> None:
    shown = draw_cells(FAIR, 4)
    shown[:, 40:] = -1
    few = replace(BALANCED, shown=shown, model="few").write(tmp_path / "few")
    found = of_runs(compare([folders["balanced"], few]))
    for name in LEAST:
        for one in (row(found, name, "concentration"), row(found, name, "rd@n0")):
            assert one.verdict == "inconclusive"
            assert abs(one.effect) < 0.03
    assert row(found, "faces", "no-face-rate").verdict == "worse"


def test_prompts_with_few_faces_or_in_one_run_alone_are_left_out_and_counted(
    folders: dict[str, Path], tmp_path: Path
) -> None:
    shown = draw_cells(FAIR, 5)
    shown[3:5, 9:] = -1
    other = replace(BALANCED, shown=shown, model="other", first_subject=6).write(tmp_path / "other")
    found = of_runs(compare([folders["balanced"], other]))
    assert (found.n_prompts, [side.n_left_out for side in found.sides]) == (PROMPTS - 6, [6, 6])
    one = row(found, "race4", "rd@n0")
    assert (one.n_prompts, one.left_out) == (PROMPTS - 8, 2)
    assert row(found, "race4", "concentration").left_out == 0


def test_quotas_are_marked_and_what_rests_on_this_list_is_withheld(folders: dict[str, Path], tmp_path: Path) -> None:
    dealt = replace(BALANCED, model="dealt", more={"quota": True, "method": "dealt"}).write(tmp_path / "dealt")
    found = of_runs(compare([folders["biased"], dealt]))
    for estimand in ("concentration", "root-concentration", "total-variation", "rd@n0"):
        withheld = row(found, "gender", estimand)
        assert withheld.verdict == "withheld" and withheld.reason is not None
        assert np.isnan([withheld.low, withheld.p, withheld.p_equivalence]).all()
    assert np.isfinite(row(found, "gender", "concentration", "other prompts").high)
    record = files.manifest(found)
    assert all(e["quota"] for e in record["effects"])
    assert any(note.startswith("B: the method fixes how many") for note in record["notes"])


def test_pairing_by_seed_is_claimed_within_one_base_model_only(folders: dict[str, Path], tmp_path: Path) -> None:
    tuned = {"model": {"name": "tuned", "adapter": "janus", "weights": {"path": "x"}, "sampling": {}, "lora": "l"}}
    other_seed = {**tuned, "declared": {"references": {}, "seed": 1}}
    made = [
        replace(BALANCED, model=name, more=more).write(tmp_path / name)
        for name, more in (("tuned", tuned), ("reseeded", other_seed))
    ]
    first, *rest = read([folders["biased"], folders["biased"], folders["balanced"], *made])
    assert [pairing(first, side) for side in rest] == [SAME_BASE, BY_PROMPT, SAME_BASE, BY_PROMPT]


def test_scores_and_corrections_that_do_not_compare_are_named(folders: dict[str, Path], tmp_path: Path) -> None:
    other = replace(BALANCED, model="other", backbone="another clip", calibrated=False).write(tmp_path / "other")
    found = of_runs(compare([folders["biased"], other]))
    assert not [r for r in found.rows if r.estimand in {"clip_score", "concentration corrected"}]
    assert "clip-score: not compared, as A used a clip and B another clip." in found.notes
    assert any("is not adjusted: B: no calibration" in note for note in found.notes)


# --- several runs ---


@pytest.fixture(scope="module")
def three(folders: dict[str, Path]) -> RunComparison:
    return of_runs(compare([folders[n] for n in ("biased", "balanced", "balanced again")]))


def test_several_runs_are_one_family_and_are_ranked(three: RunComparison) -> None:
    assert three.variants == 2
    assert len([r for r in three.rows if r.family == "primary"]) == 2 * len(LEAST)
    assert list(three.rankings) == list(LEAST)
    for ranks in three.rankings.values():
        assert (ranks.rank[0], ranks.low[0], ranks.high[0]) == (3, 3, 3)
        assert ranks.low.tolist()[1:] == [1, 1] and ranks.high.tolist()[1:] == [2, 2], "two fair models tie"


def test_a_winner_is_judged_on_other_prompts_than_it_won_on(three: RunComparison) -> None:
    chosen = three.selection
    assert chosen is not None and chosen.winner in {"B", "C"}
    assert (chosen.chosen.n_prompts, chosen.judged.n_prompts, chosen.n_left_out) == (PROMPTS // 2, PROMPTS // 2, 0)
    assert chosen.judged.high < 0 and chosen.judged.p < 0.01
    few = [replace(side, positions=side.positions[:9]) for side in three.sides]
    assert select(few, 0.05) is None, "nine prompts are too few to halve"
    back = select([three.sides[0], three.sides[2], three.sides[1]], 0.05)
    assert back == chosen, "neither the order of runs nor chance decides"


def test_luck_flatters_the_winner_on_the_prompts_it_won_on_alone(tmp_path: Path) -> None:
    """Ten equal variants of few images: chosen looks better than it is on average, judged does not."""
    made = [FakeRun(draw_cells(FAIR, 10 + i, 40, 12), f"m{i}").write(tmp_path / f"m{i}") for i in range(11)]
    found = select(read(made), 0.05)
    assert found is not None
    assert found.chosen.effect < -0.01 < found.judged.effect


# --- two labellers ---


def test_two_labellers_of_the_same_images(folders: dict[str, Path]) -> None:
    found = compare([folders["biased"], folders["relabelled"]])
    assert isinstance(found, LabellerComparison)
    women, n = int((BIASED.shown < 4).sum()), PROMPTS * IMAGES
    changed = -(-women // 5)
    gender = next(a for a in found.attributes if a.attribute == "gender")
    assert (found.matched_by, found.matched, found.unmatched) == (BY_FACE, n, {"A": 0, "B": 0})
    np.testing.assert_array_equal(gender.table, [[women - changed, changed], [0, n - women]])
    assert gender.agreement.raw == pytest.approx(1 - changed / n)
    assert gender.agreement.p_value < 1e-3, "one leans towards men"
    assert [(t.first, t.second, t.count) for t in gender.top] == [("female", "male", changed)]
    assert gender.change > 0 and gender.concentration_b - gender.concentration_a == pytest.approx(gender.change)
    race = next(a for a in found.attributes if a.attribute == "race4")
    assert race.agreement.raw == 1 and race.change == 0 and race.rank_correlation == pytest.approx(1)
    record = files.manifest(found)
    assert record["kind"] == "labellers" and json.dumps(record, allow_nan=False)


def test_labellers_with_other_detectors_are_matched_by_image(folders: dict[str, Path], tmp_path: Path) -> None:
    shown = BIASED.shown.copy()
    shown[0, :7] = -1
    missing = replace(BIASED, shown=shown, labeller="phantom-noisy", detector="two").write(tmp_path / "other")
    found = compare([folders["biased"], missing])
    assert isinstance(found, LabellerComparison)
    assert (found.matched_by, found.matched) == (BY_IMAGE, PROMPTS * IMAGES - 7)
    assert found.unmatched == {"A": 7, "B": 0}
    assert all(a.agreement.raw == 1 for a in found.attributes)


def test_labels_are_compared_by_name_whatever_order_a_card_declares(folders: dict[str, Path], tmp_path: Path) -> None:
    card = catalog.find("labellers")["phantom"].read_text().replace("[female, male]", "[male, female]")
    (tmp_path / "turned.yaml").write_text(re.sub("(?m)^calibration: .*\n", "", card))
    shown = (BIASED.shown + 4) % 8  # the same words, at other places
    turned = replace(BIASED, shown=shown, labeller=str(tmp_path / "turned.yaml"), calibrated=False)
    found = compare([folders["biased"], turned.write(tmp_path / "turned")])
    assert isinstance(found, LabellerComparison)
    assert [(a.attribute, a.agreement.raw, a.change) for a in found.attributes] == [(name, 1, 0) for name in LEAST]


def test_a_second_labeller_of_the_same_images_stands_beside_the_first(folders: dict[str, Path], tmp_path: Path) -> None:
    also = replace(BALANCED, labeller="phantom-noisy", shown=reread(BALANCED.shown)).write(tmp_path / "also")
    # In any order: each run of the second labeller is matched by its images.
    found = of_runs(compare([folders["biased"], folders["balanced"], also, folders["relabelled"]]))
    alone = of_runs(compare([folders["biased"], folders["balanced"]]))
    assert [side.name for side in found.sides] != [] and found.second is not None
    assert [r.verdict for r in found.rows] == [r.verdict for r in alone.rows]
    second = of_runs(compare([folders["relabelled"], also]))
    ours, theirs = (row(x, "gender", "concentration") for x in (found.second, second))
    assert (ours.effect, ours.p, ours.run) == (theirs.effect, theirs.p, "B")
    record = files.manifest(found)
    assert [e["attribute"] for e in record["second"]["effects"]] == list(LEAST)
    said = printed(found)
    assert "Read by phantom-noisy instead, the same images on this list: gender -" in said
    assert "race4 -.181 [-.21" in said and "the same verdict" in said and "Neither is the truth" in said


# --- what is refused ---


def test_runs_that_do_not_compare_are_refused(folders: dict[str, Path], tmp_path: Path) -> None:
    fair, biased = folders["balanced"], folders["biased"]
    elsewhere = replace(BALANCED, task="other", first_subject=1000).write(tmp_path / "elsewhere")
    bare = shutil.copytree(fair, tmp_path / "bare")
    shutil.rmtree(bare / evidence.FOLDER)
    (tmp_path / "empty").mkdir()
    relabelled = folders["relabelled"]
    for given, sentence in (
        ([fair], "two runs or more"),
        ([fair, tmp_path / "empty"], r"run\.json cannot be read"),
        ([fair, tmp_path / "nowhere"], r"run\.json cannot be read"),
        ([fair, bare], "evidence is not there"),
        ([fair, elsewhere], r"no prompt in common \(task occupations-mini and other\)"),
        ([fair, relabelled], r"different labellers \(phantom, phantom-noisy\)"),
        ([biased, relabelled, fair], "two runs at a time"),
    ):
        with pytest.raises(FairbenchError, match=sentence) as told:
            compare(given)
        assert "\n" not in str(told.value)
    for alpha in (0.0, 0.5, -1.0):
        with pytest.raises(FairbenchError, match="--alpha"):
            compare([fair, fair], alpha)
    with pytest.raises(FairbenchError, match="--select"):
        compare([fair, fair], select=True)
