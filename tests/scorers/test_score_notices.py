"""What is said of scores: cut prompts, other languages, images without a value; on every run, also of stored scores."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from fairbench.notices import collecting
from fairbench.runs import notices as run_notices
from fairbench.runs import scores
from fairbench.scorers.clip_score import ClipScore
from fairbench.storage import schemas
from fairbench.types import Prompt
from tests.builders.cards import write_task
from tests.builders.cli import Cli
from tests.builders.proofs import mostly_long
from tests.builders.runs import rewrite_shard

RUN = (
    "run",
    "--model",
    "phantom-exact",
    "--task",
    "mine",
    "-n",
    "8",
    "--scorers",
    "score.yaml",
    "--no-sheets",
    "--json",
)


@pytest.fixture(autouse=True)
def _scorer(tmp_path: Path, tiny_openclip: Path) -> None:
    (tmp_path / "clip").symlink_to(tiny_openclip)
    (tmp_path / "score.yaml").write_text("type: clip-score\npath: clip\n")


def run(
    cli: Cli, text: str = "a {subject}", subjects: Sequence[str] = ("nurse", "pilot"), language: str | None = None
) -> dict[str, Any]:
    write_task(Path("mine"), subjects, text, **{"language": language} if language else {})
    done = cli(*RUN, "--json", "--out", "out").succeeded()
    json.loads(done.out, parse_constant=lambda name: pytest.fail(f"{name} is no JSON"))
    return dict(json.loads(Path("out/run.json").read_text()))


def notices(record: dict[str, Any], code: str) -> list[dict[str, Any]]:
    return [n for n in record["notices"] if n["code"] == code]


def test_a_cut_prompt_is_counted_on_every_run(cli: Cli) -> None:
    """The tiny tokenizer gives one token per letter: 75 of them fit beside start and end."""
    fits = "a" * 75
    for _ in range(2):  # the second time all scores are stored
        record = run(cli, "{subject}", subjects=[fits, f"{fits}b", "c" * 80])
        (found,) = notices(record, "prompt-cut")
        assert (found["count"], found["strict"]) == (2, True)
        assert fits not in found["examples"]
    assert not notices(run(cli), "prompt-cut")


@pytest.mark.parametrize(
    ("text", "language", "languages", "words"),
    [
        ("a {subject}", None, None, None),
        ("ein {subject}", "de", None, "prompts in de, but its model was made for en"),
        ("ein {subject}", "de-AT", "[de, en]", None),
        ("un {subject}", "fr", "['*']", None),
        ("a {subject}", "en-GB", None, None),
        ("一位护士的照片 {subject}", None, None, "2 of 2 prompts whose letters are not Latin"),
        ("一位护士的照片 {subject}", "zh", "[zh]", None),
    ],
)
def test_another_language_than_the_models_is_said(
    cli: Cli, text: str, language: str | None, languages: str | None, words: str | None
) -> None:
    own = f"languages: {languages}\n" if languages else ""
    Path("score.yaml").write_text(f"type: clip-score\npath: clip\n{own}")
    found = notices(run(cli, text, language=language), "language")
    assert [words in n["text"] for n in found] == ([True] if words else [])


def test_the_language_changes_no_key(cli: Cli) -> None:
    first = run(cli)
    Path("score.yaml").write_text("type: clip-score\npath: clip\nlanguages: [de]\n")
    assert run(cli)["run_id"] == first["run_id"]


def test_prompts_of_a_folder_without_a_task_are_judged_by_their_letters() -> None:
    class Scorer:
        spec = ClipScore.spec
        languages = ("en",)

    def prompt(text: str) -> Prompt:
        return Prompt(text.encode(), text.encode(), "folder", 1, "prompt", text, text)

    with collecting() as said:
        run_notices.report_prompts("clip-score", Scorer(), [prompt("a nurse"), prompt("медсестра")], None)  # type: ignore[arg-type]
    (found,) = said
    assert (found.code, found.examples) == ("language", ("медсестра",))


def _spoil(monkeypatch: pytest.MonkeyPatch, value: float | None) -> None:
    """Make the scorer give `value`, or raise for None, for about a third of the images."""
    features = ClipScore.features

    def spoiled(self: ClipScore, images: Any, prompts: Any) -> Any:
        some = np.array([int(image.sum()) % 3 == 0 for image in images])
        if value is None and some.any():
            raise ArithmeticError("not this one")
        values = features(self, images, prompts)
        values[some] = np.nan if value is None else value
        return values

    monkeypatch.setattr(ClipScore, "features", spoiled)


@pytest.mark.parametrize("value", mostly_long([np.nan, np.inf, -np.inf, None]))
def test_an_image_without_a_finite_value_failed_and_is_in_no_mean(
    cli: Cli, monkeypatch: pytest.MonkeyPatch, value: float | None
) -> None:
    """A scorer's NaN had status ok, and became the run's score."""
    _spoil(monkeypatch, value)
    for _ in range(2):
        record = run(cli)
        statuses = record["statuses"]["clip-score"]
        assert statuses["failed"] > 0
        assert statuses["ok"] > 0
        (found,) = notices(record, "score-failed")
        assert found["count"] == statuses["failed"]
        reason = "raised ArithmeticError: not this one" if value is None else "not finite numbers"
        assert reason in found["examples"][0]
        (row,) = [
            r
            for r in pq.read_table("out/metrics.parquet").to_pylist()
            if r["metric"] == "clip_score" and r["scope"] == "task"
        ]
        assert np.isfinite(row["value"])
        table = pa.concat_tables([pq.read_table(p) for p in Path("runs/store/scores").glob("*/*.parquet")])
        ok = [r for r in table.to_pylist() if r["status"] == "ok"]
        assert row["value"] == pytest.approx(np.mean([r["value"] for r in ok]))
        assert all((r["error"] is None) == (r["status"] == "ok") for r in table.to_pylist())


def test_a_scorer_that_fails_on_all_of_its_first_images_is_left_out(cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ClipScore, "features", lambda self, images, prompts: np.full((len(images), 1), np.nan))
    record = run(cli)
    (found,) = notices(record, "scorer-left-out")
    assert "The scorer 'clip-score' failed on each of its first 16 images" in found["text"]
    assert not list(Path("runs/store/scores").glob("*/*"))


def test_scores_stored_before_failures_had_reasons_are_read_and_their_nan_counts_as_failed(
    cli: Cli, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = run(cli)
    monkeypatch.setattr(ClipScore, "features", None)  # nothing is scored again
    current = schemas.schema("scores")
    version_1 = {**current.metadata, b"fairbench.schema_version": b"1"}
    old = pa.schema([field for field in current if field.name != "error"], metadata=version_1)

    def as_version_1(table: pa.Table) -> pa.Table:
        rows = table.drop_columns(["error"]).to_pylist()
        rows[0] |= {"value": np.nan, "features": [np.nan]}
        return pa.Table.from_pylist(rows, old)

    (shard,) = Path("runs/store/scores").glob("*/*.parquet")
    rewrite_shard(shard, as_version_1)
    record = run(cli)
    assert record["run_id"] == whole["run_id"]
    assert record["statuses"]["clip-score"] == {"ok": 15, "failed": 1, "no_image": 0}
    (found,) = notices(record, "score-failed")
    assert "stored values are not finite" in found["examples"][0]


def test_letters() -> None:
    assert run_notices.is_latin("a café, ß, ŵ and ﬁ 12")
    assert not run_notices.is_latin("фото nur")
    assert not scores.Broken.spec.values
