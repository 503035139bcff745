"""The metric `share-ratio`: its values, and that a run has it."""

import pytest
from share_ratio import share_ratio

import fairbench


def test_values():
    assert share_ratio(counts=[[10, 10], [30, 10], [7, 0]]) == pytest.approx([1, 1 / 3, 0])


def test_a_run_has_it(tmp_path):
    run = fairbench.run(
        "phantom-exact",
        images_per_prompt=4,
        limit_prompts=2,
        sheets=False,
        progress=False,
        store=tmp_path / "store",
        out=tmp_path / "run",
    )
    values = run.metrics.query("metric == 'share-ratio' and scope == 'prompt'").value
    assert values.between(0, 1).all()
    assert len(values)
