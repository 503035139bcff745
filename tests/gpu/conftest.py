"""Everything here needs a CUDA device; elsewhere it is skipped, with the reason."""

from __future__ import annotations

import pytest
import torch


@pytest.fixture(autouse=True)
def _on_a_gpu() -> None:
    if not torch.cuda.is_available():
        pytest.skip("torch finds no CUDA device on this machine")
