"""No mitigation: the baseline."""

from __future__ import annotations

from typing import ClassVar

from fairbench.methods.common import SuffixMethod


class NoMethod(SuffixMethod):
    """Leaves every prompt and the model as they are."""

    name: ClassVar[str] = "none"
    suffix: ClassVar[str] = ""
