"""The adapter `biased-coin`: its images, and what a run measures of them."""

import biased_coin
import numpy as np

import fairbench


def test_the_same_seed_is_the_same_image():
    coin = biased_coin.BiasedCoin(None, biased_coin.BiasedCoinParams(), None)
    first, again = (coin.draw(np.random.default_rng(7)) for _ in range(2))
    assert (first == again).all()


def test_a_run_finds_the_share(tmp_path):
    run = fairbench.run(
        "biased-coin:1",
        task="phantom-occupations",
        labeller="phantom",
        images_per_prompt=4,
        limit_prompts=2,
        sheets=False,
        progress=False,
        store=tmp_path / "store",
        out=tmp_path / "run",
    )
    assert run.shares("gender").query("`class` == 'female'").share.tolist() == [1.0, 1.0]
