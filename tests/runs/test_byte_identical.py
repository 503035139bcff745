"""One run done at once, and in pieces of other sizes and shards, has the same files to the last byte, scores included.

Matrix products round otherwise for other numbers of rows, and floating-point sums in another order: a resumed run once
had a CLIP score that was 2e-6 off and another last digit of `l2-softmax`.
"""

from __future__ import annotations

import itertools
import random
from pathlib import Path

import numpy as np
import pytest

from fairbench import registry
from fairbench.networks import batching
from fairbench.runs import labels, scores
from fairbench.scorers import inception_score
from fairbench.types import BuildContext
from tests.builders.cli import Cli
from tests.builders.folders import ROOT

SCORERS = ("clip-score", "clip-iqa", "inception-score")
BASE = (
    "run",
    "--model",
    "phantom-exact",
    "--task",
    "occupations-mini",
    "--limit-prompts",
    "2",
    "-n",
    "6",
    "--no-sheets",
    "--scorers",
    ",".join(f"{name}.yaml" for name in SCORERS),
)


@pytest.fixture(scope="module")
def checkpoints(tiny_openclip: Path, tiny_inception: Path) -> dict[str, str]:
    """The text of a scorer file for each scorer."""
    clip = f"path: {tiny_openclip}\n"
    inception = f"weights: {{path: {tiny_inception}}}\n"
    own = {"clip-score": clip, "clip-iqa": clip, "inception-score": inception}
    return {name: f"type: {name}\n{text}" for name, text in own.items()}


class _Killed(BaseException):
    pass


def test_a_run_in_other_pieces_has_the_same_bytes(
    cli: Cli, checkpoints: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    from fairbench.storage import atomic

    monkeypatch.setattr(inception_score, "_SIDE", 96)  # a tenth of the work; how batches round is the same question
    for name, text in checkpoints.items():
        Path(f"{name}.yaml").write_text(text)
    assert cli(*BASE, "--store", "whole", "--out", "a").code == 0

    write, left = atomic.write_bytes, itertools.count(3, -1)

    def killed(path: Path, data: bytes) -> None:
        write(path, data)
        if next(left) <= 0:
            raise _Killed

    with monkeypatch.context() as patch:
        patch.setattr(atomic, "write_bytes", killed)
        with pytest.raises(_Killed):
            cli(*BASE, "--store", "pieces", "--out", "b", "--batch-size", "4")
    monkeypatch.setattr(labels, "PARCEL", 7)
    monkeypatch.setattr(labels, "CHIP_BATCH", 3)
    monkeypatch.setattr(scores, "PARCEL", 11)
    monkeypatch.setattr(scores, "BATCH", 5)
    for shard in ("1/3", "0/3"):
        assert cli(*BASE, "--store", "pieces", "--batch-size", "2", "--shard", shard).code == 0
    found = cli(*BASE, "--store", "pieces", "--out", "b")
    assert found.code == 0, found.err
    assert len(list(Path("whole/labels").glob("*/*"))) < len(list(Path("pieces/labels").glob("*/*")))
    assert len(list(Path("whole/scores").glob("*/*"))) < len(list(Path("pieces/scores").glob("*/*")))
    for name in ("metrics.csv", "metrics.parquet"):
        assert Path("a", name).read_bytes() == Path("b", name).read_bytes(), name
    text = Path("a/metrics.csv").read_text()
    for value in ("clip_score", "clip_iqa", "inception_score", "l2-softmax"):
        assert value in text


def _pictures(count: int) -> list[np.ndarray]:
    rng = np.random.default_rng(3)
    return [rng.integers(0, 256, (40 + i, 70 - i, 3), dtype=np.uint8) for i in range(count)]


@pytest.mark.parametrize(
    "name", [pytest.param(n, marks=pytest.mark.long if n == "inception-score" else ()) for n in SCORERS]
)
def test_a_score_does_not_depend_on_the_images_beside_it(name: str, checkpoints: dict[str, str]) -> None:
    import yaml

    plugin = registry.resolve("scorers", name)
    given = {k: v for k, v in yaml.safe_load(checkpoints[name]).items() if k != "type"}
    count = batching.CPU_ROWS + 3
    images, prompts = _pictures(count), [f"a photo of {'abcdefghijklmnop'[: i + 1]}" for i in range(count)]
    together = plugin(registry.parse_params(plugin, given), BuildContext()).features(images, prompts)
    for size in (3,) if name == "inception-score" else (1, 3, 32):
        scorer = plugin(registry.parse_params(plugin, {**given, "batch_size": size}), BuildContext())
        order = random.Random(size).sample(range(count), count)
        parts = [order[i : i + size] for i in range(0, count, size)]
        alone = [scorer.features([images[i] for i in part], [prompts[i] for i in part]) for part in parts]
        np.testing.assert_array_equal(np.concatenate(alone), together[order])


def test_labels_do_not_depend_on_the_chips_beside_them() -> None:
    from fairbench.cards import catalog
    from fairbench.labelling.labeller import Labeller

    labeller = Labeller(catalog.load_labeller(str(ROOT / "models/labellers/phantom.yaml")))
    chips = _pictures(19)
    together = labeller.classify(chips)
    for i, chip in enumerate(chips):
        for attribute, probs in labeller.classify([chip]).items():
            np.testing.assert_array_equal(probs[0], together[attribute][i])
