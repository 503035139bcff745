"""A finished run as Python reads it: its tables say what was drawn, and what its files say."""

from __future__ import annotations

import html
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import yaml

import fairbench
from fairbench.display.dictionary import TABLES
from fairbench.errors import FairbenchError
from fairbench.runs.result import Run
from fairbench.storage import pixels
from tests.builders import drawn_faces
from tests.builders.cli import exit_code
from tests.builders.folders import ROOT
from tests.builders.runs import finished_run

OLD = ROOT / "tests" / "data" / "fairbench-0.1.0" / "run"
# Left edge, side, row of GENDER_PROBS, row of RACE_PROBS: female White, male Black; of row 2 the gender (.67) and of
# rows 0 and 2 the race (.30, .35) are not sure enough. The judges' images show nobody.
DRAWN = {
    "nurse": [[(2, 20, 0, 1), (28, 10, 1, 1)], [(2, 20, 2, 1), (28, 12, 0, 0)], []],
    "judge": [[], []],
    "None": [[(2, 20, 1, 3)]],
}


@pytest.fixture(scope="module")
def drawn(tmp_path_factory: pytest.TempPathFactory) -> Run:
    """A run of drawn images, in which every face counts whose labels have a probability of .68 or more."""
    folder = tmp_path_factory.mktemp("drawn")
    lines, number = ["path,prompt"], 0
    for prompt, images in DRAWN.items():
        for people in images:
            name = f"{number}.png"
            (folder / name).write_bytes(pixels.encode(drawn_faces.drawn(number, people)))
            lines.append(f"{name},{prompt}")
            number += 1
    (folder / "images.csv").write_text("\n".join(lines) + "\n")
    card = drawn_faces.card(select="all", min_prob=0.68).card
    (folder / "both.yaml").write_text(
        yaml.safe_dump(card.model_dump(by_alias=True, exclude_none=True), sort_keys=False)
    )
    with pytest.MonkeyPatch.context() as patch:
        drawn_faces.register(patch)
        made = finished_run(
            folder / "run",
            f"folder:{folder / 'images.csv'}",
            task=None,
            labeller=str(folder / "both.yaml"),
            scorers=(),
        )
    return fairbench.load(made)


def test_every_face_has_a_row_and_excluded_labels_are_null(drawn: Run) -> None:
    images = drawn.images()
    assert len(images) == 8  # five faces of three images, and three images without a face
    faces = images[images["status"] == "ok"]
    read = [
        (row.subject, row.sample_index, row.face, row.gender, row.race4)
        for row in faces.astype(object).where(faces.notna(), None).itertuples()
    ]
    assert read == [
        ("nurse", 0, 0, "female", "Black"),
        ("nurse", 0, 1, "male", "Black"),
        ("nurse", 1, 0, None, "Black"),
        ("nurse", 1, 1, "female", None),
        ("None", 0, 0, "male", None),
    ]
    assert faces["counted"].all()
    nobody = images[images["status"] == "no_face"]
    assert nobody["subject"].tolist() == ["nurse", "judge", "judge"]
    assert nobody["face"].isna().all()
    assert not nobody["counted"].any()
    # What was read stands beside what was excluded, and a derived class has the sum of its source's probabilities.
    unsure = images[(images["subject"] == "nurse") & (images["sample_index"] == 1)]
    assert unsure["gender.prob"].tolist() == pytest.approx([0.67, 0.9])
    assert unsure["race4.prob WMELH"].tolist() == pytest.approx([0.15, 0.38])
    assert unsure["race4.prob"].tolist() == pytest.approx([0.7, 0.38])


def test_shares_are_those_of_the_faces_that_count(drawn: Run) -> None:
    shares = drawn.shares("gender").set_index(["subject", "class"])
    assert shares["share"].to_dict() == pytest.approx(
        {
            ("nurse", "female"): 2 / 3,
            ("nurse", "male"): 1 / 3,
            ("judge", "female"): np.nan,
            ("judge", "male"): np.nan,
            ("None", "female"): 0.0,
            ("None", "male"): 1.0,
        },
        nan_ok=True,
    )
    assert shares["n"].groupby("subject").first().to_dict() == {"nurse": 3, "judge": 0, "None": 1}
    assert shares["n_excluded"].groupby("subject").first().to_dict() == {"nurse": 1, "judge": 0, "None": 0}
    for attribute in ("gender", "race7", "race4"):
        images = drawn.images()
        counts = images[images["counted"]].groupby(["subject", attribute]).size()
        of_shares = drawn.shares(attribute)
        for row in of_shares[of_shares["n"] > 0].to_dict("records"):
            assert row["share"] * row["n"] == pytest.approx(counts.get((row["subject"], row["class"]), 0))
    with pytest.raises(FairbenchError, match="did you mean 'gender'"):
        drawn.shares("gendr")


def test_the_metrics_are_those_of_the_csv(drawn: Run) -> None:
    written = pd.read_csv(drawn.folder / "metrics.csv", keep_default_na=False, na_values=[""])
    pd.testing.assert_frame_equal(drawn.metrics, written, check_dtype=False, rtol=1e-12)
    absent = drawn.metrics[(drawn.metrics["metric"] == "rd") & (drawn.metrics["scope_value"] == "judge")]
    assert absent["value"].isna().all()
    assert "no faces" in set(absent["reason"])


