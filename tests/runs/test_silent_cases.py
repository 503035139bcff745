"""A folder that holds every case that could pass in silence: each is named, with its count, wherever results are."""

from __future__ import annotations

import csv
import io
import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.builders.cards import write_task
from tests.builders.cli import Cli

LONG = "a person who " + "very " * 30 + "slowly paints"
SUBJECTS = ["nurse", "Nurse", "judge", "pilot", LONG]


def picture(seed: int) -> Image.Image:
    small = np.random.default_rng(seed).integers(0, 256, (6, 8, 3), dtype=np.uint8)
    return Image.fromarray(small).resize((64, 48), Image.Resampling.BICUBIC)


@pytest.fixture
def arguments(tmp_path: Path, tiny_openclip: Path) -> list[str]:
    task, images = write_task(tmp_path / "silent", SUBJECTS, "{subject}", language="de"), tmp_path / "images"
    for name in ("prompt_0", "prompt_1", "prompt_2", "prompt_4"):  # none of the pilot
        (images / name).mkdir(parents=True)
    for i in range(3):
        picture(i).save(images / "prompt_0" / f"{i}.png")
    (images / "prompt_1" / "same_bytes.png").write_bytes((images / "prompt_0" / "0.png").read_bytes())
    picture(1).save(images / "prompt_1" / "same_pixels.bmp")
    Image.new("RGB", (64, 48), (3, 3, 3)).save(images / "prompt_2" / "black.png")
    (images / "prompt_2" / "torn.png").write_bytes((images / "prompt_0" / "0.png").read_bytes()[:200])
    (images / "prompt_2" / "phone.heic").write_bytes(b"\0" * 20)
    (images / "prompt_2" / "deeper").mkdir()
    picture(7).save(images / "prompt_2" / "deeper" / "7.png")
    picture(8).save(images / "prompt_4" / "8.png")
    picture(8).save(images / "prompt_4" / "8.jpg", quality=95)
    (tmp_path / "clip.yaml").write_text(f"type: clip-score\npath: {tiny_openclip}\n")
    return [
        "run",
        "--model",
        f"folder:{images}",
        "--task",
        str(task),
        "--labeller",
        "phantom",
        "--scorers",
        str(tmp_path / "clip.yaml"),
        "--near-copies",
        "--out",
        "out",
    ]


COUNTS = {
    "copies": 2,
    "near-copies": 1,
    "plain-image": 1,
    "unread-file": 1,
    "unknown-suffix": 1,
    "ignored-folder": 1,
    "prompts-without-images": 1,
    "near-equal-prompts": 1,
    "language": 1,
    "prompt-cut": 1,
    "few-images": 4,
}


def test_each_case_is_named_with_its_count_everywhere_also_when_quiet(cli: Cli, arguments: list[str]) -> None:
    for times in (1, 2):  # the second finds all images, labels and scores in the store
        result = cli(*arguments, "-q")
        assert result.code == 2, times  # a file cannot be read
        assert "1 of 9 images could not be read" in result.err
        record = json.loads(Path("out/run.json").read_text())
        notices = {n["code"]: n["count"] for n in record["notices"]}
        assert notices == COUNTS, times
        rows = list(csv.DictReader(io.StringIO(Path("out/notices.csv").read_text())))
        assert {r["code"]: int(r["count"]) for r in rows} == COUNTS
        for code in COUNTS:
            assert f"{code}: " in result.err, code
            assert f"{code}: " in result.out, code


def test_strict_ends_with_2_after_everything_is_written(cli: Cli, arguments: list[str]) -> None:
    for name in ("prompt_2/torn.png",):
        Path(arguments[2].removeprefix("folder:"), name).unlink()
    assert cli(*arguments).code == 0
    Path("out").rename("plain")
    strict = cli(*arguments, "--strict")
    assert strict.code == 2
    for code in ("copies", "plain-image", "unknown-suffix", "ignored-folder", "prompts-without-images", "prompt-cut"):
        assert f"{code} (" in strict.err.splitlines()[-1] + strict.err
    assert "few-images (" not in strict.err.rsplit("--strict:", 1)[1]
    assert Path("out/metrics.csv").read_bytes() == Path("plain/metrics.csv").read_bytes()


def test_a_run_without_such_cases_passes_strict(cli: Cli) -> None:
    result = cli(
        "run",
        "--model",
        "phantom-exact",
        "--task",
        "phantom-occupations",
        "--limit-prompts",
        "2",
        "--images-per-prompt",
        "9",
        "--strict",
        "--out",
        "out",
    )
    assert result.code == 0, result.err
    assert json.loads(Path("out/run.json").read_text())["notices"] == []
