"""`fairbench calibrate --from DIR`: what simulated annotators of declared error say of runs whose truth is known."""

from __future__ import annotations

import hashlib
import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

import fairbench
from fairbench import api
from fairbench.annotation.annotate import collect
from fairbench.calibration import people as command
from fairbench.display.numbers import with_interval
from fairbench.display.progress import Silent
from fairbench.errors import FairbenchError
from fairbench.labelling import confusion, domain
from fairbench.runs import people
from fairbench.runs.result import Run
from fairbench.stats import prediction_powered as powered
from fairbench.stats.prediction import LabelledSample, predictions
from tests.builders.annotators import answer, sampled, truth_of
from tests.builders.cli import Cli, make_run
from tests.builders.fake_runs import SIDED, FakeRun, draw_cells

SHOWN = draw_cells(SIDED, 3, prompts=12, images=40)
SHOWN[:, :3] = -1  # no face is found there
MADE = FakeRun(SHOWN)
OTHER = FakeRun(draw_cells(np.full(8, 1 / 8), 4, prompts=12, images=30), model="other")
GENDERS = ("female", "male")


def seen(run: Path, wrong: float = 0.1) -> dict[str, dict[str, str]]:
    """Return what people see in a run of MADE: not always what is read, and some people where no face is found."""
    truth, rng = truth_of(MADE, run), np.random.default_rng(5)
    for shown in truth.values():
        if shown["gender"] not in GENDERS:
            if rng.random() < 0.5:
                shown |= {"gender": str(rng.choice(GENDERS)), "race4": "Black"}
        elif rng.random() < wrong:
            shown["gender"] = GENDERS[1 - GENDERS.index(shown["gender"])]
    return truth


@pytest.fixture
def run(tmp_path: Path) -> Path:
    return MADE.write(tmp_path / "run")


def annotated(folder: Path, run: Path, errors: tuple[float, ...] = (0.0, 0.0, 0.0), **settings: Any) -> Path:
    """Sample a run, let simulated people answer, and collect."""
    rates = {name: settings.pop(name) for name in ("cannot_tell", "skips", "wrong") if name in settings}
    sampled(folder, [run], **{"per_prompt": 12, **settings})
    answer(folder, seen(run, rates.pop("wrong", 0.1)), errors, **rates)
    collect(folder, [], described="simulated people")
    return folder


def by_hand(run: Path, folder: Path, attribute: str, classes: list[str], stratify: str | None) -> LabelledSample:
    """Return the sample from labels.csv and from the images of the run, by pandas alone."""
    images = Run(run).images().drop_duplicates("image_id").set_index("image_id")
    labels = pd.read_csv(folder / "labels.csv", keep_default_na=False).set_index("image_id")
    read = images[attribute].map({c: i for i, c in enumerate(classes)}).fillna(len(classes)).astype(int)
    said = labels[attribute].map(lambda x: {**{c: i for i, c in enumerate(classes)}, "no person": 3}.get(x, 2))
    prompts, k = list(dict.fromkeys(images["prompt"])), len(classes)
    strata = images[stratify].fillna("no label") if stratify else pd.Series("", index=images.index)
    names = sorted(strata.unique())
    labelled, every = np.zeros((len(prompts), len(names), k + 2, k + 1)), np.zeros((len(prompts), len(names), k + 1))
    for image, row in images.iterrows():
        place = (prompts.index(row["prompt"]), names.index(strata[image]))
        every[(*place, read[image])] += 1
        if image in labels.index and labels[attribute][image]:
            labelled[(*place, said[image], read[image])] += 1
    return LabelledSample(labelled, every)


@pytest.mark.parametrize("stratify", [None, "gender"])
def test_the_estimates_are_those_of_the_labels_and_all_readings(
    run: Path, tmp_path: Path, stratify: str | None
) -> None:
    folder = annotated(tmp_path / "a", run, (0.1, 0.1, 0.1), cannot_tell=0.1, skips=0.3, stratify=stratify)
    (result,) = command.estimate(folder, Silent())
    sample = by_hand(run, folder, "gender", list(GENDERS), stratify)
    totals = powered.totals(sample, predictions(sample))
    expected = powered.interval(powered.concentration_of(totals))
    each = result.people.find("concentration", "people", "gender")
    assert each is not None
    assert (each.value, each.ci_low, each.ci_high) == pytest.approx((expected.estimate, expected.low, expected.high))
    share = result.people.find("share[female]", "people", "gender")
    assert share is not None and share.value == pytest.approx(powered.interval(powered.share_of(totals, 0)).estimate)
    bounds = [result.people.find("concentration", f"people-{end}", "gender") for end in ("lowest", "highest")]
    lowest, highest = (b.value for b in bounds if b is not None and b.value is not None)
    assert lowest < each.value < highest
    outcomes = result.people.attributes["gender"].outcomes
    answers = pd.read_csv(folder / "labels.csv", keep_default_na=False)["gender"].value_counts().to_dict()
    assert result.people.attributes["gender"].unanswered == answers.pop("") > 0
    assert outcomes == answers and {"cannot tell", "no person"} <= set(outcomes)


