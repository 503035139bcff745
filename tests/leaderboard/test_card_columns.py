"""What a row says of the model's card and of notices: the evidence's words, and nothing where it does not say."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from fairbench.leaderboard import evidence, row
from fairbench.runs import record
from tests.builders.folders import ROOT

(SAMPLE, _) = sorted((ROOT / "tests" / "data" / "fairbench-0.2.0" / "evidence").glob("*/run.json"))


def written(folder: Path, **changed: Any) -> record.RunRecord:
    (folder / "run.json").write_text(json.dumps(json.loads(SAMPLE.read_text()) | changed))
    return record.read(folder / "run.json")


@pytest.mark.parametrize(
    ("card", "expected"),
    [
        ({}, (None, None, None)),
        ({"adapter": "janus", "licence": "MIT", "verified": "real weights"}, ("MIT", "real weights", "native")),
        ({"adapter": "function", "licence": "unknown", "verified": None}, ("unknown", None, "native")),
        *(
            ({"adapter": name, "licence": "x"}, ("x", None, name))
            for name in ("endpoint", "worker", "diffusers", "folder")
        ),
        ({"adapter": "endpoint", "licence": "see /home/me/LICENCE"}, ("see LICENCE", None, "endpoint")),
    ],
)
def test_what_the_card_says(tmp_path: Path, card: dict[str, Any], expected: tuple[str | None, ...]) -> None:
    run = written(tmp_path, model={"name": "m", **card})
    assert tuple(row._card(run)[column] for column in ("licence", "verified", "way_in")) == expected
    if card:  # the published copy gives the same row
        again = written(tmp_path, model=json.loads(record.text_of(evidence.public_record(run)))["model"])
        assert row._card(again) == row._card(run)


def test_codes_of_notices(tmp_path: Path) -> None:
    few, pinned = ({"code": code, "count": 1, "text": "..."} for code in ("few-images", "unpinned"))
    assert row._notices(written(tmp_path, notices=[pinned, few, pinned])) == "few-images; unpinned"
    assert row._notices(written(tmp_path, notices=[])) == "none"
    earlier = json.loads(SAMPLE.read_text())
    del earlier["notices"]
    (tmp_path / "run.json").write_text(json.dumps(earlier))
    assert row._notices(record.read(tmp_path / "run.json")) is None