def test_prompts_and_notices_are_those_of_the_csv(drawn: Run) -> None:
    assert drawn.prompts["prompt"].tolist() == ["nurse", "judge", "None"]  # "None" is a prompt, no missing one
    assert drawn.prompts["n_selected_faces"].tolist() == [4, 0, 1]
    assert drawn.prompts["gender.n"].tolist() == [3, 0, 1]
    assert np.isnan(drawn.prompts.loc[1, "gender.share female"])
    codes = pd.read_csv(drawn.folder / "notices.csv")
    assert drawn.notices["code"].tolist() == codes["code"].tolist()
    assert drawn.notices["text"].tolist() == codes["text"].tolist()
    assert drawn.notices["strict"].dtype == bool
    assert drawn.settings["images_per_prompt"] is None
    assert drawn.id == drawn.record.run_id


def test_a_run_of_an_older_version_has_the_names_of_today() -> None:
    assert "concentration" in set(fairbench.load(OLD).metrics["metric"])
    assert fairbench.load(OLD).shares("gender_x_race4")["n"].tolist() == [6] * 16


def test_a_prompt_is_named_by_subject_text_or_id() -> None:
    run = fairbench.load(OLD)
    of_subject = run.images("senator")
    text, prompt_id = of_subject["prompt"][0], of_subject["prompt_id"][0]
    for name in (text, prompt_id):
        pd.testing.assert_frame_equal(run.images(name), of_subject)
    assert 0 < len(of_subject) < len(run.images())
    with pytest.raises(FairbenchError, match="did you mean 'senator'"):
        run.images("senater")


def test_a_picture_comes_from_the_store_or_is_said_to_be_gone(
    drawn: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    images = drawn.images()
    for number, image_id in enumerate(images.drop_duplicates("image_id")["image_id"].head(2)):
        expected = drawn_faces.drawn(number, DRAWN["nurse"][number])
        assert (np.asarray(drawn.picture(image_id)) == expected).all()  # a file of the user's
    made = finished_run(tmp_path / "a" / "run", limit_prompts=1, images_per_prompt=2, scorers=())
    image_id = fairbench.load(made).images()["image_id"][1]
    assert fairbench.load(made).picture(image_id).size == (64, 64)
    (tmp_path / "a" / "store").rename(tmp_path / "moved")
    with pytest.raises(FairbenchError, match=r"none of the stores .*store=STORE"):
        fairbench.load(made).picture(image_id)
    assert fairbench.load(made, store=str(tmp_path / "moved")).picture(image_id).size == (64, 64)
    monkeypatch.setenv("FAIRBENCH_STORE", str(tmp_path / "moved"))
    assert fairbench.load(made).picture(image_id).size == (64, 64)
    with pytest.raises(FairbenchError, match="is no image_id"):
        fairbench.load(made).picture("nurse")


def test_a_folder_without_a_run_is_named(tmp_path: Path) -> None:
    with pytest.raises(FairbenchError, match=r"run\.json cannot be read .*name the folder of a finished run"):
        fairbench.load(tmp_path)


def test_a_run_is_shown_as_the_command_shows_it(
    drawn: Run, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    for arguments, show in (((), lambda: print(drawn)), (("--full",), lambda: drawn.show(full=True))):
        assert exit_code("show", drawn.folder, *arguments) == 0
        printed = capsys.readouterr().out.rstrip()
        show()
        assert capsys.readouterr().out.rstrip() == printed
    for text in (drawn._repr_html_(), drawn.to_markdown(), drawn.to_latex()):
        assert "never anyone's identity" in html.unescape(text)


def test_the_summary_has_both_intervals_of_every_estimate(drawn: Run) -> None:
    summary = drawn.summary()
    assert summary["attribute"].drop_duplicates().tolist() == ["gender", "race7", "race4", "gender_x_race4"]
    gender = summary[summary["attribute"] == "gender"].set_index(["metric", "estimate"])
    metrics = drawn.metrics[drawn.metrics["attribute"] == "gender"].set_index(["metric", "estimate", "scope"])
    for column, scope, name in (
        ("value", "task", "value"),
        ("ci_low", "task", "ci_low"),
        ("population_ci_high", "population", "ci_high"),
    ):
        expected = metrics.loc[("rd", "raw", scope), name]  # two prompts say nothing of other prompts: NaN there
        assert gender.loc[("rd", "raw"), column] == pytest.approx(expected, nan_ok=True)


def test_a_run_without_results_says_so_wherever_it_is_shown(tmp_path: Path) -> None:
    """As one shard of a run."""
    unfinished = Run(str(tmp_path / "<b>"))
    assert repr(unfinished).startswith("Run('")
    assert "name the folder of a finished run" in repr(unfinished)
    assert "&lt;b&gt;" in unfinished._repr_html_()


def test_every_column_is_in_the_dictionary(drawn: Run) -> None:
    tables = {
        "metrics.csv": drawn.metrics,
        "prompts.csv": drawn.prompts,
        "notices.csv": drawn.notices,
        "run.shares(ATTRIBUTE)": drawn.shares("race7"),
        "run.images(PROMPT)": drawn.images("nurse"),
        "run.summary()": drawn.summary(),
        "run.following()": drawn.following(),
        "compare.csv": fairbench.compare(drawn, drawn.folder).table,
    }
    classes = {a: spec.labels for a, spec in drawn.record.labeller.attributes.items()}
    for name, table in tables.items():
        described = [
            column.replace("ATTRIBUTE", attribute).replace("CLASS", label)
            for column in TABLES[name][1]
            for attribute in (classes if "ATTRIBUTE" in column else [""])
            for label in (classes[attribute] if "CLASS" in column else [""])
        ]
        crosses = [column for column in table.columns if "_x_" in column]
        references = [column for column in described if ".reference " in column]
        assert set(described) - set(references) == set(table.columns) - set(crosses), name
    elsewhere = {"run.sections(ATTRIBUTE)", "axes.csv", "answers.csv", "measures.csv"}  # in the tests of their rooms
    assert set(TABLES) - set(tables) == {"calibration.table", "labels.csv", *elsewhere}
