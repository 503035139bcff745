"""From rows of a balanced set to log-probabilities: which prompt an image stands under."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from fairbench.synthesis import balanced
from fairbench.training.batches import Images
from tests.builders.janus import janus_adapter


@pytest.mark.parametrize("row", [0, 5])
@torch.no_grad()
def test_a_row_beyond_the_last_is_the_image_under_the_prompt_that_states_its_group(
    tiny_janus: Path, balanced_manifest: Path, row: int
) -> None:
    found = balanced.read(balanced_manifest)
    adapter = janus_adapter(tiny_janus)
    model = adapter.model
    tokens = np.random.default_rng(0).integers(model.vocabulary, size=(len(found.rows), model.tokens_per_image))
    source = Images(adapter, [r.prompt for r in found.rows] + [r.source_prompt for r in found.rows], tokens)
    both = source.mean_log_probs(source.module, np.array([row, len(found.rows) + row]))
    shown = torch.from_numpy(tokens[[row]])
    for value, text in zip(both, (found.rows[row].prompt, found.rows[row].source_prompt), strict=True):
        ids = torch.tensor([model.prompt_ids(text)])
        alone = source.module(ids, torch.ones_like(ids, dtype=torch.bool), shown).mean()
        torch.testing.assert_close(value, alone, rtol=1e-4, atol=1e-5)
    assert abs(float(both[0] - both[1])) > 1e-4, "alike, they could not tell one prompt from another"
