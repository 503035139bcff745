"""Says behind the prompt that any race will do."""

from __future__ import annotations

from typing import ClassVar

from fairbench.methods.common import SuffixMethod


class AnyRaceSuffix(SuffixMethod):
    """Adds ", any race" to every prompt: prompt engineering.

    Liu et al. (NeurIPS 2025, arXiv 2502.03429, Table 1) report rows called prompt engineering; the words behind them
    are not known here, these are ours.
    """

    name: ClassVar[str] = "any-race-suffix"
    suffix: ClassVar[str] = ", any race"
