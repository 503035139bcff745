"""What a comparison prints, word for word, and the sentences that once contradicted each other or were missing.

`python -m tests.comparison.test_printed` writes the golden texts again: read the difference before you keep it.
"""

from __future__ import annotations

import io
import tempfile
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from rich.console import Console

from fairbench.comparison import terminal
from fairbench.comparison.compare import RunComparison, compare
from tests.builders.fake_runs import BALANCED, FAIR, SIDED, FakeRun, draw_cells
from tests.builders.folders import ROOT

GOLDEN = ROOT / "tests" / "golden" / "compared"
WIDTHS = (60, 80, 120)
LESS = 0.5 * SIDED + 0.5 * FAIR

CASES = {
    "different": (
        FakeRun(draw_cells(SIDED, 1), "plain", score=28.0),
        FakeRun(draw_cells(LESS, 2), "tuned", score=27.9),
    ),
    "alike": (replace(BALANCED, score=None), FakeRun(draw_cells(FAIR, 3, 24, 60), "again", calibrated=True)),
    "five prompts": (FakeRun(draw_cells(SIDED, 1, 5, 160), "plain"), FakeRun(draw_cells(FAIR, 2, 5, 160), "even")),
    "one prompt": (FakeRun(draw_cells(SIDED, 1, 1, 60), "plain"), FakeRun(draw_cells(FAIR, 2, 1, 60), "even")),
    "three runs": (
        FakeRun(draw_cells(SIDED, 1), "plain"),
        FakeRun(draw_cells(LESS, 2), "tuned"),
        FakeRun(draw_cells(FAIR, 3), "dealt", more={"quota": True, "method": "dealt"}),
    ),
}


def compared(runs: tuple[FakeRun, ...], root: Path) -> RunComparison:
    result = compare([run.write(root / f"{i}") for i, run in enumerate(runs)])
    assert isinstance(result, RunComparison)
    return result


def printed(result: RunComparison, width: int, *, full: bool = False) -> str:
    out = io.StringIO()
    terminal.show(result, None, Console(file=out, width=width), full=full)
    return "\n".join(line.rstrip() for line in out.getvalue().splitlines())


def texts(result: RunComparison) -> str:
    return "\n".join(f"--- {width} columns\n{printed(result, width)}" for width in WIDTHS) + "\n"


def words(result: RunComparison) -> str:
    return " ".join(printed(result, 80).split())


@pytest.mark.parametrize("case", CASES)
def test_the_short_form_reads_as_it_should(case: str, tmp_path: Path) -> None:
    result = compared(CASES[case], tmp_path)
    assert texts(result) == (GOLDEN / f"{case.replace(' ', '-')}.txt").read_text()
    for width in WIDTHS:
        lines = printed(result, width, full=True).splitlines()
        assert max(map(len, lines)) <= width and "…" not in "".join(lines)


def test_five_prompts_show_a_large_difference_and_ranks_agree_with_it(tmp_path: Path) -> None:
    """A sign test of five prompts cannot: "inconclusive" stood beside the rank "1 (1-1)"."""
    plain, even = CASES["five prompts"]
    result = compared((plain, even, replace(even, model="again", shown=draw_cells(LESS, 4, 5, 160))), tmp_path)
    rows = [r for r in result.rows if r.family == "primary"]
    assert {r.verdict for r in rows if r.run == "B"} == {"B less concentrated"}
    for row in rows:
        ranks, i = result.rankings[row.attribute], "ABC".index(row.run)
        apart = ranks.high[i] < ranks.low[0] or ranks.low[i] > ranks.high[0]
        assert not (apart and row.verdict == "inconclusive")
        # One number in the table and in the ranks.
        assert ranks.mean[i] == pytest.approx(row.b) and ranks.mean[0] == pytest.approx(row.a)
    assert all(np.isnan(r.low) and r.reason for r in result.rows if r.scope == "other prompts")
    assert result.selection is None
    said = words(result)
    assert "no winner was chosen: that takes 10 prompts" in said
    assert "Of other prompts nothing is said: that takes 10 prompts" in said


def test_the_assumption_on_the_labeller_is_named_with_where_a_difference_disappears(tmp_path: Path) -> None:
    """Equal models, read right in .97 and .94 of the images: a difference that is the labeller's alone."""
    women = np.full(8, 0.02 / 4)
    women[:4] = 0.98 / 4
    flip = [np.r_[(1 - e) * women[:4] + e * women[4:], (1 - e) * women[4:] + e * women[:4]] for e in (0.03, 0.06)]
    runs = tuple(FakeRun(draw_cells(p, i, 24, 160), f"m{i}") for i, p in enumerate(flip))
    result = compared(runs, tmp_path)
    (point,) = [p for p in result.tipping if p.attribute == "gender"]
    assert point.smaller[0] == pytest.approx(0.03, abs=0.012) and (point.less, point.more) == ("B", "A")
    said = words(result)
    assert "Assumes that all models' images are read equally well. The difference disappears if" in said
    assert "points (gender)" in said


def test_fifteen_of_a_hundred_images_in_another_group_are_not_equivalent(tmp_path: Path) -> None:
    """Of eight groups the mean gap saturates: .2500 and .2393, within its margin of .0125."""
    one = FakeRun(np.zeros((24, 160), dtype=int), "one")
    two = FakeRun(np.where(np.arange(160) < 24, 4, 0) * np.ones((24, 1), dtype=int), "two")
    result = compared((one, two), tmp_path)
    verdicts = [r.verdict for r in result.rows if r.attribute == "gender_x_race4"]
    assert not [v for v in verdicts if v.startswith(("equivalent", "equally", "same"))]
    assert "equivalent" not in words(result)
    (cross,) = [r for r in result.rows if r.family == "primary" and r.attribute == "gender_x_race4"]
    assert cross.verdict == "B less concentrated" and cross.b == pytest.approx(0.709, abs=0.01)


if __name__ == "__main__":
    GOLDEN.mkdir(exist_ok=True)
    for name, runs in CASES.items():
        with tempfile.TemporaryDirectory() as folder:
            (GOLDEN / f"{name.replace(' ', '-')}.txt").write_text(texts(compared(runs, Path(folder))))
