"""The scorer `mean-grey`: its value of an image that is known, and that a run has it."""

import numpy as np
from mean_grey import MeanGrey

import fairbench


def test_a_grey_image():
    scorer = MeanGrey(None, None)
    features = scorer.features([np.full((4, 4, 3), 90, np.uint8)] * 3, ["a photo"] * 3)
    assert features.shape == (3, 1)
    assert scorer.summarise(features) == {"mean-grey": 90.0}


def test_a_run_has_it(tmp_path):
    run = fairbench.run(
        "phantom-exact",
        scorers="mean-grey",
        images_per_prompt=2,
        limit_prompts=2,
        sheets=False,
        progress=False,
        store=tmp_path / "store",
        out=tmp_path / "run",
    )
    value = run.metrics.query("metric == 'mean-grey' and scope == 'task'").value.item()
    assert 100 < value < 255