def test_where_all_images_are_labelled_it_is_the_labels_own_concentration(run: Path, tmp_path: Path) -> None:
    folder = annotated(tmp_path / "a", run, per_prompt=40)
    (result,) = command.estimate(folder, Silent())
    labels = pd.read_csv(folder / "labels.csv")
    labels["gender x race4"] = labels["gender"] + " " + labels["race4"]
    for name, column, k in (("gender", "gender", 2), ("race4", "race4", 4), ("gender_x_race4", "gender x race4", 8)):
        values = []
        for _, rows in labels[labels["gender"] != "no person"].groupby("prompt_id"):
            n, counts = len(rows), rows[column].value_counts()
            values.append((k * (counts * (counts - 1)).sum() / (n * (n - 1)) - 1) / (k - 1))
        for estimate in ("people", "people-alone"):
            each = result.people.find("concentration", estimate, name)
            assert each is not None and each.value == pytest.approx(np.mean(values), abs=0.003)  # the ratio's bias


def test_files_are_bound_to_the_run_and_the_labels_and_read_back(run: Path, tmp_path: Path) -> None:
    folder = annotated(tmp_path / "a", run)
    (result,) = fairbench.calibrate_from(folder, progress=False).runs
    said = api.load(run).people
    assert said == result.people
    assert said is not None and said.run_id == Run(run).id
    assert said.labels_sha256 == hashlib.sha256((folder / "labels.parquet").read_bytes()).hexdigest()
    assert (said.annotators, said.who, said.images) == (3, "simulated people", 144)
    table = pd.read_csv(run / "people.csv")
    assert list(table.columns) == list(people.Row.model_fields)
    assert table["value"].tolist() == pytest.approx(
        [np.nan if e.value is None else e.value for e in said.rows], nan_ok=True
    )
    assert Run(FakeRun(SHOWN).write(tmp_path / "bare")).people is None


def test_the_local_table_is_written_as_a_calibration_of_these_images(run: Path, tmp_path: Path) -> None:
    folder = annotated(tmp_path / "a", run)
    (result,) = command.estimate(folder, Silent())
    calibration = confusion.read(folder / "calibration.json")
    assert result.calibration == folder / "calibration.json"
    assert (calibration.labeller, calibration.labeller_id) == ("phantom", Run(run).record.labeller_id)
    images = Run(run).images().drop_duplicates("image_id").set_index("image_id")
    labels, counts = pd.read_csv(folder / "labels.csv"), np.zeros((9, 9), dtype=np.int64)
    for row in labels.to_dict("records"):
        image = images.loc[row["image_id"]]
        row["said"] = ("no person",) if row["gender"] == "no person" else (row["gender"], row["race4"])
        row["read"] = ("no face",) if pd.isna(image["gender"]) else (image["gender"], image["race4"])
        counts[calibration.rows.index(row["said"]), calibration.columns.index(row["read"])] += 1
    assert calibration.counts.tolist() == counts.tolist()
    declared = Run(run).record
    assert calibration.images_of.holds_for(domain.of_run(declared.model, declared.declared.images))
    assert calibration.counts[-1, -1] == (labels["gender"] == "no person").sum() > 0

    stratified = annotated(tmp_path / "b", run, stratify="gender")
    (result,) = command.estimate(stratified, Silent())
    assert result.calibration is None and "plain count of its errors is biased" in str(result.no_calibration)


def test_runs_that_are_compared_have_their_own_files(run: Path, tmp_path: Path) -> None:
    other = OTHER.write(tmp_path / "other")
    folder = tmp_path / "a"
    sampled(folder, [run, other], per_prompt=10)
    answer(folder, {**truth_of(MADE, run), **truth_of(OTHER, other)}, (0.0, 0.0))
    collect(folder, [])
    results = command.estimate(folder, Silent())
    assert [r.people.run_id for r in results] == [Run(run).id, Run(other).id]
    names = sorted(p.name for p in folder.glob("calibration*.json"))
    assert names == sorted(f"calibration-{Run(r).id[:8]}.json" for r in (run, other))
    values = [each.value for r in results if (each := r.people.find("concentration", "people", "gender"))]
    assert values[0] > 0.2 > values[1]


