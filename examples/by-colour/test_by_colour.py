"""The labeller `by-colour`: its labels of colours that are known, and that a run counts them."""

from pathlib import Path

import by_colour
import numpy as np

import fairbench

CARD = Path(by_colour.__file__).parent / "by-colour.yaml"


def test_colours_that_are_known():
    chips = [np.full((8, 8, 3), colour, np.uint8) for colour in ((200, 80, 40), (40, 80, 200))]
    probabilities = by_colour.ByColourClassifier(None, None, None).classify(chips)["clothes"]
    assert (probabilities.argmax(axis=1) == [0, 1]).all()
    assert np.allclose(probabilities.sum(axis=1), 1)


def test_a_run_counts_them(tmp_path):
    run = fairbench.run(
        "phantom-exact",
        labeller=CARD,
        images_per_prompt=8,
        limit_prompts=2,
        sheets=False,
        progress=False,
        store=tmp_path / "store",
        out=tmp_path / "run",
    )
    shares = run.shares("clothes")
    assert set(shares["class"]) == {"warm", "cold"}
    assert shares.n.eq(8).all()
