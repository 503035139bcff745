"""Findings: counts and shares by hand, which axes are found, and how many are where there is nothing to find."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from fairbench.axes.file import Axis
from fairbench.axes.findings import LEVEL, findings

UNREAD, UNCLEAR = -2, -1


def axis(name: str = "hat", expected: object = "same", answers: tuple[str, ...] = ("yes", "no")) -> Axis:
    return Axis(name=name, question="A hat?", answers=list(answers), expected=expected)


def test_counts_by_hand() -> None:
    prompt = np.array([0, 0, 0, 0, 1, 1, 1, 1])
    codes = np.array([0, 0, 1, UNCLEAR, 1, 1, 1, UNREAD])[:, None]
    (found,) = findings([axis(expected={"yes": 0.4, "no": 0.6})], prompt, codes, 2, UNREAD)
    assert found.counts.tolist() == [[2, 1], [0, 3]]
    assert (found.unclear, found.unread, found.pictures) == (1, 1, 8)
    assert [a.share["this list"].estimate for a in found.answers] == pytest.approx([1 / 3, 2 / 3])
    assert [a.expected for a in found.answers] == pytest.approx([0.4, 0.6])
    assert found.q == found.p > LEVEL and found.verdict == "not shown"


def test_what_differs_between_prompts_and_what_is_uneven_everywhere_are_two_things() -> None:
    prompt = np.repeat(np.arange(8), 16)
    by_prompt = (prompt % 2)[:, None]  # even of all, one-sided in each prompt
    everywhere = np.zeros_like(by_prompt)
    everywhere[::8] = 1
    asked = [axis("a"), axis("b", "even"), axis("c"), axis("d", "even")]
    codes = np.hstack([by_prompt, by_prompt, everywhere, everywhere])
    a, b, c, d = findings(asked, prompt, codes, 8, UNREAD)
    assert a.verdict == "prompts differ" and b.verdict == d.verdict == "uneven"
    assert c.verdict == "not shown" and c.q > 0.5
    assert a.in_prompt.estimate == 1.0 and a.together == pytest.approx(0.0, abs=0.01)
    assert c.in_prompt.estimate == pytest.approx(c.together, abs=0.05) and c.together > 0.5
    every = (a, b, c, d)
    assert [x.q for x in every] == pytest.approx(stats.false_discovery_control([x.p for x in every]))


@pytest.mark.parametrize(
    ("code", "reason"),
    [
        ([UNCLEAR] * 6, "no picture has an answer"),
        ([0, 1, UNCLEAR, UNCLEAR, UNREAD, UNREAD], "most pictures have no answer"),
        ([0] * 6, "all answers are one"),
        ([0, 1, 0, UNREAD, UNREAD, UNREAD], "one prompt alone has answers"),
    ],
)
def test_what_cannot_be_tested_counts_for_no_family(code: list[int], reason: str) -> None:
    prompt = np.array([0, 0, 0, 1, 1, 1])
    other = np.array([0, 0, 1, 1, 1, 0])
    untested, tested = findings([axis("a"), axis("b")], prompt, np.stack([code, other], axis=1), 2, UNREAD)
    assert (
        np.isnan(untested.q) and not untested.found and (untested.verdict, untested.untested) == ("not tested", reason)
    )
    assert tested.q == tested.p


def test_an_axis_has_the_same_p_value_whatever_stands_beside_it() -> None:
    rng = np.random.default_rng(0)
    prompt, codes = np.repeat(np.arange(5), 6), rng.integers(0, 2, (30, 2))
    alone = findings([axis("b")], prompt, codes[:, 1:], 5, UNREAD)[0]
    assert findings([axis("a"), axis("b")], prompt, codes, 5, UNREAD)[1].p == alone.p


def test_of_axes_with_nothing_to_find_few_are_found() -> None:
    rng = np.random.default_rng(3)
    axes = [axis(f"a{i}", ("same", "even")[i % 2]) for i in range(6)]
    prompt = np.repeat(np.arange(6), 10)
    found = [any(f.found for f in findings(axes, prompt, rng.integers(0, 2, (60, 6)), 6, UNREAD)) for _ in range(25)]
    assert np.mean(found) <= 0.05 + 3 * np.sqrt(0.05 * 0.95 / 25)  # with nothing to find, any finding is a false one
