"""The method `say-please`: what becomes of a prompt, and that a run draws it."""

import say_please

import fairbench


def test_a_run_draws_the_rewritten_prompts(tmp_path):
    run = fairbench.run(
        "phantom-exact",
        method="say-please:kindly",
        images_per_prompt=2,
        limit_prompts=1,
        sheets=False,
        progress=False,
        store=tmp_path / "store",
        out=tmp_path / "run",
    )
    assert run.record.method == "say-please:kindly"
    assert run.metrics.method.unique().tolist() == ["say-please:kindly"]
    assert say_please.SayPlease(None).word == "please"