def test_what_is_printed(cli: Cli, run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    folder = annotated(tmp_path / "a", run, (0.05, 0.05, 0.05), cannot_tell=0.1)
    done = cli("calibrate", "--from", folder).succeeded()
    lines = [line for line in done.out.splitlines() if str(tmp_path) not in line]
    assert max(map(len, lines)) <= 80
    text = " ".join(done.out.split())
    for part in ("by people", "local table", "people alone", "as read", "undecided, lowest", "cannot tell"):
        assert part in text
    assert "majority of these annotators perceives, not truth" in text
    assert "3 % of wrong single annotations move the estimates by .07" in text
    assert "never anyone's identity" in text and "Annotators: simulated people." in text
    written = cli("calibrate", "--from", folder, "--json").json()
    assert written[0]["rows"] == json.loads((run / "people.json").read_text())["rows"]


def test_errors_that_depend_on_the_prompt_are_flagged(cli: Cli, tmp_path: Path) -> None:
    """A quarter of each prompt's minority, and nobody of its majority, is read as the other gender."""
    rng = np.random.default_rng(6)
    shares = rng.uniform(size=50)
    female = rng.random((50, 100)) < shares[:, None]
    minority = female != (shares[:, None] > 0.5)
    wrong = minority & (rng.random(female.shape) < 0.25)
    made = FakeRun(np.where(female ^ wrong, 0, 4) + rng.integers(4, size=female.shape))
    run = made.write(tmp_path / "run")
    sampled(tmp_path / "a", [run], per_prompt=12)
    truth, images = truth_of(made, run), Run(run).images()
    order = list(dict.fromkeys(images["prompt"]))
    for row in images.to_dict("records"):
        truth[row["image_id"]]["gender"] = GENDERS[not female[order.index(row["prompt"]), row["sample_index"]]]
    answer(tmp_path / "a", truth, (0.0, 0.0, 0.0))
    collect(tmp_path / "a", [])
    text = " ".join(cli("calibrate", "--from", tmp_path / "a").succeeded().out.split())
    assert "gender: the labeller's errors depend on the prompt" in text
    said = Run(run).people
    assert said is not None
    assert {name: each.flagged for name, each in said.attributes.items()} == {
        "gender": True,
        "race4": False,
        "gender_x_race4": True,
    }
    each = said.find("concentration", "people", "gender")
    assert each is not None and each.value == pytest.approx(((2 * shares - 1) ** 2).mean(), abs=0.06)


def test_they_are_the_headline_of_the_run(cli: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    args = ("--model", "phantom-exact", "--task", "occupations-mini", "--images-per-prompt", "16")
    out = make_run(tmp_path / "run", *args)
    sampled(tmp_path / "a", [out], per_prompt=12)
    images = Run(out).images()
    shown = {
        row["image_id"]: {a: row[a] if isinstance(row[a], str) else "no person" for a in ("gender", "race4")}
        for row in images.to_dict("records")
    }
    answer(tmp_path / "a", shown, (0.0, 0.0, 0.0))
    collect(tmp_path / "a", [])
    cli("calibrate", "--from", tmp_path / "a").succeeded()
    said = Run(out).people
    assert said is not None
    each = said.find("concentration", "people", "gender")
    assert each is not None
    text = " ".join(cli("show", out).succeeded().out.split())
    assert "by people" in text and "what most of 3 annotators" in text
    assert any(with_interval(each.value, each.ci_low, each.ci_high, places) in text for places in (2, 3))


def test_what_cannot_be_used_is_one_sentence_and_changes_nothing(run: Path, tmp_path: Path) -> None:
    folder = annotated(tmp_path / "a", run)
    before = {p: p.read_bytes() for p in run.rglob("*") if p.is_file()}

    def refused(words: str) -> None:
        with pytest.raises(FairbenchError, match=words) as caught:
            command.estimate(folder, Silent())
        assert "\n" not in str(caught.value)
        assert {p: p.read_bytes() for p in run.rglob("*") if p.is_file()} == before

    labels = (folder / "labels.parquet").read_bytes()
    (folder / "labels.parquet").unlink()
    refused(r"labels.parquet is not there: collect the annotators' answers first")
    (folder / "labels.parquet").write_bytes(labels[:-9])
    refused(r"labels.parquet cannot be read")
    (folder / "labels.parquet").write_bytes(labels)
    text = (folder / "annotation.json").read_text()
    changed = json.loads(text)
    changed["attributes"]["gender"] = ["man", "woman"]
    (folder / "annotation.json").write_text(json.dumps(changed))
    refused(r"its labeller phantom reads gender as female, male, the labels are man, woman")
    (folder / "annotation.json").write_text(text)

    (tmp_path / "far").mkdir()
    shutil.move(run, tmp_path / "far" / "away")
    with pytest.raises(FairbenchError, match=r"holds no run any more, and .* says that run"):
        command.estimate(folder, Silent())
    FakeRun(SHOWN, model="another").write(run)
    before = {p: p.read_bytes() for p in run.rglob("*") if p.is_file()}
    refused(r"holds run [0-9a-f]{8}, and .*annotation.json says that run [0-9a-f]{8} was annotated")


@pytest.mark.parametrize("absolute", [False, True])
def test_a_run_that_was_moved_is_found_by_its_id(run: Path, tmp_path: Path, absolute: bool) -> None:
    """With its annotation, renamed beside it, or into a folder of runs; older files have an absolute path."""
    folder = annotated(tmp_path / "study" / "a", run)
    if absolute:
        text = (folder / "annotation.json").read_text()
        (folder / "annotation.json").write_text(text.replace('"../../run"', json.dumps(str(run))))
        assert str(run) in (folder / "annotation.json").read_text()
    expected = [each.people.rows for each in command.estimate(folder, Silent())]
    OTHER.write(tmp_path / "other")  # is not taken for it
    for new in ("renamed", "study/b", "study/runs/c"):
        (tmp_path / new).parent.mkdir(exist_ok=True)
        run = Path(shutil.move(run, tmp_path / new))
        assert [each.people.rows for each in command.estimate(folder, Silent())] == expected
        assert (run / "people.json").is_file()
    shutil.move(tmp_path / "study", tmp_path / "elsewhere")
    assert [each.folder for each in command.estimate(tmp_path / "elsewhere" / "a", Silent())] == [
        (tmp_path / "elsewhere" / "runs" / "c").resolve()
    ]


@pytest.mark.parametrize("select", ["largest", "all"])
def test_of_several_faces_people_are_asked_about_the_largest(select: str, tmp_path: Path) -> None:
    """Smaller faces beside it, of other groups, change no estimate by people, whether the run counts them or not."""
    card = json.loads((MADE.write(tmp_path / "alone") / "run.json").read_text())["labeller"]
    card["face_policy"]["select"] = select
    beside = np.where(SHOWN >= 0, 7 - SHOWN, -1)
    made = replace(MADE, beside=beside, more={"labeller": card})
    crowded, found = made.write(tmp_path / "crowded"), []
    assert len(Run(crowded).images()) == SHOWN.size + (beside >= 0).sum()
    for run in (tmp_path / "alone", crowded):
        folder = annotated(tmp_path / f"study-{run.name}", run)
        (result,) = command.estimate(folder, Silent())
        found.append([row.model_dump() for row in result.people.rows])
    assert found[0] == found[1]


def test_one_annotator_is_told_that_the_intervals_are_too_narrow(run: Path, tmp_path: Path) -> None:
    for annotators in (1, 3):
        folder = tmp_path / f"of-{annotators}"
        sampled(folder, [run], per_prompt=12, annotators=annotators)
        answer(folder, seen(run), (0.03,) * annotators)
        collect(folder, [], one_annotator=annotators == 1)
        words = " ".join(repr(fairbench.calibrate_from(folder, progress=False)).split())
        assert ("One annotator: their own errors are in every label" in words) == (annotators == 1)


def test_people_json_of_another_run_is_refused(run: Path, tmp_path: Path) -> None:
    command.estimate(annotated(tmp_path / "a", run), Silent())
    other = OTHER.write(tmp_path / "other")
    shutil.copy(run / "people.json", other / "people.json")
    with pytest.raises(FairbenchError, match=r"people.json, field run_id: it is of run .* or delete the file"):
        _ = Run(other).people
    (other / "people.json").write_text('{"run_id": 3}')
    with pytest.raises(FairbenchError, match=r"people.json, field run_id"):
        _ = Run(other).people


def test_from_stands_alone(cli: Cli, tmp_path: Path) -> None:
    done = cli("calibrate", "--from", tmp_path, "--labeller", "phantom")
    assert done.code == 2 and "give it alone" in done.err
    done = cli("calibrate", "--labeller", "phantom")
    assert done.code == 2 and "--from DIR for labels by people" in done.err
