"""The file of axes: what it may hold, that people review it, and that nothing changes once it is frozen."""

from __future__ import annotations

from pathlib import Path

import pytest

from fairbench.axes import file
from fairbench.axes.file import AxesFile, Axis
from fairbench.errors import CardError, FairbenchError
from fairbench.linting.cards import problems

TEXT = """\
# my notes
task: occupations-mini
task_version: 1
axes:
  - name: glasses
    question: Does the person wear glasses?
    answers: ["yes", "no"]
  - name: place
    question: Where is the person?
    answers: [indoors, outdoors]
    expected: even
"""


@pytest.fixture
def axes(tmp_path: Path) -> Path:
    path = tmp_path / "axes.yaml"
    path.write_text(TEXT)
    return path


def test_what_is_not_reviewed_is_not_read(axes: Path) -> None:
    with pytest.raises(CardError, match=r"axes\.yaml is not reviewed: .* freeze .* --reviewed-by"):
        file.read_frozen(axes)
    frozen = file.freeze(axes, "  A.  Reviewer ")
    assert frozen == file.read_frozen(axes)
    assert frozen.frozen is not None and frozen.frozen.reviewed_by == "A. Reviewer"
    assert axes.read_text().startswith(TEXT.rstrip())  # the notes stay, too
    assert [p.name for p in axes.parent.iterdir()] == ["axes.yaml"]


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("glasses?", "a hat?"),
        ("expected: even", "expected: same"),
        ("[indoors, ", "[inside, "),
        ("version: 1", "version: 2"),
    ],
)
def test_a_frozen_file_is_not_changed(axes: Path, before: str, after: str) -> None:
    file.freeze(axes, "A. Reviewer")
    axes.write_text(axes.read_text().replace("# my notes", "# other notes"))
    file.read_frozen(axes)
    axes.write_text(axes.read_text().replace(before, after))
    with pytest.raises(CardError, match=r"field frozen.sha256: the axes were changed after A. Reviewer froze them"):
        file.read(axes)
    with pytest.raises(CardError, match="changed after"):
        file.freeze(axes, "Another")


def test_freezing_twice_or_by_nobody_or_nothing_is_refused(axes: Path) -> None:
    with pytest.raises(FairbenchError, match="--reviewed-by: give the name"):
        file.freeze(axes, "  ")
    file.freeze(axes, "A. Reviewer")
    frozen = axes.read_text()
    with pytest.raises(CardError, match=r"frozen by A\. Reviewer already"):
        file.freeze(axes, "Another")
    assert axes.read_text() == frozen
    axes.write_text("task: t\ntask_version: 1\naxes: []\n")
    with pytest.raises(CardError, match="field axes: it is empty"):
        file.freeze(axes, "A. Reviewer")


def test_a_name_cannot_write_fields(axes: Path) -> None:
    name = 'A: "B" # c, \u00e9'
    frozen = file.freeze(axes, name).frozen
    assert frozen is not None and frozen.reviewed_by == name


@pytest.mark.parametrize("subject", ["Nurse", "glasses"])
def test_no_question_names_what_the_prompt_says(axes: Path, subject: str) -> None:
    axes.write_text(TEXT.replace("wear glasses", "look like a nurse with glasses"))
    with pytest.raises(CardError, match=rf"field axes.0: it names '{subject}', which the prompt says"):
        file.freeze(axes, "A. Reviewer", frozenset({subject, "person"}))
    assert "frozen" not in axes.read_text()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"answers": ["yes"]}, "at least 2"),
        ({"answers": ["yes", "Yes "]}, "begins or ends with a blank"),
        ({"answers": ["yes", "YES"]}, "one stands twice"),
        ({"answers": ["yes", "Unclear"]}, "remove 'Unclear'"),
        ({"answers": ["yes", "no face"]}, "remove 'no face'"),
        ({"answers": ["yes", "skipped"]}, "remove 'skipped'"),
        ({"answers": ["yes", "Can't tell"]}, "stands for"),
        ({"question": "Is the {subject} happy?"}, "remove the braces"),
        ({"name": "faces"}, "stands for something else"),
        ({"name": "a_x_b"}, "stands for something else"),
        ({"name": "No Name"}, "pattern"),
        ({"expected": {"yes": 0.5}}, "a share to each of the answers"),
        ({"expected": {"yes": 0.5, "no": 0.6}}, "sum to 1"),
        ({"expected": {"yes": 0.0, "no": 1.0}}, "above 0"),
        ({"expected": "uniform"}, "same"),
        ({"expect": "even"}, "Extra inputs"),
    ],
)
def test_what_is_no_axis(change: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Axis(**{"name": "glasses", "question": "Glasses?", "answers": ["yes", "no"], **change})


def test_yes_and_no_without_quotes_are_told_to_need_them(axes: Path) -> None:
    axes.write_text(TEXT.replace('"yes", "no"', "yes, no"))
    with pytest.raises(CardError, match=r"line 7, field axes.0.answers.0: .* in quotes it is a text"):
        file.read(axes)


def test_all_problems_are_counted_and_check_says_who_looks_at_them(axes: Path) -> None:
    axes.write_text(TEXT.replace("name: glasses", "name: My Glasses").replace("expected: even", "expects: even"))
    with pytest.raises(CardError, match=r"line 5, field axes.0.name: .* \(and 1 more\)\.$"):
        file.read(axes)
    assert "`fairbench axes freeze` checks it" in str(problems(axes)[0])


def test_expected_shares_are_in_the_order_of_the_answers() -> None:
    asked = {"name": "a", "question": "A?", "answers": ["yes", "no"]}
    assert Axis.model_validate(asked).shares is None
    assert Axis.model_validate({**asked, "expected": "even"}).shares == [0.5, 0.5]
    assert Axis.model_validate({**asked, "expected": {"no": 0.3, "yes": 0.7}}).shares == pytest.approx([0.7, 0.3])


def test_what_is_written_is_read_back_and_says_what_to_do(tmp_path: Path) -> None:
    written = AxesFile(
        task="t",
        task_version=3,
        axes=[Axis(name="hat", question='A "hat": yes? #1', answers=["yes", "no", "1.5"], prompts=2)],
    )
    file.write(tmp_path / "axes.yaml", written)
    assert file.read(tmp_path / "axes.yaml") == written
    assert "expected: same" in (tmp_path / "axes.yaml").read_text() and "freeze" in (tmp_path / "axes.yaml").read_text()
    assert file.freeze(tmp_path / "axes.yaml", "R").axes == written.axes
