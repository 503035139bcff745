"""Prompt engineering: adds to every prompt that any gender, any race, or both will do.

Liu et al. (NeurIPS 2025, arXiv 2502.03429, Table 1) report rows called prompt engineering; the words behind them are
not known here, these are ours.
"""

from __future__ import annotations

from typing import ClassVar

from fairbench.methods.common import SuffixMethod


class AnyGenderSuffix(SuffixMethod):
    """Adds ", any gender" to every prompt: prompt engineering."""

    name: ClassVar[str] = "any-gender-suffix"
    suffix: ClassVar[str] = ", any gender"


class AnyRaceSuffix(SuffixMethod):
    """Adds ", any race" to every prompt: prompt engineering."""

    name: ClassVar[str] = "any-race-suffix"
    suffix: ClassVar[str] = ", any race"


class AnyMixSuffix(SuffixMethod):
    """Adds ", any gender and any race" to every prompt: prompt engineering."""

    name: ClassVar[str] = "any-mix-suffix"
    suffix: ClassVar[str] = ", any gender and any race"
