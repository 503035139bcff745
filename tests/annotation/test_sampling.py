"""Samples of a run's images: random within prompts, faceless ones too, and what each image's chance was."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from fairbench.annotation import record, sampling
from fairbench.errors import FairbenchError
from fairbench.runs.result import Run
from tests.builders.annotators import sampled, truth_of
from tests.builders.fake_runs import SIDED, FakeRun, draw_cells

SHOWN = draw_cells(SIDED, 3, prompts=6, images=20)
SHOWN[0, :5] = -1
MADE = FakeRun(SHOWN)


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return MADE.write(tmp_path_factory.mktemp("made") / "run")


def rows(folder: Path) -> list[dict[str, object]]:
    return sampling.read(folder).to_pylist()


def test_a_sample_is_drawn_within_each_prompt_and_recorded(run: Path, tmp_path: Path) -> None:
    annotation = sampled(tmp_path / "a", [run], per_prompt=7, seed=4)
    sample = rows(tmp_path / "a")
    assert Counter(Counter(r["prompt_id"] for r in sample).values()) == {7: 6}
    assert len({r["item"] for r in sample}) == len({r["image_id"] for r in sample}) == 42
    assert {(r["inclusion_probability"], r["stratum"], r["stratum_images"]) for r in sample} == {(7 / 20, "", 20)}
    assert record.read(tmp_path / "a") == annotation
    assert (annotation.seed, annotation.design.per_prompt) == (4, 7)
    again = sampled(tmp_path / "b", [run], per_prompt=7, seed=4)
    assert again.id == annotation.id and rows(tmp_path / "b") == sample
    other = sampled(tmp_path / "c", [run], per_prompt=7, seed=5)
    assert other.id != annotation.id
    assert {r["image_id"] for r in rows(tmp_path / "c")} != {r["image_id"] for r in sample}


def test_every_image_is_drawn_alike_with_a_face_or_without(run: Path) -> None:
    drawn, loaded = Counter[str](), Run(run)
    frame = sampling.frame(loaded, None)
    for seed in range(400):
        drawn.update(sampling.draw(loaded, frame, 5, seed)["image_id"].to_pylist())
    counts = np.array(list(drawn.values()))
    assert len(counts) == SHOWN.size  # all of them, faceless ones included
    assert abs(counts / 400 - 5 / 20).max() < 5 * np.sqrt(0.25 * 0.75 / 400)
    truth = truth_of(MADE, run)
    faceless = [n for image, n in drawn.items() if truth[image]["gender"] == "no person"]
    assert len(faceless) == 5 and np.mean(faceless) / 400 == pytest.approx(0.25, abs=0.04)


def test_strata_are_those_of_the_reading(run: Path, tmp_path: Path) -> None:
    sampled(tmp_path / "a", [run], per_prompt=8, stratify="gender")
    truth, sample = truth_of(MADE, run), rows(tmp_path / "a")
    for r in sample:
        shown = truth[str(r["image_id"])]["gender"]
        assert r["stratum"] == ("no label" if shown == "no person" else shown)
        assert r["inclusion_probability"] == r["stratum_sampled"] / r["stratum_images"]
    first = [r for r in sample if r["prompt_id"] == Run(run).images().iloc[0]["prompt_id"]]
    of_stratum = Counter(str(r["stratum"]) for r in first)
    size = {str(r["stratum"]): int(str(r["stratum_images"])) for r in first}
    assert len(first) == 8 and sum(size.values()) == 20 and size["no label"] == 5
    assert all(n >= min(2, size[stratum]) for stratum, n in of_stratum.items())
    # Sampled images, weighted by the inverse of their chance, make up all images (Horvitz and Thompson).
    assert sum(1 / float(str(r["inclusion_probability"])) for r in sample) == pytest.approx(SHOWN.size)


def test_too_few_per_prompt_for_the_strata(run: Path) -> None:
    with pytest.raises(FairbenchError, match=r"--per-prompt 4 is too few: .* strata .* raise it, or leave --stratify"):
        sampling.sample([Run(run)], 4, 0, "race4")


def test_small_prompts_are_taken_whole_and_runs_do_not_change_each_other(run: Path, tmp_path: Path) -> None:
    small = FakeRun(draw_cells(SIDED, 8, prompts=3, images=4), "small").write(tmp_path / "small")
    alone = sampling.sample([Run(run)], 6, 1, None).to_pylist()
    both = sampling.sample([Run(run), Run(small)], 6, 1, None).to_pylist()
    assert both[: len(alone)] == alone
    assert [r["inclusion_probability"] for r in both[len(alone) :]] == [1.0] * 12


def test_the_face_that_the_run_counts_is_asked_about(run: Path) -> None:
    truth = truth_of(MADE, run)
    for r in sampling.sample([Run(run)], 20, 0, None).to_pylist():
        assert (r["face_id"] is None) == (truth[r["image_id"]]["gender"] == "no person")


def test_a_sample_that_is_gone_or_changed_is_one_sentence(run: Path, tmp_path: Path) -> None:
    sampled(tmp_path / "a", [run])
    (tmp_path / "a" / "sample.parquet").write_bytes(b"PAR1")
    with pytest.raises(FairbenchError, match=r"sample.parquet cannot be read .* restore it"):
        sampling.read(tmp_path / "a")
    (tmp_path / "a" / "annotation.json").write_text('{"seed": 0}')
    with pytest.raises(FairbenchError, match=r"annotation.json, field note: this field is required; restore"):
        record.read(tmp_path / "a")
    with pytest.raises(FairbenchError, match="name a folder that `fairbench annotate --out` has written"):
        record.read(tmp_path)
