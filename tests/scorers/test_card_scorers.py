"""A model card's `scorers`: the parameters of a scorer that a run of this model names."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from fairbench.errors import CardError
from fairbench.linting import cards
from fairbench.runs import spec
from tests.builders.cli import Cli, Result
from tests.builders.folders import ROOT

CARD = "name: mine\ntitle: Mine\nadapter: phantom-exact\nlabeller: phantom\ndefault_task: occupations-mini\n"
OWN = CARD + "scorers:\n  clip-score:\n    path: parts/clip\n"


@pytest.fixture
def folder(tiny_openclip: Path, tmp_path: Path) -> Path:
    shutil.copytree(tiny_openclip, tmp_path / "cards/parts/clip")
    (tmp_path / "cards/mine.yaml").write_text(OWN)
    (tmp_path / "cards/bare.yaml").write_text(CARD)
    (tmp_path / "score.yaml").write_text("type: clip-score\npath: cards/parts/clip\n")
    return tmp_path


def made(folder: Path, card: str, scorer: str | Path) -> spec.RunSpec:
    return spec.make(spec.RunSettings(model=str(folder / card), scorers=(str(scorer),), images_per_prompt=1))


def test_a_named_scorer_takes_the_cards_parameters(folder: Path) -> None:
    own, bare = made(folder, "cards/mine.yaml", "clip-score"), made(folder, "cards/bare.yaml", "clip-score")
    assert own.scorers[0].params.folder.path == "parts/clip"
    assert own.scorers[0].base_dir == (folder / "cards").resolve()
    assert bare.scorers[0].params.folder is None
    assert own.image_key == bare.image_key
    assert own.scorers[0].key != bare.scorers[0].key
    assert own.run_id != bare.run_id


def test_another_scorer_keeps_its_own_parameters(folder: Path) -> None:
    own, bare = made(folder, "cards/mine.yaml", "clip-iqa"), made(folder, "cards/bare.yaml", "clip-iqa")
    assert own.scorers[0].key == bare.scorers[0].key


def test_a_scorer_from_a_file_is_as_the_file_says(folder: Path) -> None:
    own, file = made(folder, "cards/mine.yaml", "clip-score"), made(folder, "cards/bare.yaml", folder / "score.yaml")
    assert own.scorers[0].key == file.scorers[0].key  # the same weights, by whatever path
    (folder / "score.yaml").write_text("type: clip-score\n")
    plain = made(folder, "cards/mine.yaml", folder / "score.yaml")
    assert plain.scorers[0].params.folder is None


def test_wrong_parameters_are_named_with_field_and_line(folder: Path) -> None:
    (folder / "cards/mine.yaml").write_text(OWN.replace("path:", "pat:"))
    with pytest.raises(CardError, match=r"mine\.yaml, line 8, field scorers\.clip-score\.pat: there is no such field"):
        made(folder, "cards/mine.yaml", "clip-score")


def test_a_missing_folder_is_the_reason_for_no_value(folder: Path) -> None:
    (folder / "cards/mine.yaml").write_text(OWN.replace("parts/clip", "parts/other"))
    (scorer,) = made(folder, "cards/mine.yaml", "clip-score").scorers
    assert scorer.key is None
    assert "parts/other does not exist" in str(scorer.reason)


@pytest.mark.parametrize(
    ("card", "asked", "scored"),
    [
        ("cards/mine.yaml", None, ["clip-score"]),
        ("cards/bare.yaml", None, []),
        ("cards/mine.yaml", (), []),
        ("cards/bare.yaml", ("clip-iqa",), ["clip-iqa"]),
    ],
)
def test_the_cards_scorers_are_the_default(
    folder: Path, card: str, asked: tuple[str, ...] | None, scored: list[str]
) -> None:
    made_plan = spec.make(spec.RunSettings(model=str(folder / card), scorers=asked, images_per_prompt=1))
    assert [s.name for s in made_plan.scorers] == scored


def test_a_run_scores_by_default_and_can_be_told_not_to(cli: Cli, folder: Path) -> None:
    args = ("run", "--model", folder / "cards/mine.yaml", "-n", "1", "--limit-prompts", "1", "--no-sheets", "--json")
    for more, expected in (((), ["clip_score"]), (("--scorers", "none"), []), (("--scorers", ""), [])):
        found: Result = cli(*args, *more)  # type: ignore[operator]
        assert found.code == 0, found.err
        assert [m["metric"] for m in json.loads(found.out)["metrics"] if m["attribute"] == "quality"] == expected


def test_a_run_scores_with_the_cards_model(cli: Cli, folder: Path) -> None:
    args = ("run", "--model", folder / "cards/mine.yaml", "-n", "1", "--limit-prompts", "1", "--no-sheets", "--json")
    found: Result = cli(*args, "--scorers", "clip-score")  # type: ignore[operator]
    assert found.code == 0, found.err
    (score,) = [m for m in json.loads(found.out)["metrics"] if m["metric"] == "clip_score"]
    assert score["value"] is not None


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (OWN, None),
        (OWN.replace("path:", "pat:"), "line 8, field scorers.clip-score.pat"),
        (OWN.replace("clip-score", "clip-scor"), "line 7, field scorers.clip-scor: There is no scorer"),
        ("type: clip-score\npath: clip\n", None),
        ("type: clip-scor\n", "line 1, field type: There is no scorer"),
        ("type: clip-score\npat: clip\n", "line 2, field pat: there is no such field"),
    ],
)
def test_the_linter_reads_scorers(tmp_path: Path, text: str, words: str | None) -> None:
    (tmp_path / "card.yaml").write_text(text)
    for folder in ("parts/clip", "clip"):
        (tmp_path / folder).mkdir(parents=True)
    found = [str(problem) for problem in cards.problems(tmp_path / "card.yaml")]
    assert len(found) == (words is not None)
    assert words is None or words in found[0]


def test_shipped_scorer_files_are_clean() -> None:
    files = sorted((ROOT / "models/scorers").glob("*.yaml"))
    assert files
    assert [str(p) for path in files for p in cards.problems(path)] == []
