"""Notices: each is collected once, shown at once, and means what the one table of them says."""

from __future__ import annotations

from pathlib import Path

import pytest

from fairbench.notices import KINDS, MAX_EXAMPLES, Notice, collecting, notice
from tests.builders.folders import ROOT


def test_notices_are_collected_once_and_shown_at_once(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level("WARNING"), collecting() as reported:
        notice("copies", "3 of 9 images are copies of others", count=3, examples=["a = b"])
        notice("copies", "3 of 9 images are copies of others", count=3, examples=["a = b"])
        notice("method", "something else")
    assert [n.code for n in reported] == ["copies", "method"]
    assert caplog.text.count("3 of 9 images are copies of others (a = b; and 2 more). To fix: remove the copies") == 1
    assert [n.code for n in reported.strict] == ["copies"]


def test_a_collection_inside_another_belongs_to_both() -> None:
    with collecting() as outer:
        with collecting() as inner:
            notice("memory", "out of memory")
        with pytest.raises(RuntimeError), collecting():
            notice("method", "said before it failed")
            raise RuntimeError
    assert [n.code for n in inner] == ["memory"]
    assert [n.code for n in outer] == ["memory", "method"]


def test_what_was_shown_is_collected_again_but_not_shown_again(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level("WARNING"):
        with collecting() as before:
            notice("method", "said at the start")
        with collecting(before) as after:
            notice("method", "said at the start")
            notice("method", "said later")
    assert [n.text for n in after] == ["said at the start", "said later"]
    assert [caplog.text.count(n.text) for n in after] == [1, 1]


def test_examples_are_some_and_the_count_says_how_many_there_are() -> None:
    with collecting() as reported:
        notice("unknown-suffix", "20 files", count=20, examples=(f"f{i}" for i in range(20)))
    (one,) = reported
    assert len(one.examples) == MAX_EXAMPLES
    assert one.sentence.endswith("f4; and 15 more)")
    assert one.record() == {
        "code": "unknown-suffix",
        "count": 20,
        "text": "20 files",
        "examples": ["f0", "f1", "f2", "f3", "f4"],
        "fix": KINDS["unknown-suffix"].fix,
        "strict": True,
    }


def test_a_code_that_nobody_declared_is_an_error() -> None:
    with pytest.raises(KeyError):
        notice("whatever", "x")


def test_the_document_has_every_notice_with_what_strict_does() -> None:
    text = Path(ROOT / "docs" / "notices.md").read_text()
    rows = [line for line in text.splitlines() if line.startswith("| `")]
    assert rows == [
        f"| `{code}` | {kind.meaning} | {kind.fix} | {'yes' if kind.strict else 'no'} |" for code, kind in KINDS.items()
    ]


def test_strict_is_a_matter_of_the_code() -> None:
    assert Notice("prompt-cut", "x").strict
    assert not Notice("few-images", "x").strict
